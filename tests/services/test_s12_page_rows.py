"""What stands in the page's cells and charts: signs as well as colours, words for codes, every line within the axis."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.documents import Decision, Signal, Trade, TradeExit
from chimera.contracts.enums import Action, Market, PositionSide, Purpose, Side, StopKind, TradeStatus
from chimera.contracts.http.positions import PositionView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.services.s12_gateway.page import charts, rows, words
from chimera.services.s12_gateway.page.data import DecisionLine, Overview
from chimera.services.s12_gateway.page.history import Candle, Point

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
MINUTE_MS = 60_000
NOW_MS = 1_700_000_000_000


def position(**changes: object) -> PositionView:
    given_fields: dict[str, object] = {
        "trade_id": "trade-1",
        "market": BTC.market,
        "symbol": BTC.symbol,
        "side": PositionSide.LONG,
        "qty": Decimal("0.006"),
        "entry_price_avg": Decimal(65_000),
        "mark_price": Decimal(65_200),
        "unrealized_pnl_usdt": Decimal("1.2"),
        "roe": 0.061,
        "liquidation_price": Decimal(62_000),
        "stop_price": Decimal(64_800),
        "stop_distance_pct": 0.00613,
        "tp_price": Decimal(65_800),
        "tier": 1,
        "opened_at": NOW_MS - 3_725_000,
    }
    return PositionView.model_validate(given_fields | changes)


def texts(row: rows.Row) -> list[str]:
    return [f"{cell.get('t', '')}|{cell.get('s', '')}" for cell in row["cells"]]


def test_a_position_shows_its_stop_with_distance_and_what_it_is_worth() -> None:
    (row,) = rows.position_rows(Overview(now_ms=NOW_MS, positions=(position(),)), {BTC: 1})

    assert texts(row) == [
        "BTC FUT|",
        "▲ LONG|1h 2m",
        "0.006|",
        "65,000.0|",
        "65,200.0|",
        "▲ +1.20|",
        "+6.10 %|tier 1",
        "64,800.0|0.61 % · 2.40 USDT",
        "|",
        "65,800.0|",
        "62,000.0|4.9 %",
    ]
    assert row["cells"][8]["bar"] == {"mark": 0.4, "entry": 0.2}
    assert len(row["cells"]) == len(rows.POSITION_COLUMNS)


@pytest.mark.parametrize(
    ("market", "kind", "text", "tone"),
    [
        pytest.param(Market.FUT, StopKind.NONE, "none listed", "bad", id="futures"),
        pytest.param(Market.SPOT, StopKind.NONE, "none", "bad", id="spot"),
        pytest.param(Market.SPOT, None, "not known", "warn", id="what is on file cannot be read"),
    ],
)
def test_a_position_without_a_stop_says_so_loudly(market: Market, kind: StopKind | None, text: str, tone: str) -> None:
    bare = position(market=market, stop_price=None, stop_kind=kind)

    (row,) = rows.position_rows(Overview(now_ms=NOW_MS, positions=(bare,)), {})

    assert (row["cells"][7]["t"], row["cells"][7]["c"]) == (text, tone)


def test_a_stop_that_a_guard_watches_is_shown_as_one() -> None:
    guarded = position(market=Market.SPOT, stop_kind=StopKind.GUARD)
    unseen = position(market=Market.SPOT, stop_kind=StopKind.GUARD, mark_price=None)

    cells = [
        rows.position_rows(Overview(now_ms=NOW_MS, positions=(each,)), {})[0]["cells"][7] for each in (guarded, unseen)
    ]

    assert [(each["t"], each["c"], each["s"]) for each in cells] == [
        ("64,800.00", "strong", "guard · 0.61 % · 2.40 USDT"),
        ("64,800.00", "strong", "guard"),
    ]
    assert all("while the system is down" in each["h"] for each in cells)


def test_a_short_with_a_loss_has_its_bar_the_right_way_round() -> None:
    short = position(
        side=PositionSide.SHORT,
        mark_price=Decimal(65_150),
        stop_price=Decimal(65_200),
        tp_price=Decimal(64_200),
        unrealized_pnl_usdt=Decimal("-0.9"),
    )

    (row,) = rows.position_rows(Overview(now_ms=NOW_MS, positions=(short,)), {})

    assert row["cells"][8]["bar"] == {"mark": 0.05, "entry": 0.2}
    assert row["cells"][5] == {"t": "▼ −0.90", "c": "down"}


def line(action: Action, reason: str, detail: str, sentence: str = "said so") -> DecisionLine:
    return DecisionLine(
        key="k",
        signal_id="s",
        t0=NOW_MS,
        instrument="FUT:BTCUSDT",
        action=action,
        reason=reason,
        detail=detail,
        sentence=sentence,
    )


@pytest.mark.parametrize(
    ("action", "reason", "detail", "said"),
    [
        (Action.SKIP, "GATE", "KILL_SWITCH", "KILL_SWITCH"),
        (Action.SKIP, "RULE", "R-023", "R-023"),
        (Action.SKIP, "RULE", "", "RULE"),
        (Action.OPEN, "OK", "OK", "OPEN"),
    ],
    ids=["gate", "rule", "no detail", "open"],
)
def test_a_decision_shows_its_code_and_says_why(action: Action, reason: str, detail: str, said: str) -> None:
    (row,) = rows.decision_rows(Overview(now_ms=NOW_MS, decisions=(line(action, reason, detail),)))

    assert (row["cells"][2]["t"], row["cells"][2]["s"]) == (said, "said so")


def test_an_empty_position_table_tells_what_is_going_on() -> None:
    seen = Overview(now_ms=NOW_MS, decisions=(line(Action.SKIP, "RULE", "NO_SIGNAL", "no signal"),))

    assert rows.no_position_text(seen) == "No open position. Last decision 22:13:20 on BTC FUT: NO_SIGNAL (no signal)."
    assert "no decision yet" in rows.no_position_text(Overview())


def test_an_opened_decision_shows_gates_with_value_and_limit_rules_model_and_sizing() -> None:
    trail = {
        "gates": [
            {"code": "KILL_SWITCH", "value": 0.0, "limit": 0.0, "passed": True},
            {"code": "SPREAD", "value": 3.4, "limit": 3.0, "passed": False},
            {"code": "COOLDOWN", "value": None, "limit": 60.0, "passed": True},
            {"code": "BUDGET", "value": None, "limit": 600.0, "passed": False},
        ],
        "model": {"p": 0.65, "note": "constant"},
        "plan": {"qty": 0.006, "leverage": 20},
    }
    signal = Signal(
        signal_id="s",
        t0=NOW_MS,
        market=BTC.market,
        symbol=BTC.symbol,
        features={"atr_14": 312.4, "regime": "NORMAL"},
        decision=Decision(
            action=Action.OPEN,
            reason="OK",
            detail="OK",
            rules_fired=("R-001",),
            model_p=0.65,
            size_mult=1.0,
            trail=trail,
        ),
        config_rev=3,
    )

    sections = {
        section["title"]: [(each["n"], each["t"]) for each in section["lines"]]
        for section in rows.decision_detail(signal)
    }

    assert sections["Gates"] == [
        ("✓ KILL_SWITCH", "not pulled"),
        ("✕ SPREAD", "3.4 bps (limit 3 bps)"),
        ("✓ COOLDOWN", "never (limit 60 min)"),
        ("✕ BUDGET", "not known (limit 600 USDT)"),
    ]
    assert ("rules fired", "R-001") in sections["Rules and model"]
    assert ("model p", "0.650 constant") in sections["Rules and model"]
    assert sections["Sizing"] == [("qty", "0.006"), ("leverage", "20")]
    assert ("regime", "NORMAL") in sections["Features"]
    assert sections[""] == [("", "the whole way to it ›")]


def test_a_decision_that_is_gone_says_so() -> None:
    assert rows.decision_detail(None)[0]["title"] == "This decision is no longer on file"


@pytest.mark.parametrize(
    ("value", "text"),
    [(Decimal("1234.5"), "+1,234.50"), (Decimal("-0.004"), "0.00"), (-1.5, "−1.50"), (None, "–"), (float("nan"), "–")],
    ids=["gain", "rounds to nothing", "loss", "unknown", "no number"],
)
def test_a_signed_figure(value: Decimal | float | None, text: str) -> None:
    assert words.signed(value) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(0, "0s"), (59_999, "59s"), (61_000, "1m 1s"), (3_600_000, "1h 0m"), (90_061_000, "1d 1h"), (-5, "0s")],
    ids=["nothing", "seconds", "minute", "hour", "day", "ahead"],
)
def test_an_age_shows_its_two_largest_units(duration_ms: int, text: str) -> None:
    assert words.age(duration_ms) == text


@given(st.decimals(min_value="0.00000001", max_value="1e9", places=8))
def test_a_quantity_loses_no_digit(value: Decimal) -> None:
    assert Decimal(words.quantity(value).replace(",", "")) == value


def candles(count: int = 10, low: float = 64_900.0) -> list[Candle]:
    return [Candle(NOW_MS + n * MINUTE_MS, low + 10, low + 40, low, low + 20) for n in range(count)]


def chart(**changes: object) -> charts.PriceChart:
    fields: dict[str, object] = {
        "candles": candles(),
        "interval_ms": MINUTE_MS,
        "places": 1,
        "price": 64_920.0,
        "position": None,
        "trades": (),
    }
    return charts.PriceChart(**(fields | changes))


def test_the_axis_reaches_stop_and_target_that_lie_beyond_the_candles() -> None:
    patch = charts.price_patch(chart(position=position(stop_price=Decimal(64_000), tp_price=Decimal(66_000))))

    assert patch["yAxis"]["min"] < 64_000
    assert patch["yAxis"]["max"] > 66_000
    lines = {
        level["label"]["formatter"].split("\n")[0]: level["yAxis"] for level in patch["series"][0]["markLine"]["data"]
    }
    assert (lines["STOP"], lines["TARGET"], lines["ENTRY"]) == (64_000.0, 66_000.0, 65_000.0)


def test_labels_of_lines_that_are_close_are_pushed_apart() -> None:
    patch = charts.price_patch(chart(position=position(stop_price=Decimal(64_999), tp_price=Decimal(65_001))))
    low, high = patch["yAxis"]["min"], patch["yAxis"]["max"]

    heights = sorted(
        (level["yAxis"] - low) / (high - low) * charts.PLOT_PX - level["label"]["offset"][1]
        for level in patch["series"][0]["markLine"]["data"]
    )

    assert all(above - below >= charts.LABEL_PX - 1 for below, above in itertools.pairwise(heights))


def ended_trade() -> Trade:
    left = TradeExit(
        ts=NOW_MS + 4 * MINUTE_MS + 7,
        qty=Decimal("0.006"),
        price=Decimal(64_950),
        pnl_usdt=Decimal("0.3"),
        fee_usdt=Decimal("0.2"),
        purpose=Purpose.TP,
        order_id="o",
        reason="TAKE_PROFIT",
    )
    return Trade(
        trade_id="t",
        market=BTC.market,
        symbol=BTC.symbol,
        side=Side.SELL,
        status=TradeStatus.CLOSED,
        qty_opened=Decimal("0.006"),
        qty_open=Decimal(0),
        entry_price_avg=Decimal(65_000),
        exits=(left,),
        realized_pnl_usdt=Decimal("0.3"),
        fees_usdt=Decimal("0.4"),
        funding_usdt=Decimal(0),
        config_rev=1,
        opened_at=NOW_MS + MINUTE_MS + 5,
        closed_at=left.ts,
        updated_at=left.ts,
    )


def test_a_trade_is_drawn_from_its_entry_to_its_exit_on_the_candles_it_belongs_to() -> None:
    patch = charts.price_patch(chart(trades=(ended_trade(),)))
    _, segments, entries, exits = patch["series"]
    days = patch["xAxis"]["data"]

    assert segments["data"][0]["coords"] == [[days[1], 65_000.0], [days[4], 64_950.0]]
    assert segments["data"][0]["lineStyle"]["color"] == charts.DOWN
    assert (entries["data"][0]["value"], entries["data"][0]["symbolRotate"]) == ([days[1], 65_000.0], 180)
    assert exits["data"][0]["name"] == "TAKE_PROFIT +0.30"


def test_a_trade_older_than_the_candles_is_not_drawn_at_the_edge() -> None:
    patch = charts.price_patch(chart(trades=(ended_trade(),), candles=candles()[6:]))

    assert [series["data"] for series in patch["series"][1:]] == [[], [], []]


def test_charts_of_nothing_are_valid() -> None:
    assert charts.price_patch(chart(candles=[], price=None))["xAxis"] == {"data": []}
    assert charts.equity_patch([])["series"][0]["data"] == []
    assert charts.equity_patch([Point(1, 2.0)])["series"][0]["markLine"]["data"] == [{"yAxis": 2.0}]


def test_a_patch_has_as_many_series_as_the_chart_so_that_the_browser_merges_it() -> None:
    assert len(charts.price_patch(chart())["series"]) == len(charts.price_options()["series"])
    assert len(charts.equity_patch([])["series"]) == len(charts.equity_options()["series"])

"""What the page says before a person acts, and how orders, lives and approvals look as rows."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.documents import Order, Trade
from chimera.contracts.enums import (
    ApprovalStatus,
    IntentState,
    Market,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
    Side,
    TradeStatus,
)
from chimera.contracts.http import ApprovalsAnswer, ApprovalView, IntentAnswer, PositionView, TimelineEntry
from chimera.contracts.http.gateway import RestraintView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.services.s12_gateway.page import act_words, order_rows, rows
from chimera.services.s12_gateway.page.data import Overview
from chimera.services.s12_gateway.page.frame import held_lines

D = Decimal
BTC = InstrumentKey(Market.FUT, "BTCUSDT")
PLACES = {BTC: 1}


def held(side: PositionSide = PositionSide.LONG, **changes: Any) -> PositionView:
    """0.02 at 60,000, marked at 60,500, with a stop that loses 8 USDT."""
    is_long = side is PositionSide.LONG
    fields: dict[str, Any] = {
        "trade_id": "E1",
        "market": Market.FUT,
        "symbol": "BTCUSDT",
        "side": side,
        "qty": D("0.02"),
        "entry_price_avg": D(60_000),
        "mark_price": D(60_500) if is_long else D(59_500),
        "stop_price": D(59_600) if is_long else D(60_400),
        "unrealized_pnl_usdt": D(10),
    }
    return PositionView(**fields | changes)


def trade(first_loss: str | None = "8") -> Trade:
    return Trade(
        trade_id="E1",
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.BUY,
        status=TradeStatus.ACTIVE,
        qty_opened=D("0.02"),
        qty_open=D("0.02"),
        entry_price_avg=D(60_000),
        realized_pnl_usdt=D(0),
        fees_usdt=D(1),
        funding_usdt=D(0),
        config_rev=1,
        opened_at=1,
        updated_at=1,
        first_loss_usdt=None if first_loss is None else D(first_loss),
    )


@pytest.mark.parametrize(
    ("side", "text", "says", "needs_confirm", "price"),
    [
        pytest.param(PositionSide.LONG, "59,800", "−4.00 USDT, before fees. Nearer", False, "59800", id="nearer"),
        pytest.param(PositionSide.LONG, "60200", "+4.00 USDT", False, "60200", id="in profit"),
        pytest.param(PositionSide.LONG, "59600", "−8.00 USDT", False, "59600", id="where it is"),
        pytest.param(PositionSide.LONG, "59500", "only 8.00 were", True, "59500", id="beyond the budget"),
        pytest.param(PositionSide.LONG, "60500", "would trigger at once", False, None, id="at the mark"),
        pytest.param(PositionSide.SHORT, "60200", "−4.00 USDT, before fees. Nearer", False, "60200", id="short nearer"),
        pytest.param(PositionSide.SHORT, "60500", "only 8.00 were", True, "60500", id="short beyond"),
        pytest.param(PositionSide.SHORT, "59000", "below the mark", False, None, id="short through the mark"),
        pytest.param(PositionSide.LONG, "", "Write a price", False, None, id="nothing"),
        pytest.param(PositionSide.LONG, "much", "Write a price", False, None, id="a word"),
        pytest.param(PositionSide.LONG, "NaN", "above 0", False, None, id="not a number"),
        pytest.param(PositionSide.LONG, "-5", "above 0", False, None, id="negative"),
    ],
)
def test_a_stop_says_what_it_would_lose_while_it_is_written(
    side: PositionSide, text: str, says: str, needs_confirm: bool, price: str | None
) -> None:
    preview = act_words.stop_preview(held(side), text, D(8), 1)

    assert says in preview.text
    assert (preview.needs_confirm, preview.price) == (needs_confirm, None if price is None else D(price))


def test_a_looser_stop_within_the_first_ones_budget_needs_no_confirmation() -> None:
    preview = act_words.stop_preview(held(stop_price=D(59_900)), "59700", D(8), 1)

    assert (preview.needs_confirm, preview.price) == (False, D(59_700))
    assert "within what the first stop allowed" in preview.text


def test_without_a_budget_every_looser_stop_asks() -> None:
    assert act_words.loss_budget(held(), [trade(None)]) is None
    assert act_words.loss_budget(held(), [trade()]) == D(8)
    assert act_words.stop_preview(held(), "59590", None, 1).needs_confirm


def test_closing_and_flattening_say_what_they_would_earn() -> None:
    assert "0.02 are sold at market" in act_words.close_text(held(), 1)
    assert "+10.00 USDT" in act_words.close_text(held(), 1)
    assert "bought back" in act_words.close_text(held(PositionSide.SHORT), 1)
    assert "BTC FUT are closed at market: +10.00 USDT" in act_words.flatten_text([held()])
    assert "Nothing is open now" in act_words.flatten_text([])
    assert "−8.00 USDT there" in act_words.stop_now_text(held(), D(8), 1)


def test_a_viewer_sees_positions_without_buttons_and_spot_has_no_stop_to_move() -> None:
    seen = Overview(positions=(held(),))
    spot = Overview(positions=(held(market=Market.SPOT),))

    def keys(rows_: list[dict[str, Any]]) -> list[str]:
        return [act["k"] for act in rows_[0]["cells"][0].get("acts", [])]

    assert keys(rows.position_rows(seen, PLACES)) == []
    assert keys(rows.position_rows(seen, PLACES, may_act=True)) == [rows.CLOSE, rows.MOVE_STOP]
    assert keys(rows.position_rows(spot, PLACES, may_act=True)) == [rows.CLOSE]


def test_what_holds_entries_back_is_told_with_the_remedy_but_the_kill_switch() -> None:
    seen = Overview(
        restraints=(
            RestraintView(name="KILL_SWITCH", why="pulled", remedy="release"),
            RestraintView(name="NOT_RECONCILED", why="S6 has not booked f1", remedy="It tries again."),
            RestraintView(name="HALT", scope="DAILY_LOSS", why="lost", remedy="look"),
        ),
        problems=("the bus is down",),
    )

    assert held_lines(seen) == [
        ("NOT RECONCILED", "S6 has not booked f1", "It tries again."),
        ("HALT DAILY_LOSS", "lost", "look"),
        ("Not up to date", "the bus is down", ""),
    ]


def texts(section: rows.Section) -> list[list[str]]:
    return [[cell.get("t", "") for cell in each["cells"]] for each in section.rows]


def test_a_life_is_told_moment_by_moment() -> None:
    told = (
        TimelineEntry(ts=1_700_000_000_123, what="ACCEPTED"),
        TimelineEntry(
            ts=1_700_000_000_456,
            what="ORDER_REFUSED",
            order_id="o1",
            detail={"price": 60_000.5, "qty": 0.02, "post_only": True, "until_ms": 1_700_000_005_000, "why": "-2010"},
        ),
        TimelineEntry(ts=1_700_000_001_000, what="SOMETHING_NEW", detail={"parts": [1, 2], "odd_at": 10**18}),
    )
    answer = IntentAnswer(
        intent_id="I1",
        state=IntentState.REJECTED,
        market=Market.FUT,
        symbol="BTCUSDT",
        purpose=Purpose.ENTRY,
        filled_qty=D(0),
        timeline=told,
        updated_at=1,
    )

    life = order_rows.life_sections(answer, PLACES)[-1]

    assert texts(life) == [
        ["22:13:20.123", "accepted", ""],
        [
            "22:13:20.456",
            "order refused",
            "price 60,000.5 · qty 0.02 · post only yes · until ms 22:13:25 · why -2010",
        ],
        ["22:13:21.000", "something new", "parts 1, 2 · odd at 1000000000000000000"],
    ]
    assert [each["cells"][1].get("c") for each in life.rows] == ["strong", "bad", "strong"]


def test_a_resting_order_can_be_canceled_by_who_may() -> None:
    order = Order(
        order_id="o1",
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.SELL,
        type=OrderType.STOP_MARKET,
        quantity=D("0.02"),
        stop_price=D(59_600),
        status=OrderStatus.NEW,
        purpose=Purpose.SL,
        rcu_rev=1,
        created_at=1,
    )

    acting, looking = (order_rows.resting_rows([order], 1, PLACES, may_act=may)[0] for may in (True, False))

    assert [act["k"] for act in acting["cells"][0]["acts"]] == ["cancel"]
    assert "placed again" in acting["cells"][0]["acts"][0]["h"]
    assert "acts" not in looking["cells"][0]
    assert acting["cells"][2]["t"] == "59,600.0"


@pytest.mark.parametrize(
    ("purpose", "pair", "word"),
    [
        pytest.param(Purpose.SL, "p", "guard", id="stop of a pair"),
        pytest.param(Purpose.TP, "p", "guard", id="target of a pair"),
        pytest.param(Purpose.ENTRY, None, "", id="an entry"),
    ],
)
def test_canceling_of_a_spot_pair_says_that_its_stop_goes_too(purpose: Purpose, pair: str | None, word: str) -> None:
    order = Order(
        order_id="o1",
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=Side.SELL,
        type=OrderType.LIMIT_MAKER,
        quantity=D("0.02"),
        price=D(60_600),
        status=OrderStatus.NEW,
        purpose=purpose,
        oco_pair_id=pair,
        rcu_rev=1,
        created_at=1,
    )

    [shown] = order_rows.resting_rows([order], 1, PLACES, may_act=True)

    assert word in shown["cells"][0]["acts"][0].get("h", "")
    assert order.protects is bool(word)
    assert ("guard" in act_words.cancel_text(order)) is bool(word)
    assert not order.but(status=OrderStatus.CANCELED).protects


@pytest.mark.parametrize(
    ("status", "acts"),
    [
        (ApprovalStatus.PENDING, ["approve", "revoke"]),
        (ApprovalStatus.APPROVED, ["revoke"]),
        (ApprovalStatus.CONSUMED, []),
        (ApprovalStatus.EXPIRED, []),
    ],
)
def test_an_approval_offers_what_can_still_be_done(status: ApprovalStatus, acts: list[str]) -> None:
    view = ApprovalView(approval_id="A1", status=status, created_at=1, expires_at=2, consumed_by="I1", token="secret")
    answer = ApprovalsAnswer(enabled=True, large_order_usdt_threshold=D(5_000), ttl_sec=300, approvals=(view,))

    row = order_rows.approval_rows(answer, 1, may_approve=True, may_revoke=True)[0]

    assert [act["k"] for act in row["cells"][0].get("acts", [])] == acts
    assert order_rows.approvals_text(answer) == "needed above 5,000.00 USDT; a token lives 300 s"

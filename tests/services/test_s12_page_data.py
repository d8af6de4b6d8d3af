"""One refresh of the page: what it reads and keeps, and what it says while something is down."""

import asyncio
from collections.abc import Awaitable
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest

from chimera.contracts.collections import KLINES, METRICS_TIMESERIES, ORDERS, SIGNALS, TRADES, system_state
from chimera.contracts.documents import (
    Decision,
    EquityPeakState,
    Kline,
    MetricPoint,
    Order,
    Signal,
    Trade,
    TradeExit,
)
from chimera.contracts.enums import (
    Action,
    Market,
    OrderStatus,
    OrderType,
    PositionSide,
    Purpose,
    Side,
    TradeStatus,
)
from chimera.contracts.http.positions import PositionsAnswer, PositionView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP, RISK_LIMITS
from chimera.contracts.messages import SignalEvent
from chimera.contracts.messages.features import DecisionSummary
from chimera.contracts.streams import SIG_EVENTS
from chimera.ports.documents import Put
from chimera.runtime.service import Reply, Request, Route
from chimera.services.s12_gateway.page.data import PageData, places_of
from chimera.services.s12_gateway.page.history import DAY_MS, HOUR_MS, MINUTE_MS, PORTION, Candle, with_live_price
from chimera.services.s12_gateway.page.settings import PageSettings
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from tests.ports.hand_clock import HandClock
from tests.services.small_world import ENV, SmallWorld, small_world

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
T = TypeVar("T")


class House:
    """S12 and an S6 that tells the positions it was given."""

    def __init__(self) -> None:
        self.here: SmallWorld = small_world()
        self.positions: tuple[PositionView, ...] = ()
        self.here.peers.add("s12", build(self.here.world, GatewaySettings(env=ENV)).routes)
        self.here.peers.add("s6", (Route(method="GET", path="/positions", handle=self._tell, summary="what is open"),))
        self.data = PageData(self.here.world, PageSettings(env=ENV, keys=(BTC,), storage=Path("unused"), venue="sim"))

    async def _tell(self, request: Request) -> Reply:
        return Reply(PositionsAnswer(positions=self.positions, ts=self.now_ms))

    @property
    def now_ms(self) -> int:
        return self.here.clock.now_ms()

    async def put(self, *puts: Put) -> None:
        await self.here.documents.inner.put_many(puts)


@pytest.fixture
async def house() -> House:
    return House()


async def finish(clock: HandClock, work: Awaitable[T]) -> T:
    """Let `work` end that yields to others by the clock."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await clock.advance(0)
    return task.result()


def kline(open_time: int, price: int) -> Kline:
    return Kline(
        market=BTC.market,
        symbol=BTC.symbol,
        interval="1m",
        open_time=open_time,
        open=Decimal(price),
        high=Decimal(price + 2),
        low=Decimal(price - 1),
        close=Decimal(price + 1),
        volume=Decimal(1),
        ts=open_time + MINUTE_MS,
    )


def trade(number: int, closed_at: int | None, pnl: str, fees: str = "0.2", funding: str = "0") -> Trade:
    exits = ()
    if closed_at is not None:
        exits = (
            TradeExit(
                ts=closed_at,
                qty=Decimal("0.01"),
                price=Decimal(101),
                pnl_usdt=Decimal(pnl),
                fee_usdt=Decimal("0.1"),
                purpose=Purpose.TP,
                order_id=f"exit-{number}",
                reason="TAKE_PROFIT",
            ),
        )
    return Trade(
        trade_id=f"trade-{number}",
        market=BTC.market,
        symbol=BTC.symbol,
        side=Side.BUY,
        status=TradeStatus.ACTIVE if closed_at is None else TradeStatus.CLOSED,
        qty_opened=Decimal("0.01"),
        qty_open=Decimal("0.01") if closed_at is None else Decimal(0),
        entry_price_avg=Decimal(100),
        exits=exits,
        realized_pnl_usdt=Decimal(pnl),
        fees_usdt=Decimal(fees),
        funding_usdt=Decimal(funding),
        config_rev=1,
        opened_at=1_000,
        closed_at=closed_at,
        updated_at=1_000,
    )


def signal(number: int, t0: int, reason: str, detail: str) -> Signal:
    return Signal(
        signal_id=f"signal-{number}",
        t0=t0,
        market=BTC.market,
        symbol=BTC.symbol,
        features={},
        decision=Decision(action=Action.SKIP, reason=reason, detail=detail),
        config_rev=1,
    )


async def test_an_empty_system_shows_zeros_and_no_invented_figures(house: House) -> None:
    seen = await house.data.overview()

    assert (seen.equity_usdt, seen.day_start_usdt, seen.config_rev, seen.health) == (None, None, None, None)
    assert (seen.sums.count, seen.positions, seen.decisions, seen.problems) == (0, (), (), ())
    assert not seen.kill_is_on


async def test_two_browsers_within_a_moment_cost_one_reading(house: House) -> None:
    first = (await house.data.overview()).now_ms
    await house.here.clock.advance(300)
    same = (await house.data.overview()).now_ms
    await house.here.clock.advance(700)
    later = (await house.data.overview()).now_ms

    assert (same - first, later - first) == (0, 1_000)


async def test_sums_count_closed_trades_after_fees_and_funding(house: House) -> None:
    now_ms = house.now_ms
    await house.put(
        Put(TRADES, trade(1, now_ms - 5_000, "1.5", fees="0.25", funding="-0.05")),
        Put(TRADES, trade(2, now_ms - 4_000, "0.1", fees="0.25")),
        Put(TRADES, trade(3, None, "0")),
    )

    seen = await house.data.overview()

    assert (seen.sums.count, seen.sums.wins) == (2, 1)
    assert (seen.sums.net, seen.sums.fees, seen.sums.funding) == (Decimal("1.05"), Decimal("0.50"), Decimal("-0.05"))
    assert [each.trade_id for each in seen.trades] == ["trade-2", "trade-1"]
    assert [each.trade_id for each in seen.open_trades] == ["trade-3"]


async def test_what_open_trades_have_paid_so_far_is_summed(house: House) -> None:
    closing = trade(2, None, "0.4", fees="0.02").model_copy(update={"status": TradeStatus.PENDING_CLOSING})
    await house.put(
        Put(TRADES, trade(1, None, "0", fees="0.25", funding="-0.05")),
        Put(TRADES, closing),
        Put(TRADES, trade(3, house.now_ms, "9", fees="1")),
    )

    paid = (await house.data.overview()).open_sums

    assert (paid.net, paid.fees, paid.funding) == (Decimal("0.08"), Decimal("0.27"), Decimal("-0.05"))


async def test_a_closed_trade_that_late_funding_changed_is_counted_anew(house: House) -> None:
    now_ms = house.now_ms
    await house.put(Put(TRADES, trade(1, now_ms, "1")))
    await house.data.overview()
    await house.put(Put(TRADES, trade(1, now_ms, "1", funding="-0.5")))
    await house.here.clock.advance(1_000)

    seen = await house.data.overview()

    assert (seen.sums.count, seen.sums.net) == (1, Decimal("0.3"))


async def test_more_trades_than_one_portion_are_all_counted(house: House) -> None:
    count = PORTION * 2 + 3
    await house.put(*(Put(TRADES, trade(number, 10_000 + number, "1", fees="0")) for number in range(count)))

    seen = await finish(house.here.clock, house.data.overview())

    assert (seen.sums.count, seen.sums.net) == (count, Decimal(count))


async def test_bars_are_read_back_as_far_as_asked_and_then_only_read_on(house: House) -> None:
    last = house.now_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
    await house.put(*(Put(KLINES, kline(last - number * MINUTE_MS, 100)) for number in range(PORTION * 3)))

    bars = await finish(house.here.clock, house.data.bars.since(BTC, last - (PORTION + 5) * MINUTE_MS))
    assert len(bars) == PORTION * 2
    await house.put(Put(KLINES, kline(last + MINUTE_MS, 120)))
    bars = await finish(house.here.clock, house.data.bars.since(BTC, last))

    assert len(bars) == PORTION * 2 + 1
    assert bars[-1] == Candle(last + MINUTE_MS, 120.0, 122.0, 119.0, 121.0)
    assert [bar.open_time for bar in bars] == sorted(bar.open_time for bar in bars)


async def test_candles_of_five_minutes_carry_the_price_of_this_moment(house: House) -> None:
    start = house.now_ms // (5 * MINUTE_MS) * 5 * MINUTE_MS
    await house.put(*(Put(KLINES, kline(start - 5 * MINUTE_MS + n * MINUTE_MS, 100 + n)) for n in range(5)))
    await house.here.snapshots.inner.set_hash(MKT_SNAP.name(ENV, BTC), {"last": "98.5", "mark": "98.6"})

    await finish(house.here.clock, house.data.overview())
    candles = await finish(house.here.clock, house.data.candles(BTC, 5 * MINUTE_MS, 10))

    assert candles == [
        Candle(start - 5 * MINUTE_MS, 100.0, 106.0, 99.0, 105.0),
        Candle(start, 105.0, 105.0, 98.5, 98.5),
    ]


def test_a_forming_candle_only_widens() -> None:
    candles = [Candle(0, 10.0, 12.0, 9.0, 11.0)]

    assert with_live_price(candles, MINUTE_MS, 30_000, 12.5) == [Candle(0, 10.0, 12.5, 9.0, 12.5)]
    assert with_live_price(candles, MINUTE_MS, 30_000, None) == candles
    assert with_live_price([], MINUTE_MS, 30_000, 12.5) == []


async def test_the_day_before_gives_the_change(house: House) -> None:
    now_ms = house.now_ms
    open_time = (now_ms - DAY_MS) // MINUTE_MS * MINUTE_MS - MINUTE_MS
    await house.put(Put(KLINES, kline(open_time, 99)), Put(KLINES, kline(now_ms // MINUTE_MS * MINUTE_MS, 104)))
    await house.here.snapshots.inner.set_hash(MKT_SNAP.name(ENV, BTC), {"last": "110"})

    seen = await house.data.overview()

    assert seen.prices[BTC].change_ratio == pytest.approx(0.1)


async def test_equity_takes_the_live_figure_and_remembers_the_deepest_fall(house: House) -> None:
    now_ms = house.now_ms
    values = (1_000.0, 1_100.0, 990.0, 1_050.0)
    await house.put(
        *(
            Put(METRICS_TIMESERIES, MetricPoint(metric="equity_usdt", value=value, ts=now_ms - 10_000 + number))
            for number, value in enumerate(values)
        ),
        Put(
            system_state(EquityPeakState),
            EquityPeakState(
                updated_at=now_ms,
                equity_peak_usdt=Decimal(1_100),
                transfers_net_usdt=Decimal(0),
                day="2023-11-14",
                day_start_equity_usdt=Decimal(1_040),
            ),
        ),
    )

    before = (await house.data.overview()).equity_usdt
    await house.here.snapshots.inner.set_hash(
        RISK_LIMITS.name(ENV), {"equity_usdt": "1051.5", "drawdown_ratio": "0.0441"}
    )
    await house.here.clock.advance(1_000)
    seen = await house.data.overview()

    assert (before, seen.equity_usdt, seen.day_start_usdt) == (1_050.0, 1_051.5, 1_040.0)
    assert seen.drawdown_max_ratio == pytest.approx(0.1)


async def test_a_fall_of_equity_is_forgotten_after_thirty_days(house: House) -> None:
    now_ms = house.now_ms
    told = ((-30 * DAY_MS + HOUR_MS, 1_000.0), (-30 * DAY_MS + 2 * HOUR_MS, 800.0), (-DAY_MS, 900.0), (-HOUR_MS, 855.0))

    async def put(ts: int, value: float) -> None:
        await house.put(Put(METRICS_TIMESERIES, MetricPoint(metric="equity_usdt", value=value, ts=ts)))

    for before_ms, value in told:
        await put(now_ms + before_ms, value)

    before = (await house.data.overview()).drawdown_max_ratio
    await house.here.clock.advance(4 * HOUR_MS)
    await put(house.now_ms, 880.0)
    seen = await house.data.overview()

    assert (before, seen.drawdown_max_ratio) == (pytest.approx(0.2), pytest.approx(0.05))
    assert [point.value for point in house.data.equity.points] == [900.0, 855.0, 880.0]


async def test_a_long_equity_curve_is_thinned_and_keeps_its_newest_point(house: House) -> None:
    first = house.now_ms - 3 * DAY_MS
    await house.put(
        *(
            Put(METRICS_TIMESERIES, MetricPoint(metric="equity_usdt", value=float(n), ts=first + n * MINUTE_MS))
            for n in range(1_000)
        )
    )

    await finish(house.here.clock, house.data.overview())
    points = house.data.equity.sample(0, 100)

    assert 80 <= len(points) <= 101
    assert points[-1].value == 999.0
    assert [point.ts for point in points] == sorted({point.ts for point in points})


async def test_decisions_come_from_documents_first_and_then_from_what_s3_tells(house: House) -> None:
    now_ms = house.now_ms
    await house.put(
        Put(SIGNALS, signal(1, now_ms - 3_000, "RULE", "NO_SIGNAL")),
        Put(SIGNALS, signal(2, now_ms - 2_000, "PENDING", "")),
        Put(SIGNALS, signal(3, now_ms - 1_000, "GATE", "SPREAD")),
    )
    told = SIG_EVENTS.name(ENV, BTC)

    async def tell(number: int, reason: str, detail: str) -> None:
        await house.here.bus.inner.publish(
            told,
            SignalEvent(
                signal_id=f"signal-{number}",
                t0=now_ms - 1_000,
                symbol=BTC.symbol,
                decision=DecisionSummary(action=Action.SKIP, reason=reason, detail=detail),
                config_rev=1,
            ),
        )

    await tell(3, "GATE", "SPREAD")
    first = [line.detail for line in (await house.data.overview()).decisions]
    await tell(3, "GATE", "KILL_SWITCH")
    await house.here.clock.advance(1_000)
    seen = await house.data.overview()

    assert first == ["SPREAD", "NO_SIGNAL"]
    assert [line.detail for line in seen.decisions] == ["KILL_SWITCH", "SPREAD", "NO_SIGNAL"]
    assert len({line.key for line in seen.decisions}) == 3


async def test_positions_are_what_s6_says_and_their_gain_is_summed(house: House) -> None:
    house.positions = tuple(
        PositionView(
            market=Market.FUT,
            symbol=symbol,
            side=PositionSide.LONG,
            qty=Decimal(1),
            entry_price_avg=Decimal(100),
            unrealized_pnl_usdt=Decimal(pnl),
        )
        for symbol, pnl in (("BTCUSDT", "1.5"), ("ETHUSDT", "-0.5"))
    )

    seen = await house.data.overview()

    assert [each.symbol for each in seen.positions] == ["BTCUSDT", "ETHUSDT"]
    assert seen.unrealized_usdt == Decimal("1.0")


async def test_orders_are_read_again_when_the_router_told_something_or_after_a_while(house: House) -> None:
    def order(number: int) -> Put:
        made = Order(
            order_id=f"order-{number}",
            market=BTC.market,
            symbol=BTC.symbol,
            side=Side.BUY,
            type=OrderType.MARKET,
            status=OrderStatus.FILLED,
            rcu_rev=1,
            created_at=house.now_ms,
        )
        return Put(ORDERS, made)

    await house.put(order(1))
    assert len((await house.data.overview()).orders) == 1
    await house.put(order(2))
    await house.here.clock.advance(1_000)
    assert len((await house.data.overview()).orders) == 1

    await house.here.clock.advance(10_000)
    assert len((await house.data.overview()).orders) == 2


async def test_what_cannot_be_read_keeps_its_last_figures_and_is_named(house: House) -> None:
    await house.put(Put(TRADES, trade(1, house.now_ms, "1")))
    await house.data.overview()
    house.here.documents.down = True
    await house.here.clock.advance(1_000)

    seen = await house.data.overview()
    assert seen.sums.count == 1
    assert any("document store" in problem for problem in seen.problems)

    house.here.documents.down = False
    await house.here.clock.advance(1_000)
    assert (await house.data.overview()).problems == ()


async def test_the_kill_switch_is_turned_through_the_gateways_own_call_in_the_users_name(house: House) -> None:
    refused = await house.data.post("/kill-switch", {"state": "ON", "reason": "storm"}, "ada")
    pulled = await house.data.overview()

    assert refused.problem == ""
    assert pulled.kill is not None
    assert (pulled.kill_is_on, pulled.kill.actor, pulled.kill.reason) == (True, "ada", "storm")

    assert (await house.data.post("/kill-switch", {"state": "OFF"}, "ada")).problem == ""
    assert not (await house.data.overview()).kill_is_on


async def test_a_kill_switch_that_could_not_be_written_says_what_to_do(house: House) -> None:
    house.here.documents.down = house.here.snapshots.down = True

    refused = await house.data.post("/kill-switch", {"state": "ON"}, "ada")

    assert (refused.problem, "KILL" in refused.why) == ("kill-switch-not-written", True)


@pytest.mark.parametrize(
    ("tick", "places"),
    [("0.10", 1), ("0.01", 2), ("1", 0), ("10", 0), ("0.00001", 5)],
    ids=["tenth", "hundredth", "one", "ten", "small"],
)
def test_a_price_has_as_many_places_as_its_tick(tick: str, places: int) -> None:
    assert places_of(Decimal(tick)) == places

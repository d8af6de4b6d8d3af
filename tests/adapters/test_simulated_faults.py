"""Faults on demand behind the venue port: each kind armed, and what a caller and a listener meet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.journal import JournalError, NoJournal
from chimera.adapters.simulated_venue.operator import Operator
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.app.simulated_market import Market, MarketPlan
from chimera.contracts.enums import Market as MarketKind
from chimera.contracts.enums import OrderStatus, OrderType, Side, TimeInForce
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import (
    AccountChange,
    FundingSettled,
    NewOrder,
    OrderUpdated,
    StreamReset,
    VenueOrder,
)
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.domain.matching.account import StateRow
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import SPECS, Fault, FaultKind, FaultPlan
from chimera.ports.venue import (
    DuplicateOrder,
    InsufficientFunds,
    OutcomeUnknown,
    RateLimited,
    Refused,
    UnknownOrder,
    VenueUnavailable,
    WouldTake,
    WouldTrigger,
)
from chimera.simulation.loop import run_virtual

MINUTE_MS = 60_000
DAY_MS = 86_400_000
START = 20_400 * DAY_MS - 7 * MINUTE_MS
BTC = InstrumentKey(MarketKind.FUT, "BTCUSDT")
SPOT = InstrumentKey(MarketKind.SPOT, "BTCUSDT")
D = Decimal


def market() -> Market:
    plan = MarketPlan.ending_at(
        ("BTCUSDT",), seed=5, start_ms=START, end_ms=START + MINUTE_MS, targets={"BTCUSDT": 65_400.0}
    )
    return Market.build(plan, None, ticks_per_minute=4)


@dataclass(slots=True)
class Floor:
    """A venue with a listener to everything it tells."""

    venue: SimulatedVenue
    plan: FaultPlan
    changes: list[AccountChange] = field(default_factory=list)
    events: list[MarketEvent] = field(default_factory=list)

    @property
    def mid(self) -> Decimal:
        return self.venue.books[BTC].mid

    def statuses(self, client_order_id: str) -> list[OrderStatus]:
        return [
            change.order.status
            for change in self.changes
            if isinstance(change, OrderUpdated) and change.order.client_order_id == client_order_id
        ]

    async def wait(self, ms: int) -> None:
        await self.venue.clock.sleep_until_ms(self.venue.clock.now_ms() + ms)

    def stands(self, client_order_id: str, key: InstrumentKey = BTC) -> VenueOrder | None:
        return self.venue.exchange.order(key.market, key.symbol, client_order_id)

    def tick(self) -> None:
        """The next instant of the market, now."""
        now_ms = self.venue.clock.now_ms()
        books = tuple(self.venue.books.values())
        self.venue.apply(Tick(now_ms, books, tuple(self.venue.marks.values()), ()))


@asynccontextmanager
async def opened(*faults: Fault, fut_usdt: int = 10_000) -> AsyncIterator[Floor]:
    made = market()
    plan = FaultPlan(faults)
    venue = SimulatedVenue(
        exchange=Exchange(
            made.rules,
            spot_balances={"USDT": D(10_000), "BTC": D(1)},
            fut_balances={"USDT": D(fut_usdt)},
        ),
        rules=made.rules,
        feed=made.ticker,
        clock=LoopClock(START),
        journal=NoJournal(),
        faults=plan,
    )
    floor = Floor(venue, plan)

    async def hear() -> None:
        async for batch in venue.account_events():
            floor.changes += batch

    async def see() -> None:
        async for batch in venue.market_events((BTC, SPOT)):
            floor.events += batch

    tasks = [asyncio.get_running_loop().create_task(each) for each in (hear(), see())]
    await floor.wait(1)
    venue.show_again(START)
    try:
        yield floor
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def order(client_order_id: str = "a", **fields: Any) -> NewOrder:
    given: dict[str, Any] = {
        "client_order_id": client_order_id,
        "market": MarketKind.FUT,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "qty": D("0.010"),
    }
    return NewOrder(**{**given, **fields})


def resting(floor: Floor, client_order_id: str = "a", **fields: Any) -> NewOrder:
    """A bid 1 % below the market."""
    price = floor.venue.rules.instruments[0].round_price(floor.mid * D("0.99"))
    return order(client_order_id, **{"type": OrderType.LIMIT, "price": price, **fields})


def stop(floor: Floor, client_order_id: str = "s", **fields: Any) -> NewOrder:
    price = floor.venue.rules.instruments[0].round_price(floor.mid * D("0.98"))
    return order(
        client_order_id,
        **{"side": Side.SELL, "type": OrderType.STOP_MARKET, "stop_price": price, "reduce_only": True, **fields},
    )


Scene = Callable[[], Awaitable[None]]
SCENES: dict[FaultKind, Scene] = {}


def scene(*kinds: FaultKind) -> Callable[[Scene], Scene]:
    def add(play: Scene) -> Scene:
        for kind in kinds:
            SCENES[kind] = play
        return play

    return add


@scene(FaultKind.ANSWER_LOST)
async def answer_lost() -> None:
    async with opened(Fault(kind=FaultKind.ANSWER_LOST, calls="order.place", nth=2)) as floor:
        await floor.venue.place(order("first"))
        with pytest.raises(OutcomeUnknown):
            await floor.venue.place(order("second"))
        found = floor.stands("second")
        assert found is not None
        assert found.status is OrderStatus.FILLED


@scene(FaultKind.ANSWER_LOST_FILLED)
async def answer_lost_and_filled_before_anybody_asks() -> None:
    async with opened(Fault(kind=FaultKind.ANSWER_LOST_FILLED)) as floor:
        new = resting(floor)
        with pytest.raises(OutcomeUnknown):
            await floor.venue.place(new)
        assert (await floor.venue.order(BTC, "a", conditional=False)).status is OrderStatus.FILLED
        # The id is free again: whoever sends it once more holds twice as much.
        await floor.venue.place(new)
        assert len(floor.venue.exchange.orders(MarketKind.FUT)) == 2


@scene(FaultKind.REQUEST_LOST)
async def request_lost() -> None:
    async with opened(Fault(kind=FaultKind.REQUEST_LOST, count=2)) as floor:
        with pytest.raises(OutcomeUnknown):
            await floor.venue.place(order())
        assert floor.stands("a") is None
        with pytest.raises(VenueUnavailable):
            await floor.venue.balances()


@scene(FaultKind.ANSWER_5XX)
async def answer_5xx() -> None:
    async with opened(Fault(kind=FaultKind.ANSWER_5XX)) as floor:
        with pytest.raises(OutcomeUnknown):
            await floor.venue.place(order())
        assert floor.stands("a") is not None


@scene(FaultKind.HTML_BODY)
async def html_body() -> None:
    async with opened(Fault(kind=FaultKind.HTML_BODY)) as floor:
        with pytest.raises(VenueUnavailable):
            await floor.venue.place(order())
        assert floor.stands("a") is None


@scene(FaultKind.REFUSED_503)
async def refused_503() -> None:
    async with opened(Fault(kind=FaultKind.REFUSED_503, at_ms=START + 10, count=5)) as floor:
        await floor.venue.place(order())
        await floor.wait(20)
        with pytest.raises(VenueUnavailable):
            await floor.venue.place(order("b"))
        assert (await floor.venue.place(order("c", side=Side.SELL, reduce_only=True))).status is OrderStatus.FILLED
        assert floor.stands("b") is None


@scene(FaultKind.LATE)
async def late() -> None:
    async with opened(Fault(kind=FaultKind.LATE, params={"delay_ms": 4_000})) as floor:
        told_at: list[int] = []
        floor.venue.on_changes.append(lambda changes: told_at.append(floor.venue.clock.now_ms()))
        began_ms = floor.venue.clock.now_ms()
        await floor.venue.place(order())
        assert floor.venue.clock.now_ms() - began_ms == 4_000
        assert told_at[0] == began_ms


@scene(FaultKind.RATE_429)
async def rate_429() -> None:
    async with opened(Fault(kind=FaultKind.RATE_429, params={"retry_after_s": 7})) as floor:
        with pytest.raises(RateLimited) as limited:
            await floor.venue.positions()
        assert limited.value.retry_after_ms == 7_000
        assert await floor.venue.positions() == ()


@scene(FaultKind.BAN_418)
async def ban_418() -> None:
    async with opened(Fault(kind=FaultKind.BAN_418, params={"ban_s": 120})) as floor:
        with pytest.raises(RateLimited):
            await floor.venue.positions()
        await floor.wait(119_000)
        with pytest.raises(RateLimited) as limited:
            await floor.venue.place(order())
        assert limited.value.retry_after_ms <= 1_001
        await floor.wait(1_001)
        await floor.venue.place(order())


@scene(FaultKind.CLOCK_OFFSET)
async def clock_offset() -> None:
    fault = Fault(kind=FaultKind.CLOCK_OFFSET, duration_ms=1_000, params={"offset_ms": -3_600_000})
    async with opened(fault) as floor:
        assert await floor.venue.server_time_ms() == floor.venue.clock.now_ms() - 3_600_000
        await floor.wait(1_000)
        assert await floor.venue.server_time_ms() == floor.venue.clock.now_ms()


@scene(
    FaultKind.ENGINE_TOO_LATE,
    FaultKind.KEY_REVOKED,
    FaultKind.IP_CHANGED,
    FaultKind.BAD_SIGNATURE,
    FaultKind.STOP_TRIGGERING,
    FaultKind.OPENING_FORBIDDEN,
)
async def plain_refusals() -> None:
    codes = {
        FaultKind.ENGINE_TOO_LATE: -5028,
        FaultKind.KEY_REVOKED: -2015,
        FaultKind.IP_CHANGED: -2015,
        FaultKind.BAD_SIGNATURE: -1022,
        FaultKind.OPENING_FORBIDDEN: -4192,
    }
    for kind, code in codes.items():
        async with opened(Fault(kind=kind)) as floor:
            with pytest.raises(Refused) as refused:
                await floor.venue.place(order())
            assert refused.value.code == code
            assert floor.stands("a") is None
            await floor.venue.place(order())
    async with opened(Fault(kind=FaultKind.STOP_TRIGGERING)) as floor:
        await floor.venue.place(order())
        await floor.venue.place(stop(floor))
        with pytest.raises(Refused) as refused:
            await floor.venue.cancel(BTC, "s", conditional=True)
        assert refused.value.code == -4117


@scene(FaultKind.NO_FUNDS)
async def no_funds() -> None:
    async with opened(Fault(kind=FaultKind.NO_FUNDS, duration_ms=1_000)) as floor:
        with pytest.raises(InsufficientFunds):
            await floor.venue.place(order())
        await floor.wait(1_001)
        await floor.venue.place(order("b"))
        assert len(await floor.venue.transfers(0)) == 2


@scene(FaultKind.FILTERS_CHANGED)
async def filters_changed() -> None:
    fault = Fault(
        kind=FaultKind.FILTERS_CHANGED,
        at_ms=START + 1_000,
        duration_ms=1_000,
        params={"step_mult": 10, "tick_mult": 100},
    )
    async with opened(fault) as floor:
        await floor.venue.place(order("a", qty=D("0.011")))
        await floor.wait(1_000)
        with pytest.raises(Refused) as refused:
            await floor.venue.place(order("b", qty=D("0.011")))
        assert refused.value.code in (-4023, -1111)
        rules = {each.key: each for each in await floor.venue.instruments()}
        assert rules[BTC].step_size == D("0.01")
        await floor.wait(1_000)
        await floor.venue.place(order("c", qty=D("0.011")))


@scene(FaultKind.POST_ONLY_TAKES)
async def post_only_takes() -> None:
    async with opened(Fault(kind=FaultKind.POST_ONLY_TAKES)) as floor:
        with pytest.raises(WouldTake):
            await floor.venue.place(resting(floor, time_in_force=TimeInForce.GTX))
        with pytest.raises(UnknownOrder):
            await floor.venue.order(BTC, "a", conditional=False)
        assert (await floor.venue.place(resting(floor, time_in_force=TimeInForce.GTX))).status is OrderStatus.NEW


@scene(FaultKind.UNFILLABLE)
async def unfillable() -> None:
    for extra in (
        {"type": OrderType.LIMIT, "time_in_force": TimeInForce.IOC},
        {"type": OrderType.LIMIT, "time_in_force": TimeInForce.FOK},
        {"type": OrderType.MARKET, "qty": D("0.1")},
    ):
        async with opened(Fault(kind=FaultKind.UNFILLABLE)) as floor:
            price = floor.venue.books[BTC].ask + 10 if extra["type"] is OrderType.LIMIT else None
            if extra.get("time_in_force") is TimeInForce.FOK:
                with pytest.raises(Refused, match="-5021"):
                    await floor.venue.place(order("a", price=price, **extra))
            else:
                placed = await floor.venue.place(order("a", price=price, **extra))
                assert placed.filled_qty < placed.qty
                assert placed.status.is_final
            again = await floor.venue.place(order("b", price=price, **extra))
            assert again.status is OrderStatus.FILLED


@scene(FaultKind.SELF_TRADE)
async def self_trade() -> None:
    async with opened(Fault(kind=FaultKind.SELF_TRADE, at_ms=START + 100)) as floor:
        await floor.venue.place(resting(floor))
        await floor.wait(200)
        found = floor.stands("a")
        assert found is not None
        assert found.status.is_final
        assert found.reason == "EXPIRED_IN_MATCH"


@scene(FaultKind.DUPLICATE_ID)
async def duplicate_id() -> None:
    async with opened(Fault(kind=FaultKind.DUPLICATE_ID)) as floor:
        with pytest.raises(DuplicateOrder):
            await floor.venue.place(resting(floor))
        found = floor.stands("a")
        assert found is not None
        assert found.status is OrderStatus.NEW


@scene(FaultKind.CANCEL_TOO_LATE)
async def cancel_too_late() -> None:
    async with opened(Fault(kind=FaultKind.CANCEL_TOO_LATE)) as floor:
        await floor.venue.place(resting(floor))
        with pytest.raises(UnknownOrder):
            await floor.venue.cancel(BTC, "a", conditional=False)
        assert (await floor.venue.order(BTC, "a", conditional=False)).status is OrderStatus.FILLED


@scene(FaultKind.CANCEL_ANSWER_LOST)
async def cancel_answer_lost() -> None:
    async with opened(Fault(kind=FaultKind.CANCEL_ANSWER_LOST)) as floor:
        await floor.venue.place(resting(floor))
        with pytest.raises(OutcomeUnknown):
            await floor.venue.cancel(BTC, "a", conditional=False)
        assert (await floor.venue.order(BTC, "a", conditional=False)).status is OrderStatus.CANCELED


@scene(FaultKind.ALGO_LOOKUP_LAG)
async def algo_lookup_lag() -> None:
    async with opened(Fault(kind=FaultKind.ALGO_LOOKUP_LAG)) as floor:
        assert floor.venue.capabilities.lookup_lag_ms == 1_500
        await floor.venue.place(order())
        await floor.venue.place(stop(floor))
        assert [each.client_order_id for each in await floor.venue.open_orders()] == ["s"]
        await floor.wait(1_499)
        with pytest.raises(UnknownOrder):
            await floor.venue.order(BTC, "s", conditional=True)
        await floor.wait(1)
        await floor.venue.order(BTC, "s", conditional=True)
        await floor.venue.cancel(BTC, "s", conditional=True)
        await floor.wait(1_199)
        assert (await floor.venue.order(BTC, "s", conditional=True)).status is OrderStatus.NEW
        await floor.wait(1)
        assert (await floor.venue.order(BTC, "s", conditional=True)).status is OrderStatus.CANCELED


@scene(FaultKind.STOP_REFUSED)
async def stop_refused() -> None:
    for reason, code in (("would_trigger", -2021), ("too_many", -4045), ("not_here", -4120)):
        async with opened(Fault(kind=FaultKind.STOP_REFUSED, params={"reason": reason})) as floor:
            await floor.venue.place(order())
            with pytest.raises(Refused) as refused:
                await floor.venue.place(stop(floor))
            assert refused.value.code == code
            assert isinstance(refused.value, WouldTrigger) == (code == -2021)
            await floor.venue.place(stop(floor))


@scene(FaultKind.STOP_CANCELED_BY_HUMAN)
async def stop_canceled_by_human() -> None:
    async with opened(Fault(kind=FaultKind.STOP_CANCELED_BY_HUMAN, at_ms=START + 500)) as floor:
        await floor.venue.place(order())
        await floor.venue.place(stop(floor))
        await floor.wait(600)
        assert await floor.venue.open_orders() == ()
        assert floor.statuses("s")[-1] is OrderStatus.CANCELED


@scene(FaultKind.STOP_ORDER_REJECTED)
async def stop_order_rejected() -> None:
    async with opened(Fault(kind=FaultKind.STOP_ORDER_REJECTED, at_ms=START + 500)) as floor:
        await floor.venue.place(order())
        await floor.venue.place(stop(floor))
        await floor.wait(600)
        found = floor.stands("s")
        assert found is not None
        assert found.triggered
        assert found.status.is_final
        assert found.filled_qty == 0
        assert len(await floor.venue.positions()) == 1


@scene(FaultKind.GAP_OVER_STOP_LIMIT)
async def gap_over_stop_limit() -> None:
    fault = Fault(kind=FaultKind.GAP_OVER_STOP_LIMIT, at_ms=START + 500, duration_ms=1_000)
    async with opened(fault) as floor:
        spot = floor.venue.books[SPOT]
        rules = next(each for each in floor.venue.rules.instruments if each.key == SPOT)
        await floor.venue.place(
            order(
                "s",
                market=MarketKind.SPOT,
                side=Side.SELL,
                type=OrderType.STOP_LOSS_LIMIT,
                stop_price=rules.round_price(spot.mid * D("0.98")),
                price=rules.round_price(spot.mid * D("0.979")),
            )
        )
        await floor.wait(600)
        found = floor.stands("s", SPOT)
        assert found is not None
        assert found.price is not None
        assert found.status is OrderStatus.NEW
        assert floor.venue.books[SPOT].bid < found.price
        await floor.wait(1_000)
        assert floor.venue.books[SPOT].mid == spot.mid


@scene(FaultKind.LEVERAGE_CHANGED)
async def leverage_changed() -> None:
    async with opened(Fault(kind=FaultKind.LEVERAGE_CHANGED, at_ms=START + 10, params={"leverage": 3})) as floor:
        await floor.venue.ensure_isolated("BTCUSDT", 10)
        await floor.wait(20)
        assert floor.venue.exchange.leverage("BTCUSDT") == 3
        await floor.venue.ensure_isolated("BTCUSDT", 10)
        assert floor.venue.exchange.leverage("BTCUSDT") == 10


@scene(FaultKind.TRANSFER_ANSWER_LOST)
async def transfer_answer_lost() -> None:
    async with opened(Fault(kind=FaultKind.TRANSFER_ANSWER_LOST)) as floor:
        with pytest.raises(OutcomeUnknown):
            await floor.venue.transfer(MarketKind.SPOT, MarketKind.FUT, D(10))
        assert [each.amount for each in await floor.venue.transfers(0)] == [D(10)]


@scene(FaultKind.PARTIAL_FILLS)
async def partial_fills() -> None:
    async with opened(Fault(kind=FaultKind.PARTIAL_FILLS, params={"pieces": 5})) as floor:
        placed = await floor.venue.place(order())
        assert placed.status is OrderStatus.FILLED
        fills = await floor.venue.fills(BTC, 0)
        assert len(fills) == 5
        assert sum(each.qty for each in fills) == placed.qty


@scene(FaultKind.FILL_DURING_CANCEL)
async def fill_during_cancel() -> None:
    async with opened(Fault(kind=FaultKind.FILL_DURING_CANCEL)) as floor:
        await floor.venue.place(resting(floor))
        canceled = await floor.venue.cancel(BTC, "a", conditional=False)
        assert canceled.status is OrderStatus.CANCELED
        assert 0 < canceled.filled_qty < canceled.qty


@scene(FaultKind.EVENTS_DOUBLED)
async def events_doubled() -> None:
    async with opened(Fault(kind=FaultKind.EVENTS_DOUBLED, calls="ORDER_TRADE_UPDATE", nth=2)) as floor:
        await floor.venue.place(order())
        await floor.wait(1)
        assert floor.statuses("a") == [OrderStatus.NEW, OrderStatus.FILLED, OrderStatus.FILLED]


@scene(FaultKind.EVENTS_SHUFFLED)
async def events_shuffled() -> None:
    async with opened(Fault(kind=FaultKind.EVENTS_SHUFFLED)) as floor:
        await floor.venue.place(order())
        await floor.wait(199)
        assert floor.changes == []
        await floor.wait(2)
        assert floor.statuses("a") == [OrderStatus.FILLED, OrderStatus.NEW]
        await floor.venue.place(order("b"))
        await floor.wait(1)
        assert floor.statuses("b") == [OrderStatus.NEW, OrderStatus.FILLED]


@scene(FaultKind.EVENTS_LOST)
async def events_lost() -> None:
    async with opened(Fault(kind=FaultKind.EVENTS_LOST, duration_ms=1_000)) as floor:
        await floor.venue.place(order())
        await floor.wait(1_000)
        assert floor.changes == []
        await floor.venue.place(order("b"))
        await floor.wait(1)
        assert floor.statuses("b") == [OrderStatus.NEW, OrderStatus.FILLED]
        assert not any(isinstance(change, StreamReset) for change in floor.changes)


@scene(FaultKind.LISTEN_KEY_EXPIRED, FaultKind.STREAM_CLOSED, FaultKind.STREAM_STALLED)
async def streams_end_and_begin_again() -> None:
    for kind, duration_ms in (
        (FaultKind.LISTEN_KEY_EXPIRED, 0),
        (FaultKind.STREAM_CLOSED, 0),
        (FaultKind.STREAM_CLOSED, 500),
        (FaultKind.STREAM_STALLED, 500),
    ):
        async with opened(Fault(kind=kind, at_ms=START + 100, duration_ms=duration_ms)) as floor:
            await floor.wait(110)
            await floor.venue.place(order())
            floor.events.clear()
            floor.tick()
            await floor.wait(1)
            assert bool(floor.statuses("a")) == (duration_ms == 0)
            assert bool(floor.events) == (duration_ms == 0)
            await floor.wait(duration_ms)
            assert [change for change in floor.changes if isinstance(change, StreamReset)]
            floor.tick()
            await floor.venue.place(order("b"))
            await floor.wait(1)
            assert floor.statuses("b")
            assert floor.events


@scene(FaultKind.BAD_DATA)
async def bad_data() -> None:
    for what, seen in (("x10", 10), ("nan", 0)):
        async with opened(Fault(kind=FaultKind.BAD_DATA, at_ms=START + 10, params={"what": what})) as floor:
            await floor.wait(20)
            floor.events.clear()
            floor.tick()
            await floor.wait(1)
            books = [event for event in floor.events if isinstance(event, BookTop) and event.key == BTC]
            assert [book.mid for book in books] == ([floor.mid * seen] if seen else [])


@scene(FaultKind.MARK_DIVERGES)
async def mark_diverges() -> None:
    fault = Fault(kind=FaultKind.MARK_DIVERGES, at_ms=START + 10, duration_ms=1_000, params={"bps": 600})
    async with opened(fault) as floor:
        before = floor.venue.marks["BTCUSDT"].mark
        await floor.wait(20)
        assert float(floor.venue.marks["BTCUSDT"].mark / before) == pytest.approx(1.06, rel=1e-4)
        assert abs(floor.venue.books[BTC].mid / before - 1) < D("0.01")
        assert any(isinstance(event, MarkPrice) and event.mark > before * D("1.05") for event in floor.events)
        await floor.wait(1_000)
        assert floor.venue.marks["BTCUSDT"].mark == before


@scene(FaultKind.KLINE_LATE)
async def kline_late() -> None:
    for how in ("late", "lost"):
        fault = Fault(kind=FaultKind.KLINE_LATE, symbol="BTCUSDT", market="FUT", params={"delay_ms": 4_000, "how": how})
        async with opened(fault) as floor:
            bar = Bar(MarketKind.FUT, "BTCUSDT", "1m", START, 1.0, 2.0, 0.5, 1.5, 9.0)
            floor.venue.apply(Tick(floor.venue.clock.now_ms(), (), (), (bar,)))
            await floor.wait(3_999)
            assert bar not in floor.events
            await floor.wait(2)
            assert (bar in floor.events) == (how == "late")


@scene(FaultKind.LIQUIDATION)
async def liquidation() -> None:
    async with opened(Fault(kind=FaultKind.LIQUIDATION, at_ms=START + 100)) as floor:
        await floor.venue.place(order())
        await floor.wait(200)
        assert await floor.venue.positions() == ()
        assert any(
            isinstance(change, OrderUpdated) and change.order.client_order_id.startswith("autoclose-")
            for change in floor.changes
        )


@scene(FaultKind.FUNDING)
async def funding() -> None:
    faults = [
        Fault(kind=FaultKind.FUNDING, at_ms=START + at, params={"rate_ppm": 500, "jitter_ms": 2}) for at in (100, 9_000)
    ]
    async with opened(*faults) as floor:
        await floor.venue.place(order())
        announced = floor.venue.marks["BTCUSDT"].funding_time
        await floor.wait(10_000)
        settled = [change for change in floor.changes if isinstance(change, FundingSettled)]
        assert [change.ts for change in settled] == [START + 102, START + 9_002]
        assert all(change.income.amount < 0 and change.rate == 0.0005 for change in settled)
        # The regular one is not taken away.
        mark = floor.venue.marks["BTCUSDT"]
        changes = floor.venue.exchange.on_mark(mark, announced)
        assert [change for change in changes if isinstance(change, FundingSettled)]


@scene(FaultKind.SYMBOL_HALTED)
async def symbol_halted() -> None:
    for status, code in (("BREAK", -4141), ("CANCEL_ONLY", -4400)):
        fault = Fault(
            kind=FaultKind.SYMBOL_HALTED,
            at_ms=START + 100,
            duration_ms=1_000,
            symbol="BTCUSDT",
            market="FUT",
            params={"status": status},
        )
        async with opened(fault) as floor:
            await floor.venue.place(resting(floor))
            await floor.wait(110)
            with pytest.raises(Refused) as refused:
                await floor.venue.place(order("b"))
            assert refused.value.code == code
            assert next(iter(await floor.venue.instruments())).status == status
            await floor.venue.cancel(BTC, "a", conditional=False)
            await floor.wait(1_000)
            await floor.venue.place(order("c"))


@scene(FaultKind.OUTAGE)
async def outage() -> None:
    fault = Fault(kind=FaultKind.OUTAGE, calls="order.place", nth=2, duration_ms=600_000, params={"bps": -200})
    async with opened(fault) as floor:
        await floor.venue.place(resting(floor))
        before = floor.mid
        with pytest.raises(VenueUnavailable):
            await floor.venue.place(order("b"))
        await floor.wait(599_000)
        with pytest.raises(VenueUnavailable):
            await floor.venue.positions()
        assert floor.statuses("a")[-1] is OrderStatus.NEW
        await floor.wait(1_001)
        assert float(floor.mid / before) == pytest.approx(0.98, rel=1e-4)
        assert (await floor.venue.order(BTC, "a", conditional=False)).status is OrderStatus.FILLED
        assert any(isinstance(change, StreamReset) for change in floor.changes)


@scene(FaultKind.HUMAN_ORDER)
async def human_order() -> None:
    for what, side in (("market", "SELL"), ("limit", "BUY")):
        fault = Fault(
            kind=FaultKind.HUMAN_ORDER, at_ms=START + 10, params={"what": what, "side": side, "notional_usdt": 300}
        )
        async with opened(fault) as floor:
            await floor.wait(20)
            (found,) = floor.venue.exchange.orders(MarketKind.FUT)
            assert found.client_order_id.startswith("web_")
            assert (found.side, found.status.is_final) == (Side(side), what == "market")
            assert len(await floor.venue.positions()) == (what == "market")


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if SPECS[kind].in_process])
def test_what_a_caller_of_the_port_meets(kind: FaultKind) -> None:
    async def play() -> None:
        await SCENES[kind]()

    run_virtual(play())


def test_without_faults_nothing_is_asked() -> None:
    async def play() -> None:
        async with opened() as floor:
            await floor.venue.place(order())
            await floor.wait(1)
            assert floor.statuses("a") == [OrderStatus.NEW, OrderStatus.FILLED]
            assert floor.plan.idle

    run_virtual(play())


def test_a_plan_drawn_from_a_seed_does_the_same_again() -> None:
    async def play() -> list[str]:
        met: list[str] = []
        chance = SeededRandomness(11).uniform
        drawn = FaultPlan.draw(chance, from_ms=START, to_ms=START + 3_600_000, per_hour=300)
        async with opened(*(armed.fault for armed in drawn.armed), fut_usdt=100_000) as floor:
            market = asyncio.get_running_loop().create_task(floor.venue.run(START))
            for number in range(600):
                try:
                    await floor.venue.place(order(f"m{number}", side=(Side.BUY, Side.SELL)[number % 2]))
                    await floor.venue.place(resting(floor, f"r{number}"))
                    await floor.venue.cancel(BTC, f"r{number}", conditional=False)
                except (Refused, VenueUnavailable, OutcomeUnknown) as error:
                    met.append(str(error))
                await floor.wait(6_000)
            assert not market.done()
            market.cancel()
            assert sum(floor.plan.hits().values()) > 200
            assert len([kind for kind, hits in floor.plan.hits().items() if hits]) > 20
            return [*met, *(repr(change) for change in floor.changes)]

    assert run_virtual(play()) == run_virtual(play())


def test_bars_that_close_in_a_shifted_market_are_shifted_wherever_they_are_asked_for() -> None:
    async def play() -> None:
        async with opened(Fault(kind=FaultKind.OUTAGE, at_ms=START + 10, duration_ms=10, params={"bps": 500})) as floor:
            before = market().ticker.klines(BTC, "1m", START - 5 * MINUTE_MS, START + 2 * MINUTE_MS)
            await floor.wait(2 * MINUTE_MS)
            bars = await floor.venue.klines(BTC, "1m", START - 5 * MINUTE_MS, START + 2 * MINUTE_MS)
            ratios = [round(bar.close / old.close, 6) for bar, old in zip(bars, before, strict=True)]
            assert ratios == [1.0] * 5 + [1.05] * 2

    run_virtual(play())


@pytest.mark.parametrize("first_to_end", [0, 1])
@pytest.mark.parametrize("step", range(2, 6))
@pytest.mark.parametrize("tick", range(2, 11))
def test_the_filters_are_exactly_as_they_were_after_the_last_change(tick: int, step: int, first_to_end: int) -> None:
    async def drive() -> None:
        async with opened() as floor:
            before = floor.venue.rules.instruments
            faults = [
                Fault(kind=FaultKind.FILTERS_CHANGED, params={"tick_mult": tick, "step_mult": step}),
                Fault(
                    kind=FaultKind.FILTERS_CHANGED,
                    symbol="BTCUSDT",
                    market="FUT",
                    params={"tick_mult": 3, "step_mult": 3},
                ),
            ]
            numbers = floor.plan.arm(*faults)
            last = faults[1 - first_to_end]
            floor.plan.disarm(numbers[first_to_end])
            for old, now in zip(before, floor.venue.rules.instruments, strict=True):
                hit = last.applies(old.market, old.symbol)
                assert now.tick_size == old.tick_size * (last.whole("tick_mult") if hit else 1)
                assert now.min_qty == old.min_qty * (last.whole("step_mult") if hit else 1)
            floor.plan.disarm(numbers[1 - first_to_end])
            assert repr(floor.venue.rules.instruments) == repr(before)
            await floor.venue.place(order("c", qty=D("0.011")))

    run_virtual(drive())


def test_money_that_is_in_use_elsewhere_is_not_given_back_and_the_rest_is() -> None:
    async def drive() -> None:
        async with opened(Fault(kind=FaultKind.NO_FUNDS, duration_ms=1_000)) as floor:
            with pytest.raises(InsufficientFunds):
                await floor.venue.place(order())
            floor.venue.exchange.deposit(MarketKind.SPOT, "USDT", D(-15_000), floor.venue.clock.now_ms())
            await floor.wait(1_001)
            free = {each.market: each.free for each in floor.venue.exchange.balances() if each.asset == "USDT"}
            assert free == {MarketKind.FUT: D(5_000), MarketKind.SPOT: D(0)}

    run_virtual(drive())


class FullDisk(NoJournal):
    """A disk that may be full for a while."""

    full = False

    def commit(self, rows: Sequence[StateRow]) -> None:
        if self.full:
            raise JournalError("no room")


def test_a_disk_that_is_full_for_a_tick_ends_nothing_and_the_fill_is_told_later() -> None:
    async def drive() -> None:
        async with opened() as floor:
            disk = FullDisk()
            floor.venue.journal = disk
            resting = order(
                "a", type=OrderType.LIMIT, price=D(round(floor.mid * D("0.95"))), time_in_force=TimeInForce.GTC
            )
            await floor.venue.place(resting)
            disk.full = True
            floor.plan.arm(Fault(kind=FaultKind.LEVERAGE_CHANGED), Fault(kind=FaultKind.OUTAGE, duration_ms=500))
            assert floor.plan.next_ms() is not None
            floor.plan.disarm()
            Operator(floor.venue).shift("crash", -1_000)
            await floor.wait(1)
            assert floor.statuses("a") == [OrderStatus.NEW]
            disk.full = False
            floor.tick()
            await floor.wait(1)
            assert floor.statuses("a") == [OrderStatus.NEW, OrderStatus.FILLED]

    run_virtual(drive())

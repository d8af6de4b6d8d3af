"""Fees taken in BNB have their worth: from the snapshot, else from the exchange, else later by the minute."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.state import MemorySnapshots
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import FILLS
from chimera.contracts.documents import Fill
from chimera.contracts.enums import Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP
from chimera.domain.execution.orders import VenueFill
from chimera.domain.market.listing import listed
from chimera.domain.market.quotes import Bar, BookTop
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import Fault, FaultKind, FaultPlan
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.state import StateUnavailable
from chimera.services.s04_router.fees import Fees, pair_of
from chimera.simulation.loop import run_virtual
from tests.domain.builders import BTC_SPOT
from tests.services.small_world import Switchable
from tests.services.trading_floor import BEGIN_MS, ENV, StillMarket

D = Decimal
BNB = InstrumentKey(Market.SPOT, "BNBUSDT")
MINUTE_MS = 60_000


class Bars(StillMarket):
    """BNB closed the minute of the beginning at 600."""

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        begin_ms = BEGIN_MS - BEGIN_MS % MINUTE_MS
        bar = Bar(Market.SPOT, "BNBUSDT", "1m", begin_ms, 610.0, 620.0, 590.0, 600.0, 5.0)
        return (
            (bar,) if key == BNB and interval == "1m" and start_ms <= begin_ms < begin_ms + MINUTE_MS <= end_ms else ()
        )


@dataclass
class Desk:
    clock: LoopClock
    plan: FaultPlan
    exchange: SimulatedVenue
    snapshots: Switchable
    documents: SqliteDocuments
    fees: Fees = field(init=False)

    @classmethod
    def open(cls) -> "Desk":
        clock, plan = LoopClock(BEGIN_MS), FaultPlan()
        rules = ExchangeRules(instruments=(listed(BTC_SPOT.key), listed(BNB)))
        exchange = SimulatedVenue(
            exchange=Exchange(rules, spot_balances={}, fut_balances={}),
            rules=rules,
            feed=Bars(),
            clock=clock,
            journal=NoJournal(),
            faults=plan,
        )
        exchange.books[BNB] = BookTop(BEGIN_MS, Market.SPOT, "BNBUSDT", ((D(619), D(9)),), ((D(621), D(9)),), D(620))
        desk = cls(
            clock, plan, exchange, Switchable(MemorySnapshots(clock), StateUnavailable), SqliteDocuments.in_loop()
        )
        snapshots: Any = desk.snapshots
        desk.fees = Fees(
            env=ENV,
            venue=exchange,
            documents=desk.documents,
            snapshots=snapshots,
            clock=clock,
            instruments={BTC_SPOT.key: BTC_SPOT},
        )
        return desk

    async def shown(self, mid: str) -> None:
        """By S1."""
        fields = {"bid": mid, "ask": mid, "spread_bps": "0", "ts": str(self.clock.now_ms())}
        await self.snapshots.inner.set_hash(MKT_SNAP.name(ENV, BNB), fields, ttl_ms=MINUTE_MS)

    async def passes(self, ms: int) -> None:
        await self.clock.sleep_until_ms(self.clock.now_ms() + ms)

    async def worth(self, fill: VenueFill) -> Decimal | None:
        await self.fees.learn([fill])
        return self.fees.usdt(fill)


def played(scenario: Callable[[Desk], Awaitable[None]]) -> None:
    async def play() -> None:
        await scenario(Desk.open())

    run_virtual(play())


def paid(fee: str = "0.001", asset: str = "BNB") -> VenueFill:
    return VenueFill(
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=Side.BUY,
        trade_id=1,
        client_order_id="s3-btc-e1",
        venue_order_id="1",
        price=D(60_000),
        qty=D("0.01"),
        fee=D(fee),
        fee_asset=asset,
        maker=False,
        realized_pnl_usdt=D(0),
        ts=BEGIN_MS,
    )


def on_file(name: str, fee_usdt: str | None, *, fee_asset: str = "BNB", at_ms: int = BEGIN_MS) -> Fill:
    return Fill(
        fill_id=name,
        order_id="s3-btc-e1",
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=Side.BUY,
        price=D(60_000),
        qty=D("0.01"),
        fee_usdt=None if fee_usdt is None else D(fee_usdt),
        fee_asset=fee_asset,
        fee_qty=D("0.001"),
        timestamp=at_ms,
    )


def test_what_the_fill_tells_itself_needs_no_price() -> None:
    async def scenario(desk: Desk) -> None:
        desk.exchange.set_down("away")
        assert await desk.worth(paid("0.3", "USDT")) == D("0.3")
        assert await desk.worth(paid("0.00001", "BTC")) == D("0.6")
        assert await desk.worth(paid("0", "BNB")) == 0

    played(scenario)


def test_a_third_asset_by_s1s_snapshot_and_without_one_by_the_exchanges_book() -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.worth(paid()) == D("0.62")
        await desk.passes(MINUTE_MS)
        await desk.shown("630")
        assert await desk.worth(paid()) == D("0.63")

    played(scenario)


def test_a_price_is_kept_for_a_minute() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.shown("630")
        await desk.worth(paid())
        await desk.shown("640")
        assert await desk.worth(paid()) == D("0.63")
        await desk.passes(MINUTE_MS - 1)
        await desk.shown("640")
        assert await desk.worth(paid()) == D("0.63")
        await desk.passes(1)
        assert await desk.worth(paid()) == D("0.64")

    played(scenario)


def test_a_fill_is_booked_whatever_its_fee_was_worth() -> None:
    async def scenario(desk: Desk) -> None:
        desk.snapshots.down = True
        desk.exchange.set_down("away")
        assert await desk.worth(paid()) is None
        assert await desk.worth(paid(asset="XYZ")) is None
        assert await desk.worth(paid(asset="bnb fish")) is None

    played(scenario)


def test_a_book_that_does_not_come_holds_no_fill_up() -> None:
    async def scenario(desk: Desk) -> None:
        desk.plan.arm(Fault(kind=FaultKind.LATE, calls="*", count=9, params={"delay_ms": 60_000}))
        begun_ms = desk.clock.now_ms()
        assert await desk.worth(paid()) is None
        assert desk.clock.now_ms() - begun_ms == 300

    played(scenario)


def test_a_price_that_cannot_be_renewed_serves_another_minute_and_no_longer() -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.worth(paid()) == D("0.62")
        desk.exchange.set_down("away")
        await desk.passes(MINUTE_MS)
        assert await desk.worth(paid()) == D("0.62")
        await desk.passes(MINUTE_MS)
        assert await desk.worth(paid()) is None

        desk.exchange.set_down(None)
        await desk.fees.renew()
        assert desk.fees.usdt(paid()) == D("0.62")

    played(scenario)


def test_what_was_not_known_is_mended_by_its_minute_and_always_alike() -> None:
    async def scenario(desk: Desk) -> None:
        known, unknown = on_file("a", "0.6"), on_file("b", None)
        early = on_file("c", None, at_ms=BEGIN_MS - 1_000)
        for fill in (known, unknown, early):
            await desk.documents.put(FILLS, fill)
        await desk.passes(MINUTE_MS)

        assert await desk.fees.unknown(BEGIN_MS) == [unknown]
        assert len(await desk.fees.unknown(0)) == 2
        await desk.shown("999")
        assert await desk.fees.mended(unknown) == unknown.but(fee_usdt=D("0.6"))
        # Of that minute nothing is known.
        assert await desk.fees.mended(early) is None
        assert await desk.fees.mended(on_file("d", None, fee_asset="XYZ")) is None

    played(scenario)


def test_a_minute_that_has_not_closed_yet_tells_nothing() -> None:
    async def scenario(desk: Desk) -> None:
        assert await desk.fees.mended(on_file("b", None)) is None
        desk.exchange.set_down("away")
        await desk.passes(MINUTE_MS)
        assert await desk.fees.mended(on_file("b", None)) is None

    played(scenario)


@pytest.mark.parametrize("asset", ["", "USDT", "bnb", "B/B", "价"])
def test_no_pair_is_named_so(asset: str) -> None:
    assert pair_of(asset) is None
    assert pair_of("BNB") == BNB


def test_who_is_cancelled_while_he_learns_leaves_nothing_behind() -> None:
    async def scenario(desk: Desk) -> None:
        desk.plan.arm(Fault(kind=FaultKind.LATE, calls="*", params={"delay_ms": 60_000}))
        task = asyncio.get_running_loop().create_task(desk.fees.learn([paid()]))
        await desk.passes(10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert await desk.worth(paid()) == D("0.62")

    played(scenario)

"""Behind the last gate nothing reaches the simulated exchange that must not, and every exit does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.base import Message
from chimera.contracts.enums import Market, OrderType, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import AlertEvent
from chimera.domain.execution.last_gate import LastGate
from chimera.domain.execution.orders import NewOco, NewOrder
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.state import StateUnavailable
from chimera.ports.venue import Refused, VenueUnavailable
from chimera.runtime.telling import Teller
from chimera.services.s04_router.gated_venue import GatedVenue, StoppedByGate
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.domain.matching.venue import SPOT as SPOT_RULES
from tests.services.trading_floor import BEGIN_MS, FUT, SPOT, StillMarket, tick

D = Decimal
ENTRY = NewOrder(
    client_order_id="e",
    market=Market.FUT,
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.MARKET,
    qty=D("0.010"),
)
EXIT = replace(ENTRY, client_order_id="x", side=Side.SELL, reduce_only=True)
SPOT_PAIR = NewOco(
    list_client_id="l",
    symbol="BTCUSDT",
    side=Side.SELL,
    qty=D("0.010"),
    target_client_id="l-t",
    target_price=D(61_000),
    stop_client_id="l-s",
    stop_price=D(59_000),
)


@dataclass
class Desk:
    clock: LoopClock
    exchange: SimulatedVenue
    told: list[Message]
    mid: Decimal | Exception | None = Decimal(60_000)
    venue: GatedVenue = field(init=False)

    @classmethod
    def open(cls, gate: LastGate | None = None) -> "Desk":
        clock, told = LoopClock(BEGIN_MS), list[Message]()
        rules = ExchangeRules(instruments=(FUT_RULES, SPOT_RULES))
        exchange = SimulatedVenue(
            exchange=Exchange(
                rules, spot_balances={"USDT": D(100_000), "BTC": D(1)}, fut_balances={"USDT": D(100_000)}
            ),
            rules=rules,
            feed=StillMarket(),
            clock=clock,
            journal=NoJournal(),
        )
        exchange.apply(tick(D(60_000), clock.now_ms()))
        bus = MemoryBus(clock, observe=lambda _, message: told.append(message))
        desk = cls(clock, exchange, told)
        desk.venue = GatedVenue(
            exchange,
            gate=gate or LastGate(D(1_000), D(2_000), 5, 0.05),
            mid_of=desk.seen,
            clock=clock,
            teller=Teller(source="s4", env="dev", bus=bus, documents=SqliteDocuments.in_loop(), clock=clock),
        )
        return desk

    async def seen(self, key: InstrumentKey) -> Decimal | None:
        if isinstance(self.mid, Exception):
            raise self.mid
        return self.mid

    async def held(self) -> Decimal:
        return sum((position.qty for position in await self.exchange.positions()), D(0))

    async def at_the_exchange(self) -> int:
        return len(await self.exchange.fills(FUT, 0)) + len(await self.exchange.open_orders((FUT, SPOT)))


def played(scenario: Callable[[Desk], Awaitable[None]], gate: LastGate | None = None) -> None:
    async def play() -> None:
        await scenario(Desk.open(gate))

    run_virtual(play())


def test_a_usual_trade_passes() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.venue.place(ENTRY)
        assert await desk.held() == D("0.010")
        await desk.venue.place(EXIT)
        assert await desk.held() == 0
        await desk.venue.place_oco(SPOT_PAIR)
        assert len(await desk.exchange.open_orders((SPOT,))) == 2
        assert desk.told == []

    played(scenario)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        pytest.param(replace(ENTRY, qty=D("0.017")), "order of 1020.00 USDT exceeds 1000", id="too large"),
        pytest.param(replace(ENTRY, qty=D("NaN")), "qty NaN is no number", id="no number"),
        pytest.param(replace(ENTRY, qty=D(-1)), "qty -1 is no number", id="negative"),
        pytest.param(replace(ENTRY, qty=D("1e30")), "qty 1E+30 is no number", id="absurd"),
        pytest.param(
            replace(ENTRY, type=OrderType.LIMIT, price=D(66_000), qty=D("0.001")), "further than 0.05", id="too far"
        ),
        pytest.param(replace(EXIT, qty=D("Infinity")), "qty Infinity is no number", id="an exit of no number"),
        pytest.param(replace(ENTRY, client_order_id="x" * 37), "longer than 36", id="an id nobody could find"),
        pytest.param(
            replace(ENTRY, market=Market.SPOT, qty=D(0), quote_qty=D(1_001)), "order of 1001.00 USDT", id="by quote"
        ),
    ],
)
def test_what_must_not_leave_reaches_no_exchange_and_a_person_is_told(order: NewOrder, why: str) -> None:
    async def scenario(desk: Desk) -> None:
        with pytest.raises(StoppedByGate, match="LAST_GATE") as caught:
            await desk.venue.place(order)

        assert isinstance(caught.value, Refused)
        assert why in caught.value.text
        assert "exchange" not in str(caught.value)
        assert await desk.at_the_exchange() == 0
        (alert,) = desk.told
        assert isinstance(alert, AlertEvent)
        assert (alert.code, alert.severity) == ("LAST_GATE", "ERROR")
        assert caught.value.text in alert.message

    played(scenario)


def test_a_program_that_runs_away_is_stopped_and_its_exits_are_not() -> None:
    async def scenario(desk: Desk) -> None:
        passed = 0
        for number in range(100):
            try:
                await desk.venue.place(replace(ENTRY, client_order_id=f"e{number}", qty=D("0.001")))
                passed += 1
            except StoppedByGate:
                pass
        assert passed == 5
        assert await desk.held() == D("0.005")
        assert len(desk.told) == 1
        await desk.clock.sleep_until_ms(BEGIN_MS + 1_000)
        with pytest.raises(StoppedByGate):
            await desk.venue.place(replace(ENTRY, qty=D("NaN")))
        (_, alert) = desk.told
        assert isinstance(alert, AlertEvent)
        assert alert.message.endswith("(94 others since the last alert)")

        for number in range(5):
            await desk.venue.place(replace(EXIT, client_order_id=f"x{number}", qty=D("0.001")))
        assert await desk.held() == 0

    played(scenario)


def test_the_same_id_sent_again_and_again_fills_the_day_too() -> None:
    async def scenario(desk: Desk) -> None:
        for _ in range(3):
            await desk.venue.place(ENTRY)

        # The exchange takes a used id again once its first order has filled.
        with pytest.raises(StoppedByGate, match="of the day"):
            await desk.venue.place(ENTRY)
        assert await desk.held() == D("0.030")

    played(scenario)


@pytest.mark.parametrize("mid", [None, StateUnavailable("away")])
def test_without_a_mid_nothing_is_entered_and_everything_left(mid: Any) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.venue.place(ENTRY)
        desk.mid = mid

        with pytest.raises(VenueUnavailable, match="was not sent"):
            await desk.venue.place(replace(ENTRY, client_order_id="e2"))
        await desk.venue.place(EXIT)
        await desk.venue.place_oco(SPOT_PAIR)

        assert await desk.held() == 0

    played(scenario)


def test_an_exit_of_any_size_and_price_passes() -> None:
    async def scenario(desk: Desk) -> None:
        desk.mid = D(1)
        await desk.exchange.place(replace(ENTRY, qty=D("0.500")))

        await desk.venue.place(
            replace(EXIT, type=OrderType.STOP_MARKET, qty=D("0.500"), stop_price=D(30_000), client_order_id="s")
        )
        await desk.venue.place(replace(EXIT, qty=D("0.500")))

        assert await desk.held() == 0

    played(scenario)


def test_a_pair_that_makes_no_sense_is_stopped() -> None:
    async def scenario(desk: Desk) -> None:
        with pytest.raises(StoppedByGate, match="losing side"):
            await desk.venue.place_oco(replace(SPOT_PAIR, target_price=D(58_000)))
        # One that buys is an entry.
        buys = replace(SPOT_PAIR, side=Side.BUY, qty=D(1), target_price=D(59_000), stop_price=D(61_000))
        with pytest.raises(StoppedByGate, match="order of 60000"):
            await desk.venue.place_oco(buys)
        assert await desk.at_the_exchange() == 0

    played(scenario)


def test_exits_and_pairs_count_for_the_orders_of_a_second() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.exchange.place(replace(ENTRY, qty=D("0.500")))
        for number in range(3):
            await desk.venue.place(replace(EXIT, client_order_id=f"x{number}", qty=D("0.001")))
        # A pair is two orders.
        await desk.venue.place_oco(SPOT_PAIR)

        with pytest.raises(StoppedByGate, match="more than 5 orders in a second"):
            await desk.venue.place(replace(ENTRY, client_order_id="e2", qty=D("0.001")))

    played(scenario)

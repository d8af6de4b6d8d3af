"""The whole of S4 behind gate and counter: a trade goes through, and what must not leave ends its intent."""

from decimal import Decimal
from typing import Any

from chimera.contracts.settings import S4Settings
from chimera.simulation.loop import run_virtual
from tests.services.trading_floor import FUT, Floor

ROUTER = ("s10", "s1", "s4", "s5")
SMALL = S4Settings(gate_notional_usdt_max=Decimal(1_000))


async def breaker_of(floor: Floor) -> Any:
    answer = await floor.call("s4", "GET", "/breaker")
    return answer.body


def test_a_trade_goes_through_gate_and_counter() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER, variables=SMALL)

        answer = await floor.enter(qty="0.010")

        assert answer.body["status"] == "FILLED"
        assert floor.position_qty() == Decimal("0.010")
        assert any(order.conditional for order in await floor.venue.open_orders((FUT,)))
        counted = await breaker_of(floor)
        assert counted["calls"] >= 3
        assert counted["error_rate"] == 0
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_that_the_gate_stops_ends_its_intent_and_reaches_no_exchange() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*ROUTER, usdt="100000", variables=SMALL)

        before = (await breaker_of(floor))["calls"]
        sent: list[str] = []
        place = floor.venue.place

        async def watched(new: Any) -> Any:
            sent.append(new.client_order_id)
            return await place(new)

        floor.world.venue.place = watched

        answer = await floor.enter(qty="0.020")

        assert answer.body["status"] == "REJECTED"
        assert "LAST_GATE order of 1200.00 USDT exceeds 1000" in answer.body["message"]
        assert floor.position_qty() == 0
        assert sent == []
        assert (await breaker_of(floor))["calls"] >= before
        await floor.stop()

    run_virtual(scenario())

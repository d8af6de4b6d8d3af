"""The whole of S4 behind gate and counter: a trade goes through, and what must not leave ends its intent."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from chimera.contracts.settings import S4Settings
from chimera.runtime.telling import Teller
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.guarded import Guarded, guarded
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.simulation.loop import run_virtual
from tests.services.trading_floor import ENV, FUT, SPOT, Floor

ROUTER = ("s10", "s1", "s4", "s5")


class GuardedFloor(Floor):
    guard: Guarded

    def _build(self, service_id: str) -> Any:
        if service_id != "s4":
            return super()._build(service_id)
        world = self.world
        teller = Teller(source="s4", env=ENV, bus=world.bus, documents=world.documents, clock=world.clock)
        type(self).guard = guarded(
            world,
            env=ENV,
            variables=S4Settings(gate_notional_usdt_max=Decimal(1_000)),
            market=Market(env=ENV, snapshots=world.snapshots),
            teller=teller,
        )
        # S4's own gate is wide open here: it is the one before the exchange that is looked at.
        wide = RouterSettings(
            env=ENV, keys=(FUT, SPOT), order_notional_usdt_max=Decimal(10**9), day_notional_usdt_max=Decimal(10**9)
        )
        return s4.build(replace(world, venue=self.guard.venue), wide)


def test_a_trade_goes_through_gate_and_counter() -> None:
    async def scenario() -> None:
        floor = await GuardedFloor.open(*ROUTER)

        answer = await floor.enter(qty="0.010")

        assert answer.body["status"] == "FILLED"
        assert floor.position_qty() == Decimal("0.010")
        assert any(order.conditional for order in await floor.venue.open_orders((FUT,)))
        tally = floor.guard.keeper.breaker.tally(floor.world.clock.now_ms())
        assert tally.submits >= 3
        assert tally.errors == 0
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_that_the_gate_stops_ends_its_intent_and_reaches_no_exchange() -> None:
    async def scenario() -> None:
        floor = await GuardedFloor.open(*ROUTER, usdt="100000")

        answer = await floor.enter(qty="0.020")

        assert answer.body["status"] == "REJECTED"
        assert "LAST_GATE order of 1200.00 USDT exceeds 1000" in answer.body["message"]
        assert floor.position_qty() == 0
        assert floor.guard.keeper.breaker.tally(floor.world.clock.now_ms()).submits == 0
        await floor.stop()

    run_virtual(scenario())

"""What became of orders is told once, in order, whatever the bus does meanwhile."""

from decimal import Decimal
from typing import Any

from chimera.contracts.enums import Market, TradeStatus
from chimera.contracts.messages import OrderResult
from chimera.ports.bus import BusUnavailable
from chimera.simulation.loop import run_virtual
from tests.prove.flows import entry
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import Floor

D = Decimal


async def away(publish: Any, stream: str, message: Any) -> Any:
    raise BusUnavailable("switched off by the test")


def results(floor: Floor) -> list[tuple[str, str, bool]]:
    return [(each.client_order_id, each.status.value, each.final) for each in floor.messages(OrderResult)]


def test_a_bus_that_is_away_delays_results_and_loses_none() -> None:
    async def lived(meddle: bool) -> tuple[list[tuple[str, str, bool]], TradeStatus]:
        floor = await meddled_floor("s4", "s5", "s6", bus=Meddled)
        bus = floor.world.bus
        assert isinstance(bus, Meddled)
        if meddle:
            bus.instead["publish"] = away
        await floor.enter()
        if meddle:
            assert results(floor) == []
            bus.instead.clear()
        await floor.settle(5_000)
        told = results(floor)
        await floor.move("59000", settle_ms=10_000)
        trade = await floor.trade()
        assert floor.resting() == {}
        await floor.stop()
        return told, trade.status

    orderly, late = run_virtual(lived(meddle=False)), run_virtual(lived(meddle=True))

    assert len(orderly[0]) >= 4
    assert late == orderly
    assert late[1] is TradeStatus.CLOSED


def test_a_close_leaves_although_nobody_can_be_told_of_it() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", bus=Meddled)
        bus = floor.world.bus
        assert isinstance(bus, Meddled)
        bus.instead["publish"] = away

        # So near to the fill, the stop's price has been passed, and the position is closed.
        await floor.call("s4", "POST", "/orders", entry(floor, "E1", sl_distance="0.5", tp=None))
        await floor.settle()

        assert len(floor.venue.exchange.fills(Market.FUT, "BTCUSDT", since_ms=0)) == 2
        assert floor.position_qty() == D(0)
        assert floor.resting() == {}
        bus.instead.clear()
        await floor.settle(5_000)
        assert any(final for _, _, final in results(floor))
        await floor.stop()

    run_virtual(scenario())

"""A stop is sent again until it is listed, but never after it has done its work."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from chimera.domain.execution.orders import NewOrder, OrderUpdated
from chimera.ports.venue import Capabilities, OutcomeUnknown
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import tick

STOP = "s3-btc-e1-1"


class Deaf(Meddled):
    """Nothing is told of the stop, and what is open may be listed late, so that being flat proves nothing yet."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, lookup_lag_ms=1_500)

    async def account_events(self) -> Any:
        async for changes in self.inner.account_events():
            yield [
                each for each in changes if not (isinstance(each, OrderUpdated) and each.order.client_order_id == STOP)
            ]


def test_a_stop_that_triggered_unseen_is_not_sent_again_under_its_own_name() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Deaf)
        venue = floor.world.venue
        assert isinstance(venue, Deaf)
        sent = []

        async def place(real: Any, new: NewOrder) -> Any:
            if new.client_order_id != STOP:
                return await real(new)
            sent.append(new.client_order_id)
            await real(new)
            floor.price = Decimal(59_000)
            floor.venue.apply(tick(floor.price, floor.world.clock.now_ms()))
            raise OutcomeUnknown("the connection was reset")

        venue.instead["place"] = place
        await floor.enter(tp=None)

        assert sent == [STOP]
        assert floor.position_qty() == 0

    run_virtual(scenario())

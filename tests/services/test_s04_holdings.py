"""What spot holdings cost, by the fills on file: in the exchange's order, and whoever booked them."""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.documents import Fill
from chimera.contracts.enums import Market, Side
from chimera.contracts.http import LookupRequest
from chimera.contracts.keys import RECON_LAST_RUN, SPOT_WAC
from chimera.domain.execution.orders import AccountChange, StreamReset
from chimera.domain.positions.wac import Holding
from chimera.ports.state import StateUnavailable
from chimera.services.s04_router.handlers.holdings import held_after
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import ENV, HOUR_MS, SPOT, Floor

D = Decimal


def spot_fill(number: int, side: Side, qty: str, price: str = "60000") -> Fill:
    return Fill(
        fill_id=f"SPOT-BTCUSDT-{number}-{side.value[0]}",
        order_id=f"o-{number}",
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=side,
        price=D(price),
        qty=D(qty),
        fee_usdt=D(0),
        fee_asset="USDT",
        fee_qty=D(0),
        timestamp=1_000,
    )


def test_what_was_bought_and_sold_in_one_millisecond_is_gone() -> None:
    fills = [spot_fill(99, Side.BUY, "0.001"), spot_fill(100, Side.SELL, "0.001")]

    assert held_after(fills, "BTC") == Holding()
    assert held_after(fills[::-1], "BTC") == Holding()


class Deaf(Meddled):
    """An exchange whose account stream tells nothing of what happens while it is `deaf`, except that something did."""

    deaf = False
    says_so = False

    async def account_events(self) -> AsyncIterator[Sequence[AccountChange]]:
        async for changes in self.inner.account_events():
            if not self.deaf:
                yield changes
            elif self.says_so:
                yield (StreamReset(changes[-1].ts),)


async def held_of(floor: Floor) -> Decimal:
    return D((await floor.world.snapshots.get_hash(SPOT_WAC.name(ENV, SPOT)))["qty"])


@pytest.mark.parametrize("road", ["/orders/refresh", "/orders/lookup", "a reset of the stream"])
def test_a_sale_that_the_stream_never_told_lessens_what_is_held(road: str) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", venue=Deaf)
        await floor.world.snapshots.set(RECON_LAST_RUN.name(ENV), str(floor.world.clock.now_ms() + HOUR_MS))
        venue: Any = floor.world.venue
        await floor.enter(key=SPOT, qty="0.00100", tp="60600", sl="59400")
        assert await held_of(floor) == D("0.000999")

        venue.deaf, venue.says_so = True, not road.startswith("/")
        await floor.move("59300")
        if road == "/orders/refresh":
            await floor.call("s4", "POST", road)
        elif road == "/orders/lookup":
            wanted = LookupRequest(market=Market.SPOT, symbol="BTCUSDT", client_order_id="s3-btc-e1-1")
            await floor.call("s4", "POST", road, wanted)

        assert await held_of(floor) == D("0.000009")
        await floor.stop()

    run_virtual(scenario())


def test_a_count_that_failed_is_made_up_for() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", snapshots=Meddled)
        snapshots: Any = floor.world.snapshots

        async def down(set_hash: Any, name: str, fields: Any) -> None:
            if name == SPOT_WAC.name(ENV, SPOT):
                raise StateUnavailable("for the test")
            await set_hash(name, fields)

        snapshots.instead["set_hash"] = down
        await floor.enter(key=SPOT, qty="0.00100", tp="60600", sl="59400")
        snapshots.instead.clear()
        await floor.settle(15_000)

        assert await held_of(floor) == D("0.000999")
        await floor.stop()

    run_virtual(scenario())

"""What spot holdings cost, by the fills on file: in the exchange's order, and whoever booked them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import FILLS
from chimera.contracts.enums import Market, TradeStatus
from chimera.contracts.http import LookupRequest
from chimera.contracts.keys import RECON_LAST_RUN, SPOT_WAC
from chimera.domain.execution.orders import AccountChange, Balance, StreamReset
from chimera.ports.documents import Query
from chimera.ports.state import StateUnavailable
from chimera.ports.venue import VenueUnavailable
from chimera.services.s04_router.handlers.holdings import Holdings
from chimera.services.s04_router.market import Market as MarketView
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import SPOT as SPOT_RULES
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import ENV, HOUR_MS, SPOT, Floor

D = Decimal


def test_the_dust_of_earlier_trades_is_sold_with_the_next_and_earns_it_nothing() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        for name in ("E1", "E2"):
            await floor.enter(name, key=SPOT, qty="0.00099", tp="60600", sl="59400")
            await floor.move("60700")
            await floor.move("60000")

        # 0.00099 less a thousandth is 0.00098901, twice.
        first, second = await floor.trade("E1"), await floor.trade("E2")
        assert [exit.qty for exit in (*first.exits, *second.exits)] == [D("0.00098"), D("0.00099")]
        assert second.realized_pnl_usdt == D("0.00098901") * (second.exits[0].price - second.entry_price_avg)
        assert (second.status, second.qty_open) == (TradeStatus.CLOSED, D(0))
        assert await held_of(floor) == D("0.00000802")
        assert await floor.world.reservations.all() == []
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("known", [pytest.param(True, id="gone"), pytest.param(False, id="nobody can say")])
def test_dust_that_may_not_be_in_the_wallet_leaves_the_pair_as_it_is(known: bool) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
        await floor.enter(key=SPOT, qty="0.00099", tp="60600", sl="59400")
        await floor.move("60700")
        await floor.move("60000")

        async def of_the_second_alone(balances: Any) -> Sequence[Balance]:
            if not known:
                raise VenueUnavailable("for the test")
            return [each if each.asset == "USDT" else replace(each, free=D("0.00098901")) for each in await balances()]

        venue: Any = floor.world.venue
        venue.instead["balances"] = of_the_second_alone
        await floor.enter("E2", key=SPOT, qty="0.00099", tp="60600", sl="59400")

        assert floor.resting()["s3-btc-e2-1"] == ("STOP_LOSS", D("0.00098"), D(59400))
        await floor.stop()

    run_virtual(scenario())


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


def test_a_fill_that_is_booked_while_all_are_read_is_counted_once() -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", documents=Meddled)
        documents: Any = floor.world.documents
        await floor.enter(key=SPOT, qty="0.00100", tp="60600", sl="59400")
        (first,) = await documents.find(Query(collection=FILLS, index="by_sym_time", equal=(("symbol", "BTCUSDT"),)))
        counts = Holdings(
            env=ENV,
            instruments={SPOT: SPOT_RULES},
            documents=documents,
            snapshots=floor.world.snapshots,
            market=MarketView(env=ENV, snapshots=floor.world.snapshots),
            clock=floor.world.clock,
        )
        second = first.but(fill_id="SPOT-BTCUSDT-999999999-B", timestamp=first.timestamp + 1)

        async def booked_meanwhile(find: Any, query: Any) -> Any:
            found = await find(query)
            documents.instead.clear()
            await documents.put(FILLS, second)
            counts.book(SPOT, [second])
            return found

        documents.instead["find"] = booked_meanwhile
        await counts.refresh(SPOT)
        await counts.renew()

        assert await held_of(floor) == 2 * D("0.000999")
        await floor.stop()

    run_virtual(scenario())

"""The account's events told twice, not at all, or in any order: it all ends as if they had been told as they happened.

Each flow is lived once in order, and its order events are counted. Then it is lived again with a stream that repeats
them, loses some or all, or tells them in another order, and the exchange and the documents must tell the same in the
end. `CHIMERA_PROVE=full` lives every permutation of the flows of up to six events, and many seeded shuffles of the
others; else a few of each.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest

from chimera.contracts.collections import FILLS, INTENTS, ORDERS, TRADES, Collection
from chimera.contracts.documents import Fill
from chimera.contracts.enums import OrderType, Routing
from chimera.contracts.http import CancelRequest
from chimera.domain.execution.orders import OrderUpdated, VenueFill
from chimera.ports.documents import Query
from chimera.services.s04_router.ledger import Ledger
from chimera.simulation.loop import run_virtual
from tests.prove.extent import FULL, Record, count
from tests.services.meddling import Meddled, meddled_floor
from tests.services.router_flows import leave, order
from tests.services.trading_floor import SPOT, Floor

ALL_PERMUTATIONS_MAX = 6
SHUFFLES = count(full=100, quick=4)
HOLD_MS = 4_000
"""An event that was to be told next and does not come is waited for no longer: it may depend on those held back."""
POLL_MS = 20
SETTLE_MS = 70_000
"""Longer than the slowest turn of the reconciler."""

Flow = Callable[[Floor], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Telling:
    """How the events of one life are told: in which order, which of them never, how often each."""

    order: tuple[int, ...] = ()
    lost: frozenset[int] = frozenset()
    times: int = 1
    deaf: bool = False


class Retold(Meddled):
    """The exchange, whose order events are told as `telling` says; everything else as it comes."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.telling = Telling()
        self.came: list[OrderUpdated] = []

    async def account_events(self) -> Any:
        clock = self.inner.clock
        inner = self.inner.account_events()
        told: set[int] = set()
        since_ms = clock.now_ms()
        coming = asyncio.ensure_future(anext(inner))
        try:
            while True:
                if coming.done():
                    changes = coming.result()
                    coming = asyncio.ensure_future(anext(inner))
                    self.came += [each for each in changes if isinstance(each, OrderUpdated)]
                    others = [each for each in changes if not isinstance(each, OrderUpdated)]
                    if others:
                        yield others
                due = self._due(told, waited_ms=clock.now_ms() - since_ms)
                for number in due:
                    told.add(number)
                    since_ms = clock.now_ms()
                    if number not in self.telling.lost and not self.telling.deaf:
                        for _ in range(self.telling.times):
                            yield (self.came[number],)
                if not due:
                    if len(told) == len(self.came):
                        since_ms = clock.now_ms()
                    await clock.sleep_until_ms(clock.now_ms() + POLL_MS)
        finally:
            coming.cancel()

    def _due(self, told: set[int], *, waited_ms: int) -> list[int]:
        """What is told now of what has come."""
        wanted = [*self.telling.order, *range(len(self.telling.order), len(self.came))]
        due = []
        for number in wanted:
            if number in told:
                continue
            if number >= len(self.came):
                if waited_ms < HOLD_MS:
                    break
                continue
            due.append(number)
        return due


# --- flows


async def taker(floor: Floor) -> None:
    await order(floor, tp="60500")


async def stopped_out(floor: Floor) -> None:
    await order(floor)
    await floor.settle(10_000)
    await floor.move("59300")


async def target_then_stop(floor: Floor) -> None:
    await order(floor, tp="60500")
    await floor.settle(10_000)
    await floor.move("60600")
    await floor.settle(10_000)
    await floor.move("59300")


async def maker_then_taker(floor: Floor) -> None:
    await order(floor, routing=Routing.AUTO, maker_wait_ms=1_000)


async def quote_fills(floor: Floor) -> None:
    await order(floor, routing=Routing.AUTO, maker_wait_ms=3_000, settle_ms=1_000)
    await floor.move("59990")


async def two_slices(floor: Floor) -> None:
    await order(floor, qty="0.020", slices=2)


async def limit_fills(floor: Floor) -> None:
    await order(floor, type=OrderType.LIMIT, price="59900")
    await floor.move("59890")


async def limit_canceled(floor: Floor) -> None:
    await order(floor, type=OrderType.LIMIT, price="59900")
    await floor.call("s4", "POST", "/cancel", CancelRequest(intent_id="E1"))


async def spot_pair(floor: Floor) -> None:
    await order(floor, key=SPOT, tp="60500")
    await floor.settle(10_000)
    await floor.move("60600")


async def left(floor: Floor) -> None:
    """Sold by an exit order while its stop rests."""
    await order(floor)
    await floor.settle(10_000)
    await leave(floor)


FLOWS: dict[str, tuple[Flow, int]] = {
    "taker": (taker, 4),
    "stopped out": (stopped_out, 7),
    "target, then stop": (target_then_stop, 12),
    "maker, then taker": (maker_then_taker, 18),
    "quote fills": (quote_fills, 16),
    "two slices": (two_slices, 12),
    "limit fills": (limit_fills, 4),
    "limit canceled": (limit_canceled, 2),
    "spot pair": (spot_pair, 6),
    "exit": (left, 8),
}
"""And how many order events the exchange tells of it at least."""


async def lived(flow: Flow, telling: Telling) -> tuple[dict[str, Any], int]:
    """What is true in the end, and how many order events there were."""
    floor = await meddled_floor("s4", "s5", "s6", venue=Retold)
    venue = floor.world.venue
    assert isinstance(venue, Retold)
    venue.telling = telling
    await flow(floor)
    await floor.settle(SETTLE_MS)
    facts = await facts_of(floor)
    await floor.stop()
    return facts, len(venue.came)


async def facts_of(floor: Floor) -> dict[str, Any]:
    """Without names and times of what protects: which stop was replaced by which is not what has to come out."""
    orders = [
        (each.purpose, each.side, each.type, each.quantity, each.filled_qty, each.status, each.price, each.stop_price)
        for each in await every(floor, ORDERS)
        if each.filled_qty or not each.status.is_final or not each.reduce_only
    ]
    return {
        "orders": Counter(orders),
        "fills": Counter((each.side, each.price, each.qty, each.fee_usdt) for each in await every(floor, FILLS)),
        "intents": {
            each.intent_id: (each.state, each.filled_qty, each.avg_price, each.reason)
            for each in await every(floor, INTENTS)
            if each.purpose.is_new_entry
        },
        "trades": {
            each.trade_id: (
                each.status,
                each.qty_opened,
                each.qty_open,
                each.entry_price_avg,
                each.realized_pnl_usdt,
                each.fees_usdt,
                each.stop_price if each.closed_at is None else None,
                each.tier,
                each.rung,
            )
            for each in await every(floor, TRADES)
        },
        "position": floor.position_qty(),
        "resting": Counter(floor.resting().values()),
    }


async def every(floor: Floor, collection: Collection[Any]) -> Sequence[Any]:
    return await floor.world.documents.find(Query(collection=collection, index="by_time"))


def differences(flow: Flow, tellings: Iterable[Telling]) -> list[str]:
    orderly, _ = run_virtual(lived(flow, Telling()))
    wrong = []
    for telling in tellings:
        facts, _ = run_virtual(lived(flow, telling))
        wrong += [
            f"{telling}: {what} {facts[what]} and not {orderly[what]}"
            for what in orderly
            if facts[what] != orderly[what]
        ]
    return wrong


def told(tellings: Sequence[Telling], record: Record) -> Sequence[Telling]:
    record("tellings", len(tellings))
    return tellings


def events_of(flow: Flow) -> int:
    return run_virtual(lived(flow, Telling()))[1]


def orders_of(events: int) -> Iterator[tuple[int, ...]]:
    """All of them where they are few and it is to be proved; else the other way round, and seeded shuffles."""
    if FULL and events <= ALL_PERMUTATIONS_MAX:
        yield from permutations(range(events))
        return
    yield tuple(reversed(range(events)))
    for seed in range(SHUFFLES):
        numbers = list(range(events))
        random.Random(seed).shuffle(numbers)
        yield tuple(numbers)


@pytest.mark.parametrize(("flow", "least"), FLOWS.values(), ids=FLOWS)
def test_in_whatever_order_it_is_told_it_ends_the_same(flow: Flow, least: int, record_property: Record) -> None:
    events = events_of(flow)
    assert events >= least

    assert not differences(flow, told([Telling(order=each) for each in orders_of(events)], record_property))


@pytest.mark.parametrize(("flow", "least"), FLOWS.values(), ids=FLOWS)
def test_told_twice_it_ends_the_same(flow: Flow, least: int, record_property: Record) -> None:
    thrice = Telling(times=3, order=tuple(reversed(range(least))))
    assert not differences(flow, told([Telling(times=2), thrice], record_property))


@pytest.mark.parametrize(("flow", "least"), FLOWS.values(), ids=FLOWS)
def test_what_is_not_told_is_found_out(flow: Flow, least: int, record_property: Record) -> None:
    events = events_of(flow)
    each = range(events) if FULL else random.Random(events).sample(range(events), 1)
    lost = [Telling(lost=frozenset({number})) for number in each]

    assert not differences(flow, told([Telling(deaf=True), *lost], record_property))


def test_a_fill_that_counts_each_time_it_is_told_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def each_time(self: Ledger, entry: Any, fills: Sequence[VenueFill]) -> list[Fill]:
        return [self._fill(entry.order, fill) for fill in fills]

    monkeypatch.setattr(Ledger, "_new_fills", each_time)

    assert differences(two_slices, [Telling(times=2)])

"""Killed between any two steps of a repair: the next run finishes it, and nothing is done or told twice.

An account is left in disorder while nobody looks. The reconciler is killed at its n-th step, for every n until it is
not killed any more: before or after each document that it writes, each order it cancels, each call to a colleague. Then
the house starts again. Whatever n was, the exchange, the books and the events are those of a run that was never killed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import FILLS, ORDERS, STRATEGY_EVENTS, TRADES
from chimera.contracts.enums import Market, OrderType, Side
from chimera.ports.documents import Query
from chimera.simulation.loop import run_virtual
from tests.prove.timeline import Fuse, Timeline
from tests.services.trading_floor import FUT, Floor

D = Decimal
STEPS = ("insert", "put", "put_many", "remove", "cancel", "call")
"""Of documents, the exchange and colleagues: what leaves something behind."""


class Cut:
    """A dependency of the reconciler, which may die before or after any of its calls."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        return self._in_steps(name, call) if name in STEPS else call

    def _in_steps(self, name: str, call: Callable[..., Awaitable[Any]]) -> Any:
        async def cut(*args: Any, **kwargs: Any) -> Any:
            what = f"{name} {getattr(args[0], 'path', getattr(args[0], 'name', args[0]))}"
            self._fuse.step(f"before {what}")
            try:
                return await call(*args, **kwargs)
            finally:
                self._fuse.step(f"after {what}")

        return cut


@dataclass(frozen=True, slots=True)
class Books:
    """What is left in the end, but for the times of our own doing."""

    told: Counter[tuple[str, str]]
    event_ids: tuple[str, ...]
    resting: tuple[tuple[str, Decimal, Decimal | None], ...]
    position: Decimal
    placed: int
    """Orders that the exchange ever had."""
    fills: frozenset[str]
    open_on_file: frozenset[str]
    trade: tuple[str, Decimal]


async def books_of(timeline: Timeline, floor: Floor) -> Books:
    documents = timeline.documents
    events = await documents.find(
        Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "RECONCILE_FIX"),))
    )
    fills = await documents.find(Query(collection=FILLS, index="by_time"))
    orders = await documents.find(Query(collection=ORDERS, index="by_time"))
    trade = await documents.get(TRADES, "E1")
    assert trade is not None
    details = [event.detail or {} for event in events]
    # Stops that we placed are numbered by how often they had to be; of all else the exchange fixes the time.
    fixed = [event.event_id for event, told in zip(events, details, strict=True) if told["action"] in FIXED_BY_EXCHANGE]
    return Books(
        told=Counter((told["action"], told["subject"]) for told in details),
        event_ids=tuple(sorted(fixed)),
        resting=tuple(sorted(floor.resting().values(), key=str)),
        position=floor.position_qty(),
        placed=len(timeline.exchange.orders(Market.FUT)) + len(timeline.exchange.open_conditional()),
        fills=frozenset(fill.fill_id for fill in fills),
        open_on_file=frozenset(order.order_id for order in orders if not order.status.is_final),
        trade=(trade.status.value, trade.qty_open),
    )


FIXED_BY_EXCHANGE = ("FILL_BOOKED", "ORPHAN_CANCELED", "MANUAL_EXIT_ADOPTED", "ENTRY_NETTED", "BALANCE_EXPLAINED")


async def leaves_an_orphan(floor: Floor) -> None:
    await floor.by_hand("s3-btc-lost", Side.BUY, "0.010", type=OrderType.LIMIT, price=D("59000"))


async def sells_a_part(floor: Floor) -> None:
    await floor.by_hand("web_part", Side.SELL, "0.004", reduce_only=True)


async def takes_the_stop_away(floor: Floor) -> None:
    [stop] = [name for name, (kind, _, _) in floor.resting().items() if kind == "STOP_MARKET"]
    await floor.venue.cancel(FUT, stop, conditional=True)


async def opens_more(floor: Floor) -> None:
    await floor.by_hand("web_more", Side.BUY, "0.010")


async def moves_money(floor: Floor) -> None:
    await floor.venue.transfer(Market.SPOT, Market.FUT, D(50))


DISORDER: dict[str, tuple[Callable[[Floor], Awaitable[None]], ...]] = {
    "orphan and money": (leaves_an_orphan, moves_money),
    "part sold by hand": (sells_a_part,),
    "stop taken away": (takes_the_stop_away, leaves_an_orphan),
    "more opened by hand": (opens_more,),
}


async def lived(disorder: tuple[Callable[[Floor], Awaitable[None]], ...], at: int | None) -> tuple[list[str], Books]:
    timeline = Timeline.open()
    floor = await timeline.live(Fuse(None))
    await floor.start("s10", "s1", "s4", "s5", "s6", price=str(timeline.price))
    await floor.enter("E1", tp="63000")
    await floor.settle(70_000)
    await floor.stop()
    for do in disorder:
        await do(floor)
    await timeline.clock.sleep_until_ms(timeline.clock.now_ms() + 5_000)
    steps: list[str] = []
    for fuse in (Fuse(at), Fuse(None)):
        floor = await timeline.live(Fuse(None))
        await floor.start("s10", "s1", "s4", "s6")
        world = floor.world
        floor.world = replace(
            world,
            documents=Cut(world.documents, fuse),
            venue=Cut(world.venue, fuse),
            peers=Cut(world.peers, fuse),
        )
        fuse.armed = True
        living = asyncio.ensure_future(on(floor))
        death = asyncio.ensure_future(fuse.blown.wait())
        await asyncio.wait({living, death}, return_when=asyncio.FIRST_COMPLETED)
        steps = steps or fuse.steps
        death.cancel()
        if not fuse.blown.is_set():
            await living
            break
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        await floor.stop()
        await timeline.clock.sleep_until_ms(timeline.clock.now_ms() + 1_000)
    books = await books_of(timeline, floor)
    await floor.stop()
    return steps, books


async def on(floor: Floor) -> None:
    await floor.start("s5")
    await floor.settle(130_000)


@pytest.mark.parametrize("disorder", DISORDER.values(), ids=DISORDER)
def test_a_repair_that_is_cut_short_anywhere_is_finished_once(
    disorder: tuple[Callable[[Floor], Awaitable[None]], ...],
) -> None:
    steps, whole = run_virtual(lived(disorder, None))
    assert len(steps) >= 10, steps

    wrong = []
    for at in range(1, min(len(steps), 60) + 1):
        _, books = run_virtual(lived(disorder, at))
        if books != whole:
            wrong.append(f"killed {steps[at - 1]} ({at}): {books} instead of {whole}")

    assert not wrong, "\n\n".join(wrong[:3])


@pytest.mark.parametrize("disorder", DISORDER.values(), ids=DISORDER)
def test_the_same_disorder_is_mended_and_told_alike(
    disorder: tuple[Callable[[Floor], Awaitable[None]], ...],
) -> None:
    first, second = run_virtual(lived(disorder, None)), run_virtual(lived(disorder, None))

    assert first == second
    assert max(first[1].told.values()) == 1

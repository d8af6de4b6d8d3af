"""What carries the money's safety, taken out piece by piece: each time a probe must notice.

A probe is one of the sweeps' scenarios. It passes on the code as it is and fails on the mutant, so that a later change
that takes the piece out is caught by the sweeps as well.
"""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.state import MemoryLocks
from chimera.contracts.collections import INTENTS, ORDERS, Collection
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import LegRole, OrderStatus, Routing, Side
from chimera.contracts.ids import child_order_id
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.machine import bracket
from chimera.domain.execution.orders import NewOrder, VenueOrder
from chimera.domain.market.instrument import Instrument
from chimera.ports.documents import Documents, Put
from chimera.ports.venue import OutcomeUnknown, UnknownOrder, VenueError, VenueUnavailable
from chimera.runtime.service import Problem
from chimera.services.s04_router import ledger
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.handlers.send import Landing, Send, Sending
from chimera.services.s04_router.ledger import Filing, Ledger, Sent
from chimera.simulation.loop import run_virtual
from tests.prove.flows import FLOWS
from tests.prove.timeline import HOUSE, OUTLIVE, WRITES, Fuse, Timeline, run_cut, until_blown
from tests.services.meddling import Meddled, meddled_floor
from tests.services.router_flows import ENTRY, STOP, order
from tests.services.trading_floor import BEGIN_MS, Floor, tick

HOUSE_BEHIND = ("s4", "s5", "s6")


# --- probes


async def _kills(life: str, steps: Callable[[str], bool]) -> None:
    """Killed at each of these steps of `life`, it tells one story afterwards."""
    every = await run_cut(FLOWS[life], None)
    at_steps = [number for number, step in enumerate(every, 1) if steps(step)]
    assert at_steps, every
    for at in at_steps:
        await run_cut(FLOWS[life], at)


async def killed_around_the_entry() -> None:
    await _kills("taker", lambda step: step.endswith((f"place {ENTRY}", f"place {STOP}")))


async def answer_lost_and_nobody_tells() -> None:
    """The answer to the entry is lost, and so is what the account stream says of it: asking alone finds it."""
    floor = await meddled_floor(*HOUSE_BEHIND, venue=Silent)
    venue = meddled(floor)
    assert isinstance(venue, Silent)

    async def place(real: Any, new: NewOrder) -> Any:
        if new.client_order_id == ENTRY:
            venue.silent = True
            await real(new)
            raise OutcomeUnknown("the connection was reset")
        venue.silent = False
        return await real(new)

    venue.instead["place"] = place
    await order(floor, settle_ms=8_000)

    record = await record_of(floor)
    assert record.filled_qty == Decimal("0.010"), record
    assert STOP in floor.resting()


async def cancel_meets_a_fill() -> None:
    """The quote fills as it is being taken back, and the answer of the cancel is lost: nothing is bought twice."""
    floor = await meddled_floor(*HOUSE_BEHIND, venue=Silent)

    venue = meddled(floor)
    assert isinstance(venue, Silent)

    async def cancel(real: Any, key: InstrumentKey, name: str, *, conditional: bool) -> Any:
        if name == ENTRY:
            venue.silent = True
            floor.venue.apply(tick(Decimal(59_990), floor.world.clock.now_ms()))
            floor.price = Decimal(59_990)
            raise OutcomeUnknown("the connection was reset")
        return await real(key, name, conditional=conditional)

    venue.instead["cancel"] = cancel
    await order(floor, routing=Routing.AUTO, maker_wait_ms=1_000, sl="59000", settle_ms=10_000)

    record = await record_of(floor)
    assert record.filled_qty == Decimal("0.010"), record
    assert floor.position_qty() == Decimal("0.010")


async def _a_stop_works_unseen(*, lags: bool) -> None:
    """The answer to the stop is lost and nobody lists it, while it closes the position; then the price is back, and the
    exchange still shows the position for a while. The stop's id is free again: sent a second time, it would be a stop
    that nothing stands behind. `lags`: the first query comes too early to find it."""
    floor = await meddled_floor(*HOUSE_BEHIND, venue=Silent)
    venue = meddled(floor)
    assert isinstance(venue, Silent)
    await floor.stop("s5", "s6")
    sent: list[str] = []
    shown: list[Any] = []

    async def works(positions: Any = venue.inner.positions) -> None:
        shown.extend(await positions())
        for price in (59_390, 60_000):
            floor.venue.apply(tick(Decimal(price), floor.world.clock.now_ms()))

    async def place(real: Any, new: NewOrder) -> Any:
        answer = await real(new)
        if new.client_order_id != STOP:
            return answer
        sent.append(STOP)
        if len(sent) == 1:
            venue.silent = True
            if not lags:
                await works()
            raise OutcomeUnknown("the connection was reset")
        return answer

    async def look_up(real: Any, key: InstrumentKey, name: str, *, conditional: bool) -> Any:
        if name == STOP and not shown:
            await works()
            raise UnknownOrder(-2013, "Order does not exist.")
        return await real(key, name, conditional=conditional)

    async def others(real: Any, keys: Any) -> Any:
        return [each for each in await real(keys) if each.client_order_id != STOP]

    async def positions(real: Any) -> Any:
        return shown or await real()

    venue.instead |= {"place": place, "order": look_up, "open_orders": others, "positions": positions}
    await order(floor, settle_ms=8_000)

    assert floor.position_qty() == 0
    assert sent == [STOP], f"sent {len(sent)} times"


async def a_stop_works_before_it_is_listed() -> None:
    await _a_stop_works_unseen(lags=False)


async def a_stop_works_after_a_query_that_came_too_early() -> None:
    await _a_stop_works_unseen(lags=True)


async def queries_fail_for_a_while() -> None:
    """The answer to the entry is lost, the account is silent, and for a while nobody can be asked."""
    floor = await meddled_floor(*HOUSE_BEHIND, venue=Silent)
    venue = meddled(floor)
    assert isinstance(venue, Silent)

    async def place(real: Any, new: NewOrder) -> Any:
        answer = await real(new)
        if new.client_order_id == ENTRY:
            venue.silent = True
            raise OutcomeUnknown("the connection was reset")
        return answer

    async def unanswered(real: Any, *args: Any, **kwargs: Any) -> Any:
        if venue.silent:
            raise VenueUnavailable("503")
        return await real(*args, **kwargs)

    venue.instead |= {"place": place, "order": unanswered, "fills": unanswered}
    await order(floor, settle_ms=5_000)
    assert (await record_of(floor)).state.is_final is False, "concluded from silence"
    venue.silent = False
    await floor.settle(10_000)

    record = await record_of(floor)
    assert record.filled_qty == Decimal("0.010"), record
    assert STOP in floor.resting()


async def told_again_from_the_beginning() -> None:
    """Every change of the account is told a second time, newest first, when all is done."""
    floor = await meddled_floor(*HOUSE_BEHIND, venue=Repeating)
    venue = meddled(floor)
    assert isinstance(venue, Repeating)
    await order(floor)
    before = {name: await order_of(floor, name) for name in (ENTRY, STOP)}
    venue.again = True
    # Something else has to happen for the account to speak.
    await floor.by_hand("web-1", Side.BUY, "0.001")
    await floor.settle(500)

    for name, known in before.items():
        after = await order_of(floor, name)
        assert (after.status, after.filled_qty) == (known.status, known.filled_qty), name
    assert before[ENTRY].status is OrderStatus.FILLED


async def slices_are_covered() -> None:
    floor = await meddled_floor(*HOUSE_BEHIND, venue=Meddled)
    await order(floor, qty="0.020", slices=2, settle_ms=8_000)

    record = await record_of(floor)
    assert record.execution is not None
    stops = [
        (await order_of(floor, child_order_id(ENTRY, leg.n))).quantity
        for leg in record.execution.legs
        if leg.role is LegRole.STOP
    ]
    assert floor.position_qty() == record.intent.qty
    assert stops[0] != stops[-1] == record.intent.qty, "the router resizes it, not whoever comes after"


async def killed_before_it_was_sent() -> None:
    """An accepted entry whose process died before it was sent is never sent: its market is gone."""
    every = await run_cut(FLOWS["taker"], None)
    first = every.index(f"before place {ENTRY}") + 1
    for at in range(1, first + 1):
        timeline = Timeline.open()
        fuse = Fuse(at)
        floor = await timeline.live(fuse)
        await floor.start(*HOUSE, price="60000")
        fuse.armed = True
        await until_blown(fuse, _enters(floor))
        await floor.stop()
        await timeline.clock.sleep_until_ms(timeline.clock.now_ms() + 5_000)
        floor = await timeline.live(Fuse(None))
        await floor.start(*HOUSE)
        await floor.settle(10_000)
        assert floor.position_qty() == 0, f"killed {fuse.steps[-1]}, and sent after the restart"
        record = await floor.world.documents.get(INTENTS, "E1")
        assert record is None or record.reason == "RESTART", record
        await floor.stop()


async def _enters(floor: Floor) -> None:
    await floor.enter()


async def power_is_cut_after_the_entry() -> None:
    """With the power goes what the disk had not been asked to keep."""
    timeline = Timeline.open()
    every = await run_cut(FLOWS["taker"], None)
    fuse = Fuse(every.index(f"after place {ENTRY}") + 1)
    floor = await timeline.live(fuse)
    disk = Disk(floor.world.documents)
    floor.world = replace(floor.world, documents=cast(Documents, disk))
    await floor.start(*HOUSE, price="60000")
    fuse.armed = True
    await until_blown(fuse, _enters(floor))
    await floor.stop()
    assert timeline.exchange.positions()
    assert {(ORDERS.name, ENTRY), (INTENTS.name, "E1")} <= disk.kept


async def a_late_owner_frees_nothing() -> None:
    """Who held the lock until it ran out must not free it from under the next."""
    clock = LoopClock(BEGIN_MS)
    locks = MemoryLocks(clock)
    assert await locks.acquire("lock:pos:X", "first", ttl_ms=100)
    await clock.sleep_until_ms(BEGIN_MS + 200)
    assert await locks.acquire("lock:pos:X", "second", ttl_ms=10_000)
    await locks.release("lock:pos:X", "first")

    assert await locks.acquire("lock:pos:X", "third", ttl_ms=100) is None
    assert not await locks.renew("lock:pos:X", "first", ttl_ms=100)


# --- what the probes stand on


class Disk:
    """The documents on a disk that keeps what it was told to wait for, and what was written before that."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._afloat: set[tuple[str, str]] = set()
        self.kept: set[tuple[str, str]] = set()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name not in WRITES:
            return call

        async def write(*args: Any, **kwargs: Any) -> Any:
            written = [(put.collection, put.doc) for put in args[0]] if name == "put_many" else [(args[0], args[1])]
            answer = await call(*args, **kwargs)
            self._afloat |= {
                (collection.name, getattr(doc, doc.key_field))
                for collection, doc in written
                if collection.name in OUTLIVE
            }
            if any(collection.synced for collection, _ in written):
                self.kept |= self._afloat
                self._afloat.clear()
            return answer

        return write


class Silent(Meddled):
    """While `silent`, the account tells nothing; what happened then is never told."""

    silent = False

    async def account_events(self) -> Any:
        async for changes in self.inner.account_events():
            yield [] if self.silent else changes


class Repeating(Meddled):
    """Tells everything once more when `again` is set."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.again = False

    async def account_events(self) -> Any:
        said: list[Any] = []
        async for changes in self.inner.account_events():
            said += changes
            yield changes
            if self.again:
                yield tuple(reversed(said))


def meddled(floor: Floor) -> Meddled:
    venue = floor.world.venue
    assert isinstance(venue, Meddled)
    return venue


async def record_of(floor: Floor) -> IntentRecord:
    record = await floor.world.documents.get(INTENTS, "E1")
    assert record is not None
    return record


async def order_of(floor: Floor, name: str) -> Order:
    found = await floor.world.documents.get(ORDERS, name)
    assert found is not None, f"{name} is not on file"
    return found


# --- mutants

_refresh, _begin = Ledger.refresh, Drive.begin


async def asks_nothing(self: Send, new: NewOrder) -> Sending:
    return Sending(Landing.ABSENT)


async def believes_the_cancel(self: Calls, order: Order) -> Order:
    """One try; whatever is answered, it is gone."""
    with suppress(VenueError):
        await self.venue.cancel(InstrumentKey(order.market, order.symbol), order.order_id, conditional=False)
    return await self.ledger.lose(order.order_id, "CANCELED")


async def remembers_only(
    self: Ledger, filings: Sequence[Filing], *, sent: Sent, together_with: Put[Any] | None = None
) -> None:
    """Nothing is written before it is sent."""
    now_ms = self.clock.now_ms()
    for filing in filings:
        self._remember(ledger._Entry(ledger._opened(filing, sent, now_ms), {}))


async def takes_silence_for_no(self: Ledger, key: InstrumentKey, name: str, *, conditional: bool) -> Order | None:
    try:
        return await _refresh(self, key, name, conditional=conditional)
    except VenueUnavailable as down:
        raise UnknownOrder(-2013, str(down)) from down


async def never_met(self: Calls, new: NewOrder) -> bool:
    return False


def floored_as_float(self: Instrument, qty: Decimal) -> Decimal:
    return Decimal(float(qty) // float(self.step_size) * float(self.step_size))


def as_told(self: Ledger, order: Order, reported: VenueOrder, filled_qty: Decimal) -> OrderStatus:
    return reported.status


def whatever(draft: object, order: Order, open_qty: Decimal) -> bool:
    return True


def as_if_new(self: Drive, record: IntentRecord, *, restored: bool = False) -> None:
    _begin(self, record)


async def anybodys(self: MemoryLocks, key: str, owner: str) -> bool:
    self._drop(key)
    return True


def unsynced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Collection, "synced", False)


def never_looked_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Calls, "_met_before", never_met)
    patch.setattr(Calls, "_did_its_work", never_met)


Probe = Callable[[], Coroutine[Any, Any, None]]
MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Probe]] = {
    "no lookup before a resend": (
        lambda patch: patch.setattr(Send, "settle_unknown", asks_nothing),
        answer_lost_and_nobody_tells,
    ),
    "a cancel is not confirmed": (
        lambda patch: patch.setattr(Calls, "take_back", believes_the_cancel),
        cancel_meets_a_fill,
    ),
    "sent before it is written": (lambda patch: patch.setattr(Ledger, "open", remembers_only), killed_around_the_entry),
    "written without waiting for the disk": (unsynced, power_is_cut_after_the_entry),
    "a lock is freed by anybody": (
        lambda patch: patch.setattr(MemoryLocks, "release", anybodys),
        a_late_owner_frees_nothing,
    ),
    "no answer is taken for not found": (
        lambda patch: patch.setattr(Ledger, "refresh", takes_silence_for_no),
        queries_fail_for_a_while,
    ),
    "no lookup before a stop is sent again": (never_looked_up, a_stop_works_before_it_is_listed),
    "no second lookup right before a stop is sent again": (
        lambda patch: patch.setattr(Calls, "_did_its_work", never_met),
        a_stop_works_after_a_query_that_came_too_early,
    ),
    "money is a float": (lambda patch: patch.setattr(Instrument, "floor_qty", floored_as_float), slices_are_covered),
    "the last telling counts": (
        lambda patch: patch.setattr(Ledger, "_status_after", as_told),
        told_again_from_the_beginning,
    ),
    "the stop is not resized": (lambda patch: patch.setattr(bracket, "_holds", whatever), slices_are_covered),
    "an entry goes on after a restart": (
        lambda patch: patch.setattr(Drive, "begin", as_if_new),
        killed_before_it_was_sent,
    ),
}


@pytest.mark.parametrize(
    "probe", dict.fromkeys(probe for _, probe in MUTANTS.values()), ids=lambda probe: probe.__name__
)
def test_the_probe_passes(probe: Probe) -> None:
    run_virtual(probe())


@pytest.mark.parametrize(("mutate", "probe"), MUTANTS.values(), ids=MUTANTS)
def test_the_mutant_is_caught(
    mutate: Callable[[pytest.MonkeyPatch], None], probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)

    with pytest.raises((AssertionError, Problem)):
        run_virtual(probe())

"""Killed at every step of opening: whatever S3 was doing, afterwards every reservation belongs to something that is
open, nothing was ordered twice, and nothing that was decided durably is lost.

A run is cut at its n-th step, for every n until it is not cut any more. A step is the moment before or after anything
that S3 waits for: fast state, documents, the bus, S4. The rest of the house lives on. Then S3 starts again: at once, so
that what it had decided may still be sent, or later, when it may not.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import SIGNALS
from chimera.contracts.documents import Signal
from chimera.contracts.enums import Action, TradeStatus
from chimera.contracts.keys import LOCK_POS
from chimera.contracts.settings import S3Settings
from chimera.ports.bus import BusUnavailable
from chimera.ports.documents import DocumentsUnavailable, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerAnswer, PeerUnavailable
from chimera.ports.state import StateUnavailable
from chimera.services.s03_strategy.history import UNDELIVERED
from chimera.simulation.loop import run_virtual
from tests.services.test_s03_strategy import Desk
from tests.services.trading_floor import ENV, FUT

D = Decimal
PARTS = ("snapshots", "locks", "reservations", "documents", "bus", "peers")
LOOKS = frozenset({"get", "get_many", "get_hash", "get_stored", "find", "all", "usage", "count", "ping"})
"""What changes nothing: killed after it is as killed before the next step."""
NO_STEP = frozenset({"read", "read_broadcast", "ensure_group", "last_id", "claim", "pending", "lag", "recent", "close"})
"""How a consumer waits for its messages."""
HEALED_MS = 135_000
"""Two rounds of the healing job, and the time in which an unacknowledged message is told again."""

DOWN: dict[str, Callable[[], DependencyDown]] = {
    "snapshots": lambda: StateUnavailable("a failover"),
    "locks": lambda: StateUnavailable("a failover"),
    "reservations": lambda: StateUnavailable("a failover"),
    "documents": lambda: DocumentsUnavailable("a failover"),
    "bus": lambda: BusUnavailable("a failover"),
    "peers": lambda: PeerUnavailable("s4", "the connection was reset"),
}
OUTAGE = {"snapshots": "state", "locks": "state", "reservations": "state"}
"""Ports that one server stands behind fail together."""


@dataclass
class Cuts:
    """Counts steps; at the `at`-th S3 is dead, or from there on one dependency is down."""

    at: int | None = None
    outage: bool = False
    armed: bool = False
    taken: list[str] = field(default_factory=list)
    dead: bool = False
    down: str | None = None

    def before(self, part: str) -> None:
        if self.dead:
            raise asyncio.CancelledError("dead")
        if self.down is not None and self.down == OUTAGE.get(part, part):
            raise DOWN[part]()

    def step(self, part: str, label: str) -> None:
        self.before(part)
        if not self.armed:
            return
        self.taken.append(label)
        if len(self.taken) != self.at:
            return
        if self.outage:
            self.down = OUTAGE.get(part, part)
        else:
            self.dead = True
        self.before(part)


class Cut:
    """A dependency as S3 sees it."""

    def __init__(self, inner: Any, part: str, cuts: Cuts) -> None:
        self._inner = inner
        self._part = part
        self._cuts = cuts

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name in NO_STEP or not asyncio.iscoroutinefunction(call):
            return call

        async def cut(*args: Any, **kwargs: Any) -> Any:
            what = f"{self._part}.{name} {_subject(args)}".strip()
            self._cuts.step(self._part, f"before {what}")
            if name == "put_many":
                # The port promises their order and no more.
                for number, put in enumerate(args[0]):
                    if number:
                        self._cuts.step(self._part, f"between puts, {put.collection.name}")
                    await call([put])
                answer = None
            else:
                answer = await call(*args, **kwargs)
            if name not in LOOKS:
                self._cuts.step(self._part, f"after {what}")
            return answer

        return cut


def _subject(args: tuple[Any, ...]) -> str:
    first = args[0] if args else ""
    return str(getattr(first, "path", getattr(first, "name", getattr(first, "intent_id", first))))[:60]


class MortalDesk(Desk):
    """A desk whose S3 alone is cut; everybody else sees the world as it is."""

    cuts = Cuts()

    async def start(self, *services: str, price: str | None = None) -> None:
        whole = self.world
        if services == ("s3",):
            self.world = replace(whole, **{part: Cut(getattr(whole, part), part, self.cuts) for part in PARTS})
        try:
            await super().start(*services, price=price)
        finally:
            self.world = whole


async def by_the_stream(desk: MortalDesk) -> PeerAnswer | None:
    desk.cuts.armed = True
    await desk.see(settle_ms=1_500)
    return None


async def by_a_request(desk: MortalDesk) -> PeerAnswer | None:
    """Somebody asks; an S3 that dies does not answer."""
    await desk.see(0.0, settle_ms=300)
    desk.cuts.armed = True
    asking = asyncio.ensure_future(desk.decide(sideHint="BUY"))
    await asyncio.wait({asking})
    await desk.settle(1_200)
    return None if asking.cancelled() else asking.result()


TRIGGERS = {"stream": by_the_stream, "request": by_a_request}


async def begun(cuts: Cuts, emit: Any) -> MortalDesk:
    desk = await MortalDesk.open("s10", "s1", "s4", "s5", "s6")
    assert isinstance(desk, MortalDesk)
    desk.cuts = cuts
    desk.variables = S3Settings(emit=emit)
    await desk.start("s3")
    return desk


async def opened(desk: MortalDesk) -> list[Signal]:
    """The signals that say on file that they opened."""
    where = (("market", "FUT"), ("symbol", "BTCUSDT"), ("decision.action", Action.OPEN.value))
    return list(await desk.world.documents.find(Query(collection=SIGNALS, index="by_instr_action", equal=where)))


async def judge(desk: MortalDesk, where: str) -> int:
    """What must hold once everything had its time. Returns how many entries were carried out."""
    reservations = desk.world.reservations
    entries = [
        order
        for order in desk.venue.exchange.orders(FUT.market, FUT.symbol)
        if not order.reduce_only and order.filled_qty > 0
    ]
    assert len(entries) <= 1, f"{where}: ordered more than once: {[order.client_order_id for order in entries]}"
    filled = [record for record in await desk.intents() if record.filled_qty]
    assert len(filled) == len(entries), f"{where}: {len(filled)} on file, {len(entries)} at the exchange"
    stand = [signal for signal in await opened(desk) if signal.decision.detail != UNDELIVERED]
    assert len(stand) == len(entries), f"{where}: {len(stand)} opens stand on file for {len(entries)} entries"
    reserved = {each.intent_id: each.amount_usdt for each in await reservations.all()}
    assert list(reserved) == [record.intent_id for record in filled], f"{where}: reserved is {reserved}"
    usage = await reservations.usage(FUT.market)
    assert (usage.amount_usdt, usage.concurrency) == (sum(reserved.values(), D(0)), len(entries)), where
    for record, signal in zip(filled, stand, strict=True):
        assert signal.decision.intent_id == record.intent_id, where
        trade = await desk.trade(record.intent_id)
        assert trade.status is TradeStatus.ACTIVE, where
        notional = trade.qty_open * trade.entry_price_avg
        owed = notional / trade.leverage + notional * D("0.0005")
        assert abs(reserved[record.intent_id] - owed) <= D("1e-8"), where
    lock = LOCK_POS.name(ENV, FUT)
    assert await desk.world.locks.acquire(lock, "the test", ttl_ms=10) is not None, f"{where}: {lock} is held"
    return len(entries)


async def killed(
    trigger: str, at: int | None, *, down_ms: int = 0, forgets: bool = False, emit: str = "rest_then_stream"
) -> list[str]:
    """One life, cut at step `at`. `forgets`: what was reserved dies with S3. Returns the steps that were taken."""
    cuts = Cuts(at)
    desk = await begun(cuts, emit)
    await TRIGGERS[trigger](desk)
    if not cuts.dead:
        assert await judge(desk, "not killed") == 1
        await desk.stop()
        return cuts.taken
    where = f"{trigger}, killed {cuts.taken[-1]} ({at}), back after {down_ms} ms{', forgetful' if forgets else ''}"
    durable, heard = bool(await opened(desk)), bool(await desk.intents())
    await desk.stop("s3")
    if forgets:
        await desk.world.reservations.replace_all([])
    await desk.settle(down_ms)
    desk.cuts = Cuts()
    await desk.start("s3")
    await desk.settle(HEALED_MS)
    entries = await judge(desk, where)
    if heard or (durable and down_ms <= YOUNG_MS):
        assert entries == 1, f"{where}: what was decided was lost"
    if durable and not heard and down_ms >= OLD_MS:
        assert entries == 0, f"{where}: ordered after its time"
    await desk.stop()
    return cuts.taken


YOUNG_MS, OLD_MS = 500, 6_000
"""Within the 5 s in which an entry may still be sent, with the time that the trigger took; and beyond them."""


def sweep(runs: Iterable[Coroutine[Any, Any, Any]]) -> list[str]:
    """What went wrong in any of the runs."""
    wrong = []
    for run in runs:
        try:
            run_virtual(run)
        except AssertionError as broken:
            wrong.append(str(broken).splitlines()[0])
    return wrong


@pytest.mark.parametrize(
    ("trigger", "down_ms", "forgets"),
    [
        pytest.param("stream", YOUNG_MS, False, id="stream, back at once"),
        pytest.param("stream", OLD_MS, False, id="stream, back too late"),
        pytest.param("stream", YOUNG_MS, True, id="stream, back at once, the state died too"),
        pytest.param("stream", OLD_MS, True, id="stream, back too late, the state died too"),
        pytest.param("request", YOUNG_MS, True, id="request, back at once, the state died too"),
        pytest.param("request", OLD_MS, False, id="request, back too late"),
    ],
)
def test_a_kill_at_any_step_of_opening_leaks_doubles_and_loses_nothing(
    trigger: str, down_ms: int, forgets: bool
) -> None:
    every = run_virtual(killed(trigger, None))
    assert {label.split(".")[0].split()[1] for label in every if not label.startswith("between")} == set(PARTS), every

    wrong = sweep(killed(trigger, at, down_ms=down_ms, forgets=forgets) for at in range(1, len(every) + 1))

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("down_ms", [YOUNG_MS, OLD_MS], ids=["back at once", "back too late"])
def test_nor_does_it_where_both_roads_are_taken_at_once(down_ms: int) -> None:
    every = run_virtual(killed("stream", None, emit="both"))
    emitting = [at for at, label in enumerate(every, start=1) if "peers.call" in label or "ord:cmd" in label]
    assert len(emitting) == 4, every

    wrong = sweep(killed("stream", at, down_ms=down_ms, emit="both") for at in emitting)

    assert not wrong, "\n".join(wrong)


async def without(trigger: str, at: int, outage_ms: int) -> list[str]:
    """One life, in which what S3 waits for at step `at` is down from that step on, for S3 alone."""
    cuts = Cuts(at, outage=True)
    desk = await begun(cuts, "rest_then_stream")
    answer = await TRIGGERS[trigger](desk)
    await desk.settle(outage_ms)
    where = f"{trigger}, without {cuts.down} from {cuts.taken[at - 1]} ({at})"
    cuts.down, cuts.armed = None, False
    await desk.settle(HEALED_MS)
    entries = await judge(desk, where)
    if answer is not None:
        assert answer.status in (200, 503), f"{where}: {answer.body}"
        if answer.status == 503:
            assert entries == 0, f"{where}: said that nothing was done, and an order was carried out"
        else:
            assert entries == (answer.body["decision"] == "open"), f"{where}: {answer.body}"
    await desk.stop()
    return cuts.taken


@pytest.mark.parametrize("outage_ms", [500, 8_000], ids=["shortly", "for long"])
@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_dependency_that_fails_at_any_step_of_opening_leaks_doubles_and_loses_nothing(
    trigger: str, outage_ms: int
) -> None:
    every = run_virtual(killed(trigger, None))

    wrong = sweep(without(trigger, at, outage_ms) for at in range(1, len(every) + 1))

    assert not wrong, "\n".join(wrong)

"""S1 moves money between our wallets: each transfer once, whatever is lost on the way and whenever the process dies."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest

from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.contracts.collections import TREASURY_TRANSFERS
from chimera.contracts.documents import TreasuryTransfer
from chimera.contracts.enums import Market, TransferResult
from chimera.contracts.messages import AlertEvent, AuditEvent, TransferEvent
from chimera.contracts.settings import S1Settings
from chimera.domain.execution.orders import Transfer
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.ports.venue import OutcomeUnknown, RateLimited, VenueUnavailable
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange import service as s1
from chimera.services.s01_exchange.settings import Settings
from chimera.simulation.loop import run_virtual
from tests.prove.timeline import Fuse, Timeline, sweep, until_blown
from tests.services.trading_floor import BEGIN_MS, ENV, FUT, Floor

PATH = "/xchg/treasury/transfer"
SETTLED_MS = 120_000


class Fault(StrEnum):
    LOST_ANSWER = "carried out, and the answer is lost"
    LATE = "the answer is lost, and carried out four seconds later"
    LOST_REQUEST = "never arrived, and nobody can know"
    NO_SERVICE = "not served"
    RATE_LIMITED = "one call too many"
    SILENCE = "never answered at all"


class Lossy:
    """The exchange whose n-th transfer goes as the n-th fault says; its history lags by `lag_ms`."""

    def __init__(self, venue: SimulatedVenue, faults: Sequence[Fault | None] = (), lag_ms: int = 0) -> None:
        self._venue = venue
        self._faults = list(faults)
        self._lag_ms = lag_ms
        self.asked = 0
        self.silent = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
        self.asked += 1
        fault = self._faults.pop(0) if self._faults else None
        clock = self._venue.clock
        match fault:
            case None:
                return await self._venue.transfer(source, target, amount_usdt)
            case Fault.NO_SERVICE:
                raise VenueUnavailable("503 for the test")
            case Fault.RATE_LIMITED:
                raise RateLimited("429 for the test", 3_000)
            case Fault.LOST_ANSWER:
                await self._venue.transfer(source, target, amount_usdt)
            case Fault.LATE:
                moving = self._venue.transfer(source, target, amount_usdt)
                clock.call_at_ms(clock.now_ms() + 4_000, lambda: asyncio.ensure_future(moving))
            case Fault.SILENCE:
                await self._venue.transfer(source, target, amount_usdt)
                await clock.sleep_until_ms(clock.now_ms() + 3_600_000)
            case Fault.LOST_REQUEST:
                pass
        raise OutcomeUnknown("the connection was reset")

    async def transfers(self, since_ms: int) -> Sequence[Transfer]:
        if self.silent:
            raise VenueUnavailable("the history is closed")
        listed_by_ms = self._venue.clock.now_ms() - self._lag_ms
        return [moved for moved in await self._venue.transfers(since_ms) if moved.ts <= listed_by_ms]


class Desk:
    """S1 alone, and what a client does with it. `told` is everything that was published."""

    def __init__(self, floor: Floor, limits: S1Settings) -> None:
        self.floor = floor
        self.limits = limits

    async def open(self) -> None:
        service = s1.build(self.floor.world, Settings(env=ENV, keys=(FUT,), variables=self.limits))
        runner = Runner(service, self.floor.world, ENV)
        self.floor.runners["s1"] = runner
        self.floor.peers.add("s1", runner.all_routes())
        await runner.start()

    async def ask(
        self,
        name: str | None = "T1",
        amount: str = "100",
        source: str = "SPOT",
        target: str = "FUT",
        *,
        key: str = "",
        reason: str = "TOP_UP",
    ) -> PeerAnswer:
        body = {"from": source, "to": target, "amount_usdt": float(amount), "reason": reason}
        body |= {"transfer_id": name} if name else {}
        return await self.floor.peers.call(PeerCall("s1", "POST", PATH, body, actor="anna", idempotency_key=key))

    async def pass_ms(self, duration_ms: int) -> None:
        await self.floor.settle(duration_ms)

    async def row(self, name: str = "T1") -> TreasuryTransfer:
        row = await self.floor.world.documents.get(TREASURY_TRANSFERS, name)
        assert row is not None
        return row

    def moved(self) -> list[Transfer]:
        return list(self.floor.venue.exchange.transfers())

    def of(self, kind: type) -> list[Any]:
        return [message for _, message in self.floor.told if type(message) is kind]


Scene = Callable[[Desk], Awaitable[None]]


def play(
    scene: Scene, *faults: Fault | None, lag_ms: int = 0, limits: S1Settings | None = None, wrap: Any = None
) -> Desk:
    """Play `scene` on a new exchange with 1000 USDT in each wallet."""

    async def run() -> Desk:
        floor = await Floor.open("s10", price="60000")
        lossy = Lossy(floor.venue, faults, lag_ms)
        floor.world = replace(floor.world, venue=wrap(lossy) if wrap else lossy)
        desk = Desk(floor, limits or S1Settings())
        await desk.open()
        await scene(desk)
        await floor.stop()
        return desk

    return run_virtual(run())


def test_a_transfer_moves_money_is_told_and_on_file() -> None:
    async def scene(desk: Desk) -> None:
        answer = await desk.ask(amount="123.45")
        assert (answer.status, answer.body) == (200, {"transfer_id": "T1", "result": "OK"})
        row = await desk.row()
        assert (row.result, row.tx_id, row.requested_by) == (TransferResult.OK, str(desk.moved()[0].tran_id), "anna")

    desk = play(scene)

    assert [(m.source, m.target, m.amount) for m in desk.moved()] == [(Market.SPOT, Market.FUT, Decimal("123.45"))]
    assert [(event.transfer_id, event.result) for event in desk.of(TransferEvent)] == [("T1", TransferResult.OK)]
    audited = [(event.actor, event.subject) for event in desk.of(AuditEvent) if event.action == "TRANSFER"]
    assert audited == [("anna", "T1")]


def test_the_same_id_answers_the_first_result_and_another_content_is_refused() -> None:
    async def scene(desk: Desk) -> None:
        assert (await desk.ask()).body == (await desk.ask()).body
        other = await desk.ask(amount="101")
        assert other.status == 409
        assert "100" in other.body["detail"]
        assert (await desk.ask(source="FUT", target="SPOT")).status == 409

    assert len(play(scene).moved()) == 1


def test_the_same_id_asked_twice_at_once_moves_once() -> None:
    async def scene(desk: Desk) -> None:
        answers = await asyncio.gather(*(desk.ask() for _ in range(5)))
        assert {answer.body["result"] for answer in answers} <= {"OK", "PENDING"}

    assert len(play(scene).moved()) == 1


def test_without_an_id_the_idempotency_key_names_the_transfer() -> None:
    async def scene(desk: Desk) -> None:
        first = await desk.ask(None, key="K-1")
        assert first.body["transfer_id"] == "K-1"
        assert (await desk.ask("K-1")).body == first.body

    assert len(play(scene).moved()) == 1


@pytest.mark.parametrize(
    ("how", "says"),
    [
        pytest.param({"name": None}, "Idempotency-Key", id="no name"),
        pytest.param({"name": "a b"}, "names no transfer", id="a name with a blank"),
        pytest.param({"target": "SPOT"}, "both SPOT", id="nowhere to go"),
        pytest.param({"amount": "0.123456789"}, "8 decimals", id="finer than the exchange"),
        pytest.param({"amount": "0"}, "greater than 0", id="nothing"),
    ],
)
def test_a_senseless_transfer_is_malformed_and_leaves_no_trace(how: dict[str, Any], says: str) -> None:
    async def scene(desk: Desk) -> None:
        answer = await desk.ask(**how)
        assert answer.status == 400
        assert says in answer.body["detail"]

    assert play(scene).moved() == []


@pytest.mark.parametrize(
    ("limits", "amount", "says"),
    [
        pytest.param({"transfer_usdt_max": 50}, "50.01", "S1_TRANSFER_USDT_MAX", id="one transfer"),
        pytest.param({"transfer_day_usdt_max": 50}, "50.01", "S1_TRANSFER_DAY_USDT_MAX", id="a day"),
        pytest.param({"transfer_directions": ("FUT:SPOT",)}, "1", "S1_TRANSFER_DIRECTIONS", id="direction"),
    ],
)
def test_over_a_limit_it_fails_and_says_which(limits: dict[str, Any], amount: str, says: str) -> None:
    async def scene(desk: Desk) -> None:
        answer = await desk.ask(amount=amount)
        assert answer.body["result"] == "FAIL"
        assert says in answer.body["message"]

    desk = play(scene, limits=S1Settings(**limits))

    assert desk.moved() == []
    assert [event.result for event in desk.of(TransferEvent)] == [TransferResult.FAIL]


def test_a_day_is_counted_per_direction_and_ends_at_midnight() -> None:
    async def scene(desk: Desk) -> None:
        assert (await desk.ask("A", "60")).body["result"] == "OK"
        assert (await desk.ask("B", "60")).body["result"] == "FAIL"
        assert (await desk.ask("C", "60", "FUT", "SPOT")).body["result"] == "OK"
        assert (await desk.ask("D", "40")).body["result"] == "OK"
        await desk.pass_ms(22 * 3_600_000)
        assert (await desk.ask("E", "60")).body["result"] == "OK"

    assert len(play(scene, limits=S1Settings(transfer_day_usdt_max=Decimal(100))).moved()) == 4


def test_an_exchange_without_transfers_says_so() -> None:
    class Closed:
        def __init__(self, venue: Any) -> None:
            self._venue = venue

        def __getattr__(self, name: str) -> Any:
            if name == "capabilities":
                return replace(self._venue.capabilities, transfers=False)
            return getattr(self._venue, name)

    async def scene(desk: Desk) -> None:
        answer = await desk.ask()
        assert answer.body["result"] == "FAIL"
        assert "by hand" in answer.body["message"]

    assert play(scene, wrap=Closed).moved() == []


def test_what_is_not_free_fails_with_the_exchange_s_words() -> None:
    async def scene(desk: Desk) -> None:
        answer = await desk.ask(amount="1000.01")
        assert answer.body["result"] == "FAIL"
        assert "insufficient balance" in answer.body["message"]

    desk = play(scene, limits=S1Settings(transfer_usdt_max=Decimal(5_000)))

    assert desk.moved() == []
    assert [event.result for event in desk.of(TransferEvent)] == [TransferResult.FAIL]


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
def test_after_any_fault_the_money_is_moved_once(fault: Fault) -> None:
    async def scene(desk: Desk) -> None:
        answer = await desk.ask()
        assert (answer.status, answer.body["result"]) == (200, "PENDING")
        await desk.pass_ms(SETTLED_MS)
        row = await desk.row()
        assert row.result is TransferResult.OK
        assert row.tx_id == str(desk.moved()[0].tran_id)
        assert (await desk.ask()).body["result"] == "OK"

    desk = play(scene, fault)

    assert len(desk.moved()) == 1
    assert [event.result for event in desk.of(TransferEvent)] == [TransferResult.OK]


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.LATE, Fault.SILENCE], ids=lambda fault: fault.name.lower())
def test_a_history_that_lags_is_waited_for(fault: Fault) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask()
        await desk.pass_ms(SETTLED_MS)
        assert (await desk.row()).tries == 1

    assert len(play(scene, fault, lag_ms=10_000).moved()) == 1


@pytest.mark.parametrize(
    ("repeats", "tries"),
    [pytest.param(0, 1, id="not at all"), pytest.param(1, 2, id="once"), pytest.param(3, 4, id="3")],
)
def test_what_never_happens_is_repeated_as_often_as_the_setting_says_and_fails(repeats: int, tries: int) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask()
        await desk.pass_ms(5 * SETTLED_MS)
        row = await desk.row()
        assert (row.result, row.tries) == (TransferResult.FAIL, tries)
        assert "lists no such movement" in (row.message or "")

    desk = play(scene, *[Fault.LOST_REQUEST] * 9, limits=S1Settings(transfer_repeats=repeats))

    assert desk.moved() == []
    assert [event.result for event in desk.of(TransferEvent)] == [TransferResult.FAIL]


def test_a_repeat_that_is_refused_fails_only_once_the_history_has_been_asked_again() -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask(amount="600")
        # A person moves what the repeat would need.
        await desk.floor.venue.transfer(Market.SPOT, Market.FUT, Decimal(500))
        await desk.pass_ms(SETTLED_MS)
        row = await desk.row()
        assert row.result is TransferResult.FAIL
        assert "insufficient balance" in (row.message or "")

    assert [moved.amount for moved in play(scene, Fault.LOST_REQUEST).moved()] == [Decimal(500)]


@pytest.mark.parametrize("second", [None, *Fault], ids=lambda fault: fault.name.lower() if fault else "answered")
@pytest.mark.parametrize("first", [None, *Fault], ids=lambda fault: fault.name.lower() if fault else "answered")
def test_two_equal_transfers_in_a_row_both_happen_once(first: Fault | None, second: Fault | None) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("T1")
        while (await desk.ask("T2")).status == 503:
            await desk.pass_ms(5_000)
        await desk.pass_ms(SETTLED_MS)
        rows = [await desk.row("T1"), await desk.row("T2")]
        assert [row.result for row in rows] == [TransferResult.OK] * 2
        assert sorted(str(row.tx_id) for row in rows) == sorted(str(moved.tran_id) for moved in desk.moved())

    # The client's next transfer is asked for when the first is settled, whichever try that took.
    faults = (first, None, second) if first in _NEVER_ARRIVED else (first, second)
    assert len(play(scene, *faults, limits=S1Settings(transfer_usdt_max=Decimal(500))).moved()) == 2


_NEVER_ARRIVED = (Fault.LOST_REQUEST, Fault.NO_SERVICE, Fault.RATE_LIMITED)


def test_while_one_is_open_the_next_of_its_direction_waits_and_the_other_direction_does_not() -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("T1")
        refused = await desk.ask("T2")
        assert (refused.status, refused.body["title"]) == (503, "transfer open")
        assert "T1" in refused.body["detail"]
        assert (await desk.ask("T3", source="FUT", target="SPOT")).body["result"] == "OK"

    assert len(play(scene, Fault.LOST_REQUEST).moved()) == 1


def test_somebody_else_s_equal_movement_is_not_taken_for_ours() -> None:
    async def scene(desk: Desk) -> None:
        await desk.floor.venue.transfer(Market.SPOT, Market.FUT, Decimal(100))
        await desk.pass_ms(10_000)
        await desk.ask()
        await desk.pass_ms(SETTLED_MS)
        assert (await desk.row()).tx_id == str(desk.moved()[1].tran_id)

    assert len(play(scene, Fault.LOST_REQUEST).moved()) == 2


def test_the_exchange_is_not_asked_again_while_its_history_is_closed() -> None:
    async def scene(desk: Desk) -> None:
        lossy: Any = desk.floor.world.venue
        lossy.silent = True
        await desk.ask()
        await desk.pass_ms(SETTLED_MS)
        assert (lossy.asked, (await desk.row()).result) == (1, TransferResult.PENDING)
        lossy.silent = False
        await desk.pass_ms(5_000)
        assert (await desk.row()).result is TransferResult.OK

    assert len(play(scene, Fault.LOST_ANSWER).moved()) == 1


def test_a_try_that_outlived_everything_is_alerted_as_moved_twice() -> None:
    class Slow(Lossy):
        async def transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
            if self.asked:
                return await super().transfer(source, target, amount_usdt)
            self.asked += 1
            moving = self._venue.transfer(source, target, amount_usdt)
            clock = self._venue.clock
            clock.call_at_ms(clock.now_ms() + 35_500, lambda: asyncio.ensure_future(moving))
            raise OutcomeUnknown("lost, and on its way for far too long")

    async def scene(desk: Desk) -> None:
        await desk.ask()
        await desk.pass_ms(SETTLED_MS)
        assert (await desk.row()).result is TransferResult.OK

    desk = play(scene, wrap=lambda lossy: Slow(lossy._venue, (Fault.LOST_ANSWER, Fault.LOST_ANSWER), 1_500))

    assert len(desk.moved()) == 2
    assert [alert.code for alert in desk.of(AlertEvent) if "both were carried out" in alert.message] == ["RECON_FAILED"]


@pytest.mark.parametrize(
    ("result", "moves"),
    [
        pytest.param(TransferResult.PENDING, 0, id="waits for approval"),
        pytest.param(TransferResult.APPROVED, 1, id="approved"),
        pytest.param(TransferResult.REJECTED, 0, id="rejected"),
    ],
)
def test_a_transfer_on_file_is_carried_out_when_it_is_approved(result: TransferResult, moves: int) -> None:
    async def scene(desk: Desk) -> None:
        row = TreasuryTransfer(
            transfer_id="T1",
            from_market=Market.SPOT,
            to_market=Market.FUT,
            amount_usdt=Decimal(100),
            reason="TOP_UP",
            result=result,
            created_at=BEGIN_MS,
            requested_by="s6",
            approved_by="anna" if result is TransferResult.APPROVED else None,
        )
        await desk.floor.world.documents.insert(TREASURY_TRANSFERS, row)
        answer = await desk.ask()
        assert answer.body["result"] == ("OK" if moves else result.value)
        assert (await desk.row()).requested_by == "s6"

    assert len(play(scene).moved()) == moves


class Edges:
    """Exchange, documents or bus, as a process sees them that may die before or after a call that outlives it."""

    def __init__(self, inner: Any, fuse: Fuse, names: Sequence[str]) -> None:
        self._inner = inner
        self._fuse = fuse
        self._names = names

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name not in self._names:
            return call

        async def edged(*args: Any, **kwargs: Any) -> Any:
            what = args[0] if isinstance(args[0], str) else getattr(args[0], "name", name)
            if "treasury" not in f"{what}" and name not in ("transfer", "transfers"):
                self._fuse.alive()
                return await call(*args, **kwargs)
            self._fuse.step(f"before {name}")
            try:
                return await call(*args, **kwargs)
            finally:
                self._fuse.step(f"after {name}")

        return edged


async def run_killed(
    names: Sequence[str], faults: Sequence[Fault | None], *kills: int | None, lag_ms: int = 0, down_ms: int = 2_000
) -> list[str]:
    """Ask for equal transfers one after the other, again after each kill; returns the steps of the first life."""
    timeline = Timeline.open()
    lives: list[list[str]] = []
    told: list[str] = []
    faults = list(faults)
    for at in (*kills, None):
        fuse = Fuse(at)
        floor = await timeline.live(Fuse(None))
        lossy = Lossy(floor.venue, faults, lag_ms)
        lossy._faults = faults  # one story through all lives
        floor.world = replace(
            floor.world,
            venue=Edges(lossy, fuse, ("transfer", "transfers")),
            documents=Edges(timeline.documents, fuse, ("insert", "replace")),
            bus=Edges(floor.world.bus, fuse, ("publish",)),
        )
        desk = Desk(floor, S1Settings(transfer_repeats=5))  # a kill costs a try
        fuse.armed = True
        await until_blown(fuse, _life(desk, names))
        lives.append(fuse.steps)
        told += [str(delivery.message.transfer_id) for delivery in await _transfers(floor)]
        with suppress(asyncio.CancelledError):
            await floor.stop()
        if not fuse.blown.is_set():
            break
        await timeline.clock.sleep_until_ms(timeline.clock.now_ms() + down_ms)
    where = f"{kills}: {[life[-1:] for life in lives]}"
    moved = timeline.exchange.transfers()
    assert len(moved) == len(names), f"{where} moved {len(moved)} times"
    rows = [await timeline.documents.get(TREASURY_TRANSFERS, name) for name in names]
    assert sorted(str(row and row.tx_id) for row in rows) == sorted(str(each.tran_id) for each in moved), where
    assert all(row and row.told_at is not None for row in rows), where
    assert set(told) == set(names), f"{where} told {told}"
    return lives[0]


async def _life(desk: Desk, names: Sequence[str]) -> None:
    await desk.open()
    for name in names:
        while (answer := await desk.ask(name)).body.get("result") != "OK":
            assert answer.status == 503 or answer.body["result"] == "PENDING", answer.body
            await desk.pass_ms(5_000)
    await desk.pass_ms(5_000)


async def _transfers(floor: Floor) -> Sequence[Any]:
    bus: Any = floor.world.bus
    return await bus._inner.recent(f"{ENV}:treasury:transfers", 100)


@pytest.mark.parametrize("fault", [None, *Fault], ids=lambda fault: fault.name.lower() if fault else "answered")
def test_a_kill_at_any_step_moves_each_of_two_equal_transfers_once(fault: Fault | None) -> None:
    names = ("T1", "T2")
    every = run_virtual(run_killed(names, (fault,)))
    assert len(every) >= 16, every

    wrong = sweep(
        run_killed(names, (fault,), at, lag_ms=lag_ms) for at in range(1, len(every) + 1) for lag_ms in (0, 3_000)
    )

    assert not wrong, "\n".join(wrong)


def test_a_second_kill_during_the_recovery_changes_nothing() -> None:
    names = ("T1", "T2")
    faults = (Fault.LOST_ANSWER, Fault.LOST_REQUEST)
    every = run_virtual(run_killed(names, faults))

    wrong = sweep(
        run_killed(names, faults, at, again) for at in range(1, len(every) + 1, 3) for again in range(1 + at % 2, 12, 2)
    )

    assert not wrong, "\n".join(wrong)


def test_a_transfer_that_never_happened_is_not_repeated_when_its_hour_is_over() -> None:
    async def run() -> None:
        timeline = Timeline.open()
        floor = await timeline.live(Fuse(None))
        desk = Desk(floor, S1Settings())
        floor.world = replace(
            floor.world, venue=Lossy(floor.venue, (Fault.LOST_REQUEST,)), documents=timeline.documents
        )
        await desk.open()
        await desk.ask()
        await floor.stop()
        await timeline.clock.sleep_until_ms(timeline.clock.now_ms() + 3_600_000)
        floor = await timeline.live(Fuse(None))
        desk = Desk(floor, S1Settings())
        await desk.open()
        await desk.pass_ms(SETTLED_MS)
        assert (await desk.row()).result is TransferResult.FAIL
        assert desk.moved() == []

    run_virtual(run())

"""What stands between a service and the world: it dies, hangs, is cut off, and whoever asked it learns that."""

import asyncio
from typing import Any

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.contracts.enums import Market, OrderType, Side
from chimera.domain.execution.orders import NewOrder
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerAnswer, PeerCall, PeerUnavailable
from chimera.simulation.attack.process import PeersThrough, Process, Through, call_to
from chimera.simulation.attack.process import Side as To
from chimera.simulation.loop import run_virtual

BEGIN_MS = 1_700_000_000_000


class Store:
    """Something outside that keeps what it was told."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    async def publish(self, what: str) -> str:
        self.kept.append(what)
        return what

    async def place(self, order: NewOrder) -> str:
        self.kept.append(order.client_order_id)
        return order.client_order_id

    async def events(self) -> Any:
        for number in range(3):
            yield number

    def name(self) -> str:
        return "store"


class Deaf:
    """A peer that answers only when it is told to."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def call(self, call: PeerCall) -> PeerAnswer:
        await self.may_answer.wait()
        return PeerAnswer(200, call.path)


def process(told: list[str] | None = None, died: list[Process] | None = None) -> Process:
    said = told if told is not None else []
    gone = died if died is not None else []
    return Process("s4", 1, LoopClock(BEGIN_MS), lambda _, what: said.append(what), gone.append)


def order(name: str = "o-1") -> NewOrder:
    return NewOrder(
        client_order_id=name, market=Market.FUT, symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, qty=None
    )


async def cancelled(work: Any) -> bool:
    try:
        await work
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize(("fuse", "kept"), [(1, []), (2, ["a"]), (3, ["a"]), (4, ["a", "b"])])
def test_it_dies_before_or_after_a_call_and_nothing_more_goes_out(fuse: int, kept: list[str]) -> None:
    async def run() -> None:
        died: list[Process] = []
        one, store = process(died=died), Store()
        bus = Through(store, one, To.BUS)
        one.fuse = fuse
        for what in ("a", "b", "c"):
            if await cancelled(bus.publish(what)):
                break
        assert await cancelled(bus.publish("after death"))
        assert store.kept == kept
        assert died == [one]

    run_virtual(run())


def test_a_call_that_carries_a_duty_is_told_by_what_it_is_about() -> None:
    async def run() -> None:
        told: list[str] = []
        await Through(Store(), process(told), To.VENUE).place(order())
        assert told == ["before venue.place FUT BUY MARKET", "after venue.place FUT BUY MARKET"]

    run_virtual(run())


def test_what_hangs_sees_no_answer_until_it_goes_on() -> None:
    async def run() -> None:
        one, store = process(), Store()
        one.hang()
        asked = asyncio.ensure_future(Through(store, one, To.BUS).publish("a"))
        await asyncio.sleep(5)
        assert (store.kept, asked.done()) == ([], False)
        one.go_on()
        assert await asked == "a"

    run_virtual(run())


def test_a_side_that_is_cut_off_is_down_and_the_others_are_not() -> None:
    async def run() -> None:
        one, store = process(), Store()
        one.cut.add(To.BUS)
        with pytest.raises(DependencyDown):
            await Through(store, one, To.BUS).publish("a")
        assert await Through(store, one, To.STATE).publish("b") == "b"

    run_virtual(run())


def test_a_slow_side_takes_its_time() -> None:
    async def run() -> None:
        one = process()
        one.slow_ms[To.BUS] = 250
        await Through(Store(), one, To.BUS).publish("a")
        assert one.clock.now_ms() == BEGIN_MS + 250

    run_virtual(run())


def test_a_stream_ends_for_who_is_dead() -> None:
    async def run() -> None:
        one = process()
        heard = []
        one.fuse = 3

        async def listen() -> None:
            async for number in Through(Store(), one, To.VENUE).events():
                heard.append(number)

        assert await cancelled(listen())
        assert heard == [0]

    run_virtual(run())


def test_who_asks_a_process_that_dies_has_no_answer() -> None:
    async def run() -> None:
        asking, answering, deaf = process(), process(), Deaf()
        asked = asyncio.ensure_future(PeersThrough(deaf, asking, lambda _: answering).call(PeerCall("s4", "GET", "/x")))
        await asyncio.sleep(1)
        answering.die()
        with pytest.raises(PeerUnavailable, match="connection reset"):
            await asked
        with pytest.raises(PeerUnavailable, match="connection refused"):
            await call_to(answering, deaf, PeerCall("s4", "GET", "/x"))

    run_virtual(run())


def test_who_is_asked_goes_on_when_the_caller_dies() -> None:
    async def run() -> None:
        asking, answering, deaf = process(), process(), Deaf()
        asked = asyncio.ensure_future(PeersThrough(deaf, asking, lambda _: answering).call(PeerCall("s4", "GET", "/x")))
        await asyncio.sleep(1)
        asked.cancel()
        assert await cancelled(asked)
        deaf.may_answer.set()
        await asyncio.sleep(1)
        assert not answering.is_dead

    run_virtual(run())


def test_what_is_no_call_out_passes_as_it_is() -> None:
    async def run() -> None:
        assert Through(Store(), process(), To.BUS).name() == "store"

    run_virtual(run())

"""The exchange's dead-man switch over resting entries: when it runs, what it takes, and when it must not run."""

import itertools
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.documents import DeadManSeen
from chimera.contracts.enums import Intent, IntentState, OrderStatus, OrderType, Purpose, Routing, Side
from chimera.contracts.messages import AlertEvent
from chimera.contracts.messages.orders import ExecPolicy
from chimera.contracts.metrics import AlertCode
from chimera.contracts.settings import S4Settings, SettingsError
from chimera.ports.venue import Capabilities, OutcomeUnknown, VenueUnavailable
from chimera.services.s04_router.dead_man import SEEN, vouches
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled
from tests.services.test_s04_ways import _partly, entries_of, entry, order, record_of
from tests.services.trading_floor import FUT, Floor

D = Decimal
COUNTDOWN_MS = 120_000
UNDER = ("s4", "s5", "s6")


class Elsewhere(Meddled):
    """The exchange by another name, or with less to offer."""

    def __init__(self, inner: Any, name: str = "sim", *, has_switch: bool = True) -> None:
        super().__init__(inner)
        self.name = name
        self.capabilities: Capabilities = replace(inner.capabilities, dead_man_switch=has_switch)


@dataclass(slots=True)
class Watched:
    """`calls` of the switch as (ms since the first service started, countdown)."""

    floor: Floor
    venue: Elsewhere
    calls: list[tuple[int, int]] = field(default_factory=list)
    fails: Exception | None = None

    @property
    def countdowns(self) -> list[int]:
        return [countdown_ms for _, countdown_ms in self.calls]

    def alerts(self) -> list[AlertEvent]:
        return [each for each in self.floor.messages(AlertEvent) if each.code == AlertCode.DEAD_MAN_SWITCH]

    def resting(self) -> set[str]:
        return set(self.floor.resting())


async def watched(
    *,
    countdown_ms: int = COUNTDOWN_MS,
    name: str = "sim",
    has_switch: bool = True,
    seen: DeadManSeen | None = None,
    variables: S4Settings | None = None,
) -> Watched:
    told = (variables or S4Settings()).but(dead_man_ms=countdown_ms)
    floor = await Floor.open("s10", "s1", variables=told)
    made = Watched(floor, Elsewhere(floor.venue, name, has_switch=has_switch))
    began_ms = floor.world.clock.now_ms()

    async def counted(call: Any, symbol: str, countdown_ms: int) -> None:
        assert symbol == "BTCUSDT"
        made.calls.append((floor.world.clock.now_ms() - began_ms, countdown_ms))
        if made.fails is not None:
            raise made.fails
        await call(symbol, countdown_ms)

    made.venue.instead["cancel_all_after"] = counted
    floor.world = replace(floor.world, venue=made.venue)
    if seen is not None:
        await floor.world.documents.put(SEEN, seen)
    await floor.start(*UNDER)
    return made


def limit(floor: Floor, name: str = "E1", **more: Any) -> Any:
    return entry(floor, name, type=OrderType.LIMIT, price=D(59500), **more)


def adding(floor: Floor) -> Any:
    """A limit order that adds to the trade E1."""
    return limit(floor, "E2", parent_id="E1", purpose=Purpose.ADD)


def stops(floor: Floor) -> list[Decimal]:
    """How much the stops that rest cover."""
    return [qty for kind, qty, _ in floor.resting().values() if kind == "STOP_MARKET"]


def leaving(floor: Floor, name: str = "X1") -> Any:
    """A limit order of ours that takes the trade E1 down, far from the market."""
    return entry(
        floor,
        name,
        parent_id="E1",
        side=Side.SELL,
        intent=Intent.EXIT,
        purpose=Purpose.EXIT,
        reduce_only=True,
        sl=None,
        leverage=None,
        expires_at=None,
        type=OrderType.LIMIT,
        price=D(61000),
    )


# --- when it runs


def test_it_runs_while_an_entry_rests_and_ends_with_it() -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor
        # An earlier process may have left one running.
        assert made.countdowns == [0]

        await order(floor, limit(floor))
        await floor.settle(3 * COUNTDOWN_MS)
        renewed = made.calls[1:]
        assert {countdown_ms for _, countdown_ms in renewed} == {COUNTDOWN_MS}
        gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(renewed)]
        assert gaps
        assert all(COUNTDOWN_MS // 3 <= gap < COUNTDOWN_MS // 2 for gap in gaps)
        assert len(renewed) >= 8
        assert made.resting() == {"s3-btc-e1"}

        answer = await floor.call("s4", "POST", "/cancel", {"intent_id": "E1"})
        assert answer.ok, answer.body
        await floor.settle(2 * COUNTDOWN_MS)
        assert made.countdowns[1 + len(renewed) :] == [0]
        assert made.alerts() == []
        await floor.stop()

    run_virtual(scenario())


def test_a_quote_is_covered_as_long_as_it_rests() -> None:
    async def scenario() -> None:
        made = await watched()
        await order(made.floor, entry(made.floor, exec_policy=ExecPolicy(maker_wait_ms=1_000)))
        await made.floor.settle(10_000)

        assert made.countdowns == [0, COUNTDOWN_MS, 0]
        assert made.floor.position_qty() == D("0.004")
        assert "LIMIT" not in {what[0] for what in made.floor.resting().values()}
        await made.floor.stop()

    run_virtual(scenario())


def test_a_market_entry_and_its_protection_need_none() -> None:
    async def scenario() -> None:
        made = await watched()
        await made.floor.enter(sl="59000", tp="61000")
        await made.floor.settle(60_000)

        assert made.countdowns == [0]
        await made.floor.stop()

    run_virtual(scenario())


# --- when it must not


def test_it_is_off_unless_it_is_set() -> None:
    async def scenario() -> None:
        made = await watched(countdown_ms=0)
        await order(made.floor, limit(made.floor))
        await made.floor.settle(60_000)

        assert made.calls == []
        assert made.alerts() == []
        await made.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("venue", "has_switch", "seen_at", "runs"),
    [
        ("sim", True, None, True),
        ("paper", True, None, True),
        ("sim", False, None, False),
        ("testnet", True, None, False),
        ("testnet", True, "testnet", True),
        ("testnet", False, "testnet", False),
        ("live", True, None, False),
        ("live", True, "testnet", True),
        ("live", True, "live", True),
        # What our own server does says nothing of the exchange.
        ("live", True, "local", False),
        ("testnet", True, "local", False),
        ("testnet", True, "live", False),
        ("local", True, "local", True),
    ],
)
def test_it_is_off_until_it_was_seen_to_spare_stops(
    venue: str, has_switch: bool, seen_at: str | None, runs: bool
) -> None:
    async def scenario() -> None:
        seen = None if seen_at is None else DeadManSeen(venue=seen_at, seen_at=1, updated_at=1)
        made = await watched(name=venue, has_switch=has_switch, seen=seen)
        await order(made.floor, limit(made.floor))
        await made.floor.settle(60_000)

        assert bool(made.calls) is runs
        assert vouches(seen, venue) is runs or not has_switch
        told = made.alerts()
        assert len(told) == (0 if runs else 1)
        if not runs:
            remedy = "chimera doctor --venue testnet --dead-man" if has_switch else "Unset it"
            assert remedy in told[0].message
        await made.floor.stop()

    run_virtual(scenario())


def test_a_resting_exit_of_ours_ends_it_before_it_could_be_taken() -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor
        await floor.enter(sl="59000", tp=None)
        await order(floor, adding(floor))
        await floor.settle(5_000)
        assert made.countdowns == [0, COUNTDOWN_MS]

        await order(floor, leaving(floor))
        await floor.settle(3 * COUNTDOWN_MS)
        assert made.countdowns == [0, COUNTDOWN_MS, 0]
        assert {"s3-btc-e2", "s3-btc-x1"} <= made.resting()

        answer = await floor.call("s4", "POST", "/cancel", {"intent_id": "X1"})
        assert answer.ok, answer.body
        await floor.settle(5_000)
        assert made.countdowns == [0, COUNTDOWN_MS, 0, COUNTDOWN_MS]
        await floor.stop()

    run_virtual(scenario())


def test_what_a_person_rests_there_is_not_taken_either() -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor
        await order(floor, limit(floor))
        await floor.settle(5_000)
        await floor.by_hand("mine", Side.BUY, "0.002", type=OrderType.LIMIT, price=D(58000))
        await floor.settle(2 * COUNTDOWN_MS)

        assert made.countdowns == [0, COUNTDOWN_MS, 0]
        assert made.resting() == {"s3-btc-e1", "mine"}

        await floor.venue.cancel(FUT, "mine", conditional=False)
        await floor.settle(COUNTDOWN_MS)
        assert made.countdowns[3:]
        assert set(made.countdowns[3:]) == {COUNTDOWN_MS}
        await floor.stop()

    run_virtual(scenario())


def test_after_a_restart_a_resting_exit_is_known_before_anything_is_set() -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor
        await floor.enter(sl="59000", tp=None)
        await order(floor, leaving(floor))
        await floor.settle(5_000)
        await floor.stop("s4")
        await floor.start("s4")
        await order(floor, adding(floor))
        await floor.settle(2 * COUNTDOWN_MS)

        assert set(made.countdowns) == {0}
        assert {"s3-btc-e2", "s3-btc-x1"} <= made.resting()
        await floor.stop()

    run_virtual(scenario())


# --- what it takes


def test_a_process_that_died_leaves_no_entry_behind_and_what_filled_keeps_its_stop() -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor
        await order(floor, entry(floor, type=OrderType.LIMIT, price=D(59999)))
        await _partly(floor, "0.003")
        await floor.settle(5_000)
        assert made.resting() > {"s3-btc-e1"}

        await floor.stop("s4")
        await floor.settle(COUNTDOWN_MS + 2_000)
        assert "LIMIT" not in {what[0] for what in floor.resting().values()}
        assert stops(floor) == [D("0.003")]

        await floor.start("s4")
        await floor.settle(5_000)
        record = await record_of(floor)
        (first,) = await entries_of(floor)
        assert (record.state, record.filled_qty) == (IntentState.DONE, D("0.003"))
        assert (first.status, first.filled_qty) == (OrderStatus.CANCELED, D("0.003"))
        assert floor.position_qty() == D("0.003")
        assert stops(floor) == [D("0.003")]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize(
    "failure", [VenueUnavailable("cut off"), OutcomeUnknown("cut off")], ids=lambda each: type(each).__name__
)
def test_an_entry_that_the_exchange_takes_ends_like_any_that_somebody_takes(filled: bool, failure: Exception) -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor
        await order(floor, entry(floor, type=OrderType.LIMIT, price=D(59999)))
        if filled:
            await _partly(floor, "0.003")
        await floor.settle(5_000)

        made.fails = failure
        await floor.settle(COUNTDOWN_MS + 2_000)

        record = await record_of(floor)
        (first,) = await entries_of(floor)
        assert first.status is OrderStatus.CANCELED
        if filled:
            assert (record.state, record.filled_qty) == (IntentState.DONE, D("0.003"))
            assert stops(floor) == [D("0.003")]
            assert "LIMIT" not in {what[0] for what in floor.resting().values()}
        else:
            assert (record.state, record.filled_qty) == (IntentState.CANCELED, D(0))
            assert floor.resting() == {}
        assert floor.position_qty() == D("0.003" if filled else 0)
        # Told once, though it was tried over and over.
        assert len(made.calls) > 20
        assert len(made.alerts()) == 1

        made.fails = None
        await floor.settle(5_000)
        tried = len(made.calls)
        await floor.settle(2 * COUNTDOWN_MS)
        assert made.countdowns[-1] == 0
        assert len(made.calls) == tried
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("routing", [Routing.AUTO, Routing.MAKER_ONLY])
def test_a_quote_that_the_exchange_takes_ends_as_one_that_a_person_takes(routing: Routing) -> None:
    async def ended(by_the_switch: bool) -> tuple[Any, ...]:
        made = await watched(countdown_ms=30_000, variables=S4Settings(maker_max_wait_ms=60_000))
        floor = made.floor
        policy = ExecPolicy(routing=routing, maker_wait_ms=60_000)
        await order(floor, entry(floor, exec_policy=policy, expires_at=None))
        await floor.settle(1_000)
        assert "s3-btc-e1" in made.resting()
        made.fails = VenueUnavailable("cut off") if by_the_switch else None
        await floor.settle(20_000)
        if not by_the_switch:
            await floor.venue.cancel(FUT, "s3-btc-e1", conditional=False)
        await floor.settle(20_000)
        record = await record_of(floor)
        shown = [(each.status, each.type, each.filled_qty) for each in await entries_of(floor)]
        assert shown[0][0] is OrderStatus.CANCELED
        await floor.stop()
        return record.state, record.filled_qty, floor.position_qty(), stops(floor), shown

    by_switch, by_person = run_virtual(ended(True)), run_virtual(ended(False))

    assert by_switch[0].is_final
    assert by_switch == by_person


def test_a_switch_that_hangs_delays_no_order() -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor

        async def hangs(call: Any, symbol: str, countdown_ms: int) -> None:
            await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 3_600_000)

        made.venue.instead["cancel_all_after"] = hangs
        await order(floor, limit(floor))
        await floor.settle(2_000)
        assert made.resting() == {"s3-btc-e1"}

        assert (await floor.call("s4", "POST", "/cancel", {"intent_id": "E1"})).ok
        await floor.settle(2_000)
        assert (await record_of(floor)).state is IntentState.CANCELED
        await floor.enter("E2", sl="59000", tp=None)
        assert (await record_of(floor, "E2")).state is IntentState.DONE
        await floor.stop()

    run_virtual(scenario())


def test_a_failure_is_told_again_after_it_has_worked_in_between() -> None:
    async def scenario() -> None:
        made = await watched()
        floor = made.floor
        await order(floor, limit(floor))
        for told in (1, 2):
            made.fails = VenueUnavailable("cut off")
            await floor.settle(COUNTDOWN_MS // 2)
            assert len(made.alerts()) == told
            made.fails = None
            await floor.settle(COUNTDOWN_MS // 2)
        assert made.resting() == {"s3-btc-e1"}
        await floor.stop()

    run_virtual(scenario())


# --- the setting


@pytest.mark.parametrize("text", ["1", "29999", "-1", "3600001"])
def test_a_countdown_that_could_not_be_renewed_in_time_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="S4_DEAD_MAN_MS"):
        S4Settings.from_env({"S4_DEAD_MAN_MS": text})


@pytest.mark.parametrize("text", ["0", "30000", "120000", "3600000"])
def test_a_countdown_that_can_be_is_taken(text: str) -> None:
    assert S4Settings.from_env({"S4_DEAD_MAN_MS": text}).dead_man_ms == int(text)

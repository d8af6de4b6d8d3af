import pytest

from chimera.adapters.binance.budget import Budget, Priority, budget_key
from chimera.adapters.binance.hosts import Site
from chimera.adapters.memory.state import MemorySnapshots
from chimera.ports.state import Snapshots, StateUnavailable
from chimera.ports.venue import RateLimited
from tests.ports.hand_clock import HandClock, let_others_run

KEY = budget_key("test", "binance", "10.0.0.1")
MINUTE_MS = 60_000
START_MS = 1_700_000_040_000
"""The first ms of a minute."""


def clock_at(ms_into_minute: int = 0, speed: float = 1.0) -> HandClock:
    return HandClock(speed=speed, at_ms=START_MS + ms_into_minute)


def budget_of(clock: HandClock, snapshots: Snapshots | None = None) -> Budget:
    return Budget(clock, snapshots, KEY)


def take(budget: Budget, weight: int = 1, orders: int = 0, priority: Priority = Priority.ENTRY) -> None:
    budget.take(Site.FUTURES, weight=weight, orders=orders, priority=priority)


@pytest.mark.parametrize(
    ("used", "goes"),
    [
        pytest.param(1_700, {"PROTECTIVE", "ENTRY", "DATA"}, id="plenty"),
        pytest.param(1_900, {"PROTECTIVE", "ENTRY"}, id="what may wait makes room"),
        pytest.param(2_159, {"PROTECTIVE", "ENTRY"}, id="the last that is not kept"),
        pytest.param(2_160, {"PROTECTIVE"}, id="a tenth is left, and kept for stops"),
        pytest.param(2_500, {"PROTECTIVE"}, id="over the limit stops still go"),
    ],
)
def test_who_may_ask_follows_from_what_is_left(used: int, goes: set[str]) -> None:
    clock = clock_at()
    went = set()
    for priority in Priority:
        budget = budget_of(clock)
        budget.learn(Site.FUTURES, {"x-mbx-used-weight-1m": str(used)}, clock.now_ms())
        try:
            take(budget, priority=priority)
        except RateLimited:
            continue
        went.add(priority.name)

    assert went == goes


async def test_a_refusal_says_when_the_window_turns_and_then_it_goes() -> None:
    clock = clock_at(45_000)
    budget = budget_of(clock)
    take(budget, weight=2_160, priority=Priority.PROTECTIVE)

    with pytest.raises(RateLimited, match="2160 of 2400") as refused:
        take(budget)
    await clock.advance(refused.value.retry_after_ms)
    take(budget)

    assert refused.value.retry_after_ms == 15_000
    assert budget.used(Site.FUTURES)["weight_1m"] == (1, 2_400)


async def test_on_a_faster_clock_windows_keep_their_real_length() -> None:
    clock = clock_at(speed=10.0)
    budget = budget_of(clock)
    take(budget, weight=2_160, priority=Priority.PROTECTIVE)

    with pytest.raises(RateLimited) as refused:
        take(budget)
    await clock.advance(10 * refused.value.retry_after_ms)
    take(budget)

    assert 0 < refused.value.retry_after_ms <= MINUTE_MS


def test_orders_have_limits_of_their_own() -> None:
    budget = budget_of(clock_at())
    for _ in range(270):
        take(budget, weight=0, orders=1)

    with pytest.raises(RateLimited, match="orders_10s"):
        take(budget, weight=0, orders=1)
    take(budget, weight=0, orders=1, priority=Priority.PROTECTIVE)
    take(budget, weight=1)


def test_an_answer_from_before_the_turn_says_nothing_of_this_window() -> None:
    clock = clock_at(59_990)
    budget = budget_of(clock)
    sent_at_ms = clock.now_ms()
    clock.at_ms += 20

    budget.learn(Site.FUTURES, {"x-mbx-used-weight-1m": "2390"}, sent_at_ms)

    take(budget)


def test_limits_are_those_of_the_exchange() -> None:
    clock = clock_at()
    budget = budget_of(clock)

    budget.learn_limits(
        Site.FUTURES,
        [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 50},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        ],
    )

    used = budget.used(Site.FUTURES)
    assert (used["weight_1m"][1], used["orders_10s"][1], used["orders_1m"][1]) == (6_000, 50, 1_200)


async def test_after_a_429_only_stops_go_until_it_ends() -> None:
    clock = clock_at()
    budget = budget_of(clock)

    budget.limit(Site.FUTURES, 5_000)
    with pytest.raises(RateLimited) as refused:
        take(budget)
    take(budget, priority=Priority.PROTECTIVE)
    budget.take(Site.SPOT, weight=1, orders=0, priority=Priority.DATA)
    await clock.advance(5_000)
    take(budget)

    assert refused.value.retry_after_ms == 5_000


async def test_during_a_ban_nothing_goes() -> None:
    clock = clock_at()
    budget = budget_of(clock)

    budget.ban(Site.FUTURES, 120_000)
    for priority in Priority:
        with pytest.raises(RateLimited, match="banned"):
            take(budget, priority=priority)
    await clock.advance(120_000)

    take(budget)


async def test_processes_behind_one_address_share_what_is_used_and_what_is_forbidden() -> None:
    clock = clock_at()
    snapshots = MemorySnapshots(clock)
    one, other = budget_of(clock, snapshots), budget_of(clock, snapshots)
    take(one, weight=2_300, priority=Priority.PROTECTIVE)
    one.ban(Site.SPOT, 300_000)
    await one.close()

    await other.share()

    with pytest.raises(RateLimited, match="2300 of 2400"):
        take(other)
    with pytest.raises(RateLimited, match="banned"):
        other.take(Site.SPOT, weight=1, orders=0, priority=Priority.PROTECTIVE)


async def test_a_ban_outlives_the_keys_usual_life() -> None:
    clock = clock_at()
    snapshots = MemorySnapshots(clock)
    one, late = budget_of(clock, snapshots), budget_of(clock, snapshots)
    one.ban(Site.FUTURES, 600_000)
    await one.close()

    await clock.advance(590_000)
    await late.share()

    with pytest.raises(RateLimited, match="banned"):
        take(late)


async def test_what_was_used_in_another_window_is_forgotten() -> None:
    clock = clock_at()
    snapshots = MemorySnapshots(clock)
    one, other = budget_of(clock, snapshots), budget_of(clock, snapshots)
    take(one, weight=2_300, priority=Priority.PROTECTIVE)
    await one.share()

    await clock.advance(MINUTE_MS)
    await other.share()

    take(other)


async def test_no_call_waits_for_a_store_that_is_down() -> None:
    class Down(MemorySnapshots):
        async def get_hash(self, key: str) -> dict[str, str]:
            raise StateUnavailable("down")

    clock = clock_at()
    budget = budget_of(clock, Down(clock))

    await budget.share()
    take(budget)
    await clock.advance(2_000)
    take(budget)
    await let_others_run()
    await budget.close()

    assert budget.used(Site.FUTURES)["weight_1m"][0] == 2

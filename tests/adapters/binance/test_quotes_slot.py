import pytest

from chimera.adapters.binance.quotes_slot import PriceGuard
from chimera.adapters.binance.refused import BadEvent
from chimera.adapters.binance.ws import ConnectGate
from chimera.adapters.clocks import LoopClock
from chimera.simulation.loop import run_virtual


def passes(guard: PriceGuard, price: float, now_ms: int) -> bool:
    try:
        guard.check(price, now_ms)
    except BadEvent:
        return False
    return True


@pytest.fixture
def guard() -> PriceGuard:
    guard = PriceGuard(believed_ms=10_000, stale_ms=60_000)
    guard.check(100.0, 1_000)
    return guard


@pytest.mark.parametrize(("price", "passed"), [(101.0, True), (199.0, True), (1_000.0, False), (10.0, False)])
def test_a_jump_is_refused_and_the_price_before_goes_on(guard: PriceGuard, price: float, passed: bool) -> None:
    assert passes(guard, price, 1_100) is passed
    assert passes(guard, 100.5, 1_200)


def test_a_jump_repeated_long_enough_is_believed(guard: PriceGuard) -> None:
    assert [passes(guard, 1_000.0 + at, 2_000 + at * 2_000) for at in range(7)] == [False] * 5 + [True] * 2


def test_wild_numbers_are_never_believed(guard: PriceGuard) -> None:
    assert not any(passes(guard, 1_000.0 * 2**at, 2_000 + at * 2_000) for at in range(20))


def test_a_price_long_past_says_nothing(guard: PriceGuard) -> None:
    assert passes(guard, 1_000.0, 62_000)


def test_connections_beyond_the_limit_wait_for_the_window() -> None:
    async def scenario() -> None:
        clock = LoopClock(0, speed=10.0)
        gate = ConnectGate(clock, most=3, window_ms=1_000)
        entered = []
        for _ in range(7):
            await gate.enter()
            entered.append(clock.now_ms())

        # In real time: the market's is ten times as fast.
        assert entered == [0, 0, 0, 10_000, 10_000, 10_000, 20_000]

    run_virtual(scenario())

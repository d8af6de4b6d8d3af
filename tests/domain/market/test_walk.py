"""A walked bar shows all it has, nothing it has not, and the bad news first where that is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Side
from chimera.domain.market.walk import ExtremeOrder, Walker, tick_offsets_ms

PRICES = st.lists(st.floats(1e-6, 1e8, allow_nan=False), min_size=4, max_size=4).map(sorted)


def walker(
    ticks: int = 4, order: ExtremeOrder = ExtremeOrder.SEEDED, *, seed: int = 7, symbol: str = "BTCUSDT"
) -> Walker:
    return Walker(seed, symbol, ticks_per_minute=ticks, order=order)


@given(prices=PRICES, up=st.booleans(), ticks=st.integers(1, 60), minute=st.integers(0, 40_000_000))
def test_the_path_stays_in_the_bar_and_ends_on_its_close(
    prices: list[float], up: bool, ticks: int, minute: int
) -> None:
    low, a, b, high = prices
    open_, close = (a, b) if up else (b, a)

    path = walker(ticks).path(minute * 60_000, open_, high, low, close)

    assert len(path) == ticks
    assert path[-1] == close
    assert all(low <= price <= high for price in path)
    assert path == walker(ticks).path(minute * 60_000, open_, high, low, close)
    if ticks >= 4:
        assert path[0] == open_
        assert {low, high} <= set(path)


@pytest.mark.parametrize(
    ("side", "path"),
    [
        pytest.param(Side.BUY, (10.0, 8.0, 12.0, 11.0), id="a long meets the low first"),
        pytest.param(Side.SELL, (10.0, 12.0, 8.0, 11.0), id="a short meets the high first"),
    ],
)
def test_pessimism_shows_the_extreme_that_hurts_first(side: Side, path: tuple[float, ...]) -> None:
    for minute in range(20):
        assert walker(4, ExtremeOrder.PESSIMISTIC).path(minute * 60_000, 10.0, 12.0, 8.0, 11.0, side) == path


@pytest.mark.parametrize("ticks", [2, 3, 5, 6, 12, 60])
def test_pessimism_holds_for_any_number_of_ticks(ticks: int) -> None:
    for minute in range(20):
        path = walker(ticks, ExtremeOrder.PESSIMISTIC).path(minute * 60_000, 10.0, 12.0, 8.0, 11.0, Side.BUY)
        assert 8.0 in path
        assert 12.0 not in path[: path.index(8.0)]


def test_a_seeded_order_ignores_the_position_and_is_fair() -> None:
    walks = walker(4, ExtremeOrder.SEEDED)
    flat = [walks.path(minute * 60_000, 10.0, 12.0, 8.0, 11.0) for minute in range(1_000)]

    assert flat == [walks.path(minute * 60_000, 10.0, 12.0, 8.0, 11.0, Side.BUY) for minute in range(1_000)]
    assert 420 < sum(path[1] == 8.0 for path in flat) < 580


def test_another_seed_or_symbol_is_another_path() -> None:
    def some(walks: Walker) -> list[tuple[float, ...]]:
        return [walks.path(minute * 60_000, 10.0, 12.0, 8.0, 11.0) for minute in range(64)]

    assert some(walker()) != some(walker(seed=8))
    assert some(walker()) != some(walker(symbol="ETHUSDT"))


def test_ticks_are_spread_over_the_minute() -> None:
    assert tick_offsets_ms(4) == (0, 15_000, 30_000, 45_000)
    assert tick_offsets_ms(1) == (0,)


def test_no_ticks_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="ticks_per_minute is 0; it must be within 1 and 60000"):
        walker(0)

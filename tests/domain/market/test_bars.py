"""Longer bars: the same by the vectorised and the incremental way, and none where a part is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.bars import BarSeries, aggregate, bars_per, concat, empty
from tests.domain.market.rolling import roll

KEY = InstrumentKey(Market.FUT, "BTCUSDT")
MINUTE = 60_000


def minutes(present: list[int], start_minute: int = 0, seed: int = 1) -> BarSeries:
    chance = np.random.default_rng(seed)
    price = 100.0 + chance.standard_normal((4, len(present)))
    return BarSeries(
        interval="1m",
        open_time=(np.array(present, dtype=np.int64) + start_minute) * MINUTE,
        open=price[0],
        high=price.max(axis=0),
        low=price.min(axis=0),
        close=price[1],
        volume=chance.random(len(present)) * 10,
    )


@given(
    count=st.integers(0, 3_000),
    start=st.integers(0, 5_000),
    missing=st.sets(st.integers(0, 3_000), max_size=5),
    seed=st.integers(0, 1_000),
    interval=st.sampled_from(["1m", "5m", "15m", "1h", "4h", "1d"]),
)
def test_both_ways_to_aggregate_agree_to_the_last_bit(
    count: int, start: int, missing: set[int], seed: int, interval: str
) -> None:
    series = minutes([k for k in range(count) if k not in missing], start, seed)

    assert aggregate(series, interval).to_bars(KEY) == roll(series.to_bars(KEY), "1m", interval)


def test_aggregating_in_two_steps_gives_the_same_prices() -> None:
    series = minutes(list(range(2_880)))

    direct, stepped = aggregate(series, "1d"), aggregate(aggregate(series, "1h"), "1d")

    for column in ("open_time", "open", "high", "low", "close"):
        assert np.array_equal(getattr(direct, column), getattr(stepped, column))
    assert np.allclose(direct.volume, stepped.volume)


def test_a_bucket_with_a_missing_minute_is_no_bar() -> None:
    series = minutes([k for k in range(15) if k != 7])

    assert aggregate(series, "5m").open_time.tolist() == [0, 10 * MINUTE]


@pytest.mark.parametrize(
    ("start", "end", "times"),
    [
        pytest.param(0, 180_000, [0, 60_000, 120_000], id="a bar that ends at the end is closed"),
        pytest.param(1, 179_999, [60_000], id="neither a begun first nor an unfinished last"),
        pytest.param(180_000, 0, [], id="backwards is empty"),
    ],
)
def test_a_window_holds_closed_bars_only(start: int, end: int, times: list[int]) -> None:
    assert minutes(list(range(10))).within(start, end).open_time.tolist() == times


def test_parts_join_to_the_whole() -> None:
    series = minutes(list(range(10)))

    joined = concat([series.rows(0, 4), series.rows(4, 10)])

    assert joined.to_bars(KEY) == series.to_bars(KEY)
    assert (joined.start_ms, joined.end_ms, len(joined)) == (0, 10 * MINUTE, 10)
    assert len(empty("1m")) == 0


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        pytest.param("1h", "1m", "1m bars cannot be made of 1h bars", id="shorter"),
        pytest.param("1m", "7m", "interval '7m' is not one of 1m, 5m", id="unknown"),
    ],
)
def test_impossible_intervals_are_refused(source: str, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bars_per(source, target)

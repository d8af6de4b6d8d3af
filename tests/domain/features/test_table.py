"""Both forms of every factor say the same: the same values, stale at the same moments, for the same reasons."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.adapters.kline_files import load_klines
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.feature_book import FeatureSnapshot
from chimera.domain.features.registry import FACTOR_IDS
from chimera.domain.features.table import FeatureHistory, FeatureTable, Quotes, feature_table
from chimera.domain.market.bars import BarSeries, Times
from tests.domain.features.histories import (
    DERIVED,
    MAX_AGE,
    MIN_MOVE,
    MINUTE,
    START,
    Life,
    Trouble,
    history,
    moments,
)


def table_of(past: FeatureHistory, at: Times, specs: tuple[FactorSpec, ...] = DERIVED) -> FeatureTable:
    return feature_table(past, at, max_age_ms=MAX_AGE, min_move=MIN_MOVE, derived=specs)


def lived(past: FeatureHistory, at: Times, specs: tuple[FactorSpec, ...] = DERIVED) -> list[FeatureSnapshot]:
    life = Life(past, specs)
    return [life.at(t0) for t0 in at.tolist()]


def assert_same(table: FeatureTable, snapshots: list[FeatureSnapshot]) -> None:
    for number, snapshot in enumerate(snapshots):
        values, flags = table.row(number)
        assert dict(snapshot.flags) == flags, snapshot.t0
        assert set(snapshot.values) == set(values)
        for name, value in values.items():
            assert abs(value - snapshot.values[name]) <= 1e-9 * max(1.0, abs(value)), (snapshot.t0, name)


troubles = st.builds(
    Trouble,
    missing=st.sampled_from((0.0, 0.0005, 0.01)),
    outlier=st.sampled_from((0.0, 0.001, 0.02)),
    crossed=st.sampled_from((0.0, 0.05)),
    broken=st.sampled_from((0.0, 0.05)),
    still=st.sampled_from((0.0, 0.3, 0.999)),
    silent_hours=st.integers(0, 30),
    huge=st.booleans(),
)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    trouble=troubles,
    market=st.sampled_from(Market),
    minutes=st.integers(1, 3_200),
    without=st.sets(st.sampled_from(("hours", "twd", "lead", "quotes", "fundings"))),
)
def test_both_forms_agree_whatever_the_history(
    seed: int, trouble: Trouble, market: Market, minutes: int, without: set[str]
) -> None:
    past = history(seed, minutes=minutes, trouble=trouble, market=market)
    past = FeatureHistory(**{name: None if name in without else getattr(past, name) for name in past.__slots__})
    at = moments(past, seed, 150)

    assert_same(table_of(past, at), lived(past, at))


def test_the_histories_make_every_factor_fresh_and_every_reason_appear() -> None:
    """Else the agreement above would be about nothing."""
    seen: dict[str, set[int]] = {}
    for seed in range(6):
        past = history(seed, minutes=3_200, trouble=Trouble(missing=0.0004, outlier=0.002 * (seed % 2)))
        for name, codes in table_of(past, moments(past, seed, 400)).codes.items():
            seen.setdefault(name, set()).update(codes.tolist())

    never_fresh = {name for name, codes in seen.items() if 0 not in codes}
    assert never_fresh == {"rv_pctile_30d"}, "no history here is a month long"
    assert set().union(*seen.values()) == set(range(7)), "fresh, and each reason not to be"
    assert {*FACTOR_IDS, *(spec.factor_id for spec in DERIVED)} == set(seen)


@pytest.mark.parametrize(
    ("jump", "highest"),
    [pytest.param(4.0, 30.0, id="a value"), pytest.param(1e6, 0.0, id="beyond the range of the factor")],
)
def test_a_huge_return_leaves_no_trace_behind_its_day(jump: float, highest: float) -> None:
    past = history(3, minutes=4_400, trouble=Trouble(missing=0.0, still=0.0, outlier=0.0))
    close = past.minutes.close.copy()
    close[1_500] *= jump
    spiked = BarSeries(
        interval="1m",
        open_time=past.minutes.open_time,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=past.minutes.volume,
    )
    past = FeatureHistory(market=Market.FUT, minutes=spiked)
    at = spiked.open_time[1_490:] + MINUTE

    table = table_of(past, at)

    assert_same(table, lived(past, at))
    rv = table.values["rv_1d"]
    assert np.nanmax(rv) > highest
    assert np.nanmin(rv[1_451:]) > 0.1
    assert np.nanmax(rv[1_451:]) < 1.0


def real_minutes(symbol: str) -> tuple[FeatureHistory, Times]:
    shared = os.environ.get("CHIMERA_SHARED")
    if not shared:
        pytest.skip("CHIMERA_SHARED is not set: the real klines cannot be read")
    loaded = load_klines(Path(shared) / "data" / "typhonun-usdm-2025", ["BTCUSDT", "ETHUSDT"])
    minutes = loaded.bars[InstrumentKey(Market.FUT, symbol)]
    lead = loaded.bars[InstrumentKey(Market.FUT, "BTCUSDT")]
    half = minutes.close * 1e-5
    quotes = Quotes(
        ts=minutes.open_time + MINUTE + 20_000,
        bid=minutes.close - half,
        ask=minutes.close + half,
        bid_qty=minutes.volume,
        ask_qty=minutes.volume + 1.0,
    )
    at = np.sort(np.concatenate([minutes.open_time[::23] + MINUTE, minutes.open_time[::101] + 95_000]))
    return FeatureHistory(market=Market.FUT, minutes=minutes, twd=lead, lead=lead, quotes=quotes), at


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_both_forms_agree_on_real_klines(symbol: str) -> None:
    past, at = real_minutes(symbol)

    table = table_of(past, at)

    assert_same(table, lived(past, at))
    warm = {name for name, codes in table.codes.items() if (codes == 0).any()}
    assert {"rv_pctile_30d", "rho_usdttwd_14", "zscore_ret_1h_24h", "ret_24h", "atr_1m_14"} <= warm


def test_times_that_do_not_ascend_are_refused() -> None:
    past = history(1, minutes=10)

    with pytest.raises(ValueError, match=r"at\[1\] = .* comes after .*; sort the rows"):
        table_of(past, np.array([START + 1, START], dtype=np.int64))


def test_no_moments_give_empty_columns() -> None:
    table = table_of(history(1, minutes=10), np.empty(0, dtype=np.int64))

    assert {len(column) for column in table.values.values()} == {0}

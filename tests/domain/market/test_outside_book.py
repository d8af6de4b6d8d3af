"""The modelled book: on the grid, never crossed, wide and thin in storms, the same whoever looks."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.market.instrument import Instrument
from chimera.domain.market.outside_book import (
    BookConfig,
    BookModel,
    bar_range_bps,
    book_config_for,
    next_mark,
)
from chimera.domain.market.quotes import BookTop
from tests.domain.builders import BTC_FUT, BTC_SPOT

CALM, STORM = 9.0, 120.0


def model(instrument: Instrument = BTC_FUT, seed: int = 7) -> BookModel:
    return BookModel(seed, instrument, book_config_for(instrument))


def pictures(range_bps: float, count: int = 4_000) -> list[BookTop]:
    books = model()
    return [books.top(1_700_000_000_000 + 15_000 * k, 65_400.0, range_bps) for k in range(count)]


def spread_bps(top: BookTop) -> float:
    return float((top.ask - top.bid) / top.mid) * 1e4


def top1_usdt(top: BookTop) -> float:
    return float(min(top.bids[0][0] * top.bids[0][1], top.asks[0][0] * top.asks[0][1]))


@given(
    ts=st.integers(0, 4_000_000_000_000),
    price=st.floats(0.05, 500_000.0),
    range_bps=st.floats(0.0, 5_000.0),
    instrument=st.sampled_from([BTC_FUT, BTC_SPOT, replace(BTC_FUT, symbol="PEPEUSDT", step_size=Decimal(1))]),
    levels=st.integers(1, 5),
)
def test_a_book_is_on_the_grid_and_never_crossed(
    ts: int, price: float, range_bps: float, instrument: Instrument, levels: int
) -> None:
    config = replace(book_config_for(instrument), levels=levels)

    top = BookModel(7, instrument, config).top(ts, price, range_bps)

    assert 1 <= len(top.bids) <= len(top.asks) == levels
    assert 0 < top.bid <= top.last <= top.ask
    assert top.bid < top.ask
    assert [p for p, _ in top.bids] == sorted({p for p, _ in top.bids}, reverse=True)
    assert [p for p, _ in top.asks] == sorted({p for p, _ in top.asks})
    for level_price, qty in (*top.bids, *top.asks):
        assert instrument.price_on_tick(level_price)
        assert instrument.qty_on_step(qty)
        assert qty > 0
    assert top == BookModel(7, instrument, config).top(ts, price, range_bps)


def test_what_was_asked_before_changes_no_picture() -> None:
    fresh, used = model(), model()
    for k in range(500):
        used.top(k, 60_000.0 + k, float(k))

    assert used.top(1_000, 65_400.0, CALM) == fresh.top(1_000, 65_400.0, CALM)


def test_a_calm_book_is_tight_and_deep() -> None:
    tops = pictures(CALM)
    spreads, depths = [spread_bps(top) for top in tops], [top1_usdt(top) for top in tops]

    assert 0.01 < float(np.median(spreads)) < 0.15
    assert float(np.mean(np.array(spreads) > 3.0)) < 0.002
    assert 20_000 < float(np.median(depths)) < 500_000
    assert min(depths) < 5_000


def test_a_storm_widens_the_book_and_thins_it_out() -> None:
    calm, storm = pictures(CALM), pictures(STORM)

    assert np.median([spread_bps(top) for top in storm]) > 10 * np.median([spread_bps(top) for top in calm])
    assert np.mean([spread_bps(top) > 3.0 for top in storm]) > 0.02
    assert np.median([top1_usdt(top) for top in storm]) < 0.4 * np.median([top1_usdt(top) for top in calm])


def test_the_mid_has_no_bias_against_the_price() -> None:
    off = [float(top.mid) - 65_400.0 for top in pictures(CALM)]

    assert abs(float(np.mean(off))) < 0.02


def test_another_seed_or_instrument_is_another_book() -> None:
    assert model(seed=8).top(1, 65_400.0, CALM).bids != model().top(1, 65_400.0, CALM).bids
    assert BookConfig(top1_usdt=1e5) != book_config_for(BTC_SPOT)


def test_the_mark_follows_smoothly_but_never_strays_after_a_jump() -> None:
    first = next_mark(None, 100.0)
    second = next_mark(first, 100.1)

    assert first == 100.0
    assert second == pytest.approx(100.05)
    assert next_mark(second, 110.0) == pytest.approx(110.0 * 0.998)
    assert next_mark(second, 90.0) == pytest.approx(90.0 * 1.002)
    assert next_mark(second, 100.2, 1.0) == pytest.approx(100.2)


def test_a_bars_range_is_told_in_basis_points_of_its_close() -> None:
    assert bar_range_bps(101.0, 99.0, 100.0) == pytest.approx(200.0)


def test_a_senseless_book_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="levels is 0; it must be within 1 and 20"):
        BookConfig(levels=0)

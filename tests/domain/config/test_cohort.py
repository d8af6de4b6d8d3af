"""A canary decides its share of the signals, always the same ones."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts import ids
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.config.cohort import in_canary

BTC = InstrumentKey(Market.FUT, "BTCUSDT")


@pytest.mark.parametrize("share", [0.01, 0.10, 0.50])
def test_the_share_is_kept_within_what_chance_allows(share: float) -> None:
    count = 100_000
    # Signals as they come: a second apart, which is what a weak hash would stumble over.
    chosen = sum(in_canary(ids.signal_id(1_700_000_000_000 + n * 1_000, BTC), share) for n in range(count))

    # Five standard deviations of a binomial count.
    assert abs(chosen - share * count) < 5 * sqrt(count * share * (1 - share))


@given(st.text(min_size=1, max_size=40), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_larger_share_keeps_whom_a_smaller_one_had(signal_id: str, one: float, other: float) -> None:
    small, large = sorted((one, other))

    assert in_canary(signal_id, small) <= in_canary(signal_id, large)
    assert in_canary(signal_id, small) == in_canary(signal_id, small)
    assert not in_canary(signal_id, 0.0)
    assert in_canary(signal_id, 1.0)


def test_the_assignment_is_the_same_in_every_process_and_version() -> None:
    chosen = [n for n in range(40) if in_canary(f"SIG-{n}-FUT-BTCUSDT", 0.1)]

    assert chosen == [5, 16]

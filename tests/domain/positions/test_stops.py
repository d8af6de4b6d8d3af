"""Stops protect, and never move away from profit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Side
from chimera.domain.positions.roe import price_at_roe, roe
from chimera.domain.positions.stops import Tier, TierParams, first_stop, ratchet, tier_price, would_trigger
from tests.domain.builders import BTC_FUT as BTC

D = Decimal

FEE = D("0.0005")


@pytest.mark.parametrize(
    ("side", "distance", "stop"),
    [
        pytest.param(Side.BUY, "200", "65200", id="long, on the tick"),
        pytest.param(Side.BUY, "199.96", "65200.1", id="long rounds up"),
        pytest.param(Side.SELL, "200", "65600", id="short, on the tick"),
        pytest.param(Side.SELL, "199.96", "65599.9", id="short rounds down"),
    ],
)
def test_the_first_stop_never_loses_more_than_its_distance(side: Side, distance: str, stop: str) -> None:
    assert first_stop(BTC, side, D(65400), D(distance)) == D(stop)


@pytest.mark.parametrize(
    ("roe_", "tier", "lock"),
    [
        pytest.param("-0.5", 0, None, id="a loss has earned nothing"),
        pytest.param("0.0499", 0, None, id="just below break-even"),
        pytest.param("0.05", 1, "0", id="break-even at 5 %"),
        pytest.param("0.0999", 1, "0", id="just below the first lock"),
        pytest.param("0.10", 2, "0.05", id="10 % locks 5 %"),
        pytest.param("0.1499", 2, "0.05", id="just below the next"),
        pytest.param("0.15", 3, "0.10", id="15 % locks 10 %"),
        pytest.param("0.52", 10, "0.45", id="52 % locks 45 %"),
    ],
)
def test_each_further_five_percent_locks_five_more(roe_: str, tier: int, lock: str | None) -> None:
    params = TierParams()

    assert params.reached(D(roe_)) == tier
    if lock is not None:
        assert params.lock_roe(tier) == D(lock)


def test_tiers_may_be_spaced_as_the_bundle_says() -> None:
    params = TierParams(
        tiers=(Tier(D("0.02"), D(0)), Tier(D("0.1"), D("0.04")), Tier(D("0.3"), D("0.2"))), tier_step_roe=D("0.1")
    )

    assert [params.reached(D(x)) for x in ("0.01", "0.02", "0.1", "0.29", "0.3", "0.45")] == [0, 1, 2, 2, 3, 4]
    assert params.lock_roe(4) == D("0.3")


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("tier", [1, 2, 5])
def test_a_stop_on_a_tier_earns_at_least_what_it_locks(side: Side, tier: int) -> None:
    price = tier_price(BTC, side=side, entry_price=D(65400), leverage=20, fee_ratio=FEE, tier=tier, params=TierParams())

    earned = roe(side=side, entry_price=D(65400), mark=price, leverage=20, fee_ratio=FEE)
    assert TierParams().lock_roe(tier) <= earned < TierParams().lock_roe(tier) + D("0.0001")


prices = st.decimals("1000", "100000", places=1)


@given(side=st.sampled_from(Side), entry=prices, marks=st.lists(prices, min_size=1, max_size=30))
def test_a_stop_never_moves_back_and_never_triggers_at_once(side: Side, entry: D, marks: list[D]) -> None:
    stop, tier = first_stop(BTC, side, entry, D(50)), 0
    for mark in marks:
        if would_trigger(side, stop, mark):
            return
        earned = roe(side=side, entry_price=entry, mark=mark, leverage=20, fee_ratio=FEE)
        new_tier, new_stop = ratchet(
            BTC,
            side=side,
            entry_price=entry,
            leverage=20,
            fee_ratio=FEE,
            roe=earned,
            mark=mark,
            stop_price=stop,
            tier=tier,
            params=TierParams(),
        )
        assert side.sign * (new_stop - stop) >= 0
        assert new_tier >= tier
        assert not would_trigger(side, new_stop, mark)
        assert BTC.price_on_tick(new_stop)
        again = ratchet(
            BTC,
            side=side,
            entry_price=entry,
            leverage=20,
            fee_ratio=FEE,
            roe=earned,
            mark=mark,
            stop_price=new_stop,
            tier=new_tier,
            params=TierParams(),
        )
        assert again == (new_tier, new_stop), "asking twice asks for nothing more"
        stop, tier = new_stop, new_tier


@given(
    side=st.sampled_from(Side),
    entry=prices,
    leverage=st.integers(1, 50),
    target=st.decimals("-0.5", "3", places=3),
)
def test_the_price_of_a_roe_is_the_inverse_of_the_roe_of_a_price(
    side: Side, entry: D, leverage: int, target: D
) -> None:
    price = price_at_roe(side=side, entry_price=entry, leverage=leverage, fee_ratio=FEE, roe=target)

    found = roe(side=side, entry_price=entry, mark=price, leverage=leverage, fee_ratio=FEE)
    assert abs(found - target) < D("1e-20")

"""Stop and target of a fill, and what a fill cost."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Side
from chimera.domain.execution.protect import (
    AtDistance,
    AtPrice,
    NetProfit,
    NetRatio,
    TargetWish,
    protect_futures,
    protect_spot,
)
from chimera.domain.execution.slippage import estimate_bps, slippage_bps, vwap
from tests.domain.builders import BTC_FUT, BTC_SPOT

D = Decimal
FEE = D("0.0005")
HALF = D("0.5")


def test_the_fill_keeps_the_distance_of_the_stop_and_the_share_of_the_target() -> None:
    found = protect_futures(
        BTC_FUT,
        side=Side.BUY,
        avg_price=D(65_410),
        filled_qty=D("0.006"),
        leverage=20,
        fee_ratio=FEE,
        stop=AtDistance(D(200)),
        target=NetRatio(D("0.10")),
        first_rung_share=HALF,
    )

    assert (found.stop_price, found.stop_qty) == (D(65_210), D("0.006"))
    assert found.target_qty == D("0.003")
    assert found.target_price == BTC_FUT.ceil_price(
        (D("0.10") * D(65_410) / 20 + D(65_410) * D("1.0005")) / D("0.9995")
    )


def test_prices_that_were_given_are_used_as_they_are() -> None:
    found = protect_futures(
        BTC_FUT,
        side=Side.SELL,
        avg_price=D(65_410),
        filled_qty=D("0.001"),
        leverage=20,
        fee_ratio=FEE,
        stop=AtPrice(D(66_000)),
        target=AtPrice(D(64_000)),
        first_rung_share=HALF,
    )

    assert (found.stop_price, found.target_price, found.target_qty) == (D(66_000), D(64_000), D("0.001"))


@given(
    side=st.sampled_from(Side),
    avg=st.decimals("1000", "100000", places=4),
    steps=st.integers(1, 500),
    target=st.one_of(
        st.decimals("0.05", "1", places=2).map(NetRatio), st.decimals("0.1", "50", places=1).map(NetProfit)
    ),
)
def test_closing_everything_at_the_target_nets_at_least_what_was_wished(
    side: Side, avg: D, steps: int, target: NetRatio | NetProfit
) -> None:
    qty = steps * BTC_FUT.step_size
    found = protect_futures(
        BTC_FUT,
        side=side,
        avg_price=avg,
        filled_qty=qty,
        leverage=20,
        fee_ratio=FEE,
        stop=AtDistance(D(1)),
        target=target,
        first_rung_share=HALF,
    )
    assert found.target_price is not None

    net = side.sign * (found.target_price - avg) * qty - FEE * qty * (avg + found.target_price)

    wished = target.ratio * qty * avg / 20 if isinstance(target, NetRatio) else target.usdt
    assert wished - D("1e-12") <= net <= wished + BTC_FUT.tick_size * qty * 2


def test_no_target_is_placed_where_none_was_wished() -> None:
    found = protect_futures(
        BTC_FUT,
        side=Side.BUY,
        avg_price=D(65_410),
        filled_qty=D("0.002"),
        leverage=20,
        fee_ratio=FEE,
        stop=AtDistance(D(200)),
        target=None,
        first_rung_share=HALF,
    )

    assert found.target_price is None


@pytest.mark.parametrize("target", [NetRatio(D("0.01")), NetProfit(D("0.5"))])
def test_spot_sells_what_arrived_and_nets_the_target_after_both_fees(target: TargetWish) -> None:
    bought, avg = D("0.00076"), D(65_400)
    fee_qty = bought * D("0.001")

    found = protect_spot(
        BTC_SPOT,
        avg_price=avg,
        bought_qty=bought,
        fee_qty=fee_qty,
        fee_usdt=fee_qty * avg,
        fee_ratio=D("0.001"),
        stop=AtDistance(D(525)),
        target=target,
    )

    assert found.stop_qty == found.target_qty == D("0.00075")
    assert found.stop_price == D(64_875)
    assert found.target_price is not None
    net = found.target_qty * (found.target_price * D("0.999") - avg) - fee_qty * avg
    assert net >= D("0.497")


def test_dust_is_nothing_to_sell() -> None:
    found = protect_spot(
        BTC_SPOT,
        avg_price=D(65_400),
        bought_qty=D("0.00001"),
        fee_qty=D("0.00000001"),
        fee_usdt=D(0),
        fee_ratio=D("0.001"),
        stop=AtPrice(D(64_000)),
        target=AtPrice(D(67_000)),
    )

    assert (found.stop_qty, found.target_qty, found.target_price) == (D(0), D(0), None)


@pytest.mark.parametrize(
    ("side", "price", "bps"),
    [
        pytest.param(Side.BUY, "100.1", 10.0, id="bought above mid: worse"),
        pytest.param(Side.BUY, "99.9", -10.0, id="bought below mid: better"),
        pytest.param(Side.SELL, "99.9", 10.0, id="sold below mid: worse"),
    ],
)
def test_positive_slippage_is_worse(side: Side, price: str, bps: float) -> None:
    assert slippage_bps(side, D(price), D(100)) == pytest.approx(bps)


def test_the_average_price_is_weighted_by_quantity() -> None:
    assert vwap([(D(100), D(1)), (D(103), D(2))]) == D(102)
    with pytest.raises(ValueError, match="no fills"):
        vwap([])


@pytest.mark.parametrize(
    ("spread", "depth", "notional", "bps"),
    [
        pytest.param(2.0, 1_000.0, 400.0, 1.0, id="half the spread within the first level"),
        pytest.param(2.0, 1_000.0, 3_000.0, 3.0, id="three levels cost three times that"),
        pytest.param(None, 1_000.0, 400.0, None, id="no spread is known"),
        pytest.param(2.0, None, 400.0, None, id="no depth is known"),
        pytest.param(2.0, 0.0, 400.0, None, id="nothing rests there"),
    ],
)
def test_what_a_market_order_is_expected_to_cost(
    spread: float | None, depth: float | None, notional: float, bps: float | None
) -> None:
    assert estimate_bps(spread_bps=spread, depth_top1_usdt=depth, notional_usdt=notional) == bps

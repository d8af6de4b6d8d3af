"""What a fee was worth."""

from decimal import Decimal

import pytest

from chimera.domain.execution.fees import fee_usdt, is_third
from tests.domain.builders import BTC_SPOT

D = Decimal


@pytest.mark.parametrize(
    ("fee", "asset", "asset_usdt", "worth"),
    [
        pytest.param("0.36", "USDT", None, "0.36", id="quote"),
        pytest.param("0.00001", "BTC", None, "0.6", id="base, at the fill's price"),
        pytest.param("0.0005", "BNB", "620.5", "0.31025", id="a third asset at its own price"),
        pytest.param("-0.0005", "BNB", "620", "-0.31", id="a rebate"),
        pytest.param("0.000000001", "BNB", "620", "0.00000062", id="to eight places"),
        pytest.param("0", "BNB", None, "0", id="nothing is nothing"),
        pytest.param("0.0005", "BNB", None, None, id="a third asset without a price"),
    ],
)
def test_a_fee_in_usdt(fee: str, asset: str, asset_usdt: str | None, worth: str | None) -> None:
    found = fee_usdt(
        D(fee), asset, price=D(60_000), instrument=BTC_SPOT, asset_usdt=None if asset_usdt is None else D(asset_usdt)
    )

    assert found == (None if worth is None else D(worth))


def test_which_assets_the_fill_says_nothing_of() -> None:
    assert [is_third(asset, BTC_SPOT) for asset in ("BTC", "USDT", "BNB")] == [False, False, True]

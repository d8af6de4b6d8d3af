"""Which movement of the exchange's history is ours, and when none of them can be."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.enums import Market
from chimera.domain.execution.orders import Transfer
from chimera.domain.execution.transfers import Next, Sought, matches, when_not_listed

BEGAN = 1_750_000_000_000
SOUGHT = Sought(
    source=Market.SPOT,
    target=Market.FUT,
    amount_usdt=Decimal("12.5"),
    first_ms=BEGAN,
    last_ms=BEGAN + 40_000,
    tries=2,
    settle_ms=35_000,
)


def moved(number: int = 1, **changes: Any) -> Transfer:
    line: dict[str, Any] = {
        "tran_id": number,
        "source": Market.SPOT,
        "target": Market.FUT,
        "asset": "USDT",
        "amount": Decimal("12.50"),
        "ts": BEGAN + 100,
    }
    return Transfer(**(line | changes))


@pytest.mark.parametrize(
    ("changes", "is_ours"),
    [
        pytest.param({}, True, id="the same, however its zeros are written"),
        pytest.param({"source": Market.FUT, "target": Market.SPOT}, False, id="the other way"),
        pytest.param({"asset": "USDC"}, False, id="another asset"),
        pytest.param({"amount": Decimal("12.50000001")}, False, id="another amount"),
        pytest.param({"ts": BEGAN - 2_001}, False, id="before the first try"),
        pytest.param({"ts": BEGAN - 2_000}, True, id="before it by what two clocks may differ"),
        pytest.param({"ts": BEGAN + 75_000}, True, id="at the end of the last try"),
        pytest.param({"ts": BEGAN + 75_001}, False, id="later than any try can be carried out"),
        pytest.param({"tran_id": 9}, False, id="another transfer's"),
    ],
)
def test_a_movement_is_ours_when_everything_fits(changes: dict[str, Any], is_ours: bool) -> None:
    assert bool(matches(SOUGHT, [moved(**changes)], {9})) is is_ours


def test_of_several_the_oldest_comes_first() -> None:
    found = matches(SOUGHT, [moved(2, ts=BEGAN + 5), moved(tran_id=3, ts=BEGAN + 1), moved(1, ts=BEGAN + 5)], ())

    assert [each.tran_id for each in found] == [3, 1, 2]


@pytest.mark.parametrize(
    ("after_ms", "repeats", "within_ms", "expected"),
    [
        pytest.param(74_999, 9, 600_000, Next.WAIT, id="it may still come"),
        pytest.param(75_000, 9, 600_000, Next.REPEAT, id="it cannot come any more"),
        pytest.param(75_000, 1, 600_000, Next.GIVE_UP, id="repeated once already"),
        pytest.param(600_001, 9, 600_000, Next.GIVE_UP, id="what it was for is over"),
        pytest.param(74_999, 0, 0, Next.WAIT, id="nothing is given up before it cannot come"),
    ],
)
def test_what_is_not_listed_is_waited_for_then_repeated_then_given_up(
    after_ms: int, repeats: int, within_ms: int, expected: Next
) -> None:
    assert when_not_listed(SOUGHT, BEGAN + after_ms, repeats=repeats, repeat_within_ms=within_ms) is expected

"""What is held on spot: fill by fill the same as all at once, and what of it is dust."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chimera.contracts.documents import Fill
from chimera.contracts.enums import Market, Side
from chimera.domain.positions.spot_count import ENDED_KEPT, SpotCount, is_dust
from chimera.domain.positions.wac import Holding
from tests.domain.matching.venue import SPOT as SPOT_RULES

D = Decimal


def counted(fills: Sequence[Fill]) -> SpotCount:
    count = SpotCount()
    for fill in fills:
        assert count.add(fill, SPOT_RULES)
    return count


def spot_fill(number: int, side: Side, qty: str, price: str = "60000", *, intent: str = "E1") -> Fill:
    return Fill(
        fill_id=f"SPOT-BTCUSDT-{number}-{side.value[0]}",
        order_id=f"o-{number}",
        intent_id=intent,
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=side,
        price=D(price),
        qty=D(qty),
        fee_usdt=D(0),
        fee_asset="USDT",
        fee_qty=D(0),
        timestamp=1_000,
    )


def test_what_was_bought_and_sold_in_one_millisecond_is_gone() -> None:
    fills = [spot_fill(99, Side.BUY, "0.001"), spot_fill(100, Side.SELL, "0.001")]

    assert counted(fills).holding == Holding()


def bought(number: int, qty: str, intent: str) -> Fill:
    return spot_fill(number, Side.BUY, qty, intent=intent)


def sold(number: int, qty: str, intent: str) -> Fill:
    return spot_fill(number, Side.SELL, qty, intent=intent)


MINE = bought(50, "0.001", "mine")


@pytest.mark.parametrize(
    ("fills", "asked", "dust"),
    [
        pytest.param([], {}, "0", id="what was bought is no dust"),
        pytest.param([bought(1, "0.000999", "E1"), sold(2, "0.00099", "E1")], {}, "0.000009", id="left by an exit"),
        pytest.param([bought(1, "0.000999", "E1")], {}, "0", id="another entry's, still to be sold"),
        pytest.param([bought(1, "0.000999", "E1"), sold(2, "0.00099", "X1")], {}, "0.000009", id="ended by hand"),
        pytest.param(
            [bought(1, "0.000999", "E1"), bought(2, "0.000999", "E2"), sold(3, "0.00099", "X1")],
            {},
            "0.000009",
            id="of two, one ended by hand",
        ),
        pytest.param(
            [bought(1, "0.000999", "E1"), sold(2, "0.00099", "E1"), bought(3, "0.000999", "E2")],
            {"E2": D("0.00100")},
            "0.000008",
            id="asked for by another's pair",
        ),
        pytest.param(
            [
                bought(1, "0.000999", "E1"),
                sold(2, "0.00099", "E1"),
                bought(3, "0.000999", "E2"),
                sold(4, "0.00100", "E2"),
            ],
            {},
            "0.000008",
            id="less what was sold as dust already",
        ),
        pytest.param([bought(1, "0.000009", "E1"), sold(2, "0.005", "X1")], {}, "0", id="sold by hand with more"),
    ],
)
def test_dust_is_what_is_held_and_nobody_means_to_sell(fills: list[Fill], asked: dict[str, Decimal], dust: str) -> None:
    assert counted([*fills, MINE]).dust(SPOT_RULES, intent_id="mine", asked=asked) == D(dust)


def test_a_fill_that_is_not_the_latest_is_not_counted() -> None:
    count = counted([bought(1, "0.001", "E1"), bought(3, "0.001", "E1")])

    assert not count.add(bought(2, "0.001", "E1"), SPOT_RULES)
    assert not count.add(bought(3, "0.001", "E1"), SPOT_RULES)
    assert count.holding.qty == D("0.002")


def test_what_is_remembered_does_not_grow_with_what_was_traded() -> None:
    count = SpotCount()
    for number in range(1, 6_000, 2):
        count.add(bought(number, "0.000999", f"E{number}"), SPOT_RULES)
        count.add(sold(number + 1, "0.00099", f"E{number}"), SPOT_RULES)

    assert (len(count.left), len(count.ended)) == (0, ENDED_KEPT)
    assert count.holding.qty == 3_000 * D("0.000009")


def dust_by_definition(fills: Sequence[Fill], intent_id: str, asked: Mapping[str, Decimal]) -> Decimal:
    """From all fills at once, remembering every intent for ever, in the order in which each came to a step."""
    held = D(0)
    left: dict[str, Decimal] = {}
    for fill in fills:
        whose = fill.intent_id or fill.order_id
        if fill.side is Side.BUY:
            held += fill.qty
            before = left.get(whose, D(0))
            if before < SPOT_RULES.step_size:
                left.pop(whose, None)
            left[whose] = before + fill.qty
            continue
        held = max(D(0), held - fill.qty)
        ended = [whose] if whose in left else [each for each, qty in left.items() if qty >= SPOT_RULES.step_size]
        rest = fill.qty
        for each in ended:
            part = min(rest, left[each])
            left[each] -= part
            rest -= part
    own = left.pop(intent_id, D(0))
    claims = {each: qty for each, qty in left.items() if qty >= SPOT_RULES.step_size}
    for whose, qty in asked.items():
        if whose != intent_id:
            claims[whose] = max(qty, claims.get(whose, D(0)))
    return max(D(0), held - own - sum(claims.values()))


TRADED = st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 40), st.sampled_from(["E1", "E2", "E3", "X1"])))


@example(
    traded=[(Side.BUY, 2, "E1"), (Side.BUY, 10, "E2"), (Side.BUY, 8, "E1"), (Side.SELL, 1, "E3")],
    asked={},
)
@given(traded=TRADED, asked=st.dictionaries(st.sampled_from(["E1", "E2"]), st.integers(1, 40)))
def test_dust_counted_fill_by_fill_is_that_of_all_fills(
    traded: list[tuple[Side, int, str]], asked: dict[str, int]
) -> None:
    step = SPOT_RULES.step_size
    fills = [
        spot_fill(number, side, str(tenths * step / 10), intent=whose)
        for number, (side, tenths, whose) in enumerate(traded)
    ]
    wanted = {whose: tenths * step / 10 for whose, tenths in asked.items()}

    found = counted(fills).dust(SPOT_RULES, intent_id="E1", asked=wanted)

    assert found == dust_by_definition(fills, "E1", wanted)


@pytest.mark.parametrize(
    ("qty", "cost", "dust"),
    [
        pytest.param("0.0000999", "60000", False, id="nine steps, worth 5.40"),
        pytest.param("0.0000999", "55555", True, id="what is beyond the last whole step is worth nothing"),
        pytest.param("0.00001", "500000", False, id="exactly the least order"),
        pytest.param("0.00000999", "900000", True, id="less than a step"),
        pytest.param("0", "60000", True, id="nothing"),
    ],
)
def test_dust_is_what_nobody_could_sell_at_cost(qty: str, cost: str, dust: bool) -> None:
    assert is_dust(D(qty), D(cost), SPOT_RULES) is dust

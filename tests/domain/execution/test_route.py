"""The route table and the wait curve: what is read, and what is refused with its field, its value and the remedy."""

import math
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.execution.route import (
    RouteError,
    RouteRow,
    RouteTable,
    WaitCurve,
    parse_curves,
    parse_table,
    shown,
)

D = Decimal
SEED_G = Path(__file__).parents[2] / "data" / "seed_000_g" / "route_table.json"
ROW = '{"notional_usdt_max":200,"maker_wait_ms":1500}'


def test_the_seeds_table_is_read_as_it_is_written() -> None:
    assert parse_table(SEED_G.read_text()) == RouteTable(
        (
            RouteRow(notional_usdt_max=D(200), maker_wait_ms=1500, slices=1, gap_ms=0),
            RouteRow(notional_usdt_max=D(500), maker_wait_ms=2000, slices=2, gap_ms=600),
        )
    )


def test_the_same_table_as_a_curve_key_and_a_row_without_slices() -> None:
    assert parse_curves({"table": SEED_G.read_text(), "rev": "7"}) == parse_table(SEED_G.read_text())
    assert parse_table(f"[{ROW}]").rows[0].slices is None


@pytest.mark.parametrize(("notional", "wait_ms"), [("0", 1500), ("200", 1500), ("200.01", 2000), ("1e9", 2000)])
def test_the_row_of_a_notional(notional: str, wait_ms: int) -> None:
    assert parse_table(SEED_G.read_text()).row_for(D(notional)).maker_wait_ms == wait_ms


def test_the_curve_of_spread_and_depth() -> None:
    curve = parse_curves({"a": "200", "b": "1.5e2", "c": "-10"})

    assert curve == WaitCurve(a=200.0, b=150.0, c=-10.0)
    assert isinstance(curve, WaitCurve)
    assert curve.wait_ms(0.5, 20_000.0) == pytest.approx(200 + 300 - 10 * math.log(20_000))


@pytest.mark.parametrize(
    ("spread_bps", "depth"), [(None, 1.0), (1.0, None), (0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (-1.0, 1.0)]
)
def test_a_book_that_does_not_tell_gives_no_wait(spread_bps: float | None, depth: float | None) -> None:
    assert WaitCurve(a=1, b=1, c=1).wait_ms(spread_bps, depth) is None


def test_no_key_is_no_curve() -> None:
    assert parse_curves({}) is None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "route table"),
        ("{}", "route table"),
        ("[]", "route table"),
        ('"[]"', "route table"),
        ("[" * 100_000, "route table"),
        ("[NaN]", "route table"),
        ("[1]", "[0]"),
        ('[{"maker_wait_ms":1500}]', "[0].notional_usdt_max"),
        ('[{"notional_usdt_max":0,"maker_wait_ms":1500}]', "[0].notional_usdt_max"),
        ('[{"notional_usdt_max":"200","maker_wait_ms":1500}]', "[0].notional_usdt_max"),
        ('[{"notional_usdt_max":true,"maker_wait_ms":1500}]', "[0].notional_usdt_max"),
        ('[{"notional_usdt_max":1e400,"maker_wait_ms":1500}]', "[0].notional_usdt_max"),
        ('[{"notional_usdt_max":200}]', "[0].maker_wait_ms"),
        ('[{"notional_usdt_max":200,"maker_wait_ms":-1}]', "[0].maker_wait_ms"),
        ('[{"notional_usdt_max":200,"maker_wait_ms":60001}]', "[0].maker_wait_ms"),
        ('[{"notional_usdt_max":200,"maker_wait_ms":1.5}]', "[0].maker_wait_ms"),
        ('[{"notional_usdt_max":200,"maker_wait_ms":1500,"twap":2}]', "[0].twap"),
        ('[{"notional_usdt_max":200,"maker_wait_ms":1500,"twap":{"slices":0}}]', "[0].twap.slices"),
        ('[{"notional_usdt_max":200,"maker_wait_ms":1500,"twap":{"gap_ms":null}}]', "[0].twap.gap_ms"),
        (f"[{ROW},{ROW}]", "[1].notional_usdt_max"),
        ("[" + ",".join([ROW] * 1_001) + "]", "route table"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_field(text: str, field: str) -> None:
    with pytest.raises(RouteError) as caught:
        parse_table(text)

    assert caught.value.field == field
    assert caught.value.remedy in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"a": "1", "b": "2"}, "c"),
        ({"a": "1", "b": "nan", "c": "0"}, "b"),
        ({"a": "inf", "b": "1", "c": "0"}, "a"),
        ({"a": "1", "b": "many", "c": "0"}, "b"),
        ({"a": "1e13", "b": "1", "c": "0"}, "a"),
        ({"table": "[]"}, "route table"),
        ({"table": f"[{ROW}]", "a": "1"}, "table"),
        ({"wait": "1"}, "router:curves"),
    ],
)
def test_a_curve_that_cannot_be_used_is_refused_by_field(fields: dict[str, str], field: str) -> None:
    with pytest.raises(RouteError) as caught:
        parse_curves(fields)

    assert caught.value.field == field


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(repr))
def test_whatever_the_file_holds_is_read_or_refused(text: str) -> None:
    with suppress(RouteError):
        assert parse_table(text).rows


def test_two_routes_are_told_apart() -> None:
    table = parse_table(SEED_G.read_text())

    assert shown(None) is None
    assert shown(table) != shown(RouteTable(table.rows[:1])) != shown(WaitCurve(a=1, b=2, c=3))

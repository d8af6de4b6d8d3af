"""What a definition of a derived factor says, and what no definition may say."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.features.derived import (
    DefinitionError,
    Source,
    is_derived,
    parse,
    plan,
)
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.registry import BUILT_IN, PLAIN
from chimera.domain.features.windows import DAY_MS, HOUR_MS, MINUTE_MS, WindowKind
from tests.domain.features.histories import derived


@pytest.mark.parametrize(
    ("definition", "spelled"),
    [
        ("pctile(rv_1d,30d)", "pctile(rv_1d,30d)"),
        (" zscore( ret_1h , 24h ) ", "zscore(ret_1h,1d)"),
        ("abs(funding_next)", "abs(funding_next)"),
        ("pctile(abs(zscore(mid,90m)),120m)", "pctile(abs(zscore(mid,90m)),2h)"),
    ],
)
def test_a_definition_is_read(definition: str, spelled: str) -> None:
    assert str(parse(definition)) == spelled
    assert parse(spelled) == parse(definition)


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        pytest.param("rv_1d", "is a name, not a call; write pctile(f,win)", id="a name"),
        pytest.param("max(mid,24h)", "calls 'max', which does not exist", id="an unknown function"),
        pytest.param("pctile(mid)", "has no window; write pctile(mid,24h)", id="no window"),
        pytest.param("pctile(,24h)", "is no name and no call", id="nothing inside"),
        pytest.param("abs(mid,24h)", "is no name and no call", id="abs of two"),
        pytest.param("pctile(mid,24)", "'24' is no window; write a number of minutes", id="no unit"),
        pytest.param("pctile(mid,1.5h)", "'1.5h' is no window", id="a fraction"),
        pytest.param("pctile(mid,5m)", "'5m' is outside 10m to 60d", id="too short"),
        pytest.param("pctile(mid,61d)", "'61d' is outside 10m to 60d", id="too long"),
        pytest.param("pctile(mid,1501m)", "is longer than 24h and no whole number of hours", id="off the hours"),
        pytest.param("pctile(mid,24h", "is no name and no call", id="open bracket"),
        pytest.param("abs(" * 7 + "mid" + ")" * 7, "is more than 6 calls deep", id="too deep"),
        pytest.param("", "is no name and no call", id="nothing"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_remedy(definition: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=f"factor f1: definition .*{re.escape(says)}"):
        parse(definition, factor_id="f1")


@given(text=st.text(alphabet="pctilezsoreab_(),0129mhd ", max_size=40))
def test_any_text_is_refused_or_means_what_it_is_spelled_as(text: str) -> None:
    try:
        expression = parse(text)
    except DefinitionError:
        return

    assert parse(str(expression)) == expression


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        pytest.param([derived("a", "abs(nobody)")], "names 'nobody', which is none of mid, spread_bps", id="unknown"),
        pytest.param([derived("a", "abs(a)")], "leads back to itself (a -> a)", id="itself"),
        pytest.param(
            [derived("a", "abs(b)"), derived("b", "zscore(c,1h)"), derived("c", "abs(a)")],
            "leads back to itself (a -> b -> c -> a)",
            id="a ring",
        ),
        pytest.param([derived("mid", "abs(spread_bps)")], "exists already; give it another id", id="a plain id"),
        pytest.param([derived("a", "abs(mid)"), derived("a", "abs(mid)")], "exists already", id="twice"),
        pytest.param(
            [derived("a", "zscore(b,1h)"), derived("b", "zscore(c,1h)"), derived("c", "zscore(rv_pctile_30d,1h)")],
            "is 4 calls deep, 4 of them windows",
            id="too many windows upon each other",
        ),
        pytest.param([derived("a", "abs(mid)", within=(0.0, 1e16))], "range (0.0, 1e+16) must ascend", id="range"),
    ],
)
def test_a_factor_that_cannot_be_computed_is_refused(specs: Sequence[FactorSpec], says: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(says)):
        plan(specs)


def test_each_step_comes_after_what_it_is_made_of_and_each_call_once() -> None:
    steps = plan(
        (
            derived("outer", "pctile(inner,2h)"),
            derived("inner", "zscore(abs(mid),30m)"),
            derived("other", "pctile(abs(mid),3d)"),
        )
    )

    names = [step.name for step in steps]
    assert names == [
        "rv_pctile_30d",
        "zscore_ret_1h_24h",
        "abs(mid)",
        "inner",
        "outer",
        "other",
    ]
    inner, outer = steps[3], steps[4]
    assert (inner.of, inner.plain, inner.source, inner.kind) == ("abs(mid)", "mid", Source.TICK, WindowKind.ZSCORE)
    assert (outer.of, outer.grid_ms, outer.size) == ("inner", MINUTE_MS, 120)
    assert [step.is_quick for step in steps] == [False, False, True, False, False, False]
    assert inner.lookback_ms == 150 * MINUTE_MS, "its own window and that of what is made of it"
    assert steps[2].lookback_ms == 3 * DAY_MS
    assert steps[0].grid_ms == HOUR_MS


def test_the_built_in_factors_are_what_their_definitions_say() -> None:
    assert [spec.definition for spec in BUILT_IN] == ["pctile(rv_1d,30d)", "zscore(ret_1h,24h)"]
    assert all(is_derived(spec.definition) for spec in BUILT_IN)
    assert not any(is_derived(spec.definition) for spec in PLAIN)

"""A factor of a person's own is computed by what the bundle says of it, and nothing that is built in is touched."""

import pytest

from chimera.contracts.documents import Factor
from chimera.contracts.enums import EntryStatus
from chimera.domain.features.derived import DefinitionError
from chimera.domain.features.registered import registered, spec_of, values_of


def factor(factor_id: str, definition: str, **changes: object) -> Factor:
    return Factor.model_validate(
        {"factor_id": factor_id, "version": "1", "freq": "1m", "definition": definition, "status": "ENABLED", **changes}
    )


PLACE = factor("place", "pctile(spread_bps,24h)")


def test_only_what_is_enabled_derived_and_not_built_in_counts() -> None:
    off = factor("off", "abs(ret_1h)", status=EntryStatus.DISABLED)
    built_in, plain = factor("spread_bps", "(ask-bid)/mid*1e4"), factor("moon", "phase")

    assert [spec.factor_id for spec in registered((PLACE, off, built_in, plain))] == ["place"]


def test_a_definition_that_cannot_be_computed_is_refused() -> None:
    with pytest.raises(DefinitionError, match="moon"):
        registered((factor("far", "abs(moon)"),))


def test_what_a_bundle_says_is_kept_and_what_it_leaves_out_is_wide() -> None:
    spec = spec_of(factor("size", "abs(ret_1h)", range=(0.0, 0.5), lag_ms=7, owner="ada"))

    assert (spec.range, spec.lag_ms, spec.owner, spec.family) == ((0.0, 0.5), 7, "ada", "derived")
    assert spec_of(PLACE).in_range(1e14)


@pytest.mark.parametrize(
    ("definition", "own", "values"),
    [
        ("pctile(spread_bps,24h)", None, (0.0, 1.0)),
        ("pctile(spread_bps,24h)", (0.2, 5.0), (0.2, 1.0)),
        ("abs(ret_1h)", (-1.0, 1.0), (0.0, 1.0)),
        ("zscore(ret_1h,24h)", (-8.0, 8.0), (-8.0, 8.0)),
        ("abs(ret_1h)", (-2.0, -1.0), None),
        ("moon(ret_1h)", (0.0, 1.0), None),
    ],
)
def test_least_and_greatest_follow_from_form_and_range(definition: str, own: object, values: object) -> None:
    assert values_of(factor("any", definition, range=own)) == values

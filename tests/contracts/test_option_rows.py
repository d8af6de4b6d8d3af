"""Everything that may be set has a unit where it is a number, a range that the contract keeps, and its default."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.enums import TakerFallback
from chimera.contracts.flags import Flags
from chimera.contracts.option_rows import flag_row, flag_rows, flag_unit, shown, variable_rows
from chimera.contracts.settings import SETTINGS
from chimera.contracts.units import unit_of

ROWS = {row.path: row for row in flag_rows()}
DEFAULTS = Flags().model_dump(mode="json", by_alias=True)
"""With what is silent by default, which `to_dict` leaves out."""


def leaves(value: Any, path: str = "") -> list[str]:
    """Dotted paths of everything in the default flags but what stands inside of lists and free tables."""
    if isinstance(value, dict) and path != "strategy.markets":
        return [leaf for name, each in value.items() for leaf in leaves(each, f"{path}.{name}".lstrip("."))]
    return [path]


def at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[name]
    return value


def test_every_flag_has_a_row_and_no_row_is_of_nothing() -> None:
    assert sorted(path for path in ROWS if "[]" not in path) == sorted(leaves(DEFAULTS))


@pytest.mark.parametrize("path", [path for path in ROWS if "[]" not in path])
def test_a_row_tells_the_default_that_holds(path: str) -> None:
    assert ROWS[path].default == shown(at(DEFAULTS, path))


@pytest.mark.parametrize(
    "path", [path for path, row in ROWS.items() if row.default.replace(".", "").lstrip("-").isdigit()]
)
def test_a_number_has_a_unit_and_a_range(path: str) -> None:
    row = ROWS[path]

    assert row.range, path
    assert row.unit, f"{path} has no unit: give units.py its word"


def test_every_row_has_a_reason() -> None:
    assert [path for path, row in ROWS.items() if len(row.reason) < 8] == []
    assert ROWS["health_guard.thresholds.brier.red"].reason == "Third limit. Over the last 100 labelled decisions."


def test_rows_of_lists_are_told_by_their_columns() -> None:
    assert ROWS["position.tiers[].lock_roe"].range == "0 … 100"
    assert ROWS["position.tiers[].lock_roe"].unit == "fraction of margin"


def test_every_variable_has_a_row_and_no_secret_shows() -> None:
    rows = {row.path: row for service in variable_rows().values() for row in service}

    assert set(rows) == {variable.name for settings in SETTINGS.values() for variable in settings.variables()}
    assert rows["S4_BINANCE_SECRET"].default == ""
    assert rows["S3_MAX_LOSS_USDT"].default == "1.2"
    assert rows["S10_REDIS_ADDRESSES"].also == "CHIMERA_REDIS_ADDRESSES"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("20000"), "20000"),
        (0.0005, "0.0005"),
        (Decimal("1E+1"), "10"),
        (True, "true"),
        (TakerFallback.DIRECT, "DIRECT"),
        ((1, "a"), "[1, a]"),
        ({"x": (1,)}, "{x: [1]}"),
        (None, ""),
        (-0.005, "-0.005"),
        (1234567.25, "1234567.25"),
    ],
)
def test_a_value_reads_as_a_person_writes_it(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("slip_bp_max", "bps"),
        ("cooldown_min", "min"),
        ("roe_min", "fraction of margin"),
        ("daily_loss_usdt_max", "USDT"),
        ("S", ""),
        ("need_fill_ratio", "fraction"),
        ("halt_after_d", "days"),
        ("pos_net_roi_min", "fraction"),
    ],
)
def test_the_unit_is_the_last_word(name: str, unit: str) -> None:
    assert unit_of(name) == unit


def test_a_bound_between_nothing_and_one_is_no_time() -> None:
    """`_min` at the end is minutes or a least value; what lies between 0 and 1 is a share."""
    rows = [*flag_rows(), *(row for service in variable_rows().values() for row in service)]
    shares = [row.path for row in rows if row.range == "0 … 1" and row.unit in ("min", "ms", "h", "days", "s")]
    assert shares == []


def test_a_limit_that_many_groups_have_is_told_by_its_group() -> None:
    assert flag_unit("health_guard.thresholds.router_e2e_latency_p95_ms.red") == "ms"
    assert flag_unit("position.tiers[1].lock_roe") == "fraction of margin"
    assert flag_unit("not.a.flag_bps") == "bps"
    assert flag_row("position.tiers[1].lock_roe") == ROWS["position.tiers[].lock_roe"]

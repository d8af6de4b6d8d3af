"""The flags' defaults are the seeds' numbers; each has a range and a reason, and outside its range it is refused."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from chimera.contracts.base import Contract
from chimera.contracts.enums import Market
from chimera.contracts.flags import Flags
from chimera.domain.config.bundle import default_bundle

# 004 section 12.1, verbatim where it gives a value.
SEED = {
    "execution": {
        "routing": {
            "twap": {
                "buckets": [
                    {"range": [0, 300], "slices": 1, "min_slice_usdt": 0},
                    {"range": [300, 1500], "slices": 3, "min_slice_usdt": 150},
                    {"range": [1500, 5000], "slices": 5, "min_slice_usdt": 300},
                    {"range": [5000, 20000], "slices": 8, "min_slice_usdt": 1000},
                ]
            },
            "maker_wait": {
                "base_ms": 1200,
                "need_fill_ratio": 0.7,
                "spread_bp_gate": 3.0,
                "min_top1_depth_usdt": 20000,
                "regime_adjust_ms": {"LOW": 800, "MEDIUM": 0, "HIGH": -600},
            },
            "taker": {"fallback": "DIRECT"},
            "fees": {"maker_bp": 1.0, "taker_bp": 5.0},
        }
    },
    "risk": {
        "budget": {"spot_quote_usdt_max": 2000, "fut_margin_usdt_max": 600},
        "concurrent_entries_per_market": 2,
    },
    "inventory": {"spot_multi_symbols": True, "spot_hedge_enable": True},
    "treasury": {"auto_transfer": False, "min_free_usdt_spot": 50, "min_free_usdt_fut": 50},
    "compliance": {"enabled": False},
}


def holds(told: Any, ours: Any) -> bool:
    if isinstance(told, dict):
        return all(key in ours and holds(value, ours[key]) for key, value in told.items())
    if isinstance(told, list):
        return len(told) == len(ours) and all(map(holds, told, ours))
    return bool(told == ours)


def nested(contract: type[Contract]) -> Iterator[tuple[type[Contract], str]]:
    for name, info in contract.model_fields.items():
        yield contract, name
        for part in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Contract):
                yield from nested(part)


FIELDS = list(dict.fromkeys(nested(Flags)))

NUMBERS = [(group, name) for group, name in FIELDS if group.model_fields[name].annotation in (int, float)]


def test_the_first_bundles_flags_are_those_of_the_seeds() -> None:
    assert holds(SEED, default_bundle(0).flags.to_dict())


def test_the_seeds_flags_are_the_first_bundles() -> None:
    assert Flags.model_validate(SEED) == default_bundle(0).flags


def test_the_default_flags_leave_one_number_to_the_environment() -> None:
    first, silent = default_bundle(0).flags.to_dict(), Flags().to_dict()

    assert first["risk"].pop("concurrent_entries_per_market") == 2
    assert first == silent


def test_the_added_groups_have_the_numbers_of_the_services_page() -> None:
    flags = Flags()

    assert flags.strategy.markets == {"BTCUSDT": (Market.FUT, Market.SPOT), "ETHUSDT": (Market.FUT,)}
    assert (flags.risk.slip_bp_max, flags.risk.slip_bp_hard) == (8.0, 24.0)
    assert (flags.risk.daily_loss_usdt_max, flags.risk.drawdown_pct_max) == (6, 0.10)
    assert (flags.model.timeout_ms, flags.model.constant_p) == (50, 0.65)
    assert [tier.to_dict() for tier in flags.position.tiers] == [
        {"roe_min": 0.05, "lock_roe": 0.0},
        {"roe_min": 0.1, "lock_roe": 0.05},
    ]
    assert flags.health_guard.thresholds.brier.to_dict() == {"yellow": 0.22, "orange": 0.25, "red": 0.28}
    assert flags.spot.quote_usdt == 50


@pytest.mark.parametrize(("group", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_every_flag_says_why(group: type[Contract], name: str) -> None:
    assert group.model_fields[name].description


@pytest.mark.parametrize(("group", "name"), NUMBERS, ids=lambda part: getattr(part, "__name__", part))
def test_every_number_has_a_range(group: type[Contract], name: str) -> None:
    bounds = {type(bound).__name__ for bound in group.model_fields[name].metadata}

    assert bounds & {"Ge", "Gt"}
    assert bounds & {"Le", "Lt"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("risk.budget.fut_margin_usdt_max", -1),
        ("risk.budget.fut_margin_usdt_max", float("nan")),
        ("risk.drawdown_pct_max", 1.5),
        ("risk.concurrent_entries_per_market", -1),
        ("risk.concurrent_entries_per_market", 101),
        ("execution.routing.maker_wait.base_ms", -1),
        ("execution.routing.maker_wait.need_fill_ratio", 1.1),
        ("execution.routing.taker.fallback", "LATER"),
        ("model.timeout_ms", 0),
        ("position.adds.max_adds", 3),
        ("strategy.markets", {"BTCUSDT": ["PERP"]}),
    ],
)
def test_a_flag_outside_its_range_is_refused_by_its_path(path: str, value: object) -> None:
    told: Any = value
    for name in reversed(path.split(".")):
        told = {name: told}

    with pytest.raises(ValidationError) as caught:
        Flags.model_validate(told)

    assert ".".join(map(str, caught.value.errors()[0]["loc"])).startswith(path)

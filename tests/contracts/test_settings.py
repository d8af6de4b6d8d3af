"""Every environment variable that the seeds list is read, typed, bounded, and named when it is wrong."""

from typing import Any

import pytest

from chimera.contracts.enums import WorkingType
from chimera.contracts.settings import (
    SETTINGS,
    ChimeraSettings,
    S2Settings,
    S3Settings,
    S4Settings,
    Settings,
    SettingsError,
    unknown_variables,
)

# variable, text, field, value; source: 000 E and 001 section 11.
S3_VARIABLES: list[tuple[str, str, str, Any]] = [
    ("S3_DB_ARANGO_URI", "http://db:8529", "db_arango_uri", "http://db:8529"),
    ("S3_DB_ARANGO_USER", "s3", "db_arango_user", "s3"),
    ("S3_REDIS_ADDRESSES", "host1:6379,host2:6379", "redis_addresses", ("host1:6379", "host2:6379")),
    ("S3_SYMBOLS", "BTCUSDT, ETHUSDT", "symbols", ("BTCUSDT", "ETHUSDT")),
    ("S3_MAX_FUNDING_ABS", "0.001", "max_funding_abs", 0.001),
    ("S3_SPREAD_BP_LIMIT_DEFAULT", "2.5", "spread_bp_limit_default", 2.5),
    ("S3_DEPTH_TOP1_USDT_MIN_DEFAULT", "150", "depth_top1_usdt_min_default", 150.0),
    ("S3_LEVERAGE_DEFAULT", "10", "leverage_default", 10),
    ("S3_MARGIN_BASE_USDT", "25", "margin_base_usdt", 25),
    ("S3_MAX_LOSS_USDT", "2", "max_loss_usdt", 2),
    ("S3_ATR_MULT", "2", "atr_mult", 2.0),
    ("S3_CONCURRENT_ENTRIES_PER_MARKET", "3", "concurrent_entries_per_market", 3),
    ("S3_CONFIG_POLL_SEC", "1", "config_poll_sec", 1),
    ("S3_EMIT", "both", "emit", "both"),
]

# source: 000 E and 003 section 12.
S4_VARIABLES: list[tuple[str, str, str, Any]] = [
    ("S4_EXCHANGE", "binance", "exchange", "binance"),
    ("S4_TESTNET", "false", "testnet", False),
    ("S4_REDIS_ADDRESSES", "redis:6379", "redis_addresses", ("redis:6379",)),
    ("S4_DB_ARANGO_URI", "http://db:8529", "db_arango_uri", "http://db:8529"),
    ("S4_DB_ARANGO_USER", "s4", "db_arango_user", "s4"),
    ("S4_ROUTE_TABLE_PATH", "/tmp/route.json", "route_table_path", "/tmp/route.json"),
    ("S4_CB_ERROR_RATE_WINDOW", "90s", "cb_error_rate_window", 90_000),
    ("S4_CB_ERROR_RATE_THRESH", "0.5", "cb_error_rate_thresh", 0.5),
    ("S4_MAKER_MAX_WAIT_MS", "1000", "maker_max_wait_ms", 1000),
    ("S4_TWAP_MAX_SLICES", "4", "twap_max_slices", 4),
    ("S4_OCO_GUARDIAN", "false", "oco_guardian", False),
    ("S4_WORKING_TYPE", "CONTRACT_PRICE", "working_type", WorkingType.CONTRACT_PRICE),
    ("S4_SYNC_WAIT_MS", "250", "sync_wait_ms", 250),
]

SECRETS: list[tuple[type[Settings], str, str]] = [
    (S3Settings, "S3_DB_ARANGO_PASS", "db_arango_pass"),
    (S4Settings, "S4_DB_ARANGO_PASS", "db_arango_pass"),
    (S4Settings, "S4_BINANCE_KEY", "binance_key"),
    (S4Settings, "S4_BINANCE_SECRET", "binance_secret"),
]


@pytest.mark.parametrize(("variable", "text", "field", "value"), S3_VARIABLES, ids=[row[0] for row in S3_VARIABLES])
def test_s3_reads_its_variable(variable: str, text: str, field: str, value: object) -> None:
    assert getattr(S3Settings.from_env({variable: text}), field) == value


@pytest.mark.parametrize(("variable", "text", "field", "value"), S4_VARIABLES, ids=[row[0] for row in S4_VARIABLES])
def test_s4_reads_its_variable(variable: str, text: str, field: str, value: object) -> None:
    assert getattr(S4Settings.from_env({variable: text}), field) == value


@pytest.mark.parametrize(("settings", "variable", "field"), SECRETS, ids=[row[1] for row in SECRETS])
def test_a_secret_is_read_and_never_shown(settings: type[Settings], variable: str, field: str) -> None:
    told = settings.from_env({variable: "hunter2"})

    assert getattr(told, field).get_secret_value() == "hunter2"
    assert "hunter2" not in f"{told!r} {told} {told.to_json()}"


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (S3Settings, "max_funding_abs", 0.0005),
        (S3Settings, "spread_bp_limit_default", 3.0),
        (S3Settings, "depth_top1_usdt_min_default", 200.0),
        (S3Settings, "leverage_default", 20),
        (S3Settings, "margin_base_usdt", 20),
        (S3Settings, "atr_mult", 1.5),
        (S3Settings, "concurrent_entries_per_market", 1),
        (S3Settings, "config_poll_sec", 5),
        (S3Settings, "emit", "rest_then_stream"),
        (S3Settings, "symbols", ("BTCUSDT", "ETHUSDT")),
        (S4Settings, "testnet", True),
        (S4Settings, "route_table_path", "/etc/chimera/route.json"),
        (S4Settings, "cb_error_rate_window", 60_000),
        (S4Settings, "cb_error_rate_thresh", 0.2),
        (S4Settings, "maker_max_wait_ms", 3_000),
        (S4Settings, "twap_max_slices", 8),
        (S4Settings, "oco_guardian", True),
        (S4Settings, "working_type", WorkingType.MARK_PRICE),
        (S4Settings, "sync_wait_ms", 500),
        (ChimeraSettings, "env", "dev"),
        (ChimeraSettings, "id_prefix", "s3"),
    ],
)
def test_the_default_is_that_of_the_seeds(settings: type[Settings], field: str, value: object) -> None:
    assert getattr(settings.from_env({}), field) == value


def test_a_services_variable_wins_over_the_shared_one() -> None:
    shared = {"CHIMERA_REDIS_ADDRESSES": "shared:1", "CHIMERA_ARANGO_URI": "http://shared"}

    both = S4Settings.from_env({**shared, "S4_REDIS_ADDRESSES": "own:1"})

    assert (both.redis_addresses, both.db_arango_uri) == (("own:1",), "http://shared")
    assert S3Settings.from_env(shared).redis_addresses == ("shared:1",)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert S3Settings.from_env({"S3_ATR_MULT": " "}).atr_mult == 1.5


@pytest.mark.parametrize(
    ("settings", "variable", "text"),
    [
        (S3Settings, "S3_MAX_LOSS_USDT", "nan"),
        (S3Settings, "S3_MAX_LOSS_USDT", "0"),
        (S3Settings, "S3_MARGIN_BASE_USDT", "-20"),
        (S3Settings, "S3_LEVERAGE_DEFAULT", "1000"),
        (S3Settings, "S3_LEVERAGE_DEFAULT", "20x"),
        (S3Settings, "S3_SYMBOLS", "btc/usdt"),
        (S3Settings, "S3_SYMBOLS", ","),
        (S3Settings, "S3_EMIT", "stream"),
        (S4Settings, "S4_TESTNET", "perhaps"),
        (S4Settings, "S4_CB_ERROR_RATE_WINDOW", "60 parsecs"),
        (S4Settings, "S4_CB_ERROR_RATE_THRESH", "20"),
        (S4Settings, "S4_EXCHANGE", "mtgox"),
        (S4Settings, "S4_WORKING_TYPE", "LAST"),
        (ChimeraSettings, "CHIMERA_ENV", "production"),
        (ChimeraSettings, "CHIMERA_ID_PREFIX", "my-prefix"),
    ],
)
def test_a_wrong_value_is_told_with_variable_value_and_remedy(
    settings: type[Settings], variable: str, text: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.from_env({variable: text})

    assert caught.value.variable == variable
    assert text in caught.value.value
    assert "Unset it for" in caught.value.remedy


def test_the_wrong_shared_variable_is_named_not_the_services() -> None:
    with pytest.raises(SettingsError, match="CHIMERA_ENV"):
        ChimeraSettings.from_env({"CHIMERA_ENV": "x"})


def test_every_variable_has_a_reason_and_a_name_of_its_own() -> None:
    variables = [variable for settings in SETTINGS.values() for variable in settings.variables()]

    assert all(variable.reason for variable in variables)
    assert len({variable.name for variable in variables}) == len(variables)


def test_a_misspelt_variable_is_found() -> None:
    env = {"S3_MAX_LOS_USDT": "1", "S3_MAX_LOSS_USDT": "1", "S30_X": "1", "PATH": "/bin", "CHIMERA_ENVIRONMENT": "x"}

    assert unknown_variables(env) == ("CHIMERA_ENVIRONMENT", "S3_MAX_LOS_USDT")


@pytest.mark.parametrize(
    ("text", "ms"),
    [("60s", 60_000), ("60", 60_000), ("500ms", None), ("1500ms", 1_500), ("5m", 300_000), ("1h", 3_600_000)],
)
def test_a_duration_names_its_unit(text: str, ms: int | None) -> None:
    if ms is None:
        with pytest.raises(SettingsError, match="S4_CB_ERROR_RATE_WINDOW"):
            S4Settings.from_env({"S4_CB_ERROR_RATE_WINDOW": text})
    else:
        assert S4Settings.from_env({"S4_CB_ERROR_RATE_WINDOW": text}).cb_error_rate_window == ms


@pytest.mark.parametrize(
    "told",
    [
        {"S2_REGIME_FROZEN_BELOW": "0.95"},
        {"S2_REGIME_EXTREME_ABOVE": "0.05"},
        {"S2_REGIME_FROZEN_BELOW": "0.6", "S2_REGIME_EXTREME_ABOVE": "0.5"},
    ],
)
def test_a_day_cannot_be_calm_and_stormy(told: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"regime_frozen_below .* is above regime_extreme_above") as refused:
        S2Settings.from_env(told)
    assert refused.value.variable in told


def test_a_market_that_is_never_normal_may_be_wanted() -> None:
    found = S2Settings.from_env({"S2_REGIME_FROZEN_BELOW": "0.5", "S2_REGIME_EXTREME_ABOVE": "0.5"})
    assert found.regime_frozen_below == found.regime_extreme_above

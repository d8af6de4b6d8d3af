"""Environment variables: what a machine needs to start, typed, with default, range and reason.

Owns CONTRACTS section 4. Pure: `from_env` reads a mapping that the caller took from the process. S3_* and S4_* are
spelled as the seeds list them (000 E, 001 section 11, 003 section 12), the other services follow the same pattern.
A service's own variable wins over the shared one; an empty one counts as not set. A flag in the active bundle wins
over a variable, except the hard caps, which say so in their reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from chimera.contracts.base import Contract, Estimate, Number
from chimera.contracts.enums import WorkingType


class SettingsError(ValueError):
    """A variable cannot be used. `value` is hidden where the variable is a secret."""

    def __init__(self, variable: str, value: str, problem: str, remedy: str) -> None:
        super().__init__(f"{variable}={value}: {problem}. {remedy}")
        self.variable = variable
        self.value = value
        self.problem = problem
        self.remedy = remedy


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def _duration_ms(value: object) -> object:
    """`60s`, `500ms`, `5m`, `1h`; a bare number is seconds, as the seeds' `_WINDOW` means it."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    number = text.rstrip("msh")
    unit = text[len(number) :] or "s"
    if unit not in _UNITS_MS or not number.isdecimal():
        raise ValueError(f"{value!r} is no duration; write 60s, 500ms, 5m or 1h")
    return int(number) * _UNITS_MS[unit]


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""`a,b,c`."""

DurationMs = Annotated[int, BeforeValidator(_duration_ms)]
"""`60s` and the like, kept in ms."""

Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9]{3,20}$")]

Direction = Literal["SPOT:FUT", "FUT:SPOT"]


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable as a person sees it: for the docs, `doctor` and the tests."""

    name: str
    shared: str | None
    field: str
    default: Any
    reason: str
    secret: bool


class Settings(Contract):
    """Base of all settings. A field's variable is `<prefix>_<FIELD>`, its shared one in the field's metadata."""

    @classmethod
    def prefix(cls) -> str:
        """Of this class's variables: S1 … S12 or CHIMERA."""
        return cls.__name__.removesuffix("Settings").upper()

    @classmethod
    def variables(cls) -> tuple[Variable, ...]:
        return tuple(_variable(cls.prefix(), name, info) for name, info in cls.model_fields.items())

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """These settings as `env` tells them.

        Raises:
            SettingsError: naming the first variable that cannot be used, its value and what to write instead.
        """
        told: dict[str, str] = {}
        source: dict[str, Variable] = {}
        for variable in cls.variables():
            for name in (variable.name, variable.shared):
                if name is not None and env.get(name, "").strip():
                    told[variable.field] = env[name]
                    source[variable.field] = Variable(
                        name, None, variable.field, variable.default, variable.reason, variable.secret
                    )
                    break
        try:
            return cls.model_validate(told)
        except ValidationError as error:
            first = error.errors()[0]
            # What several fields must be to each other is told of one that was set.
            named = [str(each) for each in first["loc"] if str(each) in source] or list(source)
            variable = source[named[0]]
            value = "(hidden)" if variable.secret else repr(told[variable.field])
            problem = first["msg"][0].lower() + first["msg"][1:]
            remedy = f"Unset it for {_shown(variable.default)}, or correct it ({variable.reason})"
            raise SettingsError(variable.name, value, problem, remedy) from None


def _variable(prefix: str, name: str, info: FieldInfo) -> Variable:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    shared = extra.get("shared")
    return Variable(
        name=f"{prefix}_{name.upper()}",
        shared=str(shared) if shared is not None else None,
        field=name,
        default=info.default,
        reason=info.description or "",
        secret=info.annotation is SecretStr,
    )


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        return "none"
    if isinstance(default, tuple):
        return f"the default {','.join(str(part) for part in default)!r}"
    return f"the default {str(default)!r}"


_REDIS: JsonDict = {"shared": "CHIMERA_REDIS_ADDRESSES"}
_ARANGO_URI: JsonDict = {"shared": "CHIMERA_ARANGO_URI"}
_ARANGO_USER: JsonDict = {"shared": "CHIMERA_ARANGO_USER"}
_ARANGO_PASS: JsonDict = {"shared": "CHIMERA_ARANGO_PASS"}


class ChimeraSettings(Settings):
    """CHIMERA_*: shared by all services."""

    env: Literal["prod", "stg", "dev"] = Field(default="dev", description="First part of every key and stream")
    id_prefix: str = Field(
        default="s3",
        pattern=r"^[A-Za-z0-9]{1,6}$",
        description="Starts every order id, so that two installations on one account leave each other's orders alone",
    )
    redis_addresses: CommaList = Field(default=("localhost:6379",), description="host:port,…, one or more of a cluster")
    arango_uri: str = Field(default="http://localhost:8529", description="Where ArangoDB listens")
    arango_user: str = Field(default="root", description="User of ArangoDB")
    arango_pass: SecretStr = Field(default=SecretStr(""), description="Its password")
    arango_db: str = Field(default="chimera", min_length=1, description="Its database")
    objects_url: str = Field(default="", description="Object store for reports and archives; empty: the data folder")
    objects_key: SecretStr = Field(default=SecretStr(""), description="Its access key")
    objects_secret: SecretStr = Field(default=SecretStr(""), description="Its secret")
    data_dir: str = Field(default="./var", min_length=1, description="Where an embedded system keeps everything")


class StoreSettings(Settings):
    """The stores, as every service names them: `Sn_REDIS_ADDRESSES`, `Sn_DB_ARANGO_*`, else the shared ones."""

    redis_addresses: CommaList = Field(
        default=("localhost:6379",), description="host:port,…, Redis Cluster", json_schema_extra=_REDIS
    )
    db_arango_uri: str = Field(
        default="http://localhost:8529", description="Where ArangoDB listens", json_schema_extra=_ARANGO_URI
    )
    db_arango_user: str = Field(default="root", description="User of ArangoDB", json_schema_extra=_ARANGO_USER)
    db_arango_pass: SecretStr = Field(default=SecretStr(""), description="Its password", json_schema_extra=_ARANGO_PASS)


class S1Settings(StoreSettings):
    throttle_ms: int = Field(
        default=100, ge=0, le=60_000, description="Tickers and depth of a symbol coalesce to one event each so often"
    )
    stall_ms: int = Field(default=5_000, ge=100, le=600_000, description="A stream silent for so long is reopened")
    kline_stall_ms: int = Field(default=90_000, ge=1_000, le=3_600_000, description="The same for klines")
    reconnect_ms_min: int = Field(default=500, ge=1, le=60_000, description="First wait before connecting again")
    reconnect_ms_max: int = Field(default=30_000, ge=1, le=600_000, description="Longest wait before connecting again")
    balances_ms: int = Field(default=10_000, ge=1_000, le=600_000, description="Balances are told each so often")
    clock_skew_ms_max: int = Field(default=1_000, ge=1, le=60_000, description="Above: CLOCK_SKEW, no new entries")
    rate_headroom_ratio: Estimate = Field(
        default=0.10, ge=0, le=1, description="Below this share of the rate budget only protective calls go"
    )
    max_usdttwd: bool = Field(default=True, description="Read USDT/TWD from MAX; off: signal 0, factor stale")
    minute_days: int = Field(
        default=32,
        ge=2,
        le=400,
        description="One-minute bars kept complete. rv_pctile_30d ranks 30 days of a figure that looks back a day; one"
        " day to spare. 0.5 MB a day and instrument on disk",
    )
    ready_days: int = Field(
        default=2,
        ge=1,
        le=400,
        description="Of them, so many before S1 is ready; the rest is fetched while it trades. rv_1d needs one day",
    )
    factor_days: int = Field(
        default=45, ge=4, le=400, description="USDT/TWD hours kept; rho_usdttwd_14 needs 15 closed days in a row"
    )
    history_pause_ms: int = Field(
        default=1_000,
        ge=0,
        le=60_000,
        description="Between two questions about the past, 14 of weight each on futures: a third of the 2,400 a minute,"
        " so that bars a stream lost are fetched meanwhile",
    )
    transfer_usdt_max: Number = Field(
        default=Decimal(1_000), gt=0, le=1_000_000, description="Hard cap: one transfer; half of the largest budget"
    )
    transfer_day_usdt_max: Number = Field(
        default=Decimal(3_000), gt=0, le=1_000_000, description="Hard cap: transfers of a UTC day in one direction"
    )
    transfer_directions: Annotated[tuple[Direction, ...], BeforeValidator(_split)] = Field(
        default=("SPOT:FUT", "FUT:SPOT"), description="Ways that money may go, as SPOT:FUT; empty: none"
    )
    transfer_settle_ms: int = Field(
        default=15_000,
        ge=2_000,
        le=600_000,
        description="Not in the exchange's history so long after a try and its time-out: it never happened. A request"
        " lives 5 s, its listing may lag",
    )
    transfer_repeats: int = Field(
        default=1, ge=0, le=5, description="How often a transfer that never happened is tried again; then FAIL"
    )
    transfer_repeat_within_ms: int = Field(
        default=600_000,
        ge=0,
        le=86_400_000,
        description="Never repeated later than this: what it was for may be over by then",
    )


class S2Settings(StoreSettings):
    emit_ms: int = Field(
        default=1_000, ge=0, le=600_000, description="Least distance of two feature events of a symbol"
    )
    warmup_days: int = Field(
        default=45, ge=0, le=3_650, description="Stored hours and USDT/TWD bars read at start; and never more minutes"
    )
    minute_days: int = Field(
        default=32, ge=0, le=400, description="Stored minutes read at start; more than S1_MINUTE_DAYS are not there"
    )
    outlier_sigma: Estimate = Field(default=10.0, gt=0, le=1_000, description="Beyond it a value is an outlier")
    regime_frozen_below: Estimate = Field(
        default=0.10, ge=0, le=1, description="rv_pctile_30d below it: FROZEN. One day in ten, as SERVICES decides"
    )
    regime_extreme_above: Estimate = Field(
        default=0.90, ge=0, le=1, description="rv_pctile_30d above it: EXTREME, no adds; at least regime_frozen_below"
    )
    regime_grace_ms: int = Field(
        default=600_000,
        ge=0,
        le=86_400_000,
        description="A regime holds so long past its day: midnight's bar may be late, and a reopened stream takes 90 s",
    )

    @model_validator(mode="after")
    def _calm_below_storm(self) -> Self:
        if self.regime_frozen_below > self.regime_extreme_above:
            raise ValueError(
                f"regime_frozen_below {self.regime_frozen_below:g} is above regime_extreme_above "
                f"{self.regime_extreme_above:g}: a day cannot be both"
            )
        return self

    recompute_days_max: int = Field(
        default=31, ge=1, le=366, description="Longest window of one recompute; a month of a symbol takes some seconds"
    )


class S3Settings(StoreSettings):
    symbols: Annotated[tuple[Symbol, ...], BeforeValidator(_split)] = Field(
        default=("BTCUSDT", "ETHUSDT"), min_length=1, description="Limits strategy.markets: others are only watched"
    )
    max_funding_abs: Estimate = Field(
        default=0.0005, ge=0, le=1, description="Largest |funding_next| (per 8 h, fraction) for a FUT entry"
    )
    spread_bp_limit_default: Estimate = Field(
        default=3.0, ge=0, le=1_000, description="Widest spread where the instrument names none"
    )
    depth_top1_usdt_min_default: Estimate = Field(
        default=200.0, ge=0, le=1e12, description="Thinnest touch where the instrument names none"
    )
    leverage_default: int = Field(default=20, ge=1, le=125, description="Hard cap: no bundle exceeds it")
    margin_base_usdt: Number = Field(default=Decimal(20), gt=0, le=1_000_000, description="Margin at size_mult 1")
    max_loss_usdt: Number = Field(
        default=Decimal("1.2"), gt=0, le=1_000_000, description="Hard cap: price loss at the stop, before fees"
    )
    atr_mult: Estimate = Field(default=1.5, gt=0, le=100, description="Stop distance in ATRs")
    concurrent_entries_per_market: int = Field(
        default=1, ge=0, le=100, description="Where the bundle's risk group is silent"
    )
    config_poll_sec: int = Field(default=5, ge=1, le=3_600, description="Repairs a lost cfg event")
    emit: Literal["rest_then_stream", "both"] = Field(
        default="rest_then_stream", description="The road of an intent; S4 executes once either way"
    )
    max_feature_age_ms: int = Field(
        default=5_000, ge=100, le=600_000, description="Older features decide nothing; >= 2.5 tick intervals"
    )
    heartbeat_ms: int = Field(default=10_000, ge=1_000, le=600_000, description="No feature event: look at feat:last")
    decide_lock_ms: int = Field(default=3_000, ge=100, le=60_000, description="How long a decision holds lock:pos")


DEAD_MAN_MS_MIN = 30_000
"""Renewed three times in it: each costs 12 of the 2,400 request weights of a minute, and one call may take 10 s."""


class S4Settings(StoreSettings):
    exchange: Literal["binance"] = Field(default="binance", description="The only exchange spoken yet")
    binance_key: SecretStr = Field(default=SecretStr(""), description="API key")
    binance_secret: SecretStr = Field(default=SecretStr(""), description="API secret")
    binance_private_key_path: str = Field(
        default="", description="Ed25519 private key (PEM) of the API key, instead of a secret"
    )
    withdrawing_key_allowed: bool = Field(
        default=False, description="Start with a key that may withdraw: whoever steals it can empty the account"
    )
    testnet: bool = Field(default=True, description="Real money only when this is false")
    route_table_path: str = Field(
        default="/etc/chimera/route.json", description="Wait and slices by notional (000 G); may be absent"
    )
    route_poll_ms: int = Field(
        default=5_000, ge=100, le=600_000, description="The route table and the curves are looked at so often"
    )
    snap_age_ms_max: int = Field(
        default=5_000,
        ge=100,
        le=60_000,
        description="An older book is none, and no entry slice leaves into it; as S3_MAX_FEATURE_AGE_MS, and never"
        " below 2.5 tick intervals",
    )
    cb_error_rate_window: DurationMs = Field(
        default=60_000, ge=1_000, le=3_600_000, description="Window of the breaker, as 60s"
    )
    cb_error_rate_thresh: Estimate = Field(
        default=0.2, gt=0, le=1, description="Errors / calls above it open the breaker"
    )
    cb_calls_min: int = Field(default=10, ge=1, le=10_000, description="Fewer calls in the window open nothing")
    cb_open_ms: int = Field(default=300_000, ge=1_000, le=3_600_000, description="How long the breaker stays open")
    cb_probes: int = Field(default=3, ge=1, le=100, description="Good calls at HALF that close it")
    maker_max_wait_ms: int = Field(default=3_000, ge=0, le=60_000, description="Hard cap: no bundle exceeds it")
    twap_max_slices: int = Field(
        default=8, ge=1, le=100, description="Hard cap: no bundle exceeds it; 8, as the buckets of v3.2 need it"
    )
    oco_guardian: bool = Field(default=True, description="Watch SPOT stops where the exchange cannot hold them")
    working_type: WorkingType = Field(default=WorkingType.MARK_PRICE, description="Which price triggers FUT stops")
    sync_wait_ms: int = Field(default=500, ge=0, le=60_000, description="Then POST /orders answers ACCEPTED")
    gate_orders_per_s_max: int = Field(
        default=10, ge=1, le=1_000, description="Last gate, hard cap: orders sent in one second"
    )
    gate_notional_usdt_max: Number = Field(
        default=Decimal(20_000), gt=0, le=1_000_000_000, description="Last gate, hard cap: one entry order"
    )
    gate_day_notional_usdt_max: Number = Field(
        default=Decimal(500_000), gt=0, le=1_000_000_000_000, description="Last gate, hard cap: entries of a UTC day"
    )
    gate_mid_distance_max: Estimate = Field(
        default=0.05, gt=0, le=1, description="Last gate, hard cap: price of an entry order away from mid, fraction"
    )
    stop_tries_max: int = Field(default=3, ge=1, le=20, description="Then the position is closed at market")
    dead_man_ms: int = Field(
        default=0,
        ge=0,
        le=3_600_000,
        description="The exchange cancels resting FUT entries when it has not heard of us for so long, as 120000; at"
        f" least {DEAD_MAN_MS_MIN}. 0: never. Needs `chimera doctor --dead-man` first",
    )
    funds_tries_max: int = Field(default=5, ge=1, le=20, description="Downsizing SPOT entries for lack of balance")
    funds_retry_ms: int = Field(
        default=200,
        ge=0,
        le=60_000,
        description="Wait before the first smaller try; it doubles, so that five take 6 s, the life of a signal",
    )
    limit_rest_ms: int = Field(
        default=60_000,
        ge=0,
        le=86_400_000,
        description="The rest of a limit entry is given up so long after its first fill: until then nobody leads what"
        " is open to its targets",
    )
    measures_window_ms: int = Field(
        default=21_600_000,
        ge=60_000,
        le=86_400_000,
        description="Shares of makers filled, funds lacking and pairs refused are of so long, as S11's six hours",
    )
    measures_samples_min: int = Field(
        default=20, ge=1, le=100_000, description="A share of fewer alarms nobody, as health_guard.min_samples"
    )
    maker_fill_ratio_min: Estimate = Field(
        default=0.45, ge=0, le=1, description="Below it MAKER_FILL_RATIO_LOW is told: health's orange"
    )
    ib_rate_max: Estimate = Field(
        default=0.06, ge=0, le=1, description="Above it INSUFFICIENT_BALANCE_RATE_HIGH is told: health's orange"
    )
    oco_fallback_ratio_max: Estimate = Field(
        default=0.2, ge=0, le=1, description="Above it OCO_FALLBACK_RATE_HIGH is told: one pair in five is no accident"
    )

    @model_validator(mode="after")
    def _time_to_renew(self) -> Self:
        if 0 < self.dead_man_ms < DEAD_MAN_MS_MIN:
            raise ValueError(
                f"dead_man_ms {self.dead_man_ms} is too short to be renewed in time: 0, or {DEAD_MAN_MS_MIN} or more"
            )
        return self


class S5Settings(StoreSettings):
    in_flight_ms: int = Field(default=2_000, ge=100, le=600_000, description="Orders in flight are compared so often")
    orders_ms: int = Field(default=10_000, ge=1_000, le=600_000, description="Open orders are compared so often")
    positions_ms: int = Field(default=30_000, ge=1_000, le=600_000, description="Positions are compared so often")
    balances_ms: int = Field(default=60_000, ge=1_000, le=600_000, description="Balances and fills, so often")
    lookup_lag_ms: int = Field(
        default=2_000, ge=0, le=60_000, description="The exchange's query by id lags 1.1 to 1.5 s; asked after this"
    )
    lookups_max: int = Field(
        default=10,
        ge=1,
        le=100,
        description="Orders asked for one by one in one look: 60 a minute at most, of weight 1 or 4",
    )
    lookup_pause_ms: int = Field(
        default=100, ge=0, le=10_000, description="Between two of them: a burst would meet the exchange's limits"
    )
    retry_ms_max: int = Field(
        default=1_500,
        ge=100,
        le=60_000,
        description="A comparison that failed is tried again at least so often: a position may be naked for 2 s",
    )
    entry_patience_ms: int = Field(
        default=60_000,
        ge=1_000,
        le=3_600_000,
        description="So long an unfinished entry is the router's affair; longer than any maker wait and slicing",
    )
    balance_diff_min: Number = Field(
        default=Decimal("0.000001"),
        ge=0,
        le=1_000,
        description="Wallets that differ by less, in units of the asset, are alike: fees are rounded to 8 places",
    )
    adopt_unknown_position: bool = Field(default=True, description="Adopt with a stop, or leave alone")


class S6Settings(StoreSettings):
    tick_ms: int = Field(default=1_000, ge=100, le=60_000, description="While a position or a replacement is open")


class S7Settings(StoreSettings):
    schedule_ms: int = Field(default=300_000, ge=1_000, le=86_400_000, description="Due labels are written so often")


class S8Settings(StoreSettings):
    peers_max: int = Field(default=100, ge=1, le=10_000, description="Trades of symbol and regime compared with")


class S9Settings(StoreSettings):
    workers: int = Field(default=0, ge=0, le=1_024, description="Processes; 0 takes all cores")
    scheduler: str = Field(default="", description="Address of a distributed scheduler; empty: this machine")


class S10Settings(StoreSettings):
    dry_run_days: int = Field(default=30, ge=1, le=365, description="Signals replayed by the dry run")
    dry_run_skip_ratio_max: Estimate = Field(
        default=0.60, ge=0, le=1, description="More signals refused by rules is a bundle that trades hardly (v3.0 2.3)"
    )
    dry_run_size_up_ratio_max: Estimate = Field(
        default=0.50,
        ge=0,
        le=1,
        description="More signals sized above the base is a larger base in disguise (v3.0 2.3)",
    )
    dry_run_jaccard_min: Estimate = Field(
        default=0.35, ge=0, le=1, description="Less in common with what is in force is another strategy (v3.0 2.3)"
    )
    dry_run_without_p_ratio_max: Estimate = Field(
        default=0.50,
        ge=0,
        le=1,
        description="More signals without a model's answer on file say more of its absence than of the model",
    )
    dry_run_asked_min: int = Field(
        default=500, ge=0, le=1_000_000, description="Of fewer signals that reach the rules nothing can be said"
    )


class S11Settings(StoreSettings):
    tick_ms: int = Field(default=60_000, ge=1_000, le=3_600_000, description="Health is judged so often")
    alert_dedupe_ms: int = Field(default=300_000, ge=0, le=86_400_000, description="A repeat within it is one alert")
    heartbeat_url: str = Field(default="", description="Called each minute, so that somebody else sees us dead")
    notify_urls: CommaList = Field(default=(), description="Where alerts go")


class S12Settings(StoreSettings):
    session_h: int = Field(default=12, ge=1, le=720, description="Life of a login")
    language: Literal["en", "zh-TW"] = Field(default="en", description="Language of the page until a user chooses")


SETTINGS: dict[str, type[Settings]] = {
    "chimera": ChimeraSettings,
    "s1": S1Settings,
    "s2": S2Settings,
    "s3": S3Settings,
    "s4": S4Settings,
    "s5": S5Settings,
    "s6": S6Settings,
    "s7": S7Settings,
    "s8": S8Settings,
    "s9": S9Settings,
    "s10": S10Settings,
    "s11": S11Settings,
    "s12": S12Settings,
}
"""By service id, and the shared ones."""

OTHER_VARIABLES: tuple[str, ...] = ("CHIMERA_SHARED", "CHIMERA_REQUIRE_ALL")
"""Read by the tests alone."""


def unknown_variables(env: Mapping[str, str]) -> tuple[str, ...]:
    """Variables of `env` that carry a prefix of ours and that nothing reads: a misspelt cap would be no cap."""
    known = {variable.name for settings in SETTINGS.values() for variable in settings.variables()}
    known.update(OTHER_VARIABLES)
    prefixes = tuple(f"{settings.prefix()}_" for settings in SETTINGS.values())
    return tuple(sorted(name for name in env if name.startswith(prefixes) and name not in known))

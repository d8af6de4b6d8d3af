"""Every collection: its document, key, indexes, time to live, retention and durability.

Owns CONTRACTS section 2 and the index table of v3.2 section 2. A query may use these indexes and no others, so that
every store serves it the same way.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from chimera.contracts.base import Document
from chimera.contracts.documents import (
    Alert,
    Approval,
    AuditRecord,
    AutopsyReport,
    BalanceSnapshot,
    ConfigActive,
    ConfigBundle,
    CostCurve,
    Experiment,
    Factor,
    FactorBar,
    Fill,
    FundingRecord,
    HoldingSnapshot,
    Hypothesis,
    Instrument,
    IntentRecord,
    Kline,
    Label,
    MetricPoint,
    Model,
    Order,
    PositionSnapshot,
    Promotion,
    Session,
    Signal,
    Simulation,
    StrategyEvent,
    StrategyMetricDay,
    StrategyRule,
    SystemState,
    Trade,
    TreasuryTransfer,
    User,
)

D = TypeVar("D", bound=Document)
S = TypeVar("S", bound=SystemState)

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Index:
    """A sorted index; a dot in a field reaches into the document. `sparse` leaves out documents without the fields."""

    name: str
    fields: tuple[str, ...]
    unique: bool = False
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class Ttl:
    """`field` is epoch seconds; the document goes `expire_after_s` later."""

    field: str
    expire_after_s: int


@dataclass(frozen=True, slots=True)
class Collection(Generic[D]):
    """One collection, of one shard.

    Attributes:
        retention_days: S11's daily job archives and removes what is older by `retention_field` (epoch ms), except what
            belongs to an open trade; None: kept for ever, or until its TTL.
        synced: on disk before anything is sent that depends on it.
    """

    name: str
    document: type[D]
    indexes: tuple[Index, ...] = ()
    ttl: Ttl | None = None
    retention_days: int | None = None
    retention_field: str | None = None
    synced: bool = False

    @property
    def key_field(self) -> str | None:
        """The field that is `_key`; None where the document composes its key (`doc_key()`)."""
        return self.document.key_field or None

    def index(self, name: str) -> Index:
        """The index of that name.

        Raises:
            KeyError: none is declared, so no query may rely on it.
        """
        for index in self.indexes:
            if index.name == name:
                return index
        raise KeyError(f"{self.name} declares no index {name!r}")


def _labels(horizon_h: int) -> Collection[Label]:
    return Collection(
        f"labels_{horizon_h}h",
        Label,
        (Index("by_h", ("horizon_h",)), Index("by_computed", ("computed_at",))),
        retention_days=365,
        retention_field="computed_at",
    )


SIGNALS = Collection(
    "signals",
    Signal,
    (
        Index("by_t0_sym", ("symbol", "t0")),
        Index("by_rev", ("config_rev", "t0")),
        Index("by_instr_action", ("market", "symbol", "decision.action", "t0")),
        Index("by_t0", ("t0",)),
        # Most signals are bars that nobody decided on: without it, a list of decisions reads all of them.
        Index("by_reason", ("decision.reason", "t0")),
    ),
    retention_days=365,
    retention_field="t0",
)
LABELS_12H = _labels(12)
LABELS_24H = _labels(24)
LABELS_36H = _labels(36)
ORDERS = Collection(
    "orders",
    Order,
    (
        Index("by_client", ("client_order_id",), unique=True, sparse=True),
        Index("by_sym_time", ("symbol", "created_at")),
        Index("by_intent", ("intent_id",)),
        Index("by_parent", ("parent_id",), sparse=True),
        Index("by_status", ("status", "created_at")),
        Index("by_venue", ("market", "symbol", "venue_order_id"), sparse=True),
        Index("by_time", ("created_at",)),
    ),
    ttl=Ttl("created_at_sec", 400 * DAY_S),
    synced=True,
)
FILLS = Collection(
    "fills",
    Fill,
    (
        Index("by_order", ("order_id", "timestamp")),
        Index("by_sym_time", ("symbol", "timestamp")),
        Index("by_instr_time", ("market", "symbol", "timestamp")),
        Index("by_intent", ("intent_id",)),
        Index("by_time", ("timestamp",)),
    ),
    ttl=Ttl("timestamp_sec", 400 * DAY_S),
)
POSITIONS_SNAPSHOTS = Collection(
    "positions_snapshots",
    PositionSnapshot,
    (Index("by_sym_time", ("symbol", "ts")),),
    ttl=Ttl("ts_sec", 200 * DAY_S),
)
HOLDINGS_SPOT_SNAPSHOTS = Collection(
    "holdings_spot_snapshots",
    HoldingSnapshot,
    (Index("by_sym_time", ("symbol", "ts")),),
    ttl=Ttl("ts_sec", 200 * DAY_S),
)
BALANCES_SNAPSHOTS = Collection(
    "balances_snapshots",
    BalanceSnapshot,
    (Index("by_market_time", ("market", "ts")),),
    ttl=Ttl("ts_sec", 120 * DAY_S),
)
FUNDING_RECORDS = Collection(
    "funding_records",
    FundingRecord,
    (Index("by_sym_time", ("symbol", "funding_time")),),
)
STRATEGY_EVENTS = Collection(
    "strategy_events",
    StrategyEvent,
    (
        Index("by_time", ("ts",)),
        Index("by_kind", ("kind", "ts")),
        Index("by_sym_time", ("symbol", "ts"), sparse=True),
    ),
    retention_days=180,
    retention_field="ts",
)
ALERTS = Collection(
    "alerts",
    Alert,
    (
        Index("by_time", ("ts",)),
        Index("by_sev", ("severity", "ts")),
        Index("by_code", ("code", "ts"), sparse=True),
    ),
    retention_days=90,
    retention_field="ts",
)
AUTOPSY_REPORTS = Collection("autopsy_reports", AutopsyReport, (Index("by_time", ("generated_at",)),))
HYPOTHESES = Collection("hypotheses", Hypothesis, (Index("by_status", ("status", "created_at")),))
EXPERIMENTS = Collection("experiments", Experiment, (Index("by_hypo", ("hypothesis_id", "created_at")),))
STRATEGY_RULES = Collection(
    "strategy_rules",
    StrategyRule,
    (Index("by_status", ("status", "updated_at")), Index("by_priority", ("priority",))),
)
FACTOR_REGISTRY = Collection(
    "factor_registry",
    Factor,
    (
        Index("by_status", ("status", "updated_at")),
        Index("by_family", ("family", "version")),
    ),
)
INSTRUMENT_REGISTRY = Collection(
    "instrument_registry",
    Instrument,
    (
        Index("by_status", ("status", "updated_at")),
        Index("by_instr", ("market", "symbol"), unique=True),
    ),
)
CONFIG_BUNDLES = Collection(
    "config_bundles",
    ConfigBundle,
    (
        Index("by_rev", ("rev",), unique=True, sparse=True),
        Index("by_status", ("status", "created_at")),
    ),
)
CONFIG_ACTIVE = Collection("config_active", ConfigActive, synced=True)
PROMOTIONS = Collection(
    "promotions",
    Promotion,
    (
        Index("by_bundle", ("bundle_id", "activated_at")),
        Index("by_status", ("status",)),
    ),
    synced=True,
)
SIMULATIONS = Collection(
    "simulations",
    Simulation,
    (
        Index("by_status", ("status", "created_at")),
        Index("by_bundle", ("bundle_id", "created_at")),
    ),
    retention_days=180,
    retention_field="created_at",
)
METRICS_TIMESERIES = Collection(
    "metrics_timeseries",
    MetricPoint,
    (Index("by_metric", ("metric", "ts")), Index("by_time", ("ts",))),
    retention_days=180,
    retention_field="ts",
)
COST_CURVES = Collection("cost_curves", CostCurve, (Index("by_kind_ver", ("kind", "version"), unique=True),))
APPROVALS = Collection(
    "approvals",
    Approval,
    (
        Index("by_status_exp", ("status", "expires_at")),
        Index("by_token", ("token",), unique=True),
        Index("by_time", ("created_at",)),
    ),
    # v3.2 says expireAfter 0 and "kept 7-30 d"; the record of who allowed what outlives the token by the longer one.
    ttl=Ttl("expires_at_sec", 30 * DAY_S),
)
TREASURY_TRANSFERS = Collection(
    "treasury_transfers",
    TreasuryTransfer,
    (
        Index("by_time", ("created_at",)),
        Index("by_dir", ("from", "to", "created_at")),
        Index("by_result", ("result", "created_at")),
    ),
    synced=True,
)
INTENTS = Collection(
    "intents",
    IntentRecord,
    (
        Index("by_open", ("state", "updated_at")),
        Index("by_instr", ("market", "symbol", "state", "created_at")),
        Index("by_signal", ("intent.signal_id",), sparse=True),
        Index("by_client", ("intent.client_order_id",), unique=True),
        Index("by_time", ("created_at",)),
    ),
    retention_days=400,
    retention_field="created_at",
    synced=True,
)
TRADES = Collection(
    "trades",
    Trade,
    (
        Index("by_status", ("status", "opened_at")),
        Index("by_instr", ("market", "symbol", "status", "opened_at")),
        Index("by_signal", ("signal_id",), sparse=True),
        Index("by_closed", ("closed_at",), sparse=True),
        Index("by_time", ("opened_at",)),
    ),
)
SYSTEM_STATE = Collection("system_state", SystemState, synced=True)


def system_state(document: type[S]) -> Collection[S]:
    """`system_state`, read as the one kind of document that the caller keeps there: each key has a type of its own."""
    return Collection(SYSTEM_STATE.name, document, synced=True)


KLINES = Collection(
    "klines",
    Kline,
    (Index("by_instr_time", ("market", "symbol", "interval", "open_time"), unique=True),),
    # Autopsies, labels and backtests replay them; a year and the warm-up before it.
    ttl=Ttl("ts_sec", 410 * DAY_S),
)
FACTOR_BARS = Collection(
    "factor_bars",
    FactorBar,
    (Index("by_sym_time", ("source", "symbol", "interval", "open_time"), unique=True),),
)
AUDIT_EVENTS = Collection(
    "audit_events",
    AuditRecord,
    (
        Index("by_seq", ("seq",), unique=True),
        Index("by_time", ("ts",)),
        Index("by_actor", ("actor", "ts")),
        Index("by_subject", ("subject", "ts")),
    ),
)
USERS = Collection("users", User)
SESSIONS = Collection(
    "sessions",
    Session,
    (Index("by_user", ("user", "created_at")),),
    ttl=Ttl("expires_at_sec", 0),
)
MODELS = Collection("models", Model, (Index("by_time", ("created_at",)),))
STRATEGY_METRICS_DAILY = Collection(
    "strategy_metrics_daily",
    StrategyMetricDay,
    (Index("by_metric_day", ("metric", "day"), unique=True),),
)

COLLECTIONS: dict[str, Collection[Any]] = {
    collection.name: collection
    for collection in (
        SIGNALS,
        LABELS_12H,
        LABELS_24H,
        LABELS_36H,
        ORDERS,
        FILLS,
        POSITIONS_SNAPSHOTS,
        HOLDINGS_SPOT_SNAPSHOTS,
        BALANCES_SNAPSHOTS,
        FUNDING_RECORDS,
        STRATEGY_EVENTS,
        ALERTS,
        AUTOPSY_REPORTS,
        HYPOTHESES,
        EXPERIMENTS,
        STRATEGY_RULES,
        FACTOR_REGISTRY,
        INSTRUMENT_REGISTRY,
        CONFIG_BUNDLES,
        CONFIG_ACTIVE,
        PROMOTIONS,
        SIMULATIONS,
        METRICS_TIMESERIES,
        COST_CURVES,
        APPROVALS,
        TREASURY_TRANSFERS,
        INTENTS,
        TRADES,
        SYSTEM_STATE,
        KLINES,
        FACTOR_BARS,
        AUDIT_EVENTS,
        USERS,
        SESSIONS,
        MODELS,
        STRATEGY_METRICS_DAILY,
    )
}
"""By name, in the order of the spec."""


def labels(horizon_h: int) -> Collection[Label]:
    """The collection of labels `horizon_h` (12, 24 or 36) hours after t0."""
    return COLLECTIONS[f"labels_{horizon_h}h"]

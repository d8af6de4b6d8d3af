"""Metrics, service level objectives and alert codes by name.

Owns CONTRACTS section 5. A Prometheus name is `chimera_` and ours; labels stand with each metric.
"""

from dataclasses import dataclass
from enum import StrEnum

from chimera.contracts.enums import Severity

PREFIX = "chimera_"


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `service` writes it; `unit` is ms, bps, usdt, ratio, count or state."""

    name: str
    kind: MetricKind
    service: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        return PREFIX + self.name.replace(".", "_")


_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("s1_ws_rtt_ms", _H, "s1", "ms", "Round trip of a WebSocket ping"),
        Metric("s1_mkt_throughput", _G, "s1", "count", "Market events a second"),
        Metric("clock_offset_ms", _G, "s1", "ms", "Exchange clock less ours"),
        Metric("rate_weight_used", _G, "s1", "count", "Rate weight used in the present minute", ("address",)),
        Metric("stream_silence_ms", _G, "s1", "ms", "Time since a stream last spoke", ("stream",)),
        Metric("s2_regime_latency_ms", _H, "s2", "ms", "Computing the daily regime"),
        Metric("feature_stale", _G, "s2", "state", "1 while a feature is stale", ("feature",)),
        Metric("strategy_decide_latency_ms", _H, "s3", "ms", "One decision, from asked to durable"),
        Metric("rules_fired_count", _C, "s3", "count", "Rules that fired", ("rule",)),
        Metric("gate_skip_count", _C, "s3", "count", "Entries refused", ("reason",)),
        Metric("intent_emit_ok", _C, "s3", "count", "Intents delivered"),
        Metric("intent_emit_fail", _C, "s3", "count", "Intents that no road delivered"),
        Metric("risk_gate_miss_rate", _G, "s3", "ratio", "Entries that a gate should have refused; must be 0"),
        Metric("config_lag_ms", _G, "s3", "ms", "From a config's activation to its use here"),
        Metric("router_submit_latency_ms", _H, "s4", "ms", "One order call at the exchange"),
        Metric("router_e2e_latency_ms", _H, "s4", "ms", "Command's arrival to first result, less deliberate waits"),
        Metric("order_submit_error_rate", _G, "s4", "ratio", "Order calls answered 4xx or 5xx"),
        Metric("maker_fill_ratio", _G, "s4", "ratio", "Quantity filled as maker / offered as maker"),
        Metric("maker_timeout_count", _C, "s4", "count", "Maker waits that ended unfilled"),
        Metric("taker_rate", _G, "s4", "ratio", "Quantity filled as taker / filled"),
        Metric("twap_slice_fill_ratio", _G, "s4", "ratio", "Slices filled / sent"),
        Metric("twap_backlog", _G, "s4", "count", "Slices that wait for their time"),
        Metric("slippage_bps", _H, "s4", "bps", "Fill against mid at send; positive is worse"),
        Metric("fee_usdt_total", _C, "s4", "usdt", "Fees paid"),
        Metric("ib_rate", _G, "s4", "ratio", "Spot submissions refused for lack of balance"),
        Metric("oco_fallback_ratio", _G, "s4", "ratio", "OCO pairs that fell back to the guard"),
        Metric("cb_state", _G, "s4", "state", "Breaker: 0 closed, 1 half, 2 open"),
        Metric("orders_jaccard", _G, "s4", "ratio", "Open orders here and there: intersection / union"),
        Metric("recon_agreement_ratio", _G, "s5", "ratio", "Of what the last comparison with the exchange compared"),
        Metric("unprotected_ms", _H, "s4", "ms", "From a fill to its stop being listed"),
        Metric("s8_autopsy_latency_ms", _H, "s8", "ms", "Writing one autopsy"),
        Metric("redis_stream_lag_max", _G, "s11", "count", "Entries the slowest group has not read"),
        Metric("db_write_latency_ms", _H, "s11", "ms", "One document write"),
        Metric("model_auc", _G, "s11", "ratio", "Of the active trained model, last 100 labelled decisions"),
        Metric("brier", _G, "s11", "ratio", "Of the active trained model, last 100 labelled decisions"),
    )
}
"""By name, in the order of CONTRACTS 5."""


class AlertCode(StrEnum):
    """Every alert, each with a runbook page of its own."""

    NO_ENABLED_RULE = "NO_ENABLED_RULE"
    CONFIG_REV_MISMATCH = "CONFIG_REV_MISMATCH"
    INTENT_EMIT_FAILED = "INTENT_EMIT_FAILED"
    FACTOR_MISSING = "FACTOR_MISSING"
    FEED_SILENT = "FEED_SILENT"
    CB_OPEN = "CB_OPEN"
    MAKER_FILL_RATIO_LOW = "MAKER_FILL_RATIO_LOW"
    INSUFFICIENT_BALANCE_RATE_HIGH = "INSUFFICIENT_BALANCE_RATE_HIGH"
    OCO_FALLBACK_RATE_HIGH = "OCO_FALLBACK_RATE_HIGH"
    GUARD_ANOMALY = "GUARD_ANOMALY"
    """Added to CONTRACTS 5: a guard that sees no price, or could not sell yet."""
    ORDER_RETRY_EXHAUSTED = "ORDER_RETRY_EXHAUSTED"
    STOP_NOT_PLACED = "STOP_NOT_PLACED"
    CLOCK_SKEW = "CLOCK_SKEW"
    RATE_LIMITED = "RATE_LIMITED"
    RECON_FIXED = "RECON_FIXED"
    RECON_FAILED = "RECON_FAILED"
    EXCHANGE_RESTRICTS = "EXCHANGE_RESTRICTS"
    """Added to CONTRACTS 5: the exchange lets a symbol, or the whole account, close only."""
    DLQ = "DLQ"
    STREAM_LAG = "STREAM_LAG"
    LIQUIDATION = "LIQUIDATION"
    RISK_HALT = "RISK_HALT"
    """Added to CONTRACTS 5: a limit of the account was reached."""
    MODEL_UNUSABLE = "MODEL_UNUSABLE"
    """Added to CONTRACTS 5: a bundle names a model that decides nothing."""
    LAST_GATE = "LAST_GATE"
    """Added to CONTRACTS 5: an order was stopped right before the exchange, so something above it is wrong."""
    ROUTE_TABLE = "ROUTE_TABLE"
    """Added to CONTRACTS 5: a route table, wait curve or cost curve cannot be used."""
    DEAD_MAN_SWITCH = "DEAD_MAN_SWITCH"
    """Added to CONTRACTS 5: the exchange's countdown over resting entries cannot be set or ended."""
    KEY_PERMISSIONS = "KEY_PERMISSIONS"
    DISK = "DISK"
    SLO_DECIDE_LATENCY = "SLO_DECIDE_LATENCY"
    SLO_DECIDE_OK = "SLO_DECIDE_OK"
    SLO_CONFIG_CONVERGENCE = "SLO_CONFIG_CONVERGENCE"
    SLO_ORDERS_OK = "SLO_ORDERS_OK"
    SLO_ROUTER_E2E_LATENCY = "SLO_ROUTER_E2E_LATENCY"
    SLO_ORDER_SUBMIT_ERROR_RATE = "SLO_ORDER_SUBMIT_ERROR_RATE"
    SLO_MAKER_FILL_RATIO = "SLO_MAKER_FILL_RATIO"
    SLO_IB_RATE = "SLO_IB_RATE"
    SLO_RISK_GATE_MISS_RATE = "SLO_RISK_GATE_MISS_RATE"
    SLO_STREAM_LAG = "SLO_STREAM_LAG"
    SLO_DB_WRITE_LATENCY = "SLO_DB_WRITE_LATENCY"

    @property
    def slug(self) -> str:
        """Name of its page in the runbook."""
        return self.value.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class AlertMeaning:
    severity: Severity
    meaning: str


@dataclass(frozen=True, slots=True)
class Slo:
    """An objective: the metric's figure (`stat`: p95, ratio, max) against `target`; `alarm_at` where that differs."""

    code: AlertCode
    metric: str
    stat: str
    at_most: bool
    target: float
    unit: str
    alarm_at: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether `value` is good enough not to alarm."""
        limit = self.target if self.alarm_at is None else self.alarm_at
        return value <= limit if self.at_most else value >= limit


_A = AlertCode

SLOS: tuple[Slo, ...] = (
    Slo(_A.SLO_DECIDE_LATENCY, "strategy_decide_latency_ms", "p95", True, 500, "ms"),
    Slo(_A.SLO_DECIDE_OK, "decide_ok_ratio", "ratio", False, 0.995, "ratio"),
    Slo(_A.SLO_CONFIG_CONVERGENCE, "config_lag_ms", "max", True, 5_000, "ms"),
    Slo(_A.SLO_ORDERS_OK, "orders_ok_ratio", "ratio", False, 0.995, "ratio"),
    Slo(_A.SLO_ROUTER_E2E_LATENCY, "router_e2e_latency_ms", "p95", True, 800, "ms", alarm_at=1_200),
    Slo(_A.SLO_ORDER_SUBMIT_ERROR_RATE, "order_submit_error_rate", "ratio", True, 0.005, "ratio"),
    Slo(_A.SLO_MAKER_FILL_RATIO, "maker_fill_ratio", "ratio", False, 0.55, "ratio"),
    Slo(_A.SLO_IB_RATE, "ib_rate", "ratio", True, 0.03, "ratio"),
    Slo(_A.SLO_RISK_GATE_MISS_RATE, "risk_gate_miss_rate", "ratio", True, 0.0, "ratio"),
    Slo(_A.SLO_STREAM_LAG, "redis_stream_lag_max", "max", True, 200, "count"),
    Slo(_A.SLO_DB_WRITE_LATENCY, "db_write_latency_ms", "p95", True, 80, "ms"),
)

ALERTS: dict[AlertCode, AlertMeaning] = {
    _A.NO_ENABLED_RULE: AlertMeaning(Severity.WARN, "The bundle enables no rule for this symbol: nothing is entered."),
    _A.CONFIG_REV_MISMATCH: AlertMeaning(Severity.ERROR, "A service runs another config than the active one."),
    _A.INTENT_EMIT_FAILED: AlertMeaning(Severity.ERROR, "A decision to open could not be delivered to the router."),
    _A.FACTOR_MISSING: AlertMeaning(
        Severity.WARN, "A rule or the model reads a factor that is missing, stale or not enabled."
    ),
    _A.FEED_SILENT: AlertMeaning(Severity.ERROR, "A market or account stream has not spoken for too long."),
    _A.CB_OPEN: AlertMeaning(Severity.ERROR, "The exchange fails too often: no new entries until it recovers."),
    _A.MAKER_FILL_RATIO_LOW: AlertMeaning(Severity.WARN, "Too few maker orders fill."),
    _A.INSUFFICIENT_BALANCE_RATE_HIGH: AlertMeaning(Severity.WARN, "Too many spot orders lack balance."),
    _A.OCO_FALLBACK_RATE_HIGH: AlertMeaning(Severity.WARN, "Too many OCO pairs fall back to the guard."),
    _A.GUARD_ANOMALY: AlertMeaning(Severity.ERROR, "A guard watches a spot stop and could not do so as it should."),
    _A.ORDER_RETRY_EXHAUSTED: AlertMeaning(Severity.ERROR, "An order was given up after all tries."),
    _A.STOP_NOT_PLACED: AlertMeaning(Severity.FATAL, "A position had no stop and is being closed at market."),
    _A.CLOCK_SKEW: AlertMeaning(Severity.ERROR, "Our clock is off by more than a second: no new entries."),
    _A.RATE_LIMITED: AlertMeaning(Severity.WARN, "The exchange limits our calls."),
    _A.RECON_FIXED: AlertMeaning(Severity.WARN, "Records differed from the exchange and were mended."),
    _A.RECON_FAILED: AlertMeaning(Severity.ERROR, "Records could not be compared with the exchange."),
    _A.EXCHANGE_RESTRICTS: AlertMeaning(
        Severity.ERROR, "The exchange does not trade a symbol now, or lets the account close only."
    ),
    _A.DLQ: AlertMeaning(Severity.ERROR, "A message failed for good and lies in a dead-letter stream."),
    _A.STREAM_LAG: AlertMeaning(Severity.WARN, "A reader falls behind its stream."),
    _A.LIQUIDATION: AlertMeaning(Severity.FATAL, "The exchange liquidated a position, or is near to it."),
    _A.RISK_HALT: AlertMeaning(Severity.ERROR, "A loss limit was reached: no entries until a person releases it."),
    _A.MODEL_UNUSABLE: AlertMeaning(Severity.ERROR, "A bundle's model cannot be opened, or answers nonsense."),
    _A.LAST_GATE: AlertMeaning(
        Severity.ERROR, "An order was stopped right before the exchange: whoever made it is wrong, or a cap is too low."
    ),
    _A.ROUTE_TABLE: AlertMeaning(
        Severity.WARN, "A route table, wait curve or cost curve cannot be used: what held before it stays."
    ),
    _A.DEAD_MAN_SWITCH: AlertMeaning(
        Severity.WARN, "The exchange's dead-man switch over resting entries cannot be set, or not be ended."
    ),
    _A.KEY_PERMISSIONS: AlertMeaning(Severity.ERROR, "The API key may do too little, or more than it should."),
    _A.DISK: AlertMeaning(Severity.ERROR, "The data folder is nearly full or cannot be written."),
    _A.SLO_DECIDE_LATENCY: AlertMeaning(Severity.WARN, "Decisions take longer than 500 ms (p95)."),
    _A.SLO_DECIDE_OK: AlertMeaning(Severity.WARN, "Fewer than 99.5 % of decisions succeed."),
    _A.SLO_CONFIG_CONVERGENCE: AlertMeaning(Severity.WARN, "A config needs longer than 5 s to be used everywhere."),
    _A.SLO_ORDERS_OK: AlertMeaning(Severity.WARN, "Fewer than 99.5 % of orders succeed."),
    _A.SLO_ROUTER_E2E_LATENCY: AlertMeaning(Severity.WARN, "Orders take longer than 1200 ms (p95)."),
    _A.SLO_ORDER_SUBMIT_ERROR_RATE: AlertMeaning(Severity.WARN, "More than 0.5 % of order calls fail."),
    _A.SLO_MAKER_FILL_RATIO: AlertMeaning(Severity.WARN, "Less than 55 % of what is offered as maker fills."),
    _A.SLO_IB_RATE: AlertMeaning(Severity.WARN, "More than 3 % of spot orders lack balance."),
    _A.SLO_RISK_GATE_MISS_RATE: AlertMeaning(Severity.ERROR, "An entry passed that a gate should have refused."),
    _A.SLO_STREAM_LAG: AlertMeaning(Severity.WARN, "A reader is more than 200 entries behind."),
    _A.SLO_DB_WRITE_LATENCY: AlertMeaning(Severity.WARN, "Document writes take longer than 80 ms (p95)."),
}
"""What each code means, and how bad it is."""

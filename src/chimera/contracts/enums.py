"""Every closed list of words that a message or document may use. Source: CONTRACTS and the spec's schemas."""

from enum import StrEnum


class Market(StrEnum):
    FUT = "FUT"
    SPOT = "SPOT"


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """`orders.type`. The last three widen the schema (LIMIT_MAKER, STOP_LOSS, TAKE_PROFIT)."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"
    OCO_PARENT = "OCO_PARENT"
    LIMIT_MAKER = "LIMIT_MAKER"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"


class OrderStatus(StrEnum):
    """`orders.status`. The exchange's EXPIRED and EXPIRED_IN_MATCH are CANCELED with a reason."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"

    @property
    def is_final(self) -> bool:
        return self in (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED)


class Intent(StrEnum):
    """`OrderCmd.intent`."""

    ENTRY = "ENTRY"
    ADD = "ADD"
    EXIT = "EXIT"
    HEDGE = "HEDGE"


class Purpose(StrEnum):
    """Why an order exists."""

    ENTRY = "ENTRY"
    ADD = "ADD"
    EXIT = "EXIT"
    SL = "SL"
    TP = "TP"
    GUARD = "GUARD"
    HEDGE = "HEDGE"

    @property
    def is_new_entry(self) -> bool:
        """True for what raises risk: kill switch, RED, halts and pauses refuse these and nothing else."""
        return self in (Purpose.ENTRY, Purpose.ADD, Purpose.HEDGE)


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"
    """Post-only."""


class WorkingType(StrEnum):
    """Which price triggers a conditional futures order."""

    MARK_PRICE = "MARK_PRICE"
    CONTRACT_PRICE = "CONTRACT_PRICE"


class Routing(StrEnum):
    AUTO = "AUTO"
    DIRECT_TAKER = "DIRECT_TAKER"
    MAKER_ONLY = "MAKER_ONLY"


class PositionSide(StrEnum):
    """`positions_snapshots.side`."""

    LONG = "LONG"
    SHORT = "SHORT"
    FLAT = "FLAT"


class StopKind(StrEnum):
    """What holds a position's stop: an order that the exchange lists, a guard of ours, or nothing now."""

    LISTED = "LISTED"
    GUARD = "GUARD"
    NONE = "NONE"


class Action(StrEnum):
    """`signals.decision.action`."""

    OPEN = "open"
    SKIP = "skip"


class Reason(StrEnum):
    """Why `POST /decide` answered as it did."""

    OK = "OK"
    GATE = "GATE"
    RULE = "RULE"
    MODEL = "MODEL"
    RISK_BUDGET = "RISK_BUDGET"


class HealthLevel(StrEnum):
    GREEN = "GREEN"
    YELLOW = "YELLOW"
    ORANGE = "ORANGE"
    RED = "RED"


class Regime(StrEnum):
    FROZEN = "FROZEN"
    NORMAL = "NORMAL"
    EXTREME = "EXTREME"


class Severity(StrEnum):
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"
    FATAL = "FATAL"


class ServiceHealth(StrEnum):
    """`status` of `GET /health`."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    DOWN = "DOWN"


class Switch(StrEnum):
    ON = "ON"
    OFF = "OFF"


class OcoStatus(StrEnum):
    ARMED = "ARMED"
    ONE_LEG_FILLED = "ONE_LEG_FILLED"
    BOTH_CANCELED = "BOTH_CANCELED"
    FALLBACK_GUARD = "FALLBACK_GUARD"


class FundingKind(StrEnum):
    NEXT = "NEXT"
    SETTLED = "SETTLED"


class EntryStatus(StrEnum):
    """ENABLED or DISABLED: rules, factors, instruments."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class BundleStatus(StrEnum):
    DRAFT = "DRAFT"
    LINTED = "LINTED"
    STAGED = "STAGED"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"
    REJECTED = "REJECTED"


class TransferResult(StrEnum):
    OK = "OK"
    FAIL = "FAIL"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"


class IntentState(StrEnum):
    """The router's machine for one intent.

    ACCEPTED (durable, nothing sent) -> WORKING (an entry order may be at the exchange) -> PROTECTING (filled; stop and
    target are being placed) -> DONE | CANCELED | REJECTED | FAILED.
    """

    ACCEPTED = "ACCEPTED"
    WORKING = "WORKING"
    PROTECTING = "PROTECTING"
    DONE = "DONE"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        return self in (
            IntentState.DONE,
            IntentState.CANCELED,
            IntentState.REJECTED,
            IntentState.FAILED,
        )


class ExecStyle(StrEnum):
    """How an intent's quantity is worked."""

    MAKER = "MAKER"
    """Post-only at the touch first; what has not filled at the end of the wait is taken."""
    POST_ONLY = "POST_ONLY"
    """The same without the taking: what has not filled is given up."""
    TAKER = "TAKER"
    LIMIT = "LIMIT"
    """Rests at the price that was named until it has filled or somebody takes it back."""
    RESTING = "RESTING"
    """A stop or target that is done once the exchange lists it."""
    GUARD = "GUARD"
    """Nothing is sent until the watched price is reached."""


class LegRole(StrEnum):
    """What one order of an intent is for."""

    QUOTE = "QUOTE"
    """Rests: a post-only order at the touch, or a limit order."""
    TAKE = "TAKE"
    """Takes from the book."""
    REST = "REST"
    """A stop or target that was ordered by itself."""
    STOP = "STOP"
    TARGET = "TARGET"
    RUNG = "RUNG"
    """The first rung, taken at market because its price was passed before it could rest."""
    CLOSE = "CLOSE"
    """What could not be protected leaves at market."""
    PAIR_TARGET = "PAIR_TARGET"
    PAIR_STOP = "PAIR_STOP"


class Refusal(StrEnum):
    """Why an order is definitely not at the exchange, as far as it decides what comes next."""

    FUNDS = "FUNDS"
    WOULD_TAKE = "WOULD_TAKE"
    WOULD_TRIGGER = "WOULD_TRIGGER"
    NOTHING_TO_REDUCE = "NOTHING_TO_REDUCE"
    NOT_SERVED = "NOT_SERVED"
    """It did not serve us; nothing was taken."""
    NOT_ARRIVED = "NOT_ARRIVED"
    """It was asked for longer than its queries lag, and never knew the order."""
    NOT_LISTED = "NOT_LISTED"
    """Sent as often as is tried, and never shown in its book."""
    OTHER = "OTHER"


class TradeStatus(StrEnum):
    """The reconciler's transaction states of one trade."""

    PENDING_ENTRY = "PENDING_ENTRY"
    ACTIVE = "ACTIVE"
    PENDING_CLOSING = "PENDING_CLOSING"
    CLOSED = "CLOSED"


OPEN_TRADES = tuple(status for status in TradeStatus if status is not TradeStatus.CLOSED)
"""Of a trade that has not ended."""

OPEN_INTENTS = tuple(state for state in IntentState if not state.is_final)
"""Of an intent that has not ended."""


class SideMode(StrEnum):
    """`strategy.side_mode`: trade with the sign of `xmkt_signal`, or against it."""

    FOLLOW = "follow"
    FADE = "fade"


class DecisionTrigger(StrEnum):
    """What asked for a decision."""

    MANUAL = "manual"
    STREAM = "stream"


class Result(StrEnum):
    """`result` of an HTTP answer that ordered something."""

    OK = "OK"
    FAIL = "FAIL"


class AnswerStatus(StrEnum):
    """`status` of `POST /orders`: an order's own status, or ACCEPTED while the intent is still being worked."""

    ACCEPTED = "ACCEPTED"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"


class CancelReason(StrEnum):
    """Why somebody wants an order gone. Source: 003 section 2.3, + what S4 itself says."""

    REBALANCE = "REBALANCE"
    RISK = "RISK"
    ORPHAN = "ORPHAN"
    MANUAL = "MANUAL"
    REPLACED = "REPLACED"
    FLAT = "FLAT"
    KILL_SWITCH = "KILL_SWITCH"
    EXPIRED = "EXPIRED"


class SliceShape(StrEnum):
    """How the slices of one order compare: all alike, or growing as the square root of their number."""

    EQUAL = "EQUAL"
    SQRT = "SQRT"


class TakerFallback(StrEnum):
    """What follows a maker order that did not fill: MARKET at once, or IOC one tick through and its rest MARKET."""

    DIRECT = "DIRECT"
    AFTER_CANCEL = "AFTER_CANCEL"


class PositionEventKind(StrEnum):
    """`PositionEvent.kind`. STAGNATED widens the schema."""

    ENTRY = "ENTRY"
    ADD = "ADD"
    EXIT = "EXIT"
    STOP_MOVE = "STOP_MOVE"
    TP_PARTIAL = "TP_PARTIAL"
    STAGNATED = "STAGNATED"


class EventKind(StrEnum):
    """`strategy_events.kind`: the eight of v3.0, then those that CONTRACTS section 2 adds."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    ADD = "ADD"
    STOP_MOVE = "STOP_MOVE"
    CIRCUIT_BREAK = "CIRCUIT_BREAK"
    ROLLBACK = "ROLLBACK"
    PROMOTE = "PROMOTE"
    CONFIG_HOTLOAD = "CONFIG_HOTLOAD"
    DECIDE = "DECIDE"
    FEATURE_RECOMPUTE = "FEATURE_RECOMPUTE"
    ROUTER_ORDER_ACCEPTED = "ROUTER_ORDER_ACCEPTED"
    ROUTER_ORDER_EXECUTED = "ROUTER_ORDER_EXECUTED"
    ROUTER_ORDER_CANCELED = "ROUTER_ORDER_CANCELED"
    ROUTER_ORDER_REJECTED = "ROUTER_ORDER_REJECTED"
    TP_SL_PLACED = "TP_SL_PLACED"
    CANCEL = "CANCEL"
    OCO_ARMED = "OCO_ARMED"
    OCO_FALLBACK = "OCO_FALLBACK"
    OCO_RESOLVE = "OCO_RESOLVE"
    GUARD_ARMED = "GUARD_ARMED"
    GUARD_TRIGGERED = "GUARD_TRIGGERED"
    TWAP_SLICE_SENT = "TWAP_SLICE_SENT"
    TWAP_DONE = "TWAP_DONE"
    TP_PARTIAL = "TP_PARTIAL"
    HEDGE = "HEDGE"
    STAGNATED = "STAGNATED"
    RECONCILE_START = "RECONCILE_START"
    RECONCILE_FIX = "RECONCILE_FIX"
    RECONCILE_DONE = "RECONCILE_DONE"
    LABEL_WRITE = "LABEL_WRITE"
    AUTOPSY_DONE = "AUTOPSY_DONE"
    KILL_SWITCH = "KILL_SWITCH"
    HEALTH_LEVEL = "HEALTH_LEVEL"
    TRANSFER = "TRANSFER"
    RISK_RELEASE = "RISK_RELEASE"
    RECALIBRATE_COST_MODEL = "RECALIBRATE_COST_MODEL"


class ReconcileScope(StrEnum):
    """ORDERS and POSITIONS widen the schema."""

    ALL = "ALL"
    SYMBOL = "SYMBOL"
    ORDERS = "ORDERS"
    POSITIONS = "POSITIONS"


class ReconcileStatus(StrEnum):
    OK = "OK"
    FIXED = "FIXED"
    FAILED = "FAILED"


class JobStatus(StrEnum):
    """How a commanded job ended."""

    DONE = "DONE"
    FAILED = "FAILED"


class CfgEventKind(StrEnum):
    PROMOTE = "PROMOTE"
    ROLLBACK = "ROLLBACK"


class LabelClass(StrEnum):
    POS = "pos"
    NEG = "neg"
    NEUTRAL = "neutral"


class HypothesisStatus(StrEnum):
    PENDING = "PENDING"
    VALIDATING = "VALIDATING"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"


class ExperimentResult(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class ActionType(StrEnum):
    """What a rule may do. Source: 004 section 2.2."""

    SIZE_MULT = "size_mult"
    TP_MULT = "tp_mult"
    SL_MULT = "sl_mult"
    SKIP_ENTRY = "skip_entry"
    MAX_ADDS_OVERRIDE = "max_adds_override"


class PromotionMode(StrEnum):
    CANARY = "CANARY"
    RAMP = "RAMP"
    FULL = "FULL"
    ROLLBACK = "ROLLBACK"


class PromotionStatus(StrEnum):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    ROLLED_BACK = "ROLLED_BACK"
    ABORTED = "ABORTED"
    DONE = "DONE"


class SimulationStatus(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"


class CostCurveKind(StrEnum):
    FEES = "FEES"
    SLIPPAGE = "SLIPPAGE"


class ApprovalStatus(StrEnum):
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    CONSUMED = "CONSUMED"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class Role(StrEnum):
    """Who a user is at the gateway; each role may do what the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class BreakerState(StrEnum):
    """`router:cb:state`."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF = "HALF"


class ReservationState(StrEnum):
    """State of one record in `{risk}:reservations`."""

    RESERVED = "RESERVED"
    OPEN = "OPEN"


class Grade(StrEnum):
    """Grade of one health metric. NO_DATA counts as green."""

    NO_DATA = "NO_DATA"
    GREEN = "GREEN"
    YELLOW = "YELLOW"
    ORANGE = "ORANGE"
    RED = "RED"


class DataQuality(StrEnum):
    """Why a factor is stale."""

    WARMING = "WARMING"
    """History enough has not come yet."""
    SILENT = "SILENT"
    """Its source has said nothing for too long, or never."""
    CROSSED = "CROSSED"
    """The bid is above the ask."""
    OUTLIER = "OUTLIER"
    """Too far from the last hour to be believed."""
    GAP = "GAP"
    """A bar that it needs is missing."""
    RANGE = "RANGE"
    """The value, or what it is made of, is undefined or cannot be."""

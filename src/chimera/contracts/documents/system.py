"""The system's own state, people, audit, alerts and metrics."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chimera.contracts import ids
from chimera.contracts.base import (
    TWIN,
    Contract,
    Document,
    EpochMs,
    EpochSec,
    Estimate,
    Json,
    Number,
    seconds_of,
)
from chimera.contracts.enums import BreakerState, ReconcileStatus, Role, Severity, Switch


class SystemState(Document):
    """`system_state`: what must outlive every process. One subclass per key, below."""

    key_field: ClassVar[str] = "key"

    key: str
    updated_at: EpochMs


class KillSwitchState(SystemState):
    """ON refuses every new entry. `until` (epoch ms) ends it by itself; absent means until a person releases it."""

    key: Literal["kill_switch"] = "kill_switch"
    state: Switch
    reason: str | None = None
    actor: str
    until: EpochMs | None = None


class Pause(Contract):
    """Entries are paused by a person."""

    at: EpochMs
    actor: str
    reason: str | None = None
    until: EpochMs | None = None


class PausesState(SystemState):
    """Pauses by what they pause: `ALL`, a market, or an instrument as `FUT:BTCUSDT`."""

    key: Literal["pauses"] = "pauses"
    pauses: dict[str, Pause] = Field(default_factory=dict)


class Halt(Contract):
    """A limit was reached: entries stop until a person releases it. value and limit in the limit's own unit."""

    at: EpochMs
    reason: str
    value: Estimate | None = None
    limit: Estimate | None = None


class HaltsState(SystemState):
    """Halts by name: DAILY_LOSS, DRAWDOWN, BACKTEST_GUARD, IB_RATE."""

    key: Literal["halts"] = "halts"
    halts: dict[str, Halt] = Field(default_factory=dict)


class LeaseState(SystemState):
    """Who does a job that only one may do. Key `lease-<name>`; `fence` grows by one at each change of owner."""

    name: str
    owner: str
    fence: int
    expires_at: EpochMs


class ReconState(SystemState):
    """The last reconciliation; new entries need one that is not FAILED and younger than 180 s."""

    key: Literal["recon"] = "recon"
    last_run_ts: EpochMs
    status: ReconcileStatus
    orders_jaccard: Estimate | None = None
    agreement_ratio: Estimate | None = None
    detail: str | None = None


class StrangersState(SystemState):
    """What somebody else holds of futures positions, by instrument (`FUT:BTCUSDT`), signed: a person by hand, another
    program. The exchange would net an entry of ours with it."""

    key: Literal["strangers"] = "strangers"
    held: dict[str, Number] = Field(default_factory=dict)


class CountedUntil(Contract):
    """The newest fill of an instrument that was counted, in the exchange's own time and order."""

    ts: EpochMs = 0
    fill_id: str = ""


class BalancesState(SystemState):
    """What the wallets held when that was last understood, by wallet (`FUT USDT`), and how far it was counted: up to
    which fill of each instrument, which settlement of each symbol, and which rows of the exchange's lists of transfers
    and of its futures ledger (name to time)."""

    key: Literal["balances"] = "balances"
    at: EpochMs
    held: dict[str, Number]
    counted: dict[str, CountedUntil]
    funded_until: dict[str, EpochMs]
    seen: dict[str, EpochMs] = Field(default_factory=dict)


class SpotSettled(Contract):
    """Whose the coins of a SPOT instrument were after the fill `until`.

    `held` is what each trade that was open held, by trade; `others` what the wallet had besides; and `short` what of
    all that was missing, as it had left without a fill. `short_since` is the exchange's time of the newest fill when
    that much was first seen to be missing; 0 where nothing is.
    """

    until: CountedUntil
    held: dict[str, Number]
    others: Number
    short: Number
    short_since: EpochMs = 0


class SpotSettledState(SystemState):
    """By instrument (`SPOT:BTCUSDT`). No later look at the wallet judges the fills up to there anew."""

    key: Literal["spot_settled"] = "spot_settled"
    settled: dict[str, SpotSettled] = Field(default_factory=dict)


class NotTradingState(SystemState):
    """Instruments (`SPOT:BTCUSDT`) that the exchange did not trade when S5 looked last: their return is still to be
    told."""

    key: Literal["not_trading"] = "not_trading"
    instruments: tuple[str, ...] = ()


class EquityPeakState(SystemState):
    """The highest equity, net of transfers, from which the drawdown is measured, and where the UTC day began. USDT.

    `halted` holds the halts that S6 set, by name, a released one until it no longer matters: what is here and not in
    `halts` was released by a person, whenever that was.
    """

    key: Literal["equity_peak"] = "equity_peak"
    equity_peak_usdt: Number
    transfers_net_usdt: Number
    day: str
    day_start_equity_usdt: Number
    halted: dict[str, Halt] = Field(default_factory=dict)


class BreakerRecord(SystemState):
    """S4's breaker, written when it changes, so that a restart does not let entries out. `opened_at` absent: it is
    closed. `by` is the person who opened it, or `errors`; what a person opened lasts until a person closes it."""

    key: Literal["breaker"] = "breaker"
    state: BreakerState
    opened_at: EpochMs | None = None
    by: str
    reason: str = ""
    error_rate: Estimate | None = None


class DeadManSeen(SystemState):
    """The exchange's dead-man switch was seen to spare conditional orders: at `venue` (testnet, live, or what a server
    at a URL is called), at `seen_at`. Without it S4 does not use the switch. Written by `chimera doctor`."""

    key: Literal["dead_man_seen"] = "dead_man_seen"
    venue: str
    seen_at: EpochMs


SYSTEM_STATES: dict[str, type[SystemState]] = {
    "kill_switch": KillSwitchState,
    "pauses": PausesState,
    "halts": HaltsState,
    "recon": ReconState,
    "strangers": StrangersState,
    "balances": BalancesState,
    "spot_settled": SpotSettledState,
    "not_trading": NotTradingState,
    "equity_peak": EquityPeakState,
    "breaker": BreakerRecord,
    "dead_man_seen": DeadManSeen,
}
"""Key to type; every `lease-…` is a `LeaseState`."""


def system_state_type(key: str) -> type[SystemState]:
    """The type of the document under `key`.

    Raises:
        KeyError: no such state is declared.
    """
    return LeaseState if key.startswith(ids.lease_key("")) else SYSTEM_STATES[key]


class AuditRecord(Document):
    """`audit_events`: all of `ops:events`, kept for ever. `hash` covers this record and `prev_hash`: a chain."""

    key_field: ClassVar[str] = "audit_id"

    audit_id: str
    seq: int
    ts: EpochMs
    actor: str
    action: str
    subject: str
    before: Json = None
    after: Json = None
    prev_hash: str
    hash: str


class User(Document):
    """`users`: a person. The password as argon2 hash only."""

    key_field: ClassVar[str] = "name"

    name: str
    role: Role
    password_hash: str
    created_at: EpochMs
    updated_at: EpochMs
    language: str = "en"


class Session(Document):
    """`sessions`: a login. Of the cookie only the hash is kept; ends at `expires_at`."""

    key_field: ClassVar[str] = "session_hash"

    session_hash: str
    user: str
    role: Role
    csrf_token: str
    created_at: EpochMs
    expires_at: EpochMs
    expires_at_sec: Annotated[EpochSec, seconds_of("expires_at")] = TWIN


class Alert(Document):
    """`alerts`: something a person should know. Schema: alerts.json, + code, tags, count of repeats within 5 min."""

    key_field: ClassVar[str] = "alert_id"

    alert_id: str
    severity: Severity
    source: str
    message: str
    ts: EpochMs
    code: str | None = None
    tags: dict[str, str] | None = None
    count: int = 1
    last_ts: EpochMs | None = None


class MetricPoint(Document):
    """`metrics_timeseries`: one value of a metric. Schema: metrics_timeseries.json."""

    metric: str
    value: Estimate
    tags: dict[str, str] | None = None
    ts: EpochMs

    def doc_key(self) -> str:
        return ids.metric_key(self.metric, self.ts, *sorted((self.tags or {}).items()))


class StrategyMetricDay(Document):
    """`strategy_metrics_daily`: a metric's value for one UTC day `yyyy-mm-dd`. Key `<metric>:<day>`."""

    metric: str
    day: str
    value: Estimate
    count: int | None = None
    tags: dict[str, str] | None = None
    updated_at: EpochMs

    def doc_key(self) -> str:
        return ids.metric_day_key(self.metric, self.day)

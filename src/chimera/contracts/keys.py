"""Every key outside the streams: its name, type, time to live and owner. Nothing else builds a key's name.

Owns CONTRACTS 1.2. A name is `{env}:<pattern>`; in a pattern INSTR, {FUT:SYM} and {SPOT:SYM} stand for an instrument's
hash tag and `<word>` for a part that the caller gives, in order.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey

_PLACE = re.compile(r"INSTR|\{FUT:SYM\}|\{SPOT:SYM\}|<[a-z_]+>")

_MARKETS: dict[str, tuple[Market, ...]] = {
    "INSTR": (Market.FUT, Market.SPOT),
    "{FUT:SYM}": (Market.FUT,),
    "{SPOT:SYM}": (Market.SPOT,),
}


class KeyType(StrEnum):
    STRING = "string"
    HASH = "hash"
    ZSET = "zset"


@dataclass(frozen=True, slots=True)
class Key:
    """One family of keys. ttl_s None: it stays. `fields` are a hash's fields where they are fixed."""

    pattern: str
    type: KeyType
    owner: str
    holds: str
    ttl_s: int | None = None
    fields: tuple[str, ...] = ()
    _pieces: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _places: tuple[str, ...] = field(init=False, repr=False, compare=False)
    # Instruments are few and their keys are asked for at every tick.
    _names: dict[tuple[str, InstrumentKey], str] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pieces", tuple(_PLACE.split(self.pattern)))
        object.__setattr__(self, "_places", tuple(_PLACE.findall(self.pattern)))

    @property
    def places(self) -> tuple[str, ...]:
        """What `name` wants, in order."""
        return self._places

    def name(self, env: str, *parts: InstrumentKey | str | int) -> str:
        """The key's name in `env`, the pattern's places filled by `parts`.

        Raises:
            ValueError: too few or too many parts, or an instrument of the wrong market.
        """
        if len(parts) == 1 and isinstance(parts[0], InstrumentKey):
            known = self._names.get((env, parts[0]))
            if known is None:
                known = self._names[env, parts[0]] = self._name(env, parts)
            return known
        return self._name(env, parts)

    def _name(self, env: str, parts: tuple[InstrumentKey | str | int, ...]) -> str:
        if len(parts) != len(self._places):
            raise ValueError(f"key {self.pattern} wants {len(self._places)} parts, got {len(parts)}")
        text = f"{env}:{self._pieces[0]}"
        for place, part, piece in zip(self._places, parts, self._pieces[1:], strict=True):
            text += f"{_fill(self.pattern, place, part)}{piece}"
        return text


def _fill(pattern: str, place: str, part: InstrumentKey | str | int) -> str:
    if place not in _MARKETS:
        return str(part)
    if not isinstance(part, InstrumentKey) or part.market not in _MARKETS[place]:
        raise ValueError(f"key {pattern} wants {place}, got {part}")
    return part.tag


CFG_ACTIVE_REV = Key("cfg:active:rev", KeyType.STRING, "s10", "active config revision")
CFG_BUNDLE = Key(
    "cfg:bundle:<rev>",
    KeyType.HASH,
    "s10",
    "digest of a bundle",
    fields=("hash", "flags_digest", "created_at"),
)
KILL_SWITCH = Key(
    "kill_switch",
    KeyType.STRING,
    "s12",
    "ON or OFF: a cache of system_state/kill_switch",
)
HEALTH_STATE = Key("health:system:state", KeyType.STRING, "s11", "GREEN, YELLOW, ORANGE or RED")
HEALTH_ROLLING = Key(
    "health:rolling",
    KeyType.HASH,
    "s11",
    "health metrics; updated_at older than 180 s counts as RED for new entries",
    fields=(
        "maker_fill_ratio",
        "ib_rate",
        "model_auc",
        "brier",
        "router_e2e_latency_p95",
        "stream_lag_max",
        "grades",
        "updated_at",
    ),
)
REGIME_STATE = Key(
    "regime:market:state",
    KeyType.HASH,
    "s2",
    "daily regime; expired counts as EXTREME",
    fields=("state", "rv_pctile", "rev", "expires_at"),
)
MKT_SNAP = Key(
    "mkt:snap:INSTR",
    KeyType.HASH,
    "s1",
    "the market as last seen",
    ttl_s=60,
    fields=("last", "bid", "ask", "mid", "spread_bps", "depth_top1_usdt", "top3", "ts", "mark", "mark_ts"),
)
FUNDING_NEXT = Key(
    "funding:next:{FUT:SYM}",
    KeyType.HASH,
    "s1",
    "next funding",
    ttl_s=36_000,
    fields=("rate", "funding_time", "interval_h", "ts"),
)
FEAT_LAST = Key(
    "feat:last:INSTR",
    KeyType.HASH,
    "s2",
    "newest features",
    fields=("features", "t0", "signal_id", "stale", "flags"),
)
RISK_USAGE_FUT = Key(
    "{risk}:usage:fut_margin_usdt",
    KeyType.STRING,
    "reservation",
    "FUT margin in use, USDT",
)
RISK_USAGE_SPOT = Key(
    "{risk}:usage:spot_quote_usdt",
    KeyType.STRING,
    "reservation",
    "SPOT quote in use, USDT",
)
RISK_CONCURRENCY_FUT = Key(
    "{risk}:concurrency:FUT",
    KeyType.STRING,
    "reservation",
    "open or opening FUT entries",
)
RISK_CONCURRENCY_SPOT = Key(
    "{risk}:concurrency:SPOT",
    KeyType.STRING,
    "reservation",
    "open or opening SPOT entries",
)
RISK_RESERVATIONS = Key(
    "{risk}:reservations",
    KeyType.HASH,
    "reservation",
    "intent_id to JSON {market, symbol, amount_usdt, state, ts}",
)
ORD_IDEMP = Key(
    "ord:idemp:INSTR:<client_order_id>",
    KeyType.STRING,
    "s4",
    "1; a fast path, the documents decide",
    ttl_s=86_400,
)
TWAP_QUEUE = Key("exec:twap:queue", KeyType.ZSET, "s4", "JSON slice by due_ts")
DELAY_ORD = Key("delay:ord:INSTR", KeyType.ZSET, "s4", "JSON command by retry ts")
ROUTER_RATE = Key(
    "router:rate:INSTR",
    KeyType.HASH,
    "s4",
    "errors of the breaker's window",
    ttl_s=600,
    fields=("429", "5xx", "submit_err_4xx", "submit_err_5xx", "window_start_ms"),
)
ROUTER_BREAKER = Key(
    "router:cb:state",
    KeyType.HASH,
    "s4",
    "CLOSED, OPEN or HALF; opened_at is 0 while it is closed",
    fields=("state", "opened_at", "error_rate"),
)
ROUTER_CURVES = Key(
    "router:curves:INSTR",
    KeyType.HASH,
    "s10",
    "table by notional (`table`: JSON of 000 G), or wait_ms = a + b / spread_bps + c * ln(depth_top1_usdt)",
)
RATE_BUDGET = Key(
    "rate:budget:<exchange>:<address>",
    KeyType.HASH,
    "venue adapter",
    "weight used and order counts, shared by all processes behind one address",
    ttl_s=120,
)
SPOT_OCO_STATE = Key(
    "spot:oco:state:{SPOT:SYM}",
    KeyType.HASH,
    "s4",
    "parent intent_id to JSON {parent_id, tp_id, sl_id, status, updated_at}",
)
GUARD_STOP = Key(
    "guard:stop:{SPOT:SYM}:<intent_id>",
    KeyType.HASH,
    "s4",
    "a stop that S4 watches itself",
    fields=("armed", "armed_at", "stop_price", "qty"),
)
SPOT_WAC = Key(
    "spot:wac:{SPOT:SYM}",
    KeyType.HASH,
    "s4",
    "weighted average cost",
    fields=("qty", "wac", "updated_at"),
)
POS_STATE = Key(
    "pos:state:INSTR",
    KeyType.HASH,
    "s6",
    "the position as last seen (exposure added: base asset, futures and spot together)",
    fields=("side", "entry_price_avg", "margin", "roe", "add_on_count", "exposure", "updated_at"),
)
POS_SL_LEVEL = Key("pos:sl:level:INSTR", KeyType.STRING, "s6", "stop tier")
POS_TP_LADDER = Key("pos:tp:ladder:INSTR", KeyType.STRING, "s6", "ladder rung")
POS_ADDS = Key("pos:adds:INSTR", KeyType.STRING, "s6", "add count")
WALLET_SPOT = Key(
    "wallet:spot:asset:USDT",
    KeyType.HASH,
    "s1",
    "spot USDT",
    fields=("free", "locked", "updated_at"),
)
WALLET_FUT = Key(
    "wallet:fut:asset:USDT",
    KeyType.HASH,
    "s1",
    "futures USDT",
    fields=("free", "cross", "isolated", "updated_at"),
)
TREASURY_QUOTA = Key(
    "treasury:quota",
    KeyType.HASH,
    "s6",
    "budgets and what is used of them",
    fields=("spot_quote_usdt_max", "fut_margin_usdt_max", "used_spot", "used_fut"),
)
LOCK_POS = Key(
    "lock:pos:INSTR",
    KeyType.STRING,
    "holder",
    "owner:uuid with a fencing number",
    ttl_s=30,
)
LOCK_TREASURY = Key("lock:treasury:<from>:<to>", KeyType.STRING, "s1, s6, s12", "owner:uuid", ttl_s=30)
LOCK_ROUTER_PARAM = Key("lock:router:param", KeyType.STRING, "s11", "owner:uuid", ttl_s=30)
APPROVAL = Key(
    "approvals:<token>",
    KeyType.STRING,
    "s12",
    "approval_id; TTL is compliance.approval_ttl_sec",
)
CLOCK_OFFSET = Key(
    "clock:offset_ms",
    KeyType.STRING,
    "s1",
    "exchange clock less ours, ms (added: S4 refuses entries above 1 s)",
)
RISK_LIMITS = Key(
    "risk:limits",
    KeyType.HASH,
    "s6",
    "how near the account is to its limits (added: S3's gates read it); ratio of the equity peak, USDT; a limit counts"
    " from its base: 0, or where it halted last",
    fields=(
        "daily_loss_usdt",
        "daily_loss_base_usdt",
        "drawdown_ratio",
        "drawdown_base_ratio",
        "equity_usdt",
        "updated_at",
    ),
)
RECON_LAST_RUN = Key("recon:last_run_ts", KeyType.STRING, "s5", "epoch ms")
LABEL_LAST_BACKFILL = Key("label:last_backfill_ts", KeyType.STRING, "s7", "epoch ms")
BT_LAST_RUN = Key("bt:last_run_ts", KeyType.STRING, "s9", "epoch ms")
METRICS_COUNTERS = Key("metrics:counters", KeyType.HASH, "all", "counters that S11 aggregates")

KEYS: dict[str, Key] = {
    key.pattern: key
    for key in (
        CFG_ACTIVE_REV,
        CFG_BUNDLE,
        KILL_SWITCH,
        HEALTH_STATE,
        HEALTH_ROLLING,
        REGIME_STATE,
        MKT_SNAP,
        FUNDING_NEXT,
        FEAT_LAST,
        RISK_USAGE_FUT,
        RISK_USAGE_SPOT,
        RISK_CONCURRENCY_FUT,
        RISK_CONCURRENCY_SPOT,
        RISK_RESERVATIONS,
        ORD_IDEMP,
        TWAP_QUEUE,
        DELAY_ORD,
        ROUTER_RATE,
        ROUTER_BREAKER,
        ROUTER_CURVES,
        RATE_BUDGET,
        SPOT_OCO_STATE,
        GUARD_STOP,
        SPOT_WAC,
        POS_STATE,
        POS_SL_LEVEL,
        POS_TP_LADDER,
        POS_ADDS,
        WALLET_SPOT,
        WALLET_FUT,
        TREASURY_QUOTA,
        LOCK_POS,
        LOCK_TREASURY,
        LOCK_ROUTER_PARAM,
        APPROVAL,
        CLOCK_OFFSET,
        RISK_LIMITS,
        RECON_LAST_RUN,
        LABEL_LAST_BACKFILL,
        BT_LAST_RUN,
        METRICS_COUNTERS,
    )
}
"""By pattern, in the order of CONTRACTS 1.2."""


def risk_usage(market: Market) -> Key:
    """What of the market's budget is in use."""
    return RISK_USAGE_FUT if market is Market.FUT else RISK_USAGE_SPOT


def risk_concurrency(market: Market) -> Key:
    """How many entries the market has open or opening."""
    return RISK_CONCURRENCY_FUT if market is Market.FUT else RISK_CONCURRENCY_SPOT


def wallet(market: Market) -> Key:
    """The market's USDT wallet."""
    return WALLET_FUT if market is Market.FUT else WALLET_SPOT

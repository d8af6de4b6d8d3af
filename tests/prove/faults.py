"""The faults of the matrix: each by its number, in one line, with what brings it about.

Owns the rows, and for each the rule by which it cannot occur at a step. Most are plans of the exchange's own vocabulary
(`domain.matching.faults`); clocks, lost links, switches and second houses are done by the harness.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType

from chimera.contracts.enums import Market
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import SPECS, Asked, Fault, FaultKind, Reach

BRIEF_MS = 10_000
"""How long what lasts goes on: long enough for several tries and every look of the reconciler at orders."""


class House(StrEnum):
    """What the harness itself does to the house."""

    CLOCK_AHEAD = "our clock jumps an hour ahead and is set right"
    CLOCK_BEHIND = "our clock jumps an hour back and is set right"
    PARTED = "no service reaches another"
    KILL_PULLED = "the kill switch is pulled"
    TURNED_RED = "health turns RED"
    BREAKER_OPENED = "a person opens the breaker"
    RUNAWAY = "forty entries at once, sides alternating"
    ALL_AT_ONCE = "kill switch, exit by a person and the price through the stop in one instant"
    KILLED = "the house is killed and starts again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`plan` for faults of the exchange, `house` for those of ours. `variants` are the parameters that are tried."""

    number: int
    what: str
    plan: FaultKind | None = None
    house: House | None = None
    lasts_ms: int = 0
    params: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))
    variant: str = ""

    @property
    def name(self) -> str:
        kind = self.plan.value if self.plan is not None else self.house.name if self.house is not None else ""
        return f"{self.number} {kind}" + (f" {self.variant}" if self.variant else "")

    def fault(self, now_ms: int) -> Fault:
        """The plan's fault from now on."""
        assert self.plan is not None
        return Fault(kind=self.plan, at_ms=now_ms, duration_ms=self.lasts_ms, params=dict(self.params))


def _plan(
    number: int, kind: FaultKind, what: str, /, *, lasts_ms: int = 0, variant: str = "", **params: int | str
) -> Row:
    return Row(number=number, what=what, plan=kind, lasts_ms=lasts_ms, params=params, variant=variant)


K = FaultKind
ROWS: tuple[Row, ...] = (
    _plan(1, K.ANSWER_LOST, "taken, and the answer is lost"),
    _plan(2, K.REQUEST_LOST, "the request never arrives, and nobody can know"),
    _plan(3, K.ANSWER_5XX, "taken, and answered by a server error"),
    _plan(3, K.HTML_BODY, "an answer that is no answer"),
    _plan(4, K.REFUSED_503, "not served", lasts_ms=3_000),
    _plan(5, K.LATE, "the answer comes after the events", delay_ms=2_000),
    _plan(6, K.RATE_429, "too many requests", retry_after_s=2),
    _plan(7, K.BAN_418, "the address is banned", ban_s=8),
    _plan(8, K.CLOCK_OFFSET, "the exchange's clock is off", lasts_ms=BRIEF_MS, offset_ms=1_300),
    _plan(8, K.ENGINE_TOO_LATE, "the request is too old for the matching"),
    _plan(9, K.KEY_REVOKED, "the key is not valid", lasts_ms=5_000),
    _plan(9, K.IP_CHANGED, "the address is not allowed", lasts_ms=5_000),
    _plan(9, K.BAD_SIGNATURE, "a signature is refused"),
    _plan(10, K.NO_FUNDS, "the wallet is empty", lasts_ms=BRIEF_MS),
    _plan(11, K.FILTERS_CHANGED, "the rules become coarser", lasts_ms=BRIEF_MS, tick_mult=10, step_mult=2),
    _plan(12, K.POST_ONLY_TAKES, "a maker order would take"),
    _plan(13, K.UNFILLABLE, "the book is empty for an immediate order"),
    _plan(13, K.SELF_TRADE, "our own order is in the way"),
    _plan(14, K.DUPLICATE_ID, "the same request arrives twice"),
    _plan(15, K.ANSWER_LOST_FILLED, "taken and filled, the answer is lost, and the id is free again"),
    _plan(16, K.CANCEL_TOO_LATE, "filled before the cancel"),
    _plan(17, K.CANCEL_ANSWER_LOST, "canceled, and the answer is lost"),
    _plan(17, K.STOP_TRIGGERING, "the stop is triggering and cannot be canceled"),
    _plan(18, K.ALGO_LOOKUP_LAG, "queries of stops lag", lasts_ms=60_000),
    _plan(19, K.STOP_REFUSED, "a stop would trigger at once", variant="would trigger", reason="would_trigger"),
    _plan(19, K.STOP_REFUSED, "too many stops", variant="too many", reason="too_many"),
    _plan(20, K.STOP_CANCELED_BY_HUMAN, "somebody cancels a stop"),
    _plan(21, K.STOP_ORDER_REJECTED, "a triggered stop's order is refused"),
    _plan(22, K.GAP_OVER_STOP_LIMIT, "the price jumps over a stop's limit", lasts_ms=BRIEF_MS),
    _plan(23, K.LEVERAGE_CHANGED, "somebody changes the leverage", leverage=3),
    _plan(24, K.PARTIAL_BATCH, "a part of a batch succeeds"),
    _plan(25, K.TRANSFER_ANSWER_LOST, "a transfer's answer is lost"),
    _plan(26, K.PARTIAL_FILLS, "filled in pieces", pieces=4),
    _plan(26, K.FILL_DURING_CANCEL, "half fills during the cancel"),
    _plan(27, K.EVENTS_DOUBLED, "events come twice", last=5),
    _plan(28, K.EVENTS_SHUFFLED, "events in another order", lasts_ms=2_000, window_ms=200),
    _plan(29, K.EVENTS_LOST, "events are lost", lasts_ms=2_000),
    _plan(30, K.LISTEN_KEY_EXPIRED, "the account stream's key ends"),
    _plan(31, K.STREAM_STALLED, "streams fall silent", lasts_ms=BRIEF_MS),
    _plan(32, K.STREAM_CLOSED, "streams close", lasts_ms=3_000),
    _plan(33, K.DEPTH_GAP, "a gap in the book's differences"),
    _plan(34, K.BAD_DATA, "prices ten times too high", what="x10"),
    _plan(35, K.MARK_DIVERGES, "the mark leaves the price", lasts_ms=5_000, bps=-200),
    _plan(36, K.KLINE_LATE, "a bar comes late"),
    _plan(37, K.LIQUIDATION, "the exchange liquidates"),
    _plan(38, K.FUNDING, "funding settles", rate_ppm=300),
    _plan(39, K.SYMBOL_HALTED, "trading is halted", lasts_ms=BRIEF_MS, status="BREAK"),
    _plan(39, K.OPENING_FORBIDDEN, "only reductions are allowed", lasts_ms=5_000),
    _plan(40, K.OUTAGE, "the exchange is down", lasts_ms=BRIEF_MS),
    _plan(41, K.HUMAN_ORDER, "somebody trades on the same account", side="BUY", notional_usdt=200),
    Row(number=61, what=House.CLOCK_AHEAD.value, house=House.CLOCK_AHEAD),
    Row(number=61, what=House.CLOCK_BEHIND.value, house=House.CLOCK_BEHIND),
    Row(number=62, what=House.PARTED.value, house=House.PARTED),
    Row(number=67, what=House.KILL_PULLED.value, house=House.KILL_PULLED),
    Row(number=67, what=House.TURNED_RED.value, house=House.TURNED_RED),
    Row(number=67, what=House.BREAKER_OPENED.value, house=House.BREAKER_OPENED),
    Row(number=68, what=House.RUNAWAY.value, house=House.RUNAWAY),
    Row(number=69, what=House.ALL_AT_ONCE.value, house=House.ALL_AT_ONCE),
    Row(number=70, what=House.KILLED.value, house=House.KILLED),
)

NUMBERS = frozenset({*range(1, 42), 61, 62, 67, 68, 69, 70})
"""What the matrix must have rows of."""


def has_stop(exchange: Exchange) -> bool:
    conditional = [order for order in exchange.open_conditional() if not order.triggered]
    return bool(conditional) or any(order.stop_price for order in exchange.open_orders(Market.SPOT))


def has_futures_stop(exchange: Exchange) -> bool:
    return any(order.stop_price and order.reduce_only for order in exchange.open_conditional())


def rests(exchange: Exchange) -> bool:
    return bool(exchange.open_orders(Market.FUT)) or any(
        order.price is not None for order in exchange.open_orders(Market.SPOT)
    )


def has_position(exchange: Exchange) -> bool:
    return bool(exchange.positions())


NEEDS: Mapping[FaultKind, tuple[Callable[[Exchange], bool], str]] = MappingProxyType(
    {
        K.STOP_CANCELED_BY_HUMAN: (has_stop, "no stop rests"),
        K.STOP_ORDER_REJECTED: (has_futures_stop, "no futures stop rests"),
        K.SELF_TRADE: (rests, "no order of ours rests in a book"),
        K.LIQUIDATION: (has_position, "no position is open"),
        K.FUNDING: (has_position, "no position is open"),
    }
)
"""What the exchange must hold for a fault to have anything to do, and what is said where it does not."""


def cannot_reach(row: Row, asked: Asked | None, exchange: Exchange) -> str | None:
    """Why the fault means nothing at this step; None: it may strike. `asked`: the call that the step is, None where it
    is an event."""
    if row.plan is None:
        return None
    spec = SPECS[row.plan]
    if not spec.in_process:
        return "it means bytes of a kind that never pass here"
    need = NEEDS.get(row.plan)
    if need is not None and not need[0](exchange):
        return need[1]
    if spec.reach is Reach.CALL and asked is not None and not fits(row, asked):
        return only(row)
    return None


def fits(row: Row, asked: Asked) -> bool:
    """Whether a fault of calls bends this one."""
    assert row.plan is not None
    spec = SPECS[row.plan]
    return fnmatchcase(asked.name, spec.calls) and spec.needs <= asked.traits and not spec.spares & asked.traits


def only(row: Row) -> str:
    """What a fault of calls bends, in words."""
    assert row.plan is not None
    spec = SPECS[row.plan]
    wanted = sorted(trait.name.lower() for trait in spec.needs)
    spared = sorted(f"not {trait.name.lower()}" for trait in spec.spares)
    return ", ".join([f"it bends only {spec.calls}", *wanted, *spared])

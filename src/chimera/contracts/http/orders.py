"""Bodies of S4. How the three spellings of `POST /orders` are read is in `order_spellings`."""

from typing import Self

from pydantic import Field, model_validator

from chimera.contracts.base import Contract, EpochMs, Estimate, JsonObject, Number
from chimera.contracts.enums import (
    AnswerStatus,
    CancelReason,
    IntentState,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Result,
    Side,
)
from chimera.contracts.http.common import Asked


class OrderAnswer(Contract):
    """`POST /orders`: the state at its end, or ACCEPTED after S4_SYNC_WAIT_MS. A repeat answers the present state.

    `order_id` is the entry's, `order_ids` all that the intent sends; slippage_bps positive is worse.
    """

    result: Result
    status: AnswerStatus
    intent_id: str
    order_id: str | None = None
    order_ids: tuple[str, ...] = ()
    oco_legs: tuple[str, ...] = ()
    avg_price: Number | None = None
    filled_qty: Number | None = None
    slippage_bps: Estimate | None = None
    message: str | None = None


class SubmitQuery(Asked):
    """`POST /orders?wait_ms=`: how long the answer may wait for the end, ms of our own work; left out:
    S4_SYNC_WAIT_MS. 0: answered as soon as the intent is durable."""

    wait_ms: int | None = Field(default=None, ge=0, le=60_000)


class LookupRequest(Asked):
    """`POST /orders/lookup` (added): ask the exchange what became of one order, and book it.

    `conditional` where it rests in the futures algo book.
    """

    market: Market
    symbol: str
    client_order_id: str
    conditional: bool = False


class ShareRequest(Asked):
    """`POST /orders/share` (added): whose what was where a person trades on the instrument of `intent_id` too.

    `foreign`: of its own entry orders, what they closed of somebody else's. `closed_by`: of strangers' fills, by fill
    id, what they closed of the trade; `orders` are theirs, and are taken on file. The whole of it each time.
    """

    intent_id: str
    foreign: dict[str, Number]
    closed_by: dict[str, Number]
    orders: tuple[str, ...] = ()


class GuardRequest(Asked):
    """`POST /orders/guard` (added): see to it that what the SPOT entry `intent_id` bought is protected."""

    intent_id: str


class GuardAnswer(Contract):
    """What protects the trade from now on, or why nothing was to be done.

    `guard_id` is the intent that watches or sells `qty` (base asset); left out where something protects it already,
    nothing is left to sell, or no stop was ever asked for. `stop_price` is where it acts, left out where it sells at
    once.
    """

    guard_id: str | None = None
    qty: Number | None = None
    stop_price: Number | None = None
    message: str


class OrderView(Contract):
    """One order as `GET /orders/{intent_id}` shows it."""

    order_id: str
    type: OrderType
    side: Side
    purpose: Purpose | None = None
    status: OrderStatus
    quantity: Number | None = None
    filled_qty: Number | None = None
    price: Number | None = None
    stop_price: Number | None = None
    avg_price: Number | None = None
    reason: str | None = None


class TimelineEntry(Contract):
    """One moment in the life of an intent, told so that a person can follow it without the code.

    what: one of `TIMELINE_WORDS`; a reader shows any other word as it is. order_id: whose moment it was, where it was
    an order's. detail: the figures of the moment by their own names (`price`, `qty`, `filled_qty`, `stop_price`,
    `style`, `reason`, `until_ms`, ...), each flat, so that a table can show them.
    """

    ts: EpochMs
    what: str
    order_id: str | None = None
    detail: JsonObject = Field(default_factory=dict)


TIMELINE_WORDS = (
    "ACCEPTED",
    "PLANNED",
    "WAITING",
    "ORDER_FILED",
    "ORDER_SENT",
    "ORDER_ACKNOWLEDGED",
    "ORDER_FILLED",
    "ORDER_CANCELED",
    "ORDER_REFUSED",
    "ORDER_UNKNOWN",
    "STOP_PLACED",
    "STOP_REPLACED",
    "STOP_NOT_PLACED",
    "TARGET_PLACED",
    "OCO_ARMED",
    "OCO_FALLBACK",
    "SLICE_SENT",
    "SLICE_DELAYED",
    "SPLIT",
    "GUARD_ARMED",
    "GUARD_TRIGGERED",
    "GUARD_DISARMED",
    "DOWNSIZED",
    "FREED",
    "PROTECTED",
    "CANCEL_ASKED",
    "STOPPED",
    "ENDED",
)
"""The words of `TimelineEntry.what`, in the order in which a life usually meets them. SPLIT: cut in two orders, for a
thin book or for the exchange's largest order; DOWNSIZED: made smaller for lack of funds. FREED: what an exit sells is
held back by nothing any more; PROTECTED: spot has its pair, or asked for none; STOPPED: nothing more is opened, and
why."""


class IntentAnswer(Contract):
    """`GET /orders/{intent_id}`: the machine's state, every order of the intent, and its life from oldest to newest."""

    intent_id: str
    state: IntentState
    market: Market
    symbol: str
    purpose: Purpose
    filled_qty: Number
    avg_price: Number | None = None
    reason: str | None = None
    orders: tuple[OrderView, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    updated_at: EpochMs


class CancelRequest(Asked):
    """`POST /cancel`: one of the three ids names what goes; `escalate` sells the rest at market after the cancel."""

    order_id: str | None = None
    client_order_id: str | None = None
    intent_id: str | None = None
    cascade_oco: bool = True
    reason: CancelReason | str = CancelReason.MANUAL
    escalate: bool = False

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not (self.order_id or self.client_order_id or self.intent_id):
            raise ValueError("name what to cancel by order_id, client_order_id or intent_id")
        return self


class CancelAnswer(Contract):
    """200 canceled now or before, 404 unknown, 409 already filled."""

    status: OrderStatus
    canceled_ids: tuple[str, ...] = ()
    message: str | None = None

"""What a comparison with the exchange can find and mend: a name and a sentence for each, and what an end of ours was.

Owns the names that `recon:result` and the events of kind RECONCILE_FIX carry. A name is about one difference, and an
event's id follows from the difference alone (its name, what it is about, and the exchange's time of it): two runs that
see the same one write the same event. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chimera.contracts import ids
from chimera.contracts.documents import Order
from chimera.contracts.enums import OrderStatus, Purpose


class Fix(StrEnum):
    FILL_BOOKED = "FILL_BOOKED"
    ORDER_BOOKED = "ORDER_BOOKED"
    ORDER_ENDED = "ORDER_ENDED"
    ORPHAN_CANCELED = "ORPHAN_CANCELED"
    SPENT_STOP_CANCELED = "SPENT_STOP_CANCELED"
    STOP_PLACED = "STOP_PLACED"
    STOP_CANCELED_BY_SOMEBODY = "STOP_CANCELED_BY_SOMEBODY"
    TRADE_CORRECTED = "TRADE_CORRECTED"
    ENTRY_NETTED = "ENTRY_NETTED"
    MANUAL_EXIT_ADOPTED = "MANUAL_EXIT_ADOPTED"
    HOLDING_SHORT = "HOLDING_SHORT"
    LIQUIDATED = "LIQUIDATED"
    DELEVERAGED = "DELEVERAGED"
    SETTLED = "SETTLED"
    TRADING_HALTED = "TRADING_HALTED"
    TRADING_RESUMED = "TRADING_RESUMED"
    COOLING_OFF = "COOLING_OFF"
    REDUCE_ONLY_MODE = "REDUCE_ONLY_MODE"
    BALANCE_EXPLAINED = "BALANCE_EXPLAINED"
    BALANCE_DIFFERS = "BALANCE_DIFFERS"


_SENTENCES: dict[Fix, str] = {
    Fix.FILL_BOOKED: "the exchange had fills of order {subject} that were not on file; they were booked with their own"
    " time",
    Fix.ORDER_BOOKED: "order {subject} had changed at the exchange and nobody had told; it was booked as it stands"
    " there",
    Fix.ORDER_ENDED: "order {subject} was open on file and the exchange has never heard of it; it was ended",
    Fix.ORPHAN_CANCELED: "order {subject} rested under our name and nothing of ours wanted it; it was canceled",
    Fix.SPENT_STOP_CANCELED: "stop {subject} covered what a person held, and that is closed; it was canceled",
    Fix.STOP_PLACED: "a position had no stop for all of its quantity; {subject} placed one",
    Fix.STOP_CANCELED_BY_SOMEBODY: "somebody canceled our stop {subject} at the exchange; another was placed",
    Fix.TRADE_CORRECTED: "the trade on {subject} had another quantity than the exchange; it follows the exchange now",
    Fix.ENTRY_NETTED: "our order {subject} closed something that somebody else held; the trade counts the rest",
    Fix.MANUAL_EXIT_ADOPTED: "fill {subject} of a person's order closed some of our trade; that part is on file as its"
    " exit",
    Fix.HOLDING_SHORT: "{subject} that our trades bought has left the wallet, and by no sale that the exchange lists"
    ", so that nobody can sell it here",
    Fix.LIQUIDATED: "the exchange liquidated a position by order {subject}",
    Fix.DELEVERAGED: "the exchange closed a position by order {subject} to balance somebody else's loss (ADL)",
    Fix.SETTLED: "the exchange settled a position by order {subject}, as it does when a contract ends",
    Fix.TRADING_HALTED: "the exchange does not trade {subject} now: no entry passes there, and what is open waits",
    Fix.TRADING_RESUMED: "the exchange trades {subject} again",
    Fix.COOLING_OFF: "the exchange refused {subject}: the account is in its cooling-off period and may only close",
    Fix.REDUCE_ONLY_MODE: "the exchange refused {subject}: the account may only reduce under its trading rules",
    Fix.BALANCE_EXPLAINED: "the balance of {subject} changed by what somebody else did with the account",
    Fix.BALANCE_DIFFERS: "the balance of {subject} changed by more than anything on file or at the exchange explains",
}


def sentence_of(fix: Fix, subject: str) -> str:
    return _SENTENCES[fix].format(subject=subject)


def close_by_exchange(client_order_id: str) -> Fix | None:
    """What it was, where the exchange itself closed a position by this order."""
    if not ids.is_of_the_exchange(client_order_id):
        return None
    if client_order_id.startswith("adl_"):
        return Fix.DELEVERAGED
    return Fix.SETTLED if client_order_id.startswith("settlement_") else Fix.LIQUIDATED


_RESTRICTIONS: dict[str, Fix] = {"-4192": Fix.COOLING_OFF, "-4400": Fix.REDUCE_ONLY_MODE}
"""Codes by which the exchange lets an account close only. Source: its error table."""


def restriction(reason: str | None) -> Fix | None:
    """What the exchange holds against the account, where it refused an order for that; `reason` begins with its
    code."""
    return None if reason is None else _RESTRICTIONS.get(reason.split(maxsplit=1)[0] if reason else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A stop that somebody canceled, and the one that came after it, if any has yet."""

    stop: Order
    successor: Order | None


def stops_somebody_canceled(stops: Sequence[Order], asked_to_go: frozenset[str], ended_at: int | None) -> list[Lost]:
    """Of one trade's stops, those that were canceled while no other was open, though nobody here asked for it.

    We list the new one before the old one goes, so that a gap is somebody else's doing.

    Args:
        stops: of the trade, with purpose SL, in any state.
        asked_to_go: names of those that we canceled on request.
        ended_at: when the trade was flat, epoch ms; None while it is open.
    """
    lost: list[Lost] = []
    by_age = sorted((stop for stop in stops if stop.purpose is Purpose.SL), key=lambda each: each.created_at)
    for stop in by_age:
        gone_at = stop.updated_at
        if stop.status is not OrderStatus.CANCELED or gone_at is None or stop.order_id in asked_to_go:
            continue
        if not stop.is_listed:
            continue  # it never stood
        if ended_at is not None and ended_at <= gone_at:
            continue
        others = [each for each in by_age if each is not stop and each.is_listed]
        if any(_relieved(stop, each, gone_at) for each in others):
            continue
        after = [each for each in others if each.created_at >= gone_at]
        lost.append(Lost(stop=stop, successor=after[0] if after else None))
    return lost


def _relieved(stop: Order, other: Order, gone_at: int) -> bool:
    """Whether `other` rested when the stop went. One of the same millisecond may be its relief, or what was placed for
    it afterwards: a relief has another price or quantity, or it would not have been needed."""
    if other.status.is_final and (other.updated_at or 0) <= gone_at:
        return False
    if other.created_at == gone_at:
        return (other.stop_price, other.quantity) != (stop.stop_price, stop.quantity)
    return other.created_at < gone_at

"""Orders, intents, an intent's whole life, and approvals, as table rows and sections. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import ApprovalStatus, IntentState, Market
from chimera.contracts.http import ApprovalsAnswer, ApprovalView, IntentAnswer, TimelineEntry
from chimera.contracts.instrument_key import InstrumentKey
from chimera.services.s12_gateway.page.rows import Column, Places, Row, Section, act, cell, row
from chimera.services.s12_gateway.page.words import NOTHING, at, clock_time, instrument_name, number, quantity

CANCEL, APPROVE, REVOKE = "cancel", "approve", "revoke"

RESTING_COLUMNS = (
    Column("Instrument"),
    Column("Order"),
    Column("Price", "num", "limit, or trigger"),
    Column("Quantity", "num rare", "filled of ordered"),
    Column("Status", "rare"),
    Column("Since", "rare"),
)
INTENT_COLUMNS = (
    Column("Time", "", "when it was accepted"),
    Column("Instrument"),
    Column("Purpose"),
    Column("How it stands", "wrap"),
    Column("Filled", "num rare", "of wanted"),
)
APPROVAL_COLUMNS = (
    Column("For"),
    Column("Status", "wrap"),
    Column("Asked by", "rare"),
    Column("Token", "code wrap", "yours, while it can be used: risk.approval_token of the entry"),
)
EPOCH_MS_MAX = 253_402_300_799_999
_STATE_TONES = {
    IntentState.DONE: "good",
    IntentState.CANCELED: "dim",
    IntentState.REJECTED: "bad",
    IntentState.FAILED: "bad",
}


def resting_rows(orders: Sequence[Order], now_ms: int, places: Places, *, may_act: bool) -> list[Row]:
    return [_resting_row(order, now_ms, places, may_act=may_act) for order in orders]


def _resting_row(order: Order, now_ms: int, places: Places, *, may_act: bool) -> Row:
    key = InstrumentKey(order.market, order.symbol)
    name = instrument_name(str(key))
    purpose = order.purpose.value if order.purpose else NOTHING
    hint = stop_hint(order) if order.protects else ""
    acts = [act(CANCEL, "Cancel", f"{purpose} {name}", hint)] if may_act else ""
    price = order.stop_price if order.stop_price is not None else order.price
    part = f"{quantity(order.filled_qty)} / " if order.filled_qty else ""
    return row(
        order.order_id,
        cell(name, "strong", acts=acts),
        cell(f"{purpose} {order.side.value.lower()}", "two", order.type.value.replace("_", " ").lower()),
        cell(number(price, places.get(key, 2))),
        cell(part + quantity(order.quantity)),
        cell(order.status.value.replace("_", " ").lower()),
        cell(clock_time(order.created_at, now_ms), "dim"),
    )


def stop_hint(order: Order) -> str:
    """What becomes of a position whose stop is canceled with this order."""
    if order.market is Market.SPOT:
        return "a spot trade's stop goes with it: a guard would watch the same prices in its place"
    return "a position's stop: it would be placed again"


def intent_rows(records: Sequence[IntentRecord], now_ms: int) -> list[Row]:
    return [_intent_row(record, now_ms) for record in records]


def _intent_row(record: IntentRecord, now_ms: int) -> Row:
    wanted = quantity(record.intent.qty) if record.intent.qty else f"{number(record.intent.quote_qty, 2)} USDT"
    return row(
        record.intent_id,
        cell(clock_time(record.created_at, now_ms)),
        cell(instrument_name(str(record.intent.instrument))),
        cell(f"{record.purpose.value} {record.intent.side.value.lower()}", "strong"),
        cell(
            record.state.value.replace("_", " ").lower(),
            _STATE_TONES.get(record.state, "strong"),
            (record.reason or "")[:80],
        ),
        cell(f"{quantity(record.filled_qty)} / {wanted}"),
    )


_LIFE_COLUMNS = (Column("Time"), Column("What", ""), Column("Figures", "wrap"))
_ORDER_COLUMNS = (
    Column("Order", "wrap"),
    Column("Filled", "num", "of ordered"),
    Column("Price", "num", "average fill, else trigger, else limit"),
    Column("Status", "wrap"),
)
_BAD = ("REFUSED", "NOT_PLACED", "UNKNOWN", "FALLBACK", "TRIGGERED")


def life_sections(answer: IntentAnswer, places: Places) -> list[Section]:
    """An intent, its orders, and every moment of its life from the oldest to the newest."""
    digits = places.get(InstrumentKey(answer.market, answer.symbol), 2)
    facts = [
        ("instrument", instrument_name(f"{answer.market.value}:{answer.symbol}")),
        ("purpose", answer.purpose.value),
        ("state", answer.state.value),
        ("filled", f"{quantity(answer.filled_qty)} at {number(answer.avg_price, digits)}"),
        ("reason", answer.reason or NOTHING),
        ("intent", answer.intent_id),
    ]
    plain = (Column(""), Column("", "wrap"))
    orders = [
        row(
            order.order_id,
            cell(
                f"{order.purpose.value if order.purpose else ''} {order.side.value.lower()}".strip(),
                "strong",
                f"{order.type.value.replace('_', ' ').lower()} · {order.order_id}",
            ),
            cell(f"{quantity(order.filled_qty or 0)} / {quantity(order.quantity)}"),
            cell(number(order.avg_price or order.stop_price or order.price, digits)),
            cell(order.status.value.replace("_", " ").lower(), "", order.reason or ""),
        )
        for order in answer.orders
    ]
    return [
        Section("The intent", plain, [row(name, cell(name, "dim"), cell(text)) for name, text in facts]),
        Section("Its orders", _ORDER_COLUMNS, orders, empty="Nothing was ordered for it."),
        Section(
            "Its life",
            _LIFE_COLUMNS,
            [_moment(n, entry, digits) for n, entry in enumerate(answer.timeline)],
            note="UTC, to the millisecond",
            empty="No moment of it was written down.",
        ),
    ]


def _moment(n: int, entry: TimelineEntry, digits: int) -> Row:
    tone = "bad" if entry.what.endswith(_BAD) else "strong"
    figures = " · ".join(
        f"{name.replace('_', ' ')} {_plain(name, value, digits)}" for name, value in entry.detail.items()
    )
    return row(
        str(n),
        cell(f"{at(entry.ts, '%H:%M:%S')}.{entry.ts % 1_000:03d}", "", at(entry.ts, "%m-%d")),
        cell(entry.what.replace("_", " ").lower(), tone),
        cell(figures, "", entry.order_id or ""),
    )


def _plain(name: str, value: Any, digits: int) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if name.endswith(("_at", "until_ms")) and isinstance(value, int) and 0 < value <= EPOCH_MS_MAX:
        return at(value, "%H:%M:%S")
    if isinstance(value, (int, float)) and "price" in name:
        return number(value, digits)
    if isinstance(value, float):
        return quantity(round(value, 8))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def approval_rows(answer: ApprovalsAnswer, now_ms: int, *, may_approve: bool, may_revoke: bool) -> list[Row]:
    return [_approval_row(each, now_ms, may_approve=may_approve, may_revoke=may_revoke) for each in answer.approvals]


def _approval_row(view: ApprovalView, now_ms: int, *, may_approve: bool, may_revoke: bool) -> Row:
    name = instrument_name(f"{view.market}:{view.symbol}") if view.market else "any"
    acts = []
    if view.status is ApprovalStatus.PENDING and may_approve:
        acts.append(act(APPROVE, "Allow", name))
    if view.status in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED) and may_revoke:
        acts.append(act(REVOKE, "Revoke", name))
    until = {
        ApprovalStatus.PENDING: f"until {clock_time(view.expires_at, now_ms)}",
        ApprovalStatus.APPROVED: f"by {view.decided_by}, until {clock_time(view.expires_at, now_ms)}",
        ApprovalStatus.CONSUMED: f"used by {view.consumed_by}",
    }.get(view.status, "")
    side = view.side.value.lower() if view.side else "any side"
    return row(
        view.approval_id,
        cell(f"{name} {side}", "strong", f"at most {number(view.notional_usdt_max, 2)} USDT", acts=acts or ""),
        cell(view.status.value.lower(), _APPROVAL_TONES.get(view.status, "dim"), until),
        cell(view.requested_by or NOTHING, "", view.reason or ""),
        cell(view.token or NOTHING, "code"),
    )


_APPROVAL_TONES: Mapping[ApprovalStatus, str] = {ApprovalStatus.PENDING: "warn", ApprovalStatus.APPROVED: "good"}


def approvals_text(answer: ApprovalsAnswer) -> str:
    if not answer.enabled:
        return "not needed: compliance.enabled is off"
    return f"needed above {number(answer.large_order_usdt_threshold, 2)} USDT; a token lives {answer.ttl_sec} s"

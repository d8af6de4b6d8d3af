"""Figures as table rows: what stands in each cell, in which tone, and what a table says when it is empty.

A cell is text, never HTML; the browser writes it as text. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from chimera.contracts.documents import Alert, Fill, Order, Signal, Trade
from chimera.contracts.enums import Action, Market, OrderStatus, PositionSide, Severity, Side, StopKind
from chimera.contracts.http.positions import PositionView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.telling import gate_figures, plain
from chimera.services.s12_gateway.page.data import DecisionLine, Overview, ServiceState
from chimera.services.s12_gateway.page.history import net_of
from chimera.services.s12_gateway.page.words import (
    NOTHING,
    age,
    arrow,
    clock_time,
    instrument_name,
    number,
    percent,
    quantity,
    signed,
    signed_percent,
    tone,
)

Cell = dict[str, Any]
Row = dict[str, Any]
Places = Mapping[InstrumentKey, int]


@dataclass(frozen=True, slots=True)
class Column:
    """`align` is `num` for figures; `hint` is shown on hovering."""

    label: str
    align: str = ""
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"label": self.label, "align": self.align, "hint": self.hint}


def cell(text: str, tone: str = "", sub: str = "", hint: str = "", **more: Any) -> Cell:
    """What the table's script reads; `more` is `bar` for a position between stop and target, `a` for an address,
    `acts` for buttons."""
    full = {"t": text, "c": tone, "s": sub, "h": hint, **more}
    return {name: value for name, value in full.items() if value != ""}


def act(key: str, text: str, of: str, hint: str = "", tone: str = "") -> dict[str, str]:
    """A button in a cell; `of` says to who cannot see the row what it acts on."""
    return {"k": key, "t": text, "of": of, "h": hint, "c": tone}


def row(key: str, *cells: Cell, tone: str = "") -> Row:
    return {"key": key, "cells": list(cells), "tone": tone}


@dataclass(frozen=True, slots=True)
class Section:
    """A small table under a title. Columns without any label have no head; `note` stands beside the title."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    note: str = ""
    empty: str = ""
    style: str = ""
    """The class of its table: tables of one style have the same columns below one another."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "note": self.note,
            "columns": [column.to_dict() for column in self.columns],
            "rows": list(self.rows),
            "empty": self.empty,
            "style": self.style,
        }


POSITION_COLUMNS = (
    Column("Instrument"),
    Column("Side, age", "", "age in market time"),
    Column("Quantity", "num rare"),
    Column("Entry", "num rare"),
    Column("Mark", "num rare"),
    Column("Unrealised", "num", "at the mark, before fees, USDT"),
    Column("ROE, tier", "num rare", "after both fees, of the margin; the stop tier reached"),
    Column("Stop", "num", "where the exchange closes it, and how far the mark is from there"),
    Column("Stop ◂ entry ▸ target", "rare", "where the mark stands between stop and target"),
    Column("Target", "num rare"),
    Column("Liquidation", "num rare", "estimated; how far the mark is from there"),
)
CLOSE = "close"
MOVE_STOP = "stop"


def position_rows(seen: Overview, places: Places, *, may_act: bool = False) -> list[Row]:
    """`may_act`: who looks may close, and move stops."""
    return [_position_row(each, seen.now_ms, places, may_act=may_act) for each in seen.positions]


def position_key(position: PositionView) -> str:
    """What its row is called."""
    return position.trade_id or str(InstrumentKey(position.market, position.symbol))


def _position_acts(position: PositionView, name: str) -> list[dict[str, str]]:
    close = act(CLOSE, "Close", name, "at market, all of it", "warn")
    if position.market is not Market.FUT:
        # A spot stop is a leg of its pair.
        return [close]
    return [close, act(MOVE_STOP, "Move stop", name, "nearer to profit, or further away")]


def _position_row(position: PositionView, now_ms: int, places: Places, *, may_act: bool) -> Row:
    key = InstrumentKey(position.market, position.symbol)
    digits = places.get(key, 2)
    is_long = position.side is PositionSide.LONG
    earned = position.unrealized_pnl_usdt
    opened_ms = position.opened_at or now_ms
    name = instrument_name(str(key))
    return row(
        position_key(position),
        cell(name, "strong", acts=_position_acts(position, name) if may_act else ""),
        cell("▲ LONG" if is_long else "▼ SHORT", "two long" if is_long else "two short", age(now_ms - opened_ms)),
        cell(quantity(position.qty)),
        cell(number(position.entry_price_avg, digits)),
        cell(number(position.mark_price, digits)),
        cell(arrow(earned) + signed(earned), tone(earned)),
        cell(signed_percent(position.roe), tone(position.roe), f"tier {position.tier}"),
        _stop_cell(position, digits),
        cell("", bar=_between(position)),
        cell(number(position.tp_price, digits)),
        _liquidation_cell(position, digits),
    )


GUARD_HINT = "a guard of ours watches it: it does not act while the system is down"


def _stop_cell(position: PositionView, digits: int) -> Cell:
    if position.stop_price is None:
        return _no_stop_cell(position)
    price, is_guard = number(position.stop_price, digits), position.stop_kind is StopKind.GUARD
    distance = position.stop_distance_pct
    if distance is None or position.mark_price is None:
        return cell(price, "strong", "guard", GUARD_HINT) if is_guard else cell(price, "strong")
    at_stake = abs(position.mark_price - position.stop_price) * position.qty
    worth = f"{percent(distance)} · {number(at_stake, 2)} USDT"
    if is_guard:
        return cell(price, "strong", f"guard · {worth}", GUARD_HINT)
    return cell(price, "strong", worth, "distance from the mark, and what it is worth")


def _no_stop_cell(position: PositionView) -> Cell:
    if position.stop_kind is None:
        return cell("not known", "warn", hint="what is on file cannot be read now")
    if position.market is Market.FUT:
        return cell("none listed", "bad")
    return cell("none", "bad", hint="neither does the exchange hold one, nor does a guard of ours watch")


def _liquidation_cell(position: PositionView, digits: int) -> Cell:
    liquidation, mark = position.liquidation_price, position.mark_price
    if liquidation is None or not mark:
        return cell(number(liquidation, digits))
    return cell(number(liquidation, digits), sub=percent(abs(mark - liquidation) / mark, 1))


def _between(position: PositionView) -> dict[str, float] | str:
    """Shares of the way from stop to target, 0 to 1: where mark and entry stand."""
    stop, target, mark = position.stop_price, position.tp_price, position.mark_price
    if stop is None or target is None or mark is None or stop == target:
        return ""

    def share(price: Decimal) -> float:
        return round(min(1.0, max(0.0, float((price - stop) / (target - stop)))), 3)

    return {"mark": share(mark), "entry": share(position.entry_price_avg)}


ORDER_COLUMNS = (
    Column("Time"),
    Column("Instrument"),
    Column("Purpose"),
    Column("Side"),
    Column("Type"),
    Column("Quantity", "num", "filled of ordered"),
    Column("Price", "num", "average fill, else limit, else trigger"),
    Column("Status"),
    Column("Fee", "num", "USDT"),
    Column("Order", "", "our own id, as the exchange knows it"),
)


def order_rows(seen: Overview, places: Places) -> list[Row]:
    return [_order_row(order, seen.now_ms, places) for order in seen.orders]


def _order_row(order: Order, now_ms: int, places: Places) -> Row:
    key = InstrumentKey(order.market, order.symbol)
    price, kind = _order_price(order)
    filled = order.filled_qty or Decimal(0)
    part = "" if filled in (0, order.quantity) else f"{quantity(filled)} / "
    return row(
        order.order_id,
        cell(clock_time(order.created_at, now_ms)),
        cell(instrument_name(str(key))),
        cell(order.purpose.value if order.purpose else NOTHING, "strong"),
        _side_cell(order.side),
        cell(order.type.value.replace("_", " ").lower(), "dim"),
        cell(part + quantity(order.quantity)),
        cell(number(price, places.get(key, 2)), "" if kind == FILLED else "dim", hint=kind),
        cell(order.status.value.replace("_", " ").lower(), _status_tone(order.status), hint=order.reason or ""),
        cell(number(order.fee_usdt, 4) if order.fee_usdt else NOTHING, "dim"),
        cell(order.order_id, "code"),
        tone="faded" if order.status in (OrderStatus.CANCELED, OrderStatus.REJECTED) else "",
    )


FILLED = "average fill"


def _order_price(order: Order) -> tuple[Decimal | None, str]:
    if order.avg_price:
        return order.avg_price, FILLED
    if order.stop_price is not None:
        return order.stop_price, "trigger"
    return order.price, "limit" if order.price is not None else ""


def _status_tone(status: OrderStatus) -> str:
    if status is OrderStatus.REJECTED:
        return "bad"
    return "dim" if status is OrderStatus.CANCELED else "strong" if not status.is_final else ""


def _side_cell(side: Side | None) -> Cell:
    if side is None:
        return cell(NOTHING)
    return cell("▲ buy" if side is Side.BUY else "▼ sell", "long" if side is Side.BUY else "short")


SLIPPAGE_MUCH_BPS = 3.0
FILL_COLUMNS = (
    Column("Time"),
    Column("Instrument"),
    Column("Side"),
    Column("Quantity", "num"),
    Column("Price", "num"),
    Column("Slippage, bps", "num", "against the mid when it was sent; positive is worse"),
    Column("Fee", "num", "USDT"),
    Column("Realised", "num", "USDT, before fees"),
    Column("Liquidity"),
    Column("Order"),
)


def fill_rows(seen: Overview, places: Places) -> list[Row]:
    return [_fill_row(fill, seen.now_ms, places) for fill in seen.fills]


def _fill_row(fill: Fill, now_ms: int, places: Places) -> Row:
    key = InstrumentKey(fill.market, fill.symbol)
    earned = fill.realized_pnl_usdt or None
    liquidity = {True: "maker", False: "taker", None: NOTHING}[fill.maker]
    return row(
        fill.fill_id,
        cell(clock_time(fill.timestamp, now_ms)),
        cell(instrument_name(str(key))),
        _side_cell(fill.side),
        cell(quantity(fill.qty)),
        cell(number(fill.price, places.get(key, 2))),
        cell(signed(fill.slippage_bps, 2), "warn" if (fill.slippage_bps or 0) > SLIPPAGE_MUCH_BPS else ""),
        cell(number(fill.fee_usdt, 4), "dim"),
        cell(signed(earned, 4), tone(earned)),
        cell(liquidity, "dim"),
        cell(fill.order_id, "code"),
    )


TRADE_COLUMNS = (
    Column("Closed"),
    Column("Instrument"),
    Column("Side"),
    Column("Quantity", "num"),
    Column("Entry", "num"),
    Column("Exit", "num"),
    Column("Net", "num", "after fees and funding, USDT"),
    Column("Fees", "num", "USDT"),
    Column("Funding", "num", "received +, paid −, USDT"),
    Column("Held", "num"),
    Column("Ended by"),
)


def trade_rows(seen: Overview, places: Places) -> list[Row]:
    return [_trade_row(trade, seen.now_ms, places) for trade in seen.trades]


def exit_price(trade: Trade) -> Decimal | None:
    """The average of what left, by quantity."""
    qty = sum((each.qty for each in trade.exits), Decimal(0))
    return sum((each.price * each.qty for each in trade.exits), Decimal(0)) / qty if qty else None


def _trade_row(trade: Trade, now_ms: int, places: Places) -> Row:
    key = InstrumentKey(trade.market, trade.symbol)
    digits = places.get(key, 2)
    net = net_of(trade)
    return row(
        trade.trade_id,
        cell(clock_time(trade.closed_at, now_ms)),
        cell(instrument_name(str(key))),
        cell("▲ long" if trade.side is Side.BUY else "▼ short", "long" if trade.side is Side.BUY else "short"),
        cell(quantity(trade.qty_opened)),
        cell(number(trade.entry_price_avg, digits)),
        cell(number(exit_price(trade), digits)),
        cell(arrow(net) + signed(net), tone(net)),
        cell(number(trade.fees_usdt, 4), "dim"),
        cell(signed(trade.funding_usdt, 4), "dim"),
        cell(age((trade.closed_at or now_ms) - trade.opened_at), "dim"),
        cell((trade.reason or NOTHING).replace("_", " ").lower()),
    )


DECISION_COLUMNS = (Column("Time"), Column("Instrument"), Column("Decision"))


def decision_rows(seen: Overview) -> list[Row]:
    return [_decision_row(line, seen.now_ms) for line in seen.decisions]


def _decision_row(line: DecisionLine, now_ms: int) -> Row:
    opened = line.action is Action.OPEN
    said = "OPEN" if opened else line.detail or line.reason
    return row(
        line.key,
        cell(clock_time(line.t0, now_ms), "dim"),
        cell(instrument_name(line.instrument)),
        cell(said, "open" if opened else "skip", line.sentence),
    )


def decision_detail(signal: Signal | None) -> list[dict[str, Any]]:
    """The whole way to a decision, as sections of lines: gates, rules, model, sizing, features."""
    if signal is None:
        return [_section("This decision is no longer on file", ())]
    trail = signal.decision.trail or {}
    plan = trail.get("plan")
    return [
        section
        for section in (
            _section("Gates", tuple(_gate_line(gate) for gate in trail.get("gates", ()))),
            _section("Rules and model", _rule_lines(signal, trail)),
            _section("Sizing", tuple((name, plain(value), "") for name, value in (plan or {}).items())),
            _section(
                "Features", tuple((name, plain(value), "") for name, value in sorted(signal.told.features.items()))
            ),
            _section("Decision", (("signal", signal.signal_id, "code"), ("config rev", str(signal.config_rev), ""))),
            {
                "title": "",
                "lines": [{"n": "", "t": "the whole way to it ›", "c": "link", "a": trail_link(signal.signal_id)}],
            },
        )
        if section["lines"]
    ]


def trail_link(signal_id: str) -> str:
    """Where the page shows this decision whole."""
    return f"/ui/decisions?signal={quote(signal_id)}"


def _section(title: str, lines: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    return {"title": title, "lines": [{"n": name, "t": text, "c": tone} for name, text, tone in lines]}


def _gate_line(gate: Mapping[str, Any]) -> tuple[str, str, str]:
    code, passed = str(gate.get("code")), bool(gate.get("passed"))
    found, limit, unit = gate_figures(gate)
    unit = f" {unit}" if unit else ""
    measured = found + unit if gate.get("value") is not None else found
    text = f"{measured} (limit {limit}{unit})" if limit else measured
    return f"{'✓' if passed else '✕'} {code}", text, "" if passed else "bad"


def _rule_lines(signal: Signal, trail: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    decision = signal.decision
    note = str(trail.get("model", {}).get("note") or "")
    lines = [
        ("rules fired", ", ".join(decision.rules_fired) or "none", ""),
        ("model p", NOTHING if decision.model_p is None else f"{decision.model_p:.3f} {note}".strip(), ""),
    ]
    if trail.get("side"):
        lines.append(("side", str(trail["side"]).lower(), ""))
    if trail.get("missing"):
        lines.append(("cannot be read", ", ".join(map(str, trail["missing"])), "bad"))
    lines += [
        (name.replace("_", " "), f"× {value:.3g}", "")
        for name in ("size_mult", "tp_mult", "sl_mult")
        if (value := getattr(decision, name)) is not None
    ]
    return tuple(lines)


ALERT_COLUMNS = (Column("Time"), Column("Severity"), Column("What happened"))
_SEVERITY_TONES = {Severity.INFO: "dim", Severity.WARN: "warn", Severity.ERROR: "bad", Severity.FATAL: "bad"}


def alert_rows(seen: Overview) -> list[Row]:
    return [_alert_row(alert, seen.now_ms) for alert in seen.alerts]


def _alert_row(alert: Alert, now_ms: int) -> Row:
    times = f" ×{alert.count}" if alert.count > 1 else ""
    return row(
        alert.alert_id,
        cell(clock_time(alert.last_ts or alert.ts, now_ms), "dim"),
        cell(alert.severity.value + times, _SEVERITY_TONES[alert.severity]),
        cell(alert.message, "wrap", f"{alert.source} {alert.code or ''}".strip()),
    )


SERVICE_COLUMNS = (Column("Service"), Column("State"))
_STATUS_TONES = {"OK": "good", "DEGRADED": "warn", "DOWN": "bad"}
_GRADE_TONES = {"GREEN": "good", "YELLOW": "warn", "ORANGE": "warn", "RED": "bad"}


def service_rows(seen: Overview) -> list[Row]:
    """Dependencies as S11 judges them, then each service as it answers itself."""
    ids = {state.id for state in seen.services}
    return [
        row(f"dep-{name}", cell(name), cell(f"● {grade}", _GRADE_TONES.get(grade, "dim")))
        for name, grade in seen.grades.items()
        if name not in ids
    ] + [_service_row(state) for state in seen.services]


def _service_row(state: ServiceState) -> Row:
    bad = ", ".join(f"{name}: {text}" for name, text in state.checks.items() if text in ("DOWN", "DEGRADED"))
    return row(
        state.id,
        cell(f"{state.id.upper()} {state.title}"),
        cell(f"● {state.status}", _STATUS_TONES.get(state.status, "dim"), bad),
    )


def no_position_text(seen: Overview) -> str:
    """What is going on while nothing is open."""
    if not seen.decisions:
        return "No open position, and no decision yet: the first comes with the first features."
    last = seen.decisions[0]
    when = clock_time(last.t0, seen.now_ms)
    said = "OPEN" if last.action is Action.OPEN else last.detail or last.reason
    return f"No open position. Last decision {when} on {instrument_name(last.instrument)}: {said} ({last.sentence})."

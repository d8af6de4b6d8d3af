"""What a person does about a running system from the terminal: positions, orders, pauses, approvals, flat.

Owns what is shown and what is asked before. The system does the work, by the gateway's own calls, so that the command
line may do exactly what the page may, and everything stands in the audit trail.
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.markup import escape
from rich.table import Table

from chimera.app.terminal import DEFAULT_DATA, Data, Json, asking, err, out, refuse, say
from chimera.contracts.enums import StopKind

position_app = typer.Typer(help="Open positions: look, close, move a stop.", no_args_is_help=True)
order_app = typer.Typer(help="Orders: look, follow one's whole life, cancel.", no_args_is_help=True)
approval_app = typer.Typer(help="Tokens for entries above the limit: ask, approve, revoke.", no_args_is_help=True)

Instrument = Annotated[str, typer.Argument(help="As FUT:BTCUSDT, or BTCUSDT for the futures of it.")]
Why = Annotated[str, typer.Option("--reason", help="Goes into the audit trail.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]

FLATTEN_WORD = "FLATTEN"
POLL_S = 0.5
NO_SYSTEM = (
    "Stops that were placed rest at the exchange. To be flat without the system close the positions at the exchange"
    " itself; chimera kill-switch on keeps a later start from entering."
)


@position_app.command("list")
def list_positions(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Every open position with its stop and what it would lose there."""
    body = _ask(data, "GET", "/api/s6/positions")
    if as_json:
        say(json.dumps(body))
        return
    _show_positions(body["positions"])


@position_app.command("close")
def close(
    instrument: Instrument, reason: Why = "command line", data: Data = DEFAULT_DATA, as_json: Json = False
) -> None:
    """Close a position at market, all of it. Asking twice closes it once."""
    body = _ask(data, "POST", f"/positions/{_instrument(instrument)}/close", {"reason": reason})
    if as_json:
        say(json.dumps(body))
        return
    left = body.get("qty_open", 0)
    said = "is closed" if not left else f"is being closed, {left:,.8g} left"
    out.print(f"{body['market']}:{body['symbol']} {said}. {body.get('message') or ''}".rstrip(), highlight=False)


@position_app.command("stop")
def stop(
    instrument: Instrument,
    price: Annotated[float, typer.Argument(min=0, help="USDT, on the instrument's tick.")],
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Needed where more would be lost than the first stop allowed.")
    ] = False,
    reason: Why = "command line",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Move the stop of a futures position. The old stop rests until the new one is listed."""
    body = _ask(
        data,
        "POST",
        f"/positions/{_instrument(instrument)}/stop",
        {"price": price, "confirm": confirm, "reason": reason},
        hints={"over-loss-budget": "Add --confirm to allow it."},
    )
    if as_json:
        say(json.dumps(body))
        return
    listed = "listed" if body["listed"] else body.get("message") or "on its way"
    most = body.get("loss_usdt_max")
    out.print(
        f"{body['market']}:{body['symbol']} stop {_figure(body.get('stop_before'))} → {_figure(body['stop_price'])},"
        f" {listed}. {_at_stake(body['loss_usdt'])} there"
        + (f"; the first stop allowed a loss of {most:,.2f}." if most is not None else "."),
        highlight=False,
        soft_wrap=True,
    )


@order_app.command("list")
def list_orders(
    only_open: Annotated[bool, typer.Option("--open", help="Those alone that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 30,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Orders, the newest first."""
    body = _ask(data, "GET", f"/orders?limit={limit}&open={str(only_open).lower()}")
    if as_json:
        say(json.dumps(body))
        return
    table = Table(title="Resting orders" if only_open else "Orders", title_justify="left")
    for column in ("time", "instrument", "purpose", "side", "type", "quantity", "price", "status", "order", "intent"):
        table.add_column(column, justify="right" if column in ("quantity", "price") else "left", overflow="fold")
    for each in body["orders"]:
        table.add_row(
            _when(each["created_at"]),
            f"{each['market']}:{each['symbol']}",
            each.get("purpose", "–"),
            each["side"],
            each["type"],
            _figure(each.get("quantity")),
            _figure(each.get("avg_price") or each.get("stop_price") or each.get("price")),
            each["status"],
            each["order_id"],
            each.get("intent_id", "–"),
        )
    out.print(table if body["orders"] else "No order rests." if only_open else "Nothing was ordered yet.")


@order_app.command("show")
def show_order(
    name: Annotated[str, typer.Argument(help="An intent's id, or an order's.")],
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """The whole life of an intent, moment by moment."""
    body = _life(data, name)
    if as_json:
        say(json.dumps(body))
        return
    reason = f"  {body['reason']}" if body.get("reason") else ""
    out.print(
        f"[bold]{escape(body['intent_id'])}[/]  {body['market']}:{body['symbol']} {body['purpose']}"
        f"  [bold]{body['state']}[/]  filled {_figure(body['filled_qty'])} at {_figure(body.get('avg_price'))}"
        f"{escape(reason)}",
        highlight=False,
        soft_wrap=True,
    )
    _show_orders_of(body.get("orders", []))
    _show_timeline(body.get("timeline", []))


@order_app.command("cancel")
def cancel(
    name: Annotated[str, typer.Argument(help="An order's id, or an intent's: then all of its orders.")],
    confirm: Annotated[bool, typer.Option("--confirm", help="Needed where a position's stop goes with it.")] = False,
    escalate: Annotated[bool, typer.Option("--escalate", help="Sell the rest at market after the cancel.")] = False,
    reason: Why = "MANUAL",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Take back what rests. Canceling twice is canceling once."""
    body = _ask(
        data,
        "POST",
        f"/orders/{quote(name, safe='')}/cancel",
        {"confirm": confirm, "escalate": escalate, "reason": reason},
        hints={"protects-a-position": "Add --confirm to cancel it all the same."},
    )
    if as_json:
        say(json.dumps(body))
        return
    gone = ", ".join(body.get("canceled_ids", [])) or "nothing was left to cancel"
    out.print(f"{body['status']}: {gone} {body.get('message') or ''}".rstrip(), highlight=False, soft_wrap=True)


def flatten(
    yes: Yes = False,
    reason: Why = "command line",
    wait_s: Annotated[float, typer.Option("--wait", min=0, max=300, help="Seconds to wait until it is flat.")] = 30.0,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Pull the kill switch, take back every entry and close every position at market. Ends with 1 while not flat."""
    before = _ask(data, "GET", "/api/s6/positions", hints={"": NO_SYSTEM}) if not yes else None
    if before is not None and not as_json:
        _show_positions(before["positions"])
    if not yes:
        _typed_word(f"Close all of it at market and pull the kill switch? Type {FLATTEN_WORD}")
    body = _ask(data, "POST", "/flatten", {"confirm": True, "reason": reason}, hints={"": NO_SYSTEM})
    left = _until_flat(data, wait_s) if not body["flat"] else []
    if as_json:
        say(json.dumps({**body, "flat": body["flat"] or not left}))
    else:
        _show_flat(body, left)
    if left:
        raise typer.Exit(1)


def pause(
    scope: Annotated[str, typer.Argument(help="ALL, FUT, SPOT, or an instrument as FUT:BTCUSDT.")] = "ALL",
    ttl_s: Annotated[int | None, typer.Option("--for", min=1, help="Seconds, after which it ends by itself.")] = None,
    reason: Why = "command line",
    data: Data = DEFAULT_DATA,
) -> None:
    """Keep the system from entering; what is open is managed and closed as always."""
    body = {"scope": _scope(scope), "reason": reason} | ({} if ttl_s is None else {"ttl_s": ttl_s})
    _show_paused(_ask(data, "POST", "/pause", body))


def resume(
    scope: Annotated[str, typer.Argument(help="Exactly what was paused.")] = "ALL", data: Data = DEFAULT_DATA
) -> None:
    """End a pause."""
    _show_paused(_ask(data, "POST", "/resume", {"scope": _scope(scope)}))


@approval_app.command("list")
def list_approvals(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Who asked for what, who allowed it, and what became of it. Your own tokens are shown while they can be used."""
    body = _ask(data, "GET", "/approvals")
    if as_json:
        say(json.dumps(body))
        return
    need = f"entries above {body['large_order_usdt_threshold']:,.2f} USDT need one" if body["enabled"] else "not needed"
    table = Table(title=f"Approvals ({need}; a token lives {body['ttl_sec']} s)", title_justify="left")
    for column in ("asked", "id", "status", "for", "at most USDT", "asked by", "decided by", "used by", "token"):
        table.add_column(column, overflow="fold", justify="right" if column.startswith("at most") else "left")
    for each in body["approvals"]:
        table.add_row(
            _when(each["created_at"]),
            each["approval_id"],
            each["status"],
            f"{each.get('side', '')} {each.get('market', '')}:{each.get('symbol', '')}",
            _figure(each.get("notional_usdt_max")),
            escape(each.get("requested_by", "–")),
            escape(each.get("decided_by", "–")),
            each.get("consumed_by", "–"),
            each.get("token", ""),
        )
    out.print(table)


@approval_app.command("ask")
def ask_approval(
    instrument: Instrument,
    side: Annotated[str, typer.Argument(help="BUY or SELL.")],
    notional_usdt: Annotated[float, typer.Argument(min=0, help="The entry's worth at most, USDT.")],
    reason: Annotated[str, typer.Option("--reason", help="Who allows it reads this.")],
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Ask for a token for one large entry. Somebody else allows it."""
    market, _, symbol = _instrument(instrument).partition(":")
    body = _ask(
        data,
        "POST",
        "/approvals",
        {
            "market": market,
            "symbol": symbol,
            "side": side.upper(),
            "notional_usdt_max": notional_usdt,
            "reason": reason,
        },
    )
    _show_approval(body, as_json)


@approval_app.command("approve")
def approve(
    name: Annotated[str, typer.Argument(help="The approval's id.")],
    reason: Annotated[str | None, typer.Option("--reason")] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Allow what somebody asked for."""
    _show_approval(_ask(data, "POST", f"/approvals/{quote(name, safe='')}/approve", {"reason": reason}), as_json)


@approval_app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="The approval's id.")],
    reason: Annotated[str | None, typer.Option("--reason")] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Take an approval back before it is used."""
    _show_approval(_ask(data, "POST", f"/approvals/{quote(name, safe='')}/revoke", {"reason": reason}), as_json)


def _ask(
    data: Path, method: str, path: str, body: Any = None, *, hints: dict[str, str] | None = None
) -> dict[str, Any]:
    """The answer; a refusal ends the command with its own words.

    Args:
        hints: what to add, by the problem's word; under the empty word where no system can be asked.
    """
    from chimera.app.client import Client, NotRunning

    known = hints or {}
    with asking():
        try:
            answer = Client(data).call(method, path, body)
        except NotRunning as why:
            if "" in known:
                refuse(f"{why}. {known['']}")
            raise
    if answer.status != 200:
        told = answer.body if isinstance(answer.body, dict) else {"detail": str(answer.body)}
        word = str(told.get("type", "")).rpartition(":")[2]
        hint = f" {known[word]}" if word in known and word else ""
        refuse(f"{told.get('detail', told)}{hint}")
    found: dict[str, Any] = answer.body
    return found


def _instrument(text: str) -> str:
    """`FUT:BTCUSDT` of whatever spelling."""
    from chimera.contracts.instrument_key import InstrumentKey

    name = text.upper()
    try:
        return str(InstrumentKey.parse(name if ":" in name or "-" in name else f"FUT:{name}"))
    except ValueError as error:
        refuse(str(error))


def _scope(text: str) -> str:
    name = text.upper()
    return name if name in ("ALL", "FUT", "SPOT") else _instrument(name)


def _life(data: Path, name: str) -> dict[str, Any]:
    """An intent by its own id, or by that of one of its orders."""
    from chimera.app.client import Client

    with asking():
        answer = Client(data).call("GET", f"/api/s4/orders/{quote(name, safe='')}")
    if answer.status == 404:
        rows = _ask(data, "GET", "/orders?limit=500")["orders"]
        intent_id = next((each.get("intent_id") for each in rows if each["order_id"] == name), None)
        if intent_id is None:
            refuse(f"there is no intent {name!r}, nor one of the last 500 orders; chimera order list names them")
        return _ask(data, "GET", f"/api/s4/orders/{quote(intent_id, safe='')}")
    if answer.status != 200:
        refuse(str(answer.body.get("detail", answer.body)))
    found: dict[str, Any] = answer.body
    return found


def _typed_word(question: str) -> None:
    try:
        typed = typer.prompt(question, err=True, default="", show_default=False)
    except typer.Abort:
        refuse("nobody answered, and nothing was changed; --yes does it without asking")
    if typed.strip() != FLATTEN_WORD:
        refuse(f"that was not {FLATTEN_WORD}; nothing was changed")


def _until_flat(data: Path, wait_s: float) -> list[dict[str, Any]]:
    """What is still open when the wait is over."""
    for look in range(int(wait_s / POLL_S) + 1):
        if look > 0:
            time.sleep(POLL_S)
        left: list[dict[str, Any]] = _ask(data, "GET", "/api/s6/positions")["positions"]
        if not left:
            break
    return left


def _show_flat(body: dict[str, Any], left: list[dict[str, Any]]) -> None:
    for each in body["instruments"]:
        if each.get("message"):
            out.print(f"{each['market']}:{each['symbol']}: {each['message']}", highlight=False, soft_wrap=True)
    if body["kill_switch"] != "ON":
        err.print("[bold red]The kill switch could not be pulled:[/] chimera kill-switch on", highlight=False)
    if left:
        names = ", ".join(f"{each['market']}:{each['symbol']}" for each in left)
        out.print(f"Not flat yet: {names}. The system goes on closing; look again with chimera position list.")
    else:
        out.print("Flat. The kill switch is ON: chimera kill-switch off lets the system enter again.")


def _show_positions(positions: list[dict[str, Any]]) -> None:
    table = Table(title="Open positions", title_justify="left")
    for column in ("instrument", "side", "qty", "entry", "mark", "unrealised", "stop", "at the stop", "target", "ROE"):
        table.add_column(column, justify="left" if column in ("instrument", "side") else "right")
    for each in positions:
        table.add_row(
            f"{each['market']}:{each['symbol']}",
            each["side"],
            *(_figure(each.get(name)) for name in ("qty", "entry_price_avg", "mark_price")),
            _money(each.get("unrealized_pnl_usdt")),
            stop_words(each),
            _money(_result_at_stop(each)),
            _figure(each.get("tp_price")),
            "–" if each.get("roe") is None else f"{each['roe']:+.2%}",
        )
    out.print(table if positions else "No open position.")


def stop_words(position: dict[str, Any]) -> str:
    """Where the stop of a position as `GET /positions` tells it is, and whether it is a guard of ours."""
    if position.get("stop_price") is None:
        return "[bold red]none[/]" if position.get("stop_kind") else "not known"
    guard = " guard" if position.get("stop_kind") == StopKind.GUARD else ""
    return f"{_figure(position['stop_price'])}{guard}"


def _result_at_stop(position: dict[str, Any]) -> float | None:
    """USDT before fees, a loss below 0."""
    if position.get("stop_price") is None:
        return None
    way = position["stop_price"] - position["entry_price_avg"]
    return float(way * position["qty"] * (1 if position["side"] == "LONG" else -1))


def _show_orders_of(orders: list[dict[str, Any]]) -> None:
    table = Table(title="Orders", title_justify="left")
    for column in ("order", "purpose", "side", "type", "filled", "of", "price", "status", "reason"):
        table.add_column(column, justify="right" if column in ("filled", "of", "price") else "left", overflow="fold")
    for each in orders:
        table.add_row(
            each["order_id"],
            each.get("purpose", "–"),
            each["side"],
            each["type"],
            _figure(each.get("filled_qty")),
            _figure(each.get("quantity")),
            _figure(each.get("avg_price") or each.get("stop_price") or each.get("price")),
            each["status"],
            escape(each.get("reason", "")),
        )
    out.print(table if orders else "Nothing was ordered for it.")


def _show_timeline(timeline: list[dict[str, Any]]) -> None:
    table = Table(title="Its life", title_justify="left")
    for column in ("time", "what", "order", "detail"):
        table.add_column(column, overflow="fold")
    for each in timeline:
        detail = "  ".join(f"{name} {_plain(value)}" for name, value in each.get("detail", {}).items())
        what = each["what"].replace("_", " ").lower()
        table.add_row(_when(each["ts"], exact=True), what, each.get("order_id", ""), escape(detail))
    if timeline:
        out.print(table)


def _show_paused(body: dict[str, Any]) -> None:
    out.print(f"paused: {', '.join(body['paused']) or 'nothing'}", highlight=False)


def _show_approval(body: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(json.dumps(body))
        return
    out.print(
        f"{body['approval_id']} {body['status']}: {body.get('side', '')} {body.get('market', '')}:"
        f"{body.get('symbol', '')}, at most {_figure(body.get('notional_usdt_max'))} USDT, until"
        f" {_when(body['expires_at'])} UTC",
        highlight=False,
        soft_wrap=True,
    )


def _at_stake(loss_usdt: float) -> str:
    return f"{loss_usdt:,.2f} USDT would be lost" if loss_usdt > 0 else f"{-loss_usdt:,.2f} USDT would be gained"


def _figure(value: Any) -> str:
    return "–" if value is None else f"{value:,.8g}"


def _money(value: float | None) -> str:
    return "–" if value is None else f"{value:+,.2f}"


def _plain(value: Any) -> str:
    return f"{value:,.8g}" if isinstance(value, float) else str(value)


def _when(ts: int, *, exact: bool = False) -> str:
    moment = datetime.fromtimestamp(ts / 1_000, UTC)
    return moment.strftime("%H:%M:%S.") + f"{ts % 1_000:03d}" if exact else moment.strftime("%m-%d %H:%M:%S")

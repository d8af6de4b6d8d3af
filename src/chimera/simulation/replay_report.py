"""A replay's result, as one JSON object and as what a person reads.

Owns the spelling and the look. Nothing is reckoned here.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chimera.contracts.documents import Trade
from chimera.contracts.enums import TradeStatus
from chimera.simulation.replay_decisions import Example
from chimera.simulation.replay_figures import Check, Decided, Figures, OpenPosition

DAY_MS = 86_400_000
MINUTE_MS = 60_000

WIDE = 125
"""Characters a line that all columns of the trades need."""

NARROW_COLUMNS = ("opened (UTC)", "held", "instrument", "side", "entry", "exit", "net USDT", "end")
LEFT_COLUMNS = ("opened (UTC)", "closed", "instrument", "side", "end")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """`events` is how many messages, documents and changes at the exchange went into `digest`."""

    from_ms: int
    to_ms: int
    symbols: tuple[str, ...]
    markets: tuple[str, ...]
    seed: int
    notes: tuple[str, ...]
    figures: Figures
    digest: str
    events: int
    examples: Mapping[Decided, Example] = field(default_factory=dict)
    """The first decision of each kind, with the figures that it fell by."""

    @property
    def agrees(self) -> bool:
        """Whether the exchange's ledger and our documents say the same."""
        return all(check.agree for check in self.figures.checks)

    @property
    def days(self) -> float:
        return (self.to_ms - self.from_ms) / DAY_MS

    @property
    def decisions(self) -> dict[str, int]:
        """How many by reason, the commonest first."""
        counted: Counter[str] = Counter()
        for decided, count in self.figures.decided.items():
            counted[decided.reason] += count
        return _by_count(counted)

    @property
    def decision_details(self) -> dict[str, int]:
        """The same by `REASON DETAIL`, the code behind the reason."""
        return _by_count(Counter({f"{each.reason} {each.detail}": n for each, n in self.figures.decided.items()}))

    def to_json(self) -> dict[str, Any]:
        """Money in USDT as numbers, times in epoch ms."""
        found = self.figures
        return {
            "from": _utc(self.from_ms),
            "to": _utc(self.to_ms),
            "days": round(self.days, 4),
            "symbols": list(self.symbols),
            "markets": list(self.markets),
            "seed": self.seed,
            "trades": [_trade(trade) for trade in found.trades],
            "open_positions": [_open(position) for position in found.open_positions],
            "decisions": self.decisions,
            "decision_details": self.decision_details,
            "decision_examples": [_example(decided, each) for decided, each in self.examples.items()],
            "net_pnl_usdt": float(found.net_pnl_usdt),
            "realized_pnl_usdt": float(found.realized_pnl_usdt),
            "open_pnl_usdt": float(found.open_pnl_usdt),
            "fees_usdt": float(found.fees_usdt),
            "funding_usdt": float(found.funding_usdt),
            "equity_start_usdt": float(found.equity_start_usdt),
            "equity_end_usdt": float(found.equity_end_usdt),
            "max_drawdown": round(found.max_drawdown, 8),
            "max_drawdown_usdt": round(found.max_drawdown_usdt, 8),
            "checks": [_check(check) for check in found.checks],
            "agree": self.agrees,
            "notes": list(self.notes),
            "events": self.events,
            "digest": self.digest,
        }


def render(report: ReplayReport, console: Console) -> None:
    """The trades, the sums, why not, and whether the exchange agrees."""
    found = report.figures
    console.print(
        f"[bold]{', '.join(report.symbols)}[/] ({', '.join(report.markets)})  {_utc(report.from_ms)} to "
        f"{_utc(report.to_ms)}  {report.days:.1f} days  seed {report.seed}",
        highlight=False,
    )
    for note in report.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
    console.print(_trades_table(found.trades, console.width) if found.trades else "[bold]No trade.[/]")
    for position in found.open_positions:
        console.print(
            f"still open at the end: {position.side.value} {position.qty.normalize():f} {position.key} from "
            f"{position.entry_price_avg:.8g}, marked at {position.price:.8g}: {_signed(position.pnl_usdt)} USDT before "
            f"fees, {'stop by its order list' if position.stop_price is None else f'stop {position.stop_price:.8g}'}",
            highlight=False,
        )
    console.print(_sums_table(report))
    console.print(_decisions_table(report))
    if report.agrees:
        console.print(
            f"[green]The exchange's ledger, the documents and this report agree[/] ({len(found.checks)} checks)."
        )
    else:
        console.print("[bold red]THE EXCHANGE'S LEDGER AND THE DOCUMENTS DO NOT AGREE[/]")
        console.print(_checks_table([check for check in found.checks if not check.agree]))
    console.print(f"digest {report.digest} over {report.events:,} events", highlight=False)


def _trades_table(trades: tuple[Trade, ...], width: int) -> Table:
    """One trade a row; a terminal that is too narrow for all columns gets those that matter most."""
    wide = width >= WIDE
    table = Table(title=f"{len(trades)} trades", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rows = [_trade_row(trade) for trade in trades]
    for column in rows[0]:
        if wide or column in NARROW_COLUMNS:
            table.add_column(column, no_wrap=True, justify="left" if column in LEFT_COLUMNS else "right")
    for row in rows:
        table.add_row(*(text for column, text in row.items() if wide or column in NARROW_COLUMNS))
    return table


def _trade_row(trade: Trade) -> dict[str, str]:
    net = _net(trade)
    exit_price = _exit_price(trade)
    return {
        "opened (UTC)": _utc(trade.opened_at)[2:],
        "closed": "–" if trade.closed_at is None else _utc(trade.closed_at)[2:],
        "held": "–" if trade.closed_at is None else _duration(trade.closed_at - trade.opened_at),
        "instrument": f"{trade.market}:{trade.symbol}",
        "side": trade.side.value,
        "qty": f"{trade.qty_opened.normalize():f}",
        "entry": f"{trade.entry_price_avg:.7g}",
        "exit": "–" if exit_price is None else f"{exit_price:.7g}",
        "PnL": _signed(trade.realized_pnl_usdt),
        "fees": f"{trade.fees_usdt:.2f}",
        "funding": _signed(trade.funding_usdt),
        "net USDT": f"[{'green' if net >= 0 else 'red'}]{_signed(net)}[/]",
        "end": "open" if trade.status is TradeStatus.ACTIVE else (trade.reason or trade.status.value),
    }


def _sums_table(report: ReplayReport) -> Table:
    found = report.figures
    table = Table(title="Result in USDT", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("realized PnL", _signed(found.realized_pnl_usdt))
    if found.open_positions or found.open_pnl_usdt:
        what = "open positions" if found.open_positions else "dust that could not be sold"
        table.add_row(f"{what}, at the last price", _signed(found.open_pnl_usdt))
    table.add_row("fees", _signed(-found.fees_usdt))
    table.add_row("funding", _signed(found.funding_usdt))
    table.add_row("[bold]net PnL[/]", f"[bold]{_signed(found.net_pnl_usdt)}[/]")
    table.add_row("equity", f"{found.equity_start_usdt:.2f} → {found.equity_end_usdt:.2f}")
    table.add_row("max drawdown", f"{found.max_drawdown_usdt:.2f} ({found.max_drawdown:.2%})")
    return table


def _decisions_table(report: ReplayReport) -> Table:
    title = "Decisions (a refusal counts when it changes)"
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("reason", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("the first of them")
    first = {f"{decided.reason} {decided.detail}": each for decided, each in report.examples.items()}
    for reason, count in report.decision_details.items():
        table.add_row(reason, str(count), _first_of(first.get(reason)))
    return table


def _first_of(example: Example | None) -> str:
    if example is None:
        return ""
    return escape(f"{_utc(example.t0)[2:]} {example.instrument}: {example.sentence}")


def _example(decided: Decided, example: Example) -> dict[str, Any]:
    return {
        "action": decided.action,
        "reason": decided.reason,
        "detail": decided.detail,
        "t0": example.t0,
        "instrument": example.instrument,
        "sentence": example.sentence,
    }


def _checks_table(checks: list[Check]) -> Table:
    table = Table()
    for column in ("figure", "documents", "exchange", "apart"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for check in checks:
        table.add_row(check.name, str(check.documents), str(check.venue), str(check.documents - check.venue))
    return table


def _trade(trade: Trade) -> dict[str, Any]:
    exit_price = _exit_price(trade)
    return {
        "trade_id": trade.trade_id,
        "market": trade.market.value,
        "symbol": trade.symbol,
        "side": trade.side.value,
        "status": trade.status.value,
        "qty": float(trade.qty_opened),
        "entry_price_avg": float(trade.entry_price_avg),
        "exit_price_avg": None if exit_price is None else float(exit_price),
        "opened_at": trade.opened_at,
        "closed_at": trade.closed_at,
        "realized_pnl_usdt": float(trade.realized_pnl_usdt),
        "fees_usdt": float(trade.fees_usdt),
        "funding_usdt": float(trade.funding_usdt),
        "net_pnl_usdt": float(_net(trade)),
        "tier": trade.tier,
        "rung": trade.rung,
        "reason": trade.reason,
        "config_rev": trade.config_rev,
    }


def _open(position: OpenPosition) -> dict[str, Any]:
    return {
        "market": position.key.market.value,
        "symbol": position.key.symbol,
        "side": position.side.value,
        "qty": float(position.qty),
        "entry_price_avg": float(position.entry_price_avg),
        "price": float(position.price),
        "pnl_usdt": float(position.pnl_usdt),
        "stop_price": None if position.stop_price is None else float(position.stop_price),
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "documents": float(check.documents),
        "venue": float(check.venue),
        "agree": check.agree,
    }


def _net(trade: Trade) -> Decimal:
    """Of what was closed; what is open is marked beside it."""
    return trade.realized_pnl_usdt - trade.fees_usdt + trade.funding_usdt


def _exit_price(trade: Trade) -> Decimal | None:
    qty = sum((exit.qty for exit in trade.exits), Decimal(0))
    return sum((exit.qty * exit.price for exit in trade.exits), Decimal(0)) / qty if qty else None


def _by_count(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _signed(value: Decimal) -> str:
    return f"{value:+.2f}"


def _duration(ms: int) -> str:
    hours, minutes = divmod(ms // MINUTE_MS, 60)
    return f"{hours}h{minutes:02d}"


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")

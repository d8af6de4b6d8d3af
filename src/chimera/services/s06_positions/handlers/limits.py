"""How near the account is to its limits, and the halt that follows when one is reached.

Equity is both wallets, what is held at the mid, and the open futures PnL at the mark; a transfer between our wallets
moves nothing in it. A fill reaches wallet, holding and position one after the other, so a single reading may be torn:
the peak counts the lower of two readings in a row, the drawdown the higher.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from chimera.contracts.collections import FUNDING_RECORDS, METRICS_TIMESERIES, TRADES, system_state
from chimera.contracts.documents import EquityPeakState, Halt, HaltsState, MetricPoint, Trade
from chimera.contracts.enums import Market, Severity
from chimera.contracts.keys import RISK_LIMITS, SPOT_WAC, wallet
from chimera.contracts.metrics import AlertCode
from chimera.domain.exact import exact, money
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query, RevisionConflict
from chimera.ports.state import Snapshots
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.telling import Teller
from chimera.services.s06_positions.market import Market as MarketView
from chimera.services.s06_positions.memory import Memory
from chimera.services.s06_positions.settings import Settings

HALTS = system_state(HaltsState)
EQUITY_PEAK = system_state(EquityPeakState)
DAILY_LOSS = "DAILY_LOSS"
DRAWDOWN = "DRAWDOWN"
OURS = (DAILY_LOSS, DRAWDOWN)

DAY_MS = 86_400_000
MINUTE_MS = 60_000
PEAK_STEP_USDT = 0.01
"""A smaller rise of the peak is not worth a write."""


@dataclass(frozen=True, slots=True)
class _Look:
    """Everything that equity is made of, as others wrote it, so that an unchanged account costs no reckoning.

    `wallets` free and bound USDT of each market, `holdings` quantity and mid, `positions` a trade and its mark.
    """

    wallets: tuple[tuple[str, str], ...]
    holdings: tuple[tuple[str, str], ...]
    positions: tuple[tuple[Trade, str], ...]

    def equity_usdt(self) -> float:
        return (
            sum(float(free) + float(bound) for free, bound in self.wallets)
            + sum(float(qty) * float(mid) for qty, mid in self.holdings)
            + sum(unrealized_usdt(trade, mark) for trade, mark in self.positions if trade.market is Market.FUT)
        )

    def open_loss_usdt(self) -> float:
        """Loss of what is open, each position on its own: a profit that may vanish covers nothing."""
        return -sum(min(0.0, unrealized_usdt(trade, mark)) for trade, mark in self.positions)


def unrealized_usdt(trade: Trade, mark: str) -> float:
    return trade.side.sign * (float(mark) - float(trade.entry_price_avg)) * float(trade.qty_open)


def day_result_usdt(trade: Trade, day_start_ms: int, funding_usdt: Decimal) -> Decimal:
    """What the trade realised since `day_start_ms`: closes less fees, with `funding_usdt` of the same time. An entry
    realises what it closed of somebody else's."""
    exits = [exit for exit in trade.exits if exit.ts >= day_start_ms]
    if trade.opened_at >= day_start_ms:
        by_entry_usdt = trade.realized_pnl_usdt - sum((exit.pnl_usdt for exit in trade.exits), Decimal(0))
        funding_usdt += by_entry_usdt
    entry_fees = sum((fill.fee_usdt for fill in trade.entries if fill.ts >= day_start_ms), Decimal(0))
    return sum((exit.pnl_usdt - exit.fee_usdt for exit in exits), Decimal(0)) - entry_fees + funding_usdt


@dataclass(slots=True, kw_only=True)
class Limits:
    settings: Settings
    documents: Documents
    snapshots: Snapshots
    market: MarketView
    memory: Memory
    watch: ConfigWatch
    clock: Clock
    teller: Teller
    _peak: EquityPeakState | None = None
    _last_equity: float | None = None
    _seen: _Look | None = None
    _told_at_ms: int = 0
    _metric_minute: int = -1
    _day_known: tuple[object, ...] = ()
    _day_result_usdt: Decimal = Decimal(0)
    _halted: dict[str, Halt] = field(default_factory=dict)
    """Halts of ours, as they were set: one that is gone from `halts` was released by a person."""

    async def start(self) -> None:
        self._peak = await self.documents.get(EQUITY_PEAK, "equity_peak")
        halts = await self.documents.get(HALTS, "halts")
        known = {} if self._peak is None else self._peak.halted
        standing = {} if halts is None else {name: halt for name, halt in halts.halts.items() if name in OURS}
        self._halted = known | standing
        self._last_equity, self._seen, self._told_at_ms, self._day_known = None, None, 0, ()

    async def check(self) -> None:
        await self._check(after_close=False)

    async def after_close(self) -> None:
        """A trade has just ended, so the day's result is another."""
        await self._check(after_close=True)

    async def _check(self, *, after_close: bool) -> None:
        now_ms = self.clock.now_ms()
        if not (after_close or self.memory.open_trades()) and now_ms - self._told_at_ms < MINUTE_MS:
            return
        look = await self._look()
        if look is None:
            return
        if look == self._seen and not after_close and now_ms - self._told_at_ms < MINUTE_MS:
            return
        self._seen, self._told_at_ms = look, now_ms
        equity = look.equity_usdt()
        last = equity if self._last_equity is None else self._last_equity
        self._last_equity = equity
        await self._heed_releases(equity, now_ms)
        peak = await self._peak_after(min(equity, last), equity, now_ms)
        drawdown = max(0.0, (peak - max(equity, last)) / peak) if peak > 0 else 0.0
        of_the_day = (now_ms // DAY_MS, *(trade for trade, _ in look.positions))
        if after_close or of_the_day != self._day_known:
            self._day_known, self._day_result_usdt = of_the_day, await self._day_result(now_ms)
        loss = max(0.0, look.open_loss_usdt() - float(self._day_result_usdt))
        await self.snapshots.set_hash(
            RISK_LIMITS.name(self.settings.env),
            {
                "daily_loss_usdt": f"{loss:.8f}",
                "daily_loss_base_usdt": f"{self._base(DAILY_LOSS, now_ms):.8f}",
                "drawdown_ratio": f"{drawdown:.8f}",
                "drawdown_base_ratio": f"{self._base(DRAWDOWN, now_ms):.8f}",
                "equity_usdt": f"{equity:.8f}",
                "updated_at": str(now_ms),
            },
        )
        if now_ms // MINUTE_MS != self._metric_minute:
            self._metric_minute = now_ms // MINUTE_MS
            await self.documents.put(METRICS_TIMESERIES, MetricPoint(metric="equity_usdt", value=equity, ts=now_ms))
        risk = self.watch.current().flags.risk
        await self._halt_at(DAILY_LOSS, loss, float(risk.daily_loss_usdt_max), now_ms)
        await self._halt_at(DRAWDOWN, drawdown, risk.drawdown_pct_max, now_ms)

    async def _look(self) -> _Look | None:
        """None while a wallet or the price of something held is not known, as right after a start: a holding that
        counted as nothing would look like a loss. Nothing is said then, and S3's gates see that nothing was."""
        env, keys = self.settings.env, self.settings.keys
        wallets: list[tuple[str, str]] = []
        for market in Market:
            if any(key.market is market for key in keys):
                purse = await self.snapshots.get_hash(wallet(market).name(env))
                if "free" not in purse:
                    return None
                wallets.append((purse["free"], purse.get("isolated" if market is Market.FUT else "locked", "0")))
        holdings: list[tuple[str, str]] = []
        for key in keys:
            if key.market is Market.SPOT:
                held = await self.snapshots.get_hash(SPOT_WAC.name(env, key))
                if Decimal(held.get("qty", "0")):
                    mid = await self.market.mark_text(key)
                    if mid is None:
                        return None
                    holdings.append((held["qty"], mid))
        positions: list[tuple[Trade, str]] = []
        for each in self.memory.open_trades():
            mark = await self.market.mark_text(each.key)
            if mark is None:
                return None
            positions.append((each.trade, mark))
        return _Look(tuple(wallets), tuple(holdings), tuple(positions))

    async def _peak_after(self, steady: float, equity: float, now_ms: int) -> float:
        day = datetime.fromtimestamp(now_ms / 1_000, UTC).strftime("%Y-%m-%d")
        known = self._peak
        peak = steady if known is None else max(float(known.equity_peak_usdt), steady)
        new_day = known is None or known.day != day
        if known is not None and not new_day and peak - float(known.equity_peak_usdt) <= PEAK_STEP_USDT:
            return peak
        await self._write_peak(peak, day, equity if known is None or new_day else None, now_ms)
        return peak

    async def _write_peak(self, peak: float, day: str, day_start: float | None, now_ms: int) -> None:
        known = self._peak
        if day_start is None:
            assert known is not None
            day_start = float(known.day_start_equity_usdt)
        self._peak = EquityPeakState(
            equity_peak_usdt=money(exact(peak)),
            # Both wallets count, so what moves between them moves nothing here.
            transfers_net_usdt=known.transfers_net_usdt if known is not None else Decimal(0),
            day=day,
            day_start_equity_usdt=money(exact(day_start)),
            halted=dict(self._halted),
            updated_at=now_ms,
        )
        await self.documents.put(EQUITY_PEAK, self._peak)

    async def _keep_halted(self, now_ms: int) -> None:
        """So that a release is known as one after a restart too."""
        assert self._peak is not None, "the peak is written before anything is measured against it"
        await self._write_peak(float(self._peak.equity_peak_usdt), self._peak.day, None, now_ms)

    async def _day_result(self, now_ms: int) -> Decimal:
        """Realised, fees and funding of the UTC day, from trades that closed in it and those that are open."""
        start_ms = now_ms // DAY_MS * DAY_MS
        closed = await self.documents.find(Query(collection=TRADES, index="by_closed", at_least=start_ms))
        result = Decimal(0)
        for trade in (*closed, *(held.trade for held in self.memory.open_trades())):
            result += day_result_usdt(trade, start_ms, await self._funding_since(trade, start_ms))
        return result

    async def _funding_since(self, trade: Trade, start_ms: int) -> Decimal:
        if trade.opened_at >= start_ms or trade.market is not Market.FUT:
            return trade.funding_usdt
        found = await self.documents.find(
            Query(
                collection=FUNDING_RECORDS,
                index="by_sym_time",
                equal=(("symbol", trade.symbol),),
                at_least=start_ms,
                below=None if trade.closed_at is None else trade.closed_at + 1,
            )
        )
        return sum((each.amount_usdt for each in found), Decimal(0))

    async def _heed_releases(self, equity: float, now_ms: int) -> None:
        """A person released a halt: the drawdown is measured anew from here, the loss may grow by the limit again, for
        the rest of that day."""
        if not self._halted:
            return
        halts = await self.documents.get(HALTS, "halts")
        standing = {} if halts is None else halts.halts
        if DRAWDOWN in self._halted and DRAWDOWN not in standing:
            del self._halted[DRAWDOWN]
            if self._peak is not None:
                await self._write_peak(equity, self._peak.day, None, now_ms)
        loss = self._halted.get(DAILY_LOSS)
        if loss is not None and DAILY_LOSS not in standing and loss.at // DAY_MS != now_ms // DAY_MS:
            del self._halted[DAILY_LOSS]

    def _base(self, name: str, now_ms: int) -> float:
        """From which value the limit counts: 0, or where it halted last. The loss of a day is that day's only."""
        halt = self._halted.get(name)
        if halt is None or halt.value is None or (name == DAILY_LOSS and halt.at // DAY_MS != now_ms // DAY_MS):
            return 0.0
        return halt.value

    async def _halt_at(self, name: str, value: float, limit: float, now_ms: int) -> None:
        """Set the halt once; it stays until a person releases it."""
        if value <= 0 or value < self._base(name, now_ms) + limit:
            return
        while True:
            stored = await self.documents.get_stored(HALTS, "halts")
            halts = stored.doc.halts if stored else {}
            if name in halts:
                self._halted.setdefault(name, halts[name])
                return
            halt = Halt(at=now_ms, reason=f"{name} {value:.6g} reached {limit:.6g}", value=value, limit=limit)
            state = HaltsState(halts=halts | {name: halt}, updated_at=now_ms)
            try:
                if stored is None:
                    await self.documents.insert(HALTS, state)
                else:
                    await self.documents.replace(HALTS, state, rev=stored.rev)
                break
            except (DuplicateKey, RevisionConflict):
                continue  # a person or another guard wrote it in between: read again
        self._halted[name] = halt
        await self.teller.alert(
            AlertCode.RISK_HALT,
            Severity.ERROR,
            f"{halt.reason}: no new entries until a person releases the halt",
            halt=name,
        )
        await self._keep_halted(now_ms)

"""How an open position stands, for whoever looks: fast state, snapshots, and the answer to GET /positions."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.collections import INTENTS, POSITIONS_SNAPSHOTS
from chimera.contracts.documents import PositionSnapshot, Trade
from chimera.contracts.enums import OPEN_INTENTS, Market, PositionSide, Purpose, Side, StopKind
from chimera.contracts.http import PositionView
from chimera.contracts.keys import POS_ADDS, POS_SL_LEVEL, POS_STATE, POS_TP_LADDER
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.exact import money
from chimera.domain.positions.roe import roe
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.services.s06_positions.exposures import Exposures
from chimera.services.s06_positions.memory import Held
from chimera.services.s06_positions.settings import Settings
from chimera.services.s06_positions.trade import is_held, liquidation_of, margin_of, open_stops

ROE_PLACES = 4
"""ROE is shown to a hundredth of a percent: a finer one would be written at every tick for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    settings: Settings
    documents: Documents
    snapshots: Snapshots
    exposures: Exposures
    clock: Clock

    async def position(self, held: Held, *, news: bool = False) -> None:
        """Write what changed; a snapshot when something happened, else at most once in a while."""
        trade = held.trade
        now_ms = self.clock.now_ms()
        earned = roe_of(held)
        margin = margin_of(trade)
        shown = (
            side_of(trade).value,
            str(trade.entry_price_avg if is_held(trade) else Decimal(0)),
            str(margin),
            f"{earned:.{ROE_PLACES}f}",
            str(trade.add_on_count),
            str(trade.tier),
            str(trade.rung),
            str((await self.exposures.of(trade.symbol)).qty),
        )
        if shown != held.shown:
            held.shown = shown
            await self._write(held, shown, now_ms)
        if trade.market is Market.FUT and (news or now_ms - held.snapshot_at_ms >= self.settings.snapshot_ms):
            held.snapshot_at_ms = now_ms
            await self._snapshot(held, earned, now_ms)

    async def _write(self, held: Held, shown: tuple[str, ...], now_ms: int) -> None:
        side, entry, margin, earned, adds, tier, rung, exposed = shown
        env, key = self.settings.env, held.key
        await self.snapshots.set_hash(
            POS_STATE.name(env, key),
            {
                "side": side,
                "entry_price_avg": entry,
                "margin": margin,
                "roe": earned,
                "add_on_count": adds,
                "exposure": exposed,
                "updated_at": str(now_ms),
            },
        )
        for name, value in ((POS_SL_LEVEL, tier), (POS_TP_LADDER, rung), (POS_ADDS, adds)):
            await self.snapshots.set(name.name(env, key), value)

    async def _snapshot(self, held: Held, earned: float, now_ms: int) -> None:
        trade = held.trade
        mark = mark_of(held)
        await self.documents.put(
            POSITIONS_SNAPSHOTS,
            PositionSnapshot(
                market=trade.market,
                symbol=trade.symbol,
                side=side_of(trade),
                entry_price_avg=trade.entry_price_avg if is_held(trade) else Decimal(0),
                isolated_margin_usdt=margin_of(trade),
                unrealized_pnl_usdt=unrealized_of(held),
                roe=earned,
                add_on_count=trade.add_on_count,
                ts=now_ms,
                qty=trade.qty_open if is_held(trade) else Decimal(0),
                mark_price=mark,
                liquidation_price=liquidation_of(held.facts, trade),
                trade_id=trade.trade_id,
            ),
        )


def side_of(trade: Trade) -> PositionSide:
    if not is_held(trade):
        return PositionSide.FLAT
    return PositionSide.LONG if trade.side is Side.BUY else PositionSide.SHORT


def mark_of(held: Held) -> Decimal | None:
    return None if held.shown_text is None else Decimal(held.shown_text)


def unrealized_of(held: Held) -> Decimal:
    """Price PnL of what is open at the mark, before fees; 0 where there is no mark."""
    trade, mark = held.trade, mark_of(held)
    if mark is None or not is_held(trade):
        return Decimal(0)
    return money(trade.side.sign * (mark - trade.entry_price_avg) * trade.qty_open)


def roe_of(held: Held) -> float:
    trade, mark = held.trade, mark_of(held)
    if mark is None or not is_held(trade):
        return 0.0
    earned = roe(
        side=trade.side,
        entry_price=trade.entry_price_avg,
        mark=mark,
        leverage=trade.leverage,
        fee_ratio=held.facts.fee_ratio,
    )
    return round(float(earned), ROE_PLACES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What protects a position now. `kind` None: that could not be read."""

    kind: StopKind | None
    stop_price: Decimal | None = None
    target_price: Decimal | None = None


async def standing_of(held: Held, documents: Documents) -> Standing:
    """By its open orders, and on SPOT by the guard that watches; where the documents are down nobody knows of one."""
    trade = held.trade
    listed = [stop.stop_price for stop in open_stops(held.facts.own_orders)]
    if listed:
        return Standing(
            kind=StopKind.LISTED,
            stop_price=trade.stop_price if trade.stop_price in listed else listed[-1],
            target_price=trade.tp_price,
        )
    guard = None
    if trade.market is Market.SPOT:
        try:
            guard = await _guard_of(trade, documents)
        except DependencyDown:
            return Standing(kind=None, target_price=trade.tp_price)
    if guard is None or guard.guard_stop is None:
        return Standing(kind=StopKind.NONE, target_price=trade.tp_price)
    target = None if guard.tp is None else guard.tp.price
    return Standing(kind=StopKind.GUARD, stop_price=guard.guard_stop.price, target_price=trade.tp_price or target)


async def _guard_of(trade: Trade, documents: Documents) -> OrderIntent | None:
    """The guard of a trade that has not ended."""
    for state in OPEN_INTENTS:
        for record in await documents.find(
            Query(
                collection=INTENTS,
                index="by_instr",
                equal=(("market", trade.market.value), ("symbol", trade.symbol), ("state", state.value)),
            )
        ):
            if record.purpose is Purpose.GUARD and record.intent.parent_id == trade.trade_id:
                return record.intent
    return None


def view(held: Held, standing: Standing) -> PositionView:
    trade, mark, stop_price = held.trade, mark_of(held), standing.stop_price
    distance = None
    if mark and stop_price is not None:
        distance = float(trade.side.sign * (mark - stop_price) / mark)
    return PositionView(
        trade_id=trade.trade_id,
        market=trade.market,
        symbol=trade.symbol,
        side=side_of(trade),
        qty=trade.qty_open,
        entry_price_avg=trade.entry_price_avg,
        mark_price=mark,
        isolated_margin_usdt=margin_of(trade) if trade.market is Market.FUT else None,
        unrealized_pnl_usdt=unrealized_of(held),
        roe=roe_of(held),
        liquidation_price=liquidation_of(held.facts, trade),
        stop_price=stop_price,
        stop_kind=standing.kind,
        stop_distance_pct=distance,
        tp_price=standing.target_price,
        tier=trade.tier,
        rung=trade.rung,
        add_on_count=trade.add_on_count,
        status=trade.status,
        config_rev=trade.config_rev,
        opened_at=trade.opened_at,
        updated_at=trade.updated_at,
    )

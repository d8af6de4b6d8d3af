"""Bodies of S6."""

from chimera.contracts.base import Contract, EpochMs, Estimate, Number
from chimera.contracts.enums import Market, PositionSide, TradeStatus
from chimera.contracts.http.common import Asked


class PositionView(Contract):
    """An open position. qty without sign, roe a fraction of margin, stop_distance_pct a fraction of the mark price."""

    trade_id: str | None = None
    market: Market
    symbol: str
    side: PositionSide
    qty: Number
    entry_price_avg: Number
    mark_price: Number | None = None
    isolated_margin_usdt: Number | None = None
    unrealized_pnl_usdt: Number | None = None
    roe: Estimate | None = None
    liquidation_price: Number | None = None
    stop_price: Number | None = None
    stop_distance_pct: Estimate | None = None
    tp_price: Number | None = None
    tier: int = 0
    rung: int = 0
    add_on_count: int = 0
    status: TradeStatus | None = None
    config_rev: int | None = None
    opened_at: EpochMs | None = None
    updated_at: EpochMs | None = None


class PositionsAnswer(Contract):
    """`GET /positions`."""

    positions: tuple[PositionView, ...] = ()
    ts: EpochMs


class ManageRequest(Asked):
    """`POST /positions/manage`: run the tick now, for one instrument or all."""

    market: Market | None = None
    symbol: str | None = None


class ManageAnswer(Contract):
    """Instruments looked at, and what was ordered for them (intent ids)."""

    instruments: tuple[str, ...] = ()
    intent_ids: tuple[str, ...] = ()

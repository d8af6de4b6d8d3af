"""Bodies of S6."""

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, Estimate, Number
from chimera.contracts.enums import IntentState, Market, PositionSide, StopKind, TradeStatus
from chimera.contracts.http.common import Asked


class PositionView(Contract):
    """An open position. qty without sign, roe a fraction of margin, stop_distance_pct a fraction of the mark price.

    `stop_kind` says what holds the stop now, left out while that cannot be read; `stop_price` is that stop's, and left
    out where there is none.
    """

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
    stop_kind: StopKind | None = None
    stop_distance_pct: Estimate | None = None
    tp_price: Number | None = None
    tier: int = 0
    rung: int = 0
    add_on_count: int = 0
    status: TradeStatus | None = None
    config_rev: int | None = None
    opened_at: EpochMs | None = None
    updated_at: EpochMs | None = None


class ExposureView(Contract):
    """What a move of a symbol's price moves: futures (signed, in contracts) and spot together, in base asset.

    `net_delta_qty` is futures less spot. `exposure_usdt` is without sign, at the mark; above `exposure_usdt_max`
    nothing is added.
    """

    symbol: str
    fut_qty: Number
    spot_qty: Number
    exposure_qty: Number
    net_delta_qty: Number
    exposure_usdt: Number | None = None
    exposure_usdt_max: Number | None = None


class PositionsAnswer(Contract):
    """`GET /positions`. `exposures`: of every symbol that is held in either market."""

    positions: tuple[PositionView, ...] = ()
    exposures: tuple[ExposureView, ...] = ()
    ts: EpochMs


class ManageRequest(Asked):
    """`POST /positions/manage`: run the tick now, for one instrument or all."""

    market: Market | None = None
    symbol: str | None = None


class ManageAnswer(Contract):
    """Instruments looked at, and what was ordered for them (intent ids)."""

    instruments: tuple[str, ...] = ()
    intent_ids: tuple[str, ...] = ()


class LeaveRequest(Asked):
    """`POST /positions/close`: a person leaves this position, all of it, at market. Asking again leaves it once."""

    market: Market
    symbol: str
    reason: str = "MANUAL"


class LeaveAnswer(Contract):
    """How far the leaving is.

    `qty_open` is what is left, 0 once the position is flat. `intent_id` and `state` are those of the newest exit that
    was ordered for it; they are left out while its entry is still being taken back.
    """

    trade_id: str
    market: Market
    symbol: str
    qty_open: Number
    intent_id: str | None = None
    state: IntentState | None = None
    message: str | None = None


class PutStopRequest(Asked):
    """`POST /positions/stop`: a person puts the stop of a futures position at `price` (USDT).

    Nearer to profit is always allowed. Further away is allowed within the loss that the first stop allowed; beyond it
    only with `confirm`, and never nearer to the liquidation than `position.liquidation_buffer_min`.
    """

    market: Market = Market.FUT
    symbol: str
    price: Number = Field(gt=0)
    confirm: bool = False
    reason: str = "MANUAL"


class PutStopAnswer(Contract):
    """Where the stop is now. `listed`: the exchange holds it for the whole quantity; else it is being ordered, and the
    one before it rests until then. `loss_usdt` is the price loss of what is open at that stop (below 0: a gain),
    `loss_usdt_max` what the first stop allowed."""

    trade_id: str
    market: Market
    symbol: str
    stop_before: Number | None = None
    stop_price: Number
    listed: bool
    loss_usdt: Number
    loss_usdt_max: Number | None = None
    message: str | None = None


class LeaveAllRequest(Asked):
    """`POST /positions/flatten`: take back every entry that is under way, then leave every position."""

    reason: str = "MANUAL"


class LeaveAllInstrument(Contract):
    """What became of one instrument. `canceled` are intents that were under way; `leaving` how its position stands,
    absent where nothing was open; `message` what could not be done, and is tried again while the position is open."""

    market: Market
    symbol: str
    canceled: tuple[str, ...] = ()
    leaving: LeaveAnswer | None = None
    message: str | None = None


class LeaveAllAnswer(Contract):
    """`flat`: nothing is open or under way any more. Instruments of which there was nothing are left out."""

    flat: bool
    instruments: tuple[LeaveAllInstrument, ...] = ()

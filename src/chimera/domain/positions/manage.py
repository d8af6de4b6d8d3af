"""How an open futures trade is led, from one look at it to what should be done about it.

Owns the whole of S6's thinking: the stop's tiers and size, the profit ladder, adds, the liquidation buffer, the end of
the trade. It compares what is with what should be, so asking twice asks for the same, and once done asks for nothing.
It acts only when the entry intent is final: until then stops belong to the router.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.enums import Side
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.adds import AddParams, Growing, add_for, stop_of_whole, tighter
from chimera.domain.positions.ladder import DEFAULT_RUNGS, Rung, rung_qty
from chimera.domain.positions.liquidation import inside_buffer
from chimera.domain.positions.roe import price_at_roe, roe
from chimera.domain.positions.stagnation import StagnationParams
from chimera.domain.positions.stops import TierParams, is_tighter, protective, ratchet, would_trigger

LIQUIDATION_BUFFER = "LIQUIDATION_BUFFER"
LADDER = "LADDER"
STOP_PASSED = "STOP_PASSED"
PERSON = "PERSON"
"""Why a part or all of a position is closed at market."""
_HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageParams:
    """The bundle's `position` group."""

    tiers: TierParams = field(default_factory=TierParams)
    ladder: tuple[Rung, ...] = DEFAULT_RUNGS
    adds: AddParams = field(default_factory=AddParams)
    stagnation: StagnationParams = field(default_factory=StagnationParams)
    liquidation_buffer_min: Decimal = Decimal("0.25")


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeView:
    """A trade as documents and exchange show it now.

    `open_qty` is unsigned; `stop_price` the last stop ordered (durable), `stop_qty` what a listed stop covers (0: none
    is listed); `tier` the tier of that stop. `rungs_filled` counts ladder rungs, `target_rests` whether the next one is
    at the exchange, `first_target_price` where the router put rung 1. The `…_pending` flags say that an order for it is
    on its way and not settled. `orders_resting` counts every order of this trade on both books. `leaving`: a person
    wants it to end.

    Adds: `first_qty` and `first_loss_usdt` are the first entry's quantity and allowed price loss, `adds_max` how many
    there may be and `adds_done` how many have filled. While one is under way (`add_pending`) the router covers what it
    fills, and `to_cover_qty` is the rest: what the stops asked for here are to cover (None: all that is open).
    `target_stale`: the target that rests was made for less than the whole. `loss_freed`: a person has put the stop
    since, so that the first loss bounds it no longer.
    """

    instrument: Instrument
    side: Side
    entry_price: Decimal
    open_qty: Decimal
    leverage: int
    fee_ratio: Decimal
    entry_final: bool
    closed: bool = False
    tier: int = 0
    stop_price: Decimal
    stop_qty: Decimal = Decimal(0)
    stop_pending: bool = False
    rungs_filled: int = 0
    target_rests: bool = False
    target_pending: bool = False
    first_target_price: Decimal | None = None
    exit_pending: bool = False
    orders_resting: int = 0
    liquidation_price: Decimal | None = None
    leaving: bool = False
    first_qty: Decimal = Decimal(0)
    first_loss_usdt: Decimal | None = None
    adds_max: int = 0
    adds_done: int = 0
    add_pending: bool = False
    to_cover_qty: Decimal | None = None
    target_stale: bool = False
    loss_freed: bool = False

    @property
    def cover_qty(self) -> Decimal:
        return self.open_qty if self.to_cover_qty is None else self.to_cover_qty

    @property
    def stop_wanted(self) -> Decimal:
        """The present stop's price, or after an add that at which the whole loses what the first entry might lose."""
        if not self.adds_done or self.first_loss_usdt is None or self.loss_freed:
            return self.stop_price
        whole = stop_of_whole(
            self.instrument,
            side=self.side,
            entry_price=self.entry_price,
            qty=self.open_qty,
            first_loss_usdt=self.first_loss_usdt,
        )
        return tighter(self.side, self.stop_price, whole)


@dataclass(frozen=True, slots=True)
class MoveStop:
    """List a stop at `price` for `qty`, then cancel the old one; `tier` is what it locks."""

    price: Decimal
    qty: Decimal
    tier: int


@dataclass(frozen=True, slots=True)
class ResizeStop:
    """The same stop for another quantity; also the first one, where none is listed."""

    price: Decimal
    qty: Decimal


@dataclass(frozen=True, slots=True)
class PlaceTarget:
    """Rest rung `rung` (1 is the first) as a take-profit."""

    rung: int
    price: Decimal
    qty: Decimal


@dataclass(frozen=True, slots=True)
class CancelTarget:
    """Take the target back that was made for less than the whole; the next look places one for the whole."""


@dataclass(frozen=True, slots=True)
class AddToPosition:
    """Order `qty` more, with the stop of the whole at `stop_price`."""

    qty: Decimal
    stop_price: Decimal


@dataclass(frozen=True, slots=True)
class ReduceAtMarket:
    """Close `qty` now. `reason`: LADDER, LIQUIDATION_BUFFER, STOP_PASSED, PERSON."""

    qty: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class CancelResting:
    """The position is flat: nothing of ours may rest any longer, on either book."""


@dataclass(frozen=True, slots=True)
class CloseTrade:
    """Flat, and nothing rests: release the reservation, say EXIT, close the trade."""


@dataclass(frozen=True, slots=True)
class TakeBackEntry:
    """It is to end, or has ended, while more of it is being bought: nothing of that may be sent any more."""


Effect = (
    MoveStop
    | ResizeStop
    | PlaceTarget
    | CancelTarget
    | AddToPosition
    | ReduceAtMarket
    | CancelResting
    | CloseTrade
    | TakeBackEntry
)


def manage(view: TradeView, mark: Decimal | None, params: ManageParams) -> tuple[Effect, ...]:
    """What should be done now. While the entry is not final only this: a person who wants the end has it taken back.

    Args:
        mark: None where no price is known: then only what needs none, a stop as it was and a person's end.
    """
    if view.closed:
        return ()
    if not view.entry_final:
        return (TakeBackEntry(),) if view.leaving else ()
    if view.add_pending and (view.leaving or view.open_qty == 0):
        return (TakeBackEntry(),)
    if view.open_qty == 0:
        return (CancelResting(),) if view.orders_resting else (CloseTrade(),)
    if view.exit_pending:
        # One exit at a time: a second one would be sized on a quantity that is already leaving.
        return _stop(view, mark, params)
    urgent = _urgent_exit(view, mark, params)
    if urgent is not None:
        return (urgent, *_stop(view, mark, params))
    stop = _stop(view, mark, params)
    if mark is None:
        return stop
    return (*stop, *_target(view, mark, params), *(() if stop else _add(view, mark, params)))


def _urgent_exit(view: TradeView, mark: Decimal | None, params: ManageParams) -> ReduceAtMarket | None:
    if view.leaving:
        return ReduceAtMarket(view.open_qty, PERSON)
    if mark is None:
        return None
    wanted = view.stop_wanted
    unlisted = view.stop_qty == 0 or wanted != view.stop_price
    if unlisted and view.cover_qty > 0 and not view.stop_pending and would_trigger(view.side, wanted, mark):
        return ReduceAtMarket(view.cover_qty, STOP_PASSED)
    if view.liquidation_price is not None and inside_buffer(
        price=mark,
        entry_price=view.entry_price,
        liquidation=view.liquidation_price,
        ratio=params.liquidation_buffer_min,
    ):
        return ReduceAtMarket(rung_qty(view.instrument, view.open_qty, _HALF), LIQUIDATION_BUFFER)
    return None


def _stop(view: TradeView, mark: Decimal | None, params: ManageParams) -> tuple[Effect, ...]:
    if view.stop_pending or view.cover_qty <= 0:
        return ()
    moved = None if mark is None else _tighter_stop(view, mark, params)
    if moved is not None:
        return (moved,)
    # The exchange may have changed its ticks since the stop was first listed.
    price = protective(view.instrument, view.side, view.stop_wanted)
    asked_for = is_tighter(view.side, view.stop_wanted, view.stop_price)
    passed = mark is not None and would_trigger(view.side, price, mark)
    if (asked_for or view.stop_qty != view.cover_qty) and not passed:
        return (ResizeStop(price, view.cover_qty),)
    return ()


def _tighter_stop(view: TradeView, mark: Decimal, params: ManageParams) -> MoveStop | None:
    """That of a tier which the trade has reached."""
    tier, price = ratchet(
        view.instrument,
        side=view.side,
        entry_price=view.entry_price,
        leverage=view.leverage,
        fee_ratio=view.fee_ratio,
        roe=roe(
            side=view.side,
            entry_price=view.entry_price,
            mark=mark,
            leverage=view.leverage,
            fee_ratio=view.fee_ratio,
        ),
        mark=mark,
        stop_price=view.stop_wanted,
        tier=view.tier,
        params=params.tiers,
    )
    return MoveStop(price, view.cover_qty, tier) if tier > view.tier else None


def _target(view: TradeView, mark: Decimal, params: ManageParams) -> tuple[Effect, ...]:
    if view.add_pending:
        # What is added belongs to the target as well.
        return ()
    if view.target_rests and view.target_stale and not view.target_pending:
        return (CancelTarget(),)
    if view.target_rests or view.target_pending or view.rungs_filled >= len(params.ladder):
        return ()
    rung = params.ladder[view.rungs_filled]
    qty = rung_qty(view.instrument, view.open_qty, rung.share)
    if view.rungs_filled == 0 and view.first_target_price is not None:
        price = view.first_target_price
    else:
        raw = price_at_roe(
            side=view.side,
            entry_price=view.entry_price,
            leverage=view.leverage,
            fee_ratio=view.fee_ratio,
            roe=rung.roe,
        )
        price = view.instrument.ceil_price(raw) if view.side is Side.BUY else view.instrument.floor_price(raw)
    if view.side.sign * (mark - price) >= 0:
        # The exchange would refuse it (-2021): the price is already there, so take it.
        return (ReduceAtMarket(qty, LADDER),)
    return (PlaceTarget(view.rungs_filled + 1, price, qty),)


def _add(view: TradeView, mark: Decimal, params: ManageParams) -> tuple[Effect, ...]:
    """Only a winner that is covered, once at a time, and before it has begun to pay out."""
    if view.adds_done >= view.adds_max or view.add_pending or view.rungs_filled or view.first_loss_usdt is None:
        return ()
    if view.stop_pending or view.stop_qty != view.open_qty:
        return ()
    earned = roe(
        side=view.side, entry_price=view.entry_price, mark=mark, leverage=view.leverage, fee_ratio=view.fee_ratio
    )
    if earned < params.adds.roe_min:
        return ()
    growing = Growing(
        instrument=view.instrument,
        side=view.side,
        entry_price=view.entry_price,
        open_qty=view.open_qty,
        first_qty=view.first_qty,
        first_loss_usdt=view.first_loss_usdt,
        stop_price=view.stop_price,
    )
    addition = add_for(growing, mark, params.adds)
    return () if addition is None else (AddToPosition(addition.qty, addition.stop_price),)

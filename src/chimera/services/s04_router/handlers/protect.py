"""The first stop follows the fill, and the first target follows the stop.

Owns what stands between a filled futures entry and the position manager: a stop for all that filled, listed by the
exchange, or the position closed at market. Nothing here is given up while a position may be naked.
"""

from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import EventKind, Market, OrderStatus, OrderType, Purpose, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.orders import NewOrder
from chimera.domain.execution.protect import (
    AtDistance,
    AtPrice,
    NetProfit,
    NetRatio,
    StopWish,
    TargetWish,
    protect_futures,
)
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.metrics import Metrics
from chimera.ports.randomness import Randomness
from chimera.ports.venue import NothingToReduce, UnknownOrder, Venue, VenueError, WouldTrigger
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.services.s04_router.handlers.send import Landing, Send, within_ms
from chimera.services.s04_router.intents import CLOSE, STOP, TARGET, leg_id
from chimera.services.s04_router.ladders import Ladders
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.market import Market as MarketView
from chimera.services.s04_router.settings import Settings

log = structlog.get_logger(__name__)


def stop_wish(intent: OrderIntent) -> StopWish:
    assert intent.sl is not None
    if intent.sl.price is not None:
        return AtPrice(intent.sl.price)
    assert intent.sl.distance is not None
    return AtDistance(intent.sl.distance)


def target_wish(intent: OrderIntent) -> TargetWish | None:
    target = intent.tp
    if target is None:
        return None
    if target.price is not None:
        return AtPrice(target.price)
    if target.ratio is not None:
        return NetRatio(target.ratio)
    return NetProfit(target.value) if target.value is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """What became of a stop. Neither listed nor with a `why`: nothing is open (any more) that it could cover."""

    listed: bool = False
    why: str | None = None
    """Why the exchange does not hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    ladders: Ladders
    ledger: Ledger
    send: Send
    venue: Venue
    market: MarketView
    clock: Clock
    randomness: Randomness
    metrics: Metrics
    teller: Teller

    async def futures(self, record: IntentRecord, entry: Order) -> str | None:
        """Cover what the entry filled. Returns why the position was closed instead, or None.

        Repeating it is harmless: the legs' ids are derived, and a leg on file is looked at, not sent twice.
        """
        assert entry.filled_qty
        assert entry.avg_price
        intent = record.intent
        legs = protect_futures(
            self.instruments[intent.instrument],
            side=intent.side,
            avg_price=entry.avg_price,
            filled_qty=entry.filled_qty,
            leverage=intent.leverage or self.settings.leverage_max,
            fee_ratio=await self.venue.taker_fee_ratio(Market.FUT),
            stop=stop_wish(intent),
            target=target_wish(intent),
            first_rung_share=await self.ladders.first_share(intent.risk.rcu_rev or 0),
        )
        cover = await self._stop(record, legs.stop_qty, legs.stop_price, filled_at_ms=entry.updated_at or 0)
        if cover.why is not None:
            await self.close(record, entry.filled_qty, cover.why)
            return cover.why
        if not cover.listed:
            log.warning("nothing is open that a stop could cover", intent=record.intent_id)
            return None
        self.metrics.observe_ms("unprotected_ms", max(0, self.clock.now_ms() - entry.created_at))
        if legs.target_price is not None:
            await self._target(record, legs.target_qty, legs.target_price)
        await self.teller.event(
            EventKind.TP_SL_PLACED,
            intent.instrument,
            record.intent_id,
            stop_price=float(legs.stop_price),
            tp_price=float(legs.target_price) if legs.target_price is not None else None,
            qty=float(entry.filled_qty),
        )
        return None

    async def _stop(self, record: IntentRecord, qty: Decimal, stop_price: Decimal, *, filled_at_ms: int) -> Cover:
        """Listed once the exchange has shown it, or it did its work already."""
        new = self._conditional(record, STOP, OrderType.STOP_MARKET, qty, stop_price)
        if await self._met_before(new):
            order = await self.ledger.order(new.client_order_id)
            if order is not None and order.status in (OrderStatus.NEW, OrderStatus.FILLED):
                return Cover(listed=True)
        if await self._is_flat(record.symbol, filled_at_ms):
            return Cover()
        order = await self._open(record, new, Purpose.SL)
        backoff = Backoff(self.clock, self.randomness, first_ms=100, max_ms=1_000)
        attempt = 0
        while True:
            if order.status is OrderStatus.FILLED:
                return Cover(listed=True)
            if order.status.is_final:
                return Cover(why=f"STOP_{order.status.value} {order.reason or ''}".strip())
            # Queries by id lag longer than a position may be naked. The list of open orders does not, and the exchange
            # refuses an id that is open: a stop that is not listed may be sent again under its own name.
            sending = await self.send.place(new, settle=False)
            if isinstance(sending.refusal, WouldTrigger):
                return Cover(why="STOP_WOULD_TRIGGER")
            if sending.landing is Landing.REFUSED:
                return Cover(why=f"STOP_REFUSED {sending.refusal}")
            listed_ms = within_ms(self.clock, self.settings.listed_within_ms)
            unavailable = sending.landing is Landing.UNAVAILABLE
            if not unavailable and await self.send.until_listed(new.key, new.client_order_id, listed_ms):
                return Cover(listed=True)
            if not unavailable and await self._is_flat(record.symbol, filled_at_ms):
                # If it did its work before anybody saw it listed, its end is booked by the next look at open orders.
                return Cover()
            attempt += 1
            if attempt >= self.settings.stop_attempts:
                await self._take_back(new)
                return Cover(why="STOP_NOT_LISTED")
            await backoff.wait()
            order = await self.ledger.order(new.client_order_id) or order

    async def _is_flat(self, symbol: str, filled_at_ms: int) -> bool:
        """Whether nothing is open that a stop could cover. The exchange's list of positions may lag behind the fill,
        so for as long as its queries lag the fill is believed."""
        lag_ms = self.clock.work_ms(self.venue.capabilities.lookup_lag_ms)
        if self.clock.now_ms() - filled_at_ms < lag_ms:
            return False
        return not await self.position_is_open(symbol)

    async def _take_back(self, new: NewOrder) -> None:
        """A stop that nobody saw listed may rest all the same: it is canceled before it counts as lost."""
        try:
            await self.venue.cancel(new.key, new.client_order_id, conditional=True)
        except VenueError as why:
            log.warning("a stop that was never listed", order=new.client_order_id, why=str(why))
        await self.ledger.lose(new.client_order_id, "STOP_NOT_LISTED")

    async def _target(self, record: IntentRecord, qty: Decimal, price: Decimal) -> None:
        """A target that cannot be placed costs an exit by price, not safety: S6 sees it missing and decides."""
        new = self._conditional(record, TARGET, OrderType.TAKE_PROFIT_MARKET, qty, price)
        if await self._met_before(new) or not await self.position_is_open(record.symbol):
            return
        order = await self._open(record, new, Purpose.TP)
        if order.status.is_final:
            return
        sending = await self.send.place(new)
        if isinstance(sending.refusal, WouldTrigger):
            # The price ran through the target before it could rest: the rung is taken now.
            await self._sell_rung(record, qty)
        elif sending.landing is Landing.UNAVAILABLE:
            await self.ledger.lose(new.client_order_id, "VENUE_UNAVAILABLE")

    async def _sell_rung(self, record: IntentRecord, qty: Decimal) -> None:
        new = NewOrder(
            client_order_id=leg_id(record.intent.client_order_id, CLOSE),
            market=record.market,
            symbol=record.symbol,
            side=record.intent.side.opposite,
            type=OrderType.MARKET,
            qty=qty,
            reduce_only=True,
        )
        await self._open(record, new, Purpose.TP)
        sending = await self.send.place(new)
        if sending.landing is Landing.TAKEN:
            await self.send.until_final(new.key, new.client_order_id)
        elif sending.landing is Landing.UNAVAILABLE:
            await self.ledger.lose(new.client_order_id, "VENUE_UNAVAILABLE")

    async def close(self, record: IntentRecord, qty: Decimal, why: str) -> None:
        """Close what the entry opened, at market, and do not rest before it is closed."""
        key = record.intent.instrument
        await self.teller.alert(
            AlertCode.STOP_NOT_PLACED,
            Severity.FATAL,
            f"{key} has no stop ({why}); closing {qty} at market",
            intent_id=record.intent_id,
            symbol=record.symbol,
        )
        await self.sell_at_market(record, qty, why)

    async def sell_at_market(self, record: IntentRecord, qty: Decimal, why: str) -> None:
        """A market order against the entry, asked for again until the exchange has taken it or says nothing is left."""
        new = NewOrder(
            client_order_id=leg_id(record.intent.client_order_id, CLOSE),
            market=record.market,
            symbol=record.symbol,
            side=record.intent.side.opposite,
            type=OrderType.MARKET,
            qty=qty,
            reduce_only=record.market is Market.FUT,
        )
        if await self._met_before(new):
            await self.send.until_final(new.key, new.client_order_id)
            return
        order = await self._open(record, new, Purpose.EXIT)
        backoff = Backoff(self.clock, self.randomness, first_ms=100, max_ms=2_000)
        tried = 0
        while not order.status.is_final:
            sending = await self.send.place(new)
            if sending.landing is Landing.TAKEN:
                await self.send.until_final(new.key, new.client_order_id)
                return
            tried += 1
            if isinstance(sending.refusal, NothingToReduce):
                if not await self.position_is_open(record.symbol):
                    return
                # Said as well where other reduce-only orders claim the position: they may go, or a person must look.
                if tried < self.settings.close_tries_max:
                    await backoff.wait()
                    continue
            if sending.landing is Landing.REFUSED:
                await self.teller.alert(
                    AlertCode.STOP_NOT_PLACED,
                    Severity.FATAL,
                    f"{new.key} could not be closed either: {sending.refusal}. Close it by hand.",
                    intent_id=record.intent_id,
                    symbol=record.symbol,
                )
                return
            await backoff.wait()

    def _conditional(
        self, record: IntentRecord, leg: int, type: OrderType, qty: Decimal, stop_price: Decimal
    ) -> NewOrder:
        return NewOrder(
            client_order_id=leg_id(record.intent.client_order_id, leg),
            market=record.market,
            symbol=record.symbol,
            side=record.intent.side.opposite,
            type=type,
            qty=qty,
            stop_price=stop_price,
            reduce_only=True,
            working_type=self.settings.working_type,
        )

    async def _open(self, record: IntentRecord, new: NewOrder, purpose: Purpose) -> Order:
        return await self.ledger.open(
            new,
            sent=await self.market.seen(new.key),
            purpose=purpose,
            intent_id=record.intent_id,
            parent_id=record.intent.parent_id,
            rev=record.intent.risk.rcu_rev or 0,
        )

    async def position_is_open(self, symbol: str) -> bool:
        """
        Raises:
            VenueUnavailable: a failed query is not "flat".
        """
        return any(position.symbol == symbol for position in await self.venue.positions())

    async def _met_before(self, new: NewOrder) -> bool:
        """Whether a leg on file is at the exchange, or was. Asked before anything is sent: the exchange would accept
        the id of an order that has ended a second time.

        Raises:
            VenueUnavailable: it could not be asked.
        """
        if await self.ledger.order(new.client_order_id) is None:
            return False
        try:
            await self.ledger.refresh(new.key, new.client_order_id, conditional=new.conditional)
        except UnknownOrder:
            return False
        return True

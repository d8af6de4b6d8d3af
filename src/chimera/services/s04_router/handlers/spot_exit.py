"""What rests for a spot trade: the pair that protects a buy, and that pair taken back before an exit.

Owns how the pair is priced, sent and found again. Where it cannot be had, what was bought is sold: holding spot without
a stop is not an option.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord, Note, Order
from chimera.contracts.enums import EventKind, OcoStatus, OrderStatus, OrderType, Purpose, Severity, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.exact import average
from chimera.domain.execution.fit import BROKEN_RULES, fitted_pair
from chimera.domain.execution.machine.bracket import NOTHING_TO_SELL, target_wish
from chimera.domain.execution.machine.flow import (
    ARMED,
    FREED,
    LEFT,
    LIST_N,
    SELL,
    STOP_N,
    TARGET_N,
    TRIGGERED,
    leg_name,
)
from chimera.domain.execution.orders import Balance, NewOco, NewOrder
from chimera.domain.execution.protect import AtDistance, AtPrice, StopWish, TargetWish, protect_spot
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.spot_count import received
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.randomness import Randomness
from chimera.ports.venue import DuplicateOrder, OutcomeUnknown, Refused, UnknownOrder, Venue, VenueUnavailable
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.services.s04_router.guards import Guards
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.holdings import Holdings
from chimera.services.s04_router.ledger import Filing, Ledger
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.pairs import Pairs
from chimera.services.s04_router.rulebook import Rulebook
from chimera.services.s04_router.runs import Run

SELLING_KEPT = 1_000
TURN_MS = 50
"""Of our own work: how often a second seller of one trade looks whether the first is done."""

AGAIN_MS, AGAIN_MAX_MS, AGAIN_REFUSED_MAX_MS = 250, 5_000, 30_000
"""Of our own work: how long after a guard that could not sell the next one watches, at first and at most. The last is
for one that the exchange refused: a halted symbol stays so for long, while an exchange that is back, or a book that has
filled up again, is to be used at once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """How what a SPOT entry buys is to be protected. `paired`: by the exchange's pair, else by the guard alone."""

    stop: StopWish | None
    target: Decimal | None
    paired: bool


@dataclass(frozen=True, slots=True)
class Uncovered:
    """What a trade holds that can be sold, and the prices at which it is to be: those it had last."""

    qty: Decimal
    stop_price: Decimal
    target_price: Decimal | None


def _asked(intent: OrderIntent) -> Asked | None:
    """None: not at all."""
    oco, guard, wish = intent.exec_policy.oco, intent.guard_stop, intent.sl
    kept = wish.distance if wish is not None and wish.price is None else None
    if oco is not None and oco.enabled:
        given = None if oco.sl is None else AtPrice(oco.sl)
        return Asked(given if kept is None else AtDistance(kept), oco.tp, True)
    if guard is not None and guard.enable:
        price = guard.price or (wish.price if wish is not None else None)
        given = None if price is None else AtPrice(price)
        return Asked(
            given if kept is None or price is not None else AtDistance(kept),
            intent.tp.price if intent.tp is not None else None,
            False,
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotExit:
    instruments: dict[InstrumentKey, Instrument]
    rulebook: Rulebook
    ledger: Ledger
    holdings: Holdings
    venue: Venue
    calls: Calls
    market: Market
    pairs: Pairs
    clock: Clock
    randomness: Randomness
    teller: Teller
    documents: Documents
    guards: Guards
    lookup_lag_ms: int
    guardian: bool
    gap_bps: Callable[[], Decimal]
    _selling: dict[str, str] = field(default_factory=dict)
    """By trade: the intent that sells now, or sold last."""
    _waiting: Counter[str] = field(default_factory=Counter)
    """By trade: how many wait for that one."""

    async def arm(self, run: Run) -> None:
        """Protect what was received, and the dust of earlier trades that this makes sellable: by the exchange's pair,
        else by a guard. How it ended is told to the run: protected (also: nothing was asked), or to be sold."""
        record = run.record
        instrument = self.instruments[record.intent.instrument]
        arrived = await self._arrived(await self._bought(run), instrument)
        own = instrument.floor_qty(arrived)
        asked = _asked(record.intent)
        if asked is None or own == 0:
            self._tell(run, ARMED)
            return
        if asked.stop is None or (asked.paired and asked.target is None):
            await self._fall_back(run, own, None, None, "OCO_WITHOUT_BOTH_PRICES")
            return
        pair = await self._pair(run, arrived, asked)
        qty, stop_price, target_price = pair.qty, pair.stop_price, pair.target_price if asked.target else None
        if not asked.paired or not self.venue.capabilities.oco:
            why = "GUARD_ASKED" if not asked.paired else "OCO_NOT_OFFERED"
            await self._fall_back(run, qty, stop_price, target_price, why)
            return
        if qty * stop_price < instrument.min_notional:
            await self._fall_back(run, qty, stop_price, target_price, "OCO_BELOW_MIN_NOTIONAL")
            return
        met = await self._met_before(record.intent.instrument, pair)
        target, stop = await self._open(record, pair)
        if target.status.is_final or stop.status.is_final:
            await self._after_restart(run, own, target, stop, pair)
            return
        why_not = None if met else await self._place(record, pair)
        if why_not is not None:
            await self._fall_back(run, qty, stop_price, target_price, why_not)
            return
        await self._say(record, OcoStatus.ARMED)
        await self.teller.event(
            EventKind.OCO_ARMED,
            record.intent.instrument,
            record.intent_id,
            tp_price=float(pair.target_price),
            sl_price=float(pair.stop_price),
            qty=float(pair.qty),
            dust_qty=float(max(Decimal(0), pair.qty - arrived)),
        )
        if pair.stop_limit_price is not None:
            # Its limit may be jumped over: the guard stands where it would rest unfilled.
            await self.guards.arm(
                record.intent, qty, stop_price=pair.stop_limit_price, target_price=None, why="BEHIND_STOP_LIMIT"
            )
        self._tell(run, ARMED)

    async def _fall_back(
        self, run: Run, qty: Decimal, stop_price: Decimal | None, target_price: Decimal | None, why: str
    ) -> None:
        """What the exchange does not protect is watched, or sold where that is not wanted."""
        if stop_price is None or not self.guardian:
            await self._sell(run, qty, why)
            return
        key = run.record.intent.instrument
        if why != "GUARD_ASKED":
            await self.teller.event(EventKind.OCO_FALLBACK, key, run.intent_id, why=why, qty=float(qty))
        await self.guards.arm(run.record.intent, qty, stop_price=stop_price, target_price=target_price, why=why)
        await self._say(run.record, OcoStatus.FALLBACK_GUARD)
        self._tell(run, ARMED, guard=why)

    async def free(self, run: Run) -> None:
        """Before an exit: what still rests of its trade is taken back, for it holds the very quantity that is to be
        sold. Then what there is to sell is known. One of a trade sells at a time: whoever comes second finds what the
        first has left, and never sells what was not the trade's."""
        intent = run.record.intent
        key = intent.instrument
        instrument = self.instruments[key]
        qty = intent.qty
        if intent.parent_id is not None:
            # A guard follows an entry that has bought all it will; only an exit may come before.
            while run.record.purpose is not Purpose.GUARD and self.guards.end_entry(
                intent.parent_id, f"SOLD_BY {run.intent_id}"
            ):
                # It takes back what rests of it and protects what it bought; then there is something to leave.
                await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(TURN_MS))
            await self._turn(run, intent.parent_id)
            if run.record.purpose is Purpose.GUARD:
                await self.guards.triggered(run.record, str(run.why(TRIGGERED)))
            else:
                self.guards.stand_down(intent.parent_id, f"SOLD_BY {run.intent_id}")
            for order in await self.ledger.of_trade(intent.parent_id):
                if order.side is intent.side and order.oco_pair_id is not None and not order.status.is_final:
                    await self.calls.take_back(order)
            left = await self._left(intent.parent_id, instrument)
            if left is not None:
                whole = qty >= instrument.floor_qty(left)
                dust = await self.holdings.dust(key, intent.parent_id) if whole else Decimal(0)
                qty = instrument.floor_qty(left + dust) if whole else qty
        if intent.side is Side.SELL:
            qty = min(qty, await self._free_qty(run, instrument, qty))
        if qty <= 0:
            run.stop_wanted = NOTHING_TO_SELL
        self._tell(run, FREED, sellable=str(qty))

    async def rearm(self, run: Run) -> None:
        """After an exit or a guard that sold a part, or nothing: the rest has nothing that protects it any more. Less
        than the exchange lets anybody sell is dust."""
        intent = run.record.intent
        assert intent.parent_id is not None
        entry = await self.documents.get(INTENTS, intent.parent_id)
        left = None if entry is None else await self.uncovered(entry)
        guards = run.record.purpose is Purpose.GUARD
        if entry is not None and left is not None and self.guardian and guards:
            why = run.execution.stopped if run.execution else None
            await self.guards.unsold(run.record, left.qty, why)
            orders = (await run.orders(self.ledger)).values()
            # What a person's order holds, or has sold, is as far away as what the exchange refuses.
            refused = why == NOTHING_TO_SELL or any(order.status is OrderStatus.REJECTED for order in orders)
            await self._pause(entry.intent_id, refused=refused)
            # A person may have sold it by hand meanwhile.
            left = await self.uncovered(entry)
        if entry is not None and left is not None and self.guardian:
            await self.guards.arm(
                entry.intent,
                left.qty,
                stop_price=left.stop_price,
                target_price=left.target_price,
                why=f"LEFT_BY {run.intent_id}",
                instead_of=run.intent_id if guards else None,
            )
        self._tell(run, LEFT, qty=str(left.qty if left is not None else 0))

    async def uncovered(self, entry: IntentRecord) -> Uncovered | None:
        """What is left of an entry's own by the fills on file. None: nothing, or less than the exchange lets anybody
        sell, which is dust."""
        instrument = self.instruments[entry.intent.instrument]
        held = await self._left(entry.intent_id, instrument)
        prices = await self._last_prices(entry)
        qty = Decimal(0) if held is None else instrument.floor_qty(held)
        if prices is None or not _can_be_sold(qty, prices[0], instrument):
            return None
        return Uncovered(qty, *prices)

    async def sold_by_others(self, entry: IntentRecord) -> None:
        """Where a person has sold some of it by hand: a guard has nothing to watch if no more is left than dust."""
        instrument = self.instruments[entry.intent.instrument]
        left = await self._left(entry.intent_id, instrument)
        bought = [order for order in await self.ledger.of_trade(entry.intent_id) if order.side is Side.BUY]
        qty = sum((order.filled_qty or Decimal(0) for order in bought), Decimal(0))
        if left is None or qty == 0 or not any(order.closed_by for order in bought):
            return
        cost = sum(((order.filled_qty or Decimal(0)) * (order.avg_price or Decimal(0)) for order in bought), Decimal(0))
        # By what it cost, as the keeper of positions calls a trade flat.
        if left < instrument.step_size or left * cost / qty < instrument.min_notional:
            self.guards.stand_down(entry.intent_id, "SOLD_BY_HAND")

    async def _pause(self, trade_id: str, *, refused: bool) -> None:
        """Longer from guard to guard: an exchange that refuses may do so for hours. Nobody who wants to sell the trade
        waits for it: this is the turn of a guard that sells nothing now."""
        doubled = AGAIN_MS << min(await self.guards.count(trade_id), 10)
        wait_ms = min(AGAIN_REFUSED_MAX_MS if refused else AGAIN_MAX_MS, doubled)
        until_ms = self.clock.now_ms() + self.clock.work_ms(wait_ms)
        while self.clock.now_ms() < until_ms and not self._waiting[trade_id]:
            await self.clock.sleep_until_ms(min(until_ms, self.clock.now_ms() + self.clock.work_ms(TURN_MS)))

    async def _entry_has_ended(self, trade_id: str, why: str) -> None:
        """It takes back what rests of it and protects what it bought; then there is something to leave."""
        while self.guards.end_entry(trade_id, why):
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(TURN_MS))

    async def _turn(self, run: Run, trade_id: str) -> None:
        while True:
            holder = self._selling.get(trade_id)
            if holder in (None, run.intent_id) or holder not in {
                each.intent_id for each in self.guards.others(trade_id)
            }:
                self._selling[trade_id] = run.intent_id
                while len(self._selling) > SELLING_KEPT:
                    self._selling.pop(next(iter(self._selling)))
                return
            self._waiting[trade_id] += 1
            try:
                await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(TURN_MS))
            finally:
                self._waiting[trade_id] -= 1
                if not self._waiting[trade_id]:
                    del self._waiting[trade_id]

    async def _left(self, trade_id: str, instrument: Instrument) -> Decimal | None:
        """What of the entry's own is still held, by the fills on file and what a person is known to have sold of it;
        None: it is no entry of ours."""
        orders = await self.ledger.of_trade(trade_id)
        bought = [order for order in orders if order.side is Side.BUY]
        if not bought:
            return None
        sold = sum((order.filled_qty or Decimal(0) for order in orders if order.side is Side.SELL), Decimal(0))
        sold += sum((qty for order in bought for qty in (order.closed_by or {}).values()), Decimal(0))
        return max(Decimal(0), await self._arrived(bought, instrument) - sold)

    async def _arrived(self, bought: Sequence[Order], instrument: Instrument) -> Decimal:
        fills = [fill for order in bought for fill in await self.ledger.fills(order.order_id)]
        return sum((received(fill, instrument.base_asset) for fill in fills), Decimal(0))

    async def _free_qty(self, run: Run, instrument: Instrument, wanted: Decimal) -> Decimal:
        """As much as the wallet has free, floored to step; an exchange that does not say is asked by the order."""
        try:
            balances = await self.venue.balances()
        except VenueUnavailable as down:
            log.warning("what there is to sell is not known", intent=run.intent_id, why=str(down))
            return wanted
        free = _free(balances, run.record.intent.instrument, instrument.base_asset)
        return wanted if free >= wanted else instrument.floor_qty(free)

    async def _last_prices(self, entry: IntentRecord) -> tuple[Decimal, Decimal | None] | None:
        """Stop and target that the trade had last, or was entered with."""
        orders = await self.ledger.of_intent(entry.intent_id)
        pair = [order for order in orders if order.oco_pair_id is not None]
        stop = next((order.stop_price for order in pair if order.purpose is Purpose.SL), None)
        target = next((order.price for order in pair if order.purpose is Purpose.TP), None)
        asked = _asked(entry.intent)
        if stop is None and asked is not None and isinstance(asked.stop, AtPrice):
            stop, target = asked.stop.price, asked.target
        return await self.guards.last_prices(entry.intent) if stop is None else (stop, target)

    async def _bought(self, run: Run) -> list[Order]:
        return [order for order in (await run.orders(self.ledger)).values() if order.side is run.record.intent.side]

    def _tell(self, run: Run, what: str, **detail: object) -> None:
        run.told.append(Note(ts=self.clock.now_ms(), what=what, detail=detail))

    async def _pair(self, run: Run, arrived: Decimal, asked: Asked) -> NewOco:
        """Prices that were given hold where the intent wishes no other: a distance, or a profit, kept from the average
        fill. Without a target its price is 0, and the pair is none: only a guard goes by it."""
        record = run.record
        base = record.intent.client_order_id
        on_file = await self.ledger.order(leg_name(base, TARGET_N))
        bought = await self._bought(run)
        bought_qty = sum((order.filled_qty or Decimal(0) for order in bought), Decimal(0))
        cost = sum(((order.filled_qty or Decimal(0)) * (order.avg_price or Decimal(0)) for order in bought), Decimal(0))
        if on_file is None:
            qty, target = await self._with_dust(record, arrived), await self._target_wish(record, asked.target)
        else:
            # What was once decided stays: the legs may be at the exchange already.
            assert on_file.quantity is not None
            assert on_file.price is not None
            qty, target = on_file.quantity, (AtPrice(on_file.price), Decimal(0))
        assert asked.stop is not None
        instrument = self.instruments[record.intent.instrument]
        legs = protect_spot(
            self.instruments[record.intent.instrument],
            avg_price=average(cost / bought_qty),
            bought_qty=bought_qty,
            fee_qty=bought_qty - arrived,
            fee_usdt=sum((order.fee_usdt or Decimal(0) for order in bought), Decimal(0)),
            fee_ratio=target[1],
            stop=asked.stop,
            target=target[0],
        )
        limit = None
        if not instrument.stop_loss_market:
            limit = instrument.floor_price(legs.stop_price * (1 - self.gap_bps() / 10_000))
        return NewOco(
            list_client_id=leg_name(base, LIST_N),
            symbol=record.symbol,
            side=Side.SELL,
            qty=qty,
            target_client_id=leg_name(base, TARGET_N),
            target_price=legs.target_price or Decimal(0),
            stop_client_id=leg_name(base, STOP_N),
            stop_price=legs.stop_price,
            stop_limit_price=limit,
        )

    async def _target_wish(self, record: IntentRecord, tp: Decimal | None) -> tuple[TargetWish | None, Decimal]:
        """And the taker's fee ratio, which only a profit is solved with. An exchange that does not say what it takes
        holds up no stop: the target stays where it was planned."""
        wish = target_wish(record.intent)
        planned = None if tp is None else AtPrice(tp)
        if wish is None or isinstance(wish, AtPrice):
            return planned, Decimal(0)
        try:
            return wish, await self.venue.taker_fee_ratio(record.market)
        except VenueUnavailable as down:
            log.warning("the target stays where it was planned", intent=record.intent_id, why=str(down))
            return planned, Decimal(0)

    async def _with_dust(self, record: IntentRecord, arrived: Decimal) -> Decimal:
        """`arrived` and the dust beside it, floored to step, as far as the wallet has it free.

        The dust is sold under this trade's name and earns it nothing: a trade's PnL counts its own quantity only.
        """
        key = record.intent.instrument
        instrument = self.instruments[key]
        own = instrument.floor_qty(arrived)
        wanted = instrument.floor_qty(arrived + await self.holdings.dust(key, record.intent_id))
        if wanted == own:
            return own
        try:
            balances = await self.venue.balances()
        except VenueUnavailable as down:
            log.warning("dust is left for a later exit", intent=record.intent_id, why=str(down))
            return own
        free = _free(balances, key, instrument.base_asset)
        return max(own, min(wanted, instrument.floor_qty(free)))

    async def _open(self, record: IntentRecord, pair: NewOco) -> tuple[Order, Order]:
        legs = (
            (pair.target_client_id, OrderType.LIMIT_MAKER, pair.target_price, None, Purpose.TP),
            (
                pair.stop_client_id,
                OrderType.STOP_LOSS if pair.stop_limit_price is None else OrderType.STOP_LOSS_LIMIT,
                pair.stop_limit_price,
                pair.stop_price,
                Purpose.SL,
            ),
        )
        filings = [
            Filing(
                new=NewOrder(
                    client_order_id=client_id,
                    market=record.market,
                    symbol=record.symbol,
                    side=pair.side,
                    type=type,
                    qty=pair.qty,
                    price=price,
                    stop_price=stop_price,
                ),
                purpose=purpose,
                intent_id=record.intent_id,
                parent_id=None,
                rev=record.intent.risk.rcu_rev or 0,
                oco_pair_id=pair.list_client_id,
            )
            for client_id, type, price, stop_price, purpose in legs
        ]
        await self.ledger.open(filings, sent=await self.market.seen(record.intent.instrument))
        target = await self.ledger.order(pair.target_client_id)
        stop = await self.ledger.order(pair.stop_client_id)
        assert target is not None
        assert stop is not None
        return target, stop

    async def _met_before(self, key: InstrumentKey, pair: NewOco) -> bool:
        """Whether a pair on file is at the exchange, or was. Asked before it is sent: the exchange would accept the
        ids of a pair that has sold already a second time.

        Raises:
            VenueUnavailable: it could not be asked.
        """
        if await self.ledger.order(pair.stop_client_id) is None:
            return False
        try:
            for client_id in (pair.target_client_id, pair.stop_client_id):
                await self.ledger.refresh(key, client_id, conditional=False)
        except UnknownOrder:
            return False
        return True

    async def _place(self, record: IntentRecord, pair: NewOco) -> str | None:
        """None once the exchange holds the pair, else why it does not."""
        key = record.intent.instrument
        backoff = Backoff(self.clock, self.randomness, first_ms=100, max_ms=2_000)
        told = False
        while True:
            try:
                for reported in await self.venue.place_oco(pair):
                    await self.ledger.book(reported)
                return None
            except (DuplicateOrder, OutcomeUnknown):
                if await self._known(key, pair):
                    return None
            except Refused as refusal:
                fits = await self._made_to_fit(key, pair, refusal)
                if fits is not None:
                    pair = fits
                    continue
                for client_id in (pair.target_client_id, pair.stop_client_id):
                    await self.ledger.refuse(client_id, refusal)
                return f"OCO_REFUSED {refusal}"
            except VenueUnavailable as down:
                log.warning("pair not sent yet", list=pair.list_client_id, why=str(down))
                told = told or await self._tell_uncovered(record, str(down))
            await backoff.wait()

    async def _tell_uncovered(self, record: IntentRecord, why: str) -> bool:
        await self.teller.alert(
            AlertCode.STOP_NOT_PLACED,
            Severity.FATAL,
            f"{record.intent.instrument}: what {record.intent_id} bought has no stop yet: {why}",
            intent_id=record.intent_id,
            symbol=record.symbol,
        )
        return True

    async def _made_to_fit(self, key: InstrumentKey, pair: NewOco, refusal: Refused) -> NewOco | None:
        """The pair as the rules want it now, on file so; None where they are not what it was refused for."""
        if refusal.code not in BROKEN_RULES:
            return None
        await self.rulebook.renew()
        fits = fitted_pair(pair, self.instruments[key])
        if fits is pair or fits.qty == 0:
            return None
        log.warning("a pair is sent by the exchange's new rules", list=pair.list_client_id, why=str(refusal))
        await self.ledger.refit(fits.target_client_id, qty=fits.qty, price=fits.target_price, stop_price=None)
        await self.ledger.refit(
            fits.stop_client_id, qty=fits.qty, price=fits.stop_limit_price, stop_price=fits.stop_price
        )
        return fits

    async def _known(self, key: InstrumentKey, pair: NewOco) -> bool:
        """Both legs are booked if the exchange has the pair; after the lookup lag its silence is an answer."""
        backoff = Backoff(self.clock, self.randomness)
        since_ms = self.clock.now_ms()
        while True:
            try:
                for client_id in (pair.target_client_id, pair.stop_client_id):
                    await self.ledger.refresh(key, client_id, conditional=False)
                return True
            except UnknownOrder:
                if self.clock.now_ms() - since_ms >= self.clock.work_ms(self.lookup_lag_ms):
                    return False
            except VenueUnavailable:
                since_ms = self.clock.now_ms()
            await backoff.wait()

    async def _after_restart(self, run: Run, qty: Decimal, target: Order, stop: Order, pair: NewOco) -> None:
        """The pair is on file and a leg has ended: sold, or refused. A guard may watch already what was refused: it is
        asked for again, which arms nothing twice, for whoever sold beside it would leave it watching nothing."""
        sold = (target.filled_qty or Decimal(0)) + (stop.filled_qty or Decimal(0))
        rest = self.instruments[run.record.intent.instrument].floor_qty(qty - sold)
        if OrderStatus.FILLED in (target.status, stop.status) or rest <= 0:
            self._tell(run, ARMED)
        else:
            await self._fall_back(run, rest, pair.stop_price, pair.target_price, "OCO_REFUSED")

    async def _sell(self, run: Run, qty: Decimal, why: str) -> None:
        await self.teller.event(
            EventKind.OCO_FALLBACK, run.record.intent.instrument, run.intent_id, why=why, qty=float(qty)
        )
        await self.teller.alert(
            AlertCode.STOP_NOT_PLACED,
            Severity.ERROR,
            f"{run.record.intent.instrument}: what {run.intent_id} bought cannot be protected ({why}); selling {qty}",
            intent_id=run.intent_id,
            symbol=run.record.symbol,
        )
        self._tell(run, SELL, qty=str(qty), why=why)

    async def _say(self, record: IntentRecord, status: OcoStatus) -> None:
        """How the protection of a trade stands, for whoever looks."""
        with suppress(DependencyDown):
            await self.pairs.say(record.intent.instrument, record.intent_id, record.intent.client_order_id, status)


def _free(balances: Sequence[Balance], key: InstrumentKey, asset: str) -> Decimal:
    return sum((each.free for each in balances if (each.market, each.asset) == (key.market, asset)), Decimal(0))


def _can_be_sold(qty: Decimal, price: Decimal, instrument: Instrument) -> bool:
    return qty >= instrument.min_qty and qty * price >= instrument.min_notional

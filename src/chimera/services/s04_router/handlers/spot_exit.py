"""What rests for a spot trade: the pair that protects a buy, and that pair taken back before an exit.

Owns how the pair is priced, sent and found again. Where it cannot be had, what was bought is sold: holding spot without
a stop is not an option.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

import structlog

from chimera.contracts.base import JsonObject
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
    UNSOLD,
    leg_name,
)
from chimera.domain.execution.orders import Balance, NewOco, NewOrder
from chimera.domain.execution.protect import AtDistance, AtPrice, StopWish, TargetWish, protect_spot
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.spot_count import is_dust, received
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.randomness import Randomness
from chimera.ports.venue import DuplicateOrder, OutcomeUnknown, Refused, UnknownOrder, Venue, VenueUnavailable
from chimera.runtime.retry import Backoff
from chimera.runtime.spot_guards import guard_before
from chimera.runtime.telling import Teller
from chimera.services.s04_router.guards import Guards
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.holdings import Holdings
from chimera.services.s04_router.ledger import Filing, Ledger
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.pairs import Pairs
from chimera.services.s04_router.rulebook import Rulebook
from chimera.services.s04_router.rules import TRADING
from chimera.services.s04_router.runs import Run

SELLING_KEPT = 1_000
TURN_MS = 50
"""Of our own work: how often a second seller of one trade looks whether the first is done."""

AGAIN_MS, AGAIN_SOON_MAX_MS, AGAIN_MAX_MS = 250, 5_000, 60_000
"""Of our own work: how long after a guard that could not sell the next one watches, at first and at most. The second
is for one that the exchange did not refuse, for the first `AGAIN_SOON_TRIES` in a row: an exchange that is back, or a
book that has filled up again, is to be used at once. Each try is an intent and an order on file."""
AGAIN_SOON_TRIES = 100
TOLD_AGAIN_MS = 3_600_000
"""Of our own work: so long after a person was told that a guard cannot sell they are told again."""
LOOK_MS, LOOK_TOO_LITTLE_MS = 500, 5_000
"""Of our own work: how often it is looked whether a guard can sell, that waits for its symbol to trade, or for a price
at which what it has is worth an order. The rules are asked for no more often than the rulebook allows."""
PAUSE_LOOK_MS = 5_000
"""The same while a guard waits before another try, for whether its symbol still trades."""
SEEN_MS = 10_000
"""Of our own work: a price that is older says nothing about what an order is worth."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """How what a SPOT entry buys is to be protected. `paired`: by the exchange's pair, else by the guard alone."""

    stop: StopWish | None
    target: Decimal | None
    paired: bool


class Unsold(StrEnum):
    """Why a guard has not sold, as far as it decides how often a person is told."""

    NOT_TAKEN = "NOT_TAKEN"
    """The exchange does not take the sale: told again and again, for a person may have to act."""
    TOO_LITTLE = "TOO_LITTLE"
    """It is worth less than an order has to be, until the price rises: told once."""


@dataclass(frozen=True, slots=True)
class Own:
    """What of an entry's own is still held, in the base asset, and its average cost."""

    qty: Decimal
    cost_price: Decimal


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
        bought = await self._cost_of(await self._bought(run), instrument)
        arrived = bought.qty
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
        below_least = qty * stop_price < instrument.min_notional
        pairs = asked.paired and self.venue.capabilities.oco and not below_least
        if not pairs and is_dust(arrived, bought.cost_price, instrument):
            # Less than anybody can sell, whoever watches it: the keeper of positions calls it closed.
            await self.guards.dust(record, arrived, instrument.min_notional)
            self._tell(run, ARMED)
            return
        if not asked.paired or not self.venue.capabilities.oco:
            why = "GUARD_ASKED" if not asked.paired else "OCO_NOT_OFFERED"
            await self._fall_back(run, qty, stop_price, target_price, why)
            return
        if below_least:
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
        qty = intent.qty
        if run.record.purpose is Purpose.GUARD and not await self._until_it_can_be_sold(run):
            self._tell(run, FREED, sellable="0")
            return
        instrument = self.instruments[key]
        if intent.parent_id is not None:
            # A guard follows an entry that has bought all it will; only an exit may come before.
            if run.record.purpose is not Purpose.GUARD:
                await self._entry_has_ended(intent.parent_id, f"SOLD_BY {run.intent_id}")
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
                qty = await self._with_dust_of_others(run, left.qty)
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
            tries = await self._tell_unsold(run, left.qty, Unsold.NOT_TAKEN, why or "the book was too thin", tried=True)
            await self._pause(run, entry, tries, why)
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
        if held is None or is_dust(held.qty, held.cost_price, instrument):
            return None
        prices = await self._last_prices(entry)
        return None if prices is None else Uncovered(instrument.floor_qty(held.qty), *prices)

    async def sold_by_others(self, entry: IntentRecord) -> None:
        """Where a person has sold some of it by hand: a guard has nothing to watch if no more is left than dust."""
        instrument = self.instruments[entry.intent.instrument]
        left = await self._left(entry.intent_id, instrument)
        bought = [order for order in await self.ledger.of_trade(entry.intent_id) if order.side is Side.BUY]
        if left is None or not any(order.closed_by for order in bought):
            return
        if is_dust(left.qty, left.cost_price, instrument):
            self.guards.stand_down(entry.intent_id, "SOLD_BY_HAND")

    async def _until_it_can_be_sold(self, run: Run) -> bool:
        """Before a guard takes its turn: while its symbol does not trade, or what there is to sell is worth no order,
        nothing is sent and no other guard is made. False: it was stood down meanwhile."""
        while run.stop_wanted is None:
            found = await self._cannot_be_sold(run)
            if found is None:
                return True
            what, left, why = found
            await self._tell_unsold(run, left, what, why, tried=False)
            look_ms = LOOK_MS if what is Unsold.NOT_TAKEN else LOOK_TOO_LITTLE_MS
            until_ms = self.clock.now_ms() + self.clock.work_ms(look_ms)
            while self.clock.now_ms() < until_ms and run.stop_wanted is None:
                await self.clock.sleep_until_ms(min(until_ms, self.clock.now_ms() + self.clock.work_ms(TURN_MS)))
        return False

    async def _cannot_be_sold(self, run: Run) -> tuple[Unsold, Decimal, str] | None:
        """What keeps a guard from selling, how much, and a person's words for it. What is not known keeps nobody."""
        intent = run.record.intent
        key = intent.instrument
        if self.instruments[key].status != TRADING:
            await self.rulebook.renew()
        instrument = self.instruments[key]
        held = None if intent.parent_id is None else await self._left(intent.parent_id, instrument)
        if held is None or is_dust(held.qty, held.cost_price, instrument):
            return None
        left = instrument.floor_qty(held.qty)
        if instrument.status != TRADING:
            return Unsold.NOT_TAKEN, left, f"the symbol does not trade, its status is {instrument.status}"
        oldest_ms = self.clock.now_ms() - self.clock.work_ms(SEEN_MS)
        try:
            touch = await self.market.touch(key, oldest_ms=oldest_ms)
        except DependencyDown:
            return None
        if touch is None or left * touch.mid >= instrument.min_notional:
            return None
        qty = await self._with_dust_of_others(run, held.qty)
        if qty * touch.mid >= instrument.min_notional:
            return None
        return (
            Unsold.TOO_LITTLE,
            left,
            f"it is worth less than the least order of {instrument.min_notional} USDT until the price is at"
            f" {instrument.ceil_price(instrument.min_notional / qty)}",
        )

    async def _with_dust_of_others(self, run: Run, left: Decimal) -> Decimal:
        """What an intent sells of the `left` of its trade: all of it takes the dust of earlier trades along."""
        intent = run.record.intent
        instrument = self.instruments[intent.instrument]
        if intent.qty < instrument.floor_qty(left):
            return intent.qty
        assert intent.parent_id is not None
        return instrument.floor_qty(left + await self.holdings.dust(intent.instrument, intent.parent_id))

    async def _tell_unsold(self, run: Run, left: Decimal, what: Unsold, why: str, *, tried: bool) -> int:
        """A person is told once, whatever guard it is by now, and of what lasts again after a while. What was told and
        tried goes with the guards, on file. Returns how many in a row have tried."""
        own = _unsold_of([*(run.execution.notes if run.execution is not None else ()), *run.told])
        known, tries = own, 0
        if known is None:
            before = await guard_before(self.documents, run.record)
            known = None if before is None or before.execution is None else _unsold_of(before.execution.notes)
        if known is not None and (own is not None or not _waited(run, self.clock.work_ms(AGAIN_MAX_MS))):
            tries = int(known["tries"])
        tries += tried and not (own is not None and own["tried"])
        now_ms = self.clock.now_ms()
        told_at: dict[str, int] = {} if known is None else dict(known["told_at"])
        last_ms, again = told_at.get(what.value), what is Unsold.NOT_TAKEN
        if last_ms is None or (again and now_ms - last_ms >= self.clock.work_ms(TOLD_AGAIN_MS)):
            # No sale waits until somebody can be told.
            with suppress(DependencyDown):
                await self.guards.unsold(run.record, left, why)
                told_at[what.value] = now_ms
        noted = {"tries": tries, "told_at": told_at, "tried": tried or bool(own and own["tried"])}
        if noted != own:
            self._tell(run, UNSOLD, **noted)
            run.wake()
        return tries

    async def _pause(self, run: Run, entry: IntentRecord, tries: int, why: str | None) -> None:
        """Longer from guard to guard: an exchange that refuses may do so for hours. Nobody who wants to sell the trade
        waits for it: this is the turn of a guard that sells nothing now. Nor does the next guard where the symbol has
        stopped to trade: it waits for that, and sells at once."""
        orders = (await run.orders(self.ledger)).values()
        # What a person's order holds, or has sold, is as far away as what the exchange refuses.
        refused = why == NOTHING_TO_SELL or any(order.status is OrderStatus.REJECTED for order in orders)
        most_ms = AGAIN_MAX_MS if refused or tries > AGAIN_SOON_TRIES else AGAIN_SOON_MAX_MS
        # After a restart much of it has passed already.
        since_ms = max((order.updated_at or order.created_at for order in orders), default=self.clock.now_ms())
        until_ms = since_ms + self.clock.work_ms(min(most_ms, AGAIN_MS << min(tries, 10)))
        key, was_away = entry.intent.instrument, False
        look_at_ms = self.clock.now_ms()
        while (now_ms := self.clock.now_ms()) < until_ms and not self._waiting[entry.intent_id]:
            if now_ms >= look_at_ms and (refused or most_ms == AGAIN_MAX_MS):
                await self.rulebook.renew()
                if self.instruments[key].status != TRADING or (was_away and self.rulebook.answers):
                    return
                was_away = not self.rulebook.answers
                look_at_ms = self.clock.now_ms() + self.clock.work_ms(PAUSE_LOOK_MS)
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

    async def _left(self, trade_id: str, instrument: Instrument) -> Own | None:
        """By the fills on file and what a person is known to have sold of it; None: it is no entry of ours."""
        orders = await self.ledger.of_trade(trade_id)
        bought = [order for order in orders if order.side is Side.BUY]
        if not bought:
            return None
        sold = sum((order.filled_qty or Decimal(0) for order in orders if order.side is Side.SELL), Decimal(0))
        sold += sum((qty for order in bought for qty in (order.closed_by or {}).values()), Decimal(0))
        arrived = await self._cost_of(bought, instrument)
        return Own(max(Decimal(0), arrived.qty - sold), arrived.cost_price)

    async def _cost_of(self, bought: Sequence[Order], instrument: Instrument) -> Own:
        """What arrived by these orders, and its average cost as the keeper of positions reckons it."""
        fills = [fill for order in bought for fill in await self.ledger.fills(order.order_id)]
        qty = sum((received(fill, instrument.base_asset) for fill in fills), Decimal(0))
        cost = sum((received(fill, instrument.base_asset) * fill.price for fill in fills), Decimal(0))
        return Own(qty, average(cost / qty) if qty else Decimal(0))

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


def _unsold_of(notes: Sequence[Note]) -> JsonObject | None:
    """The last that a guard noted of what it could not sell."""
    return next((note.detail for note in reversed(notes) if note.what == UNSOLD), None)


def _waited(run: Run, within_ms: int) -> bool:
    """Whether a guard has watched for a while before it acted: what the one before it tried is over."""
    notes = run.execution.notes if run.execution is not None else ()
    acted_at = next((note.ts for note in notes if note.what == TRIGGERED), run.record.created_at)
    return acted_at - run.record.created_at > within_ms

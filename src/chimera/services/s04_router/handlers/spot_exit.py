"""What rests for a spot trade: the pair that protects a buy, and that pair taken back before an exit.

Owns how the pair is priced, sent and found again. Where it cannot be had, what was bought is sold: holding spot without
a stop is not an option.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts.documents import IntentRecord, Note, Order
from chimera.contracts.enums import EventKind, OcoStatus, OrderStatus, OrderType, Purpose, Severity, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import SPOT_OCO_STATE
from chimera.contracts.metrics import AlertCode
from chimera.domain.exact import average
from chimera.domain.execution.fit import BROKEN_RULES, fitted_pair
from chimera.domain.execution.machine.bracket import target_wish
from chimera.domain.execution.machine.flow import LIST_N, STOP_N, TARGET_N, leg_name
from chimera.domain.execution.machine.lead import ARMED, FREED, SELL
from chimera.domain.execution.orders import Balance, NewOco, NewOrder
from chimera.domain.execution.protect import AtDistance, AtPrice, TargetWish, protect_spot
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness
from chimera.ports.state import Snapshots
from chimera.ports.venue import DuplicateOrder, OutcomeUnknown, Refused, UnknownOrder, Venue, VenueUnavailable
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.holdings import Holdings, received
from chimera.services.s04_router.ledger import Filing, Ledger
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.rulebook import Rulebook
from chimera.services.s04_router.runs import Run

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotExit:
    env: str
    instruments: dict[InstrumentKey, Instrument]
    rulebook: Rulebook
    ledger: Ledger
    holdings: Holdings
    venue: Venue
    calls: Calls
    market: Market
    snapshots: Snapshots
    clock: Clock
    randomness: Randomness
    teller: Teller
    lookup_lag_ms: int

    async def arm(self, run: Run) -> None:
        """Place the pair for what was received, and for the dust of earlier trades that this makes sellable. How it
        ended is told to the run: protected (also: no pair was asked), or to be sold."""
        record = run.record
        oco = record.intent.exec_policy.oco
        instrument = self.instruments[record.intent.instrument]
        fills = [fill for order in await self._bought(run) for fill in await self.ledger.fills(order.order_id)]
        arrived = sum((received(fill, instrument.base_asset) for fill in fills), Decimal(0))
        own = instrument.floor_qty(arrived)
        if oco is None or not oco.enabled or own == 0:
            self._tell(run, ARMED)
            return
        if oco.tp is None or oco.sl is None:
            await self._sell(run, own, "OCO_WITHOUT_BOTH_PRICES")
            return
        pair = await self._pair(run, arrived, tp=oco.tp, sl=oco.sl)
        if pair.qty * pair.stop_price < instrument.min_notional:
            await self._sell(run, own, "OCO_BELOW_MIN_NOTIONAL")
            return
        met = await self._met_before(record.intent.instrument, pair)
        target, stop = await self._open(record, pair)
        if target.status.is_final or stop.status.is_final:
            await self._after_restart(run, own, target, stop)
            return
        why = None if met else await self._place(record, pair)
        if why is not None:
            await self._sell(run, own, why)
            return
        await self._remember(record, pair, OcoStatus.ARMED)
        await self.teller.event(
            EventKind.OCO_ARMED,
            record.intent.instrument,
            record.intent_id,
            tp_price=float(pair.target_price),
            sl_price=float(pair.stop_price),
            qty=float(pair.qty),
            dust_qty=float(max(Decimal(0), pair.qty - arrived)),
        )
        self._tell(run, ARMED)

    async def free(self, run: Run) -> None:
        """Before an exit: what still rests of its trade is taken back, for it holds the very quantity that is to be
        sold. Then what there is to sell is known."""
        intent = run.record.intent
        instrument = self.instruments[intent.instrument]
        if intent.parent_id is not None:
            for order in await self.ledger.of_intent(intent.parent_id):
                if order.side is intent.side and not order.status.is_final:
                    await self.calls.take_back(order)
        qty = intent.qty
        try:
            balances = await self.venue.balances()
        except VenueUnavailable as down:
            log.warning("what there is to sell is not known", intent=run.intent_id, why=str(down))
        else:
            free = _free(balances, intent.instrument, instrument.base_asset)
            if intent.side is Side.SELL and free < qty:
                qty = instrument.floor_qty(free)
        if qty <= 0:
            run.stop_wanted = "NOTHING_TO_SELL"
        self._tell(run, FREED, sellable=str(qty))

    async def _bought(self, run: Run) -> list[Order]:
        return [order for order in (await run.orders(self.ledger)).values() if order.side is run.record.intent.side]

    def _tell(self, run: Run, what: str, **detail: object) -> None:
        run.told.append(Note(ts=self.clock.now_ms(), what=what, detail=detail))

    async def _pair(self, run: Run, arrived: Decimal, *, tp: Decimal, sl: Decimal) -> NewOco:
        """`tp` and `sl` hold where the intent wishes no other: a distance, or a profit, kept from the average fill."""
        record = run.record
        base = record.intent.client_order_id
        on_file = await self.ledger.order(leg_name(base, TARGET_N))
        bought = await self._bought(run)
        bought_qty = sum((order.filled_qty or Decimal(0) for order in bought), Decimal(0))
        cost = sum(((order.filled_qty or Decimal(0)) * (order.avg_price or Decimal(0)) for order in bought), Decimal(0))
        if on_file is None:
            qty, target = await self._with_dust(record, arrived), await self._target_wish(record, tp)
        else:
            # What was once decided stays: the legs may be at the exchange already.
            assert on_file.quantity is not None
            assert on_file.price is not None
            qty, target = on_file.quantity, (AtPrice(on_file.price), Decimal(0))
        stop = record.intent.sl
        kept = stop.distance if stop is not None and stop.price is None else None
        legs = protect_spot(
            self.instruments[record.intent.instrument],
            avg_price=average(cost / bought_qty),
            bought_qty=bought_qty,
            fee_qty=bought_qty - arrived,
            fee_usdt=sum((order.fee_usdt or Decimal(0) for order in bought), Decimal(0)),
            fee_ratio=target[1],
            stop=AtPrice(sl) if kept is None else AtDistance(kept),
            target=target[0],
        )
        assert legs.target_price is not None
        return NewOco(
            list_client_id=leg_name(base, LIST_N),
            symbol=record.symbol,
            side=Side.SELL,
            qty=qty,
            target_client_id=leg_name(base, TARGET_N),
            target_price=legs.target_price,
            stop_client_id=leg_name(base, STOP_N),
            stop_price=legs.stop_price,
        )

    async def _target_wish(self, record: IntentRecord, tp: Decimal) -> tuple[TargetWish, Decimal]:
        """And the taker's fee ratio, which only a profit is solved with. An exchange that does not say what it takes
        holds up no stop: the target stays where it was planned."""
        wish = target_wish(record.intent)
        if wish is None or isinstance(wish, AtPrice):
            return AtPrice(tp), Decimal(0)
        try:
            return wish, await self.venue.taker_fee_ratio(record.market)
        except VenueUnavailable as down:
            log.warning("the target stays where it was planned", intent=record.intent_id, why=str(down))
            return AtPrice(tp), Decimal(0)

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
            (pair.stop_client_id, OrderType.STOP_LOSS, None, pair.stop_price, Purpose.SL),
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

    async def _after_restart(self, run: Run, qty: Decimal, target: Order, stop: Order) -> None:
        """The pair is on file and a leg has ended: sold, or refused while nobody was there to sell."""
        sold = (target.filled_qty or Decimal(0)) + (stop.filled_qty or Decimal(0))
        rest = self.instruments[run.record.intent.instrument].floor_qty(qty - sold)
        if OrderStatus.FILLED in (target.status, stop.status) or rest <= 0:
            self._tell(run, ARMED)
        else:
            await self._sell(run, rest, "OCO_REFUSED")

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

    async def _remember(self, record: IntentRecord, pair: NewOco, status: OcoStatus) -> None:
        await self.snapshots.set_hash(
            SPOT_OCO_STATE.name(self.env, record.intent.instrument),
            {
                record.intent_id: (
                    f'{{"parent_id":"{pair.list_client_id}","tp_id":"{pair.target_client_id}",'
                    f'"sl_id":"{pair.stop_client_id}","status":"{status.value}","updated_at":{self.clock.now_ms()}}}'
                )
            },
        )


def _free(balances: Sequence[Balance], key: InstrumentKey, asset: str) -> Decimal:
    return sum((each.free for each in balances if (each.market, each.asset) == (key.market, asset)), Decimal(0))

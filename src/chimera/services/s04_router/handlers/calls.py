"""Carrying out what the machine asks for: one order sent, asked for or taken back, until its fate is on file.

Owns the manners of each kind: what takes is led to its last fill, a stop until it is listed, a quote until it rests.
Everything that is known in the end stands in the order's document; nothing is answered besides.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from chimera.contracts.documents import Order
from chimera.contracts.enums import LegRole, Market, Purpose, Refusal, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.machine.bracket import NOTHING_TO_SELL, VENUE_UNAVAILABLE
from chimera.domain.execution.machine.flow import is_shown
from chimera.domain.execution.orders import NewOrder
from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness
from chimera.ports.venue import (
    NothingToReduce,
    OutcomeUnknown,
    Refused,
    UnknownOrder,
    Venue,
    VenueError,
    VenueUnavailable,
)
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.services.s04_router.handlers.outlook import Outlook
from chimera.services.s04_router.handlers.send import Landing, Send, within_ms
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.runs import Run
from chimera.services.s04_router.settings import Settings

CANCEL_ALARM_TRIES = 5
"""After so many cancels that came to nothing a person is told; it is tried on."""

HELD_UP_MS = 1_000
"""Of our own work: an exit that is older than this when it leaves is looked at once more."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    settings: Settings
    ledger: Ledger
    send: Send
    venue: Venue
    clock: Clock
    randomness: Randomness
    teller: Teller
    outlook: Outlook

    async def place(self, run: Run, n: int) -> None:
        """Send leg `n`. One that this process did not just put on file is asked for first: it may be there."""
        order = await self._order(run, n)
        new = replace(run.new_order(n, order), working_type=self.settings.working_type)
        fresh = n in run.unsent
        run.unsent.discard(n)
        if order.status.is_final:
            return
        match run.leg(n).role:
            case LegRole.REST if not fresh:
                await self.settle(run, n)
            case LegRole.STOP | LegRole.REST:
                await self._until_listed(new, fresh=fresh, watches=run.leg(n).role is LegRole.STOP)
            case LegRole.TARGET:
                await self._target(new, fresh=fresh)
            case LegRole.QUOTE:
                await self._rest(new, fresh=fresh)
            case _:
                await self._take(run, n, new, fresh=fresh)

    async def settle(self, run: Run, n: int) -> None:
        """Find out what became of a leg that may be at the exchange. One that never arrived is not sent again."""
        order = await self._order(run, n)
        new = replace(run.new_order(n, order), working_type=self.settings.working_type)
        if order.status.is_final:
            return
        if not is_shown(order):
            sending = await self.send.settle_unknown(new)
            if sending.landing is not Landing.TAKEN:
                await self.ledger.lose(new.client_order_id, "NOT_ARRIVED", Refusal.NOT_ARRIVED)
                return
        if run.leg(n).role in (LegRole.TAKE, LegRole.CLOSE, LegRole.RUNG):
            await self.send.until_final(new.key, new.client_order_id)

    async def ask(self, run: Run, n: int) -> None:
        """Look an order up that rests; one that cannot be asked for is asked for at the next turn."""
        order = await self._order(run, n)
        try:
            await self.ledger.refresh(InstrumentKey(order.market, order.symbol), order.order_id, conditional=False)
        except (UnknownOrder, VenueUnavailable) as unknown:
            log.info("a resting order cannot be looked up", order=order.order_id, why=str(unknown))

    async def cancel(self, run: Run, n: int) -> None:
        await self.take_back(await self._order(run, n))

    async def take_back(self, order: Order) -> Order:
        """The order as it ended: canceled, or filled before the cancel came. Asked for until that is known."""
        backoff = Backoff(self.clock, self.randomness, first_ms=100, max_ms=self.settings.retry_max_ms)
        tries = 0
        while not order.status.is_final:
            if tries:
                await backoff.wait()
            if tries == CANCEL_ALARM_TRIES:
                await self.teller.alert(
                    AlertCode.ORDER_RETRY_EXHAUSTED,
                    Severity.ERROR,
                    f"order {order.order_id} could not be taken back yet; it is tried on",
                    order_id=order.order_id,
                )
            tries += 1
            order = await self.try_cancel(order)
        return order

    async def try_cancel(self, order: Order) -> Order:
        """One cancel, and what is known of the order after it.

        Raises:
            Refused: it is known and the exchange does not cancel it.
            VenueUnavailable: nothing was done.
        """
        key = InstrumentKey(order.market, order.symbol)
        conditional = order.is_conditional
        try:
            reported = await self.venue.cancel(key, order.order_id, conditional=conditional)
            return await self.ledger.book(reported) or order
        except (UnknownOrder, OutcomeUnknown):
            # Not open, or nobody knows: neither says that it did nothing.
            log.info("a cancel is settled by asking", order=order.order_id)
        try:
            return await self.ledger.refresh(key, order.order_id, conditional=conditional) or order
        except UnknownOrder:
            if self.clock.now_ms() - order.created_at < self.clock.work_ms(self.settings.lookup_lag_ms):
                return order
            return await self.ledger.lose(order.order_id, "NOT_AT_EXCHANGE", Refusal.NOT_ARRIVED)

    async def position_is_open(self, symbol: str) -> bool:
        """
        Raises:
            VenueUnavailable: a failed query is not "flat".
        """
        return any(position.symbol == symbol for position in await self.venue.positions())

    async def _order(self, run: Run, n: int) -> Order:
        order = await self.ledger.order(run.name_of(n))
        assert order is not None, f"leg {n} of {run.intent_id} is not on file"
        return order

    async def _rest(self, new: NewOrder, *, fresh: bool) -> None:
        if not fresh:
            sending = await self.send.settle_unknown(new)
        else:
            sending = await self.send.place(new)
        if sending.landing in (Landing.UNAVAILABLE, Landing.ABSENT):
            await self._lose(new)

    async def _lose(self, new: NewOrder) -> None:
        """A new entry is not tried again: the market that it was meant for is gone."""
        await self.ledger.lose(new.client_order_id, VENUE_UNAVAILABLE, Refusal.NOT_SERVED)

    async def _take(self, run: Run, n: int, new: NewOrder, *, fresh: bool) -> None:
        """Led to its end. What leaves a position is sent again until the exchange has taken it, or says that nothing is
        left; under the same name, and only after it was asked for longer than its queries lag."""
        entry = run.record.purpose.is_new_entry and run.leg(n).role is LegRole.TAKE
        closing = run.leg(n).role in (LegRole.CLOSE, LegRole.RUNG)
        backoff = Backoff(self.clock, self.randomness, first_ms=100, max_ms=self.settings.retry_max_ms)
        tried = 0
        while True:
            known = self.ledger.present(new.client_order_id)
            if known is not None and known.status.is_final:
                # Taken back, or given up, while it waited for another try.
                return
            if fresh and await self._comes_too_late(run, new):
                await self.ledger.lose(new.client_order_id, NOTHING_TO_SELL, Refusal.NOTHING_TO_REDUCE)
                return
            if fresh:
                sending = await self.send.place(new, keep=NothingToReduce if closing else None)
            else:
                sending = await self.send.settle_unknown(new)
            if sending.landing is Landing.ABSENT and not entry:
                fresh = True
                continue
            if sending.landing is Landing.TAKEN:
                await self.send.until_final(new.key, new.client_order_id)
                return
            tried += 1
            if isinstance(sending.refusal, NothingToReduce) and closing:
                # Said as well where other reduce-only orders claim the position: they may go, or a person must look.
                if tried >= self.settings.close_tries_max or not await self.position_is_open(new.symbol):
                    await self.ledger.refuse(new.client_order_id, sending.refusal)
                    await self._tell_not_closed(run, new, sending.refusal)
                    return
            elif sending.landing is Landing.REFUSED:
                if closing:
                    await self._tell_not_closed(run, new, sending.refusal)
                return
            elif (
                sending.landing is Landing.ABSENT
                or (not closing and tried >= (self.settings.entry_tries if entry else self.settings.exit_tries))
                or (entry and await self._must_not_go_on(run))
            ):
                await self._lose(new)
                if not entry:
                    await self._tell_given_up(new)
                return
            await backoff.wait()

    async def _comes_too_late(self, run: Run, new: NewOrder) -> bool:
        """Whether the trade that a futures exit was to leave has nothing left by now, so that it would close what was
        opened since: to the exchange there is one position. Not asked where nothing has held it up."""
        intent = run.record.intent
        if run.record.purpose is not Purpose.EXIT or intent.parent_id is None or intent.market is not Market.FUT:
            return False
        if self.clock.now_ms() - run.record.created_at <= self.clock.work_ms(HELD_UP_MS):
            return False
        orders = await self.ledger.of_trade(intent.parent_id)
        left = sum(
            (-order.side.sign * new.side.sign * (order.filled_qty or Decimal(0)) for order in orders), Decimal(0)
        )
        return bool(orders) and left <= 0

    async def _must_not_go_on(self, run: Run) -> bool:
        """Whether an entry that was not served may not be offered again: much can have changed since."""
        if run.stop_wanted is not None:
            return True
        return (await self.outlook.look(run.record)).forbidden is not None

    async def _tell_given_up(self, new: NewOrder) -> None:
        await self.teller.alert(
            AlertCode.ORDER_RETRY_EXHAUSTED,
            Severity.ERROR,
            f"the exchange did not serve {new.side.value} {new.qty} {new.key} after"
            f" {self.settings.exit_tries} tries; whoever ordered it orders it again",
            order_id=new.client_order_id,
        )

    async def _tell_not_closed(self, run: Run, new: NewOrder, refusal: Refused | None) -> None:
        if new.market is Market.FUT and not await self.position_is_open(new.symbol):
            return
        await self.teller.alert(
            AlertCode.STOP_NOT_PLACED,
            Severity.FATAL,
            f"{new.key} could not be closed either: {refusal}. Close it by hand.",
            intent_id=run.intent_id,
            symbol=new.symbol,
        )

    async def _target(self, new: NewOrder, *, fresh: bool) -> None:
        """A target that cannot be placed costs an exit by price, not safety: S6 sees it missing and decides."""
        if not fresh and await self._met_before(new):
            return
        if not await self.position_is_open(new.symbol):
            await self.ledger.lose(new.client_order_id, "NOTHING_OPEN", Refusal.NOTHING_TO_REDUCE)
            return
        sending = await self.send.place(new)
        if sending.landing in (Landing.UNAVAILABLE, Landing.ABSENT):
            await self._lose(new)
            return
        if sending.landing is Landing.TAKEN:
            listed_ms = within_ms(self.clock, self.settings.listed_within_ms)
            for _ in range(self.settings.stop_attempts):
                if await self.send.until_listed(new.key, new.client_order_id, listed_ms):
                    return
            await self._take_back_unlisted(new)

    async def _until_listed(self, new: NewOrder, *, fresh: bool, watches: bool) -> None:
        """A stop, until the exchange shows it, or it did its work already, or it cannot be had. `watches`: a position
        that is flat needs none.

        Queries by id lag longer than a position may be naked. The list of open orders does not, and the exchange
        refuses an id that is open: a stop that is not listed may be sent again under its own name.
        """
        name = new.client_order_id
        if not fresh and await self._met_before(new):
            return
        backoff = Backoff(self.clock, self.randomness, first_ms=100, max_ms=1_000)
        for attempt in range(self.settings.stop_attempts):
            order = await self.ledger.order(name)
            if order is None or order.status.is_final:
                return
            if attempt:
                await backoff.wait()
                if await self._met_before(new):
                    # It did its work before anybody saw it listed, and its id is free again.
                    return
            if watches and await self._is_flat(new.symbol, order.created_at):
                # If it did its work before anybody saw it listed, its end is booked by the next look at open orders.
                await self.ledger.lose(name, "NOTHING_OPEN", Refusal.NOTHING_TO_REDUCE)
                return
            if attempt and await self._did_its_work(new):
                return
            sending = await self.send.place(new, settle=False)
            if sending.landing is Landing.REFUSED:
                return
            if sending.landing is Landing.UNAVAILABLE:
                continue
            listed_ms = within_ms(self.clock, self.settings.listed_within_ms)
            if await self.send.until_listed(new.key, name, listed_ms):
                return
        await self._take_back_unlisted(new)

    async def _did_its_work(self, new: NewOrder) -> bool:
        """Whether a stop that nobody saw listed has ended meanwhile: the exchange would take its id a second time."""
        try:
            order = await self.ledger.refresh(new.key, new.client_order_id, conditional=new.conditional)
        except (UnknownOrder, VenueUnavailable) as unknown:
            log.info("a stop is sent again", order=new.client_order_id, why=str(unknown))
            return False
        return order is not None and order.status.is_final

    async def _take_back_unlisted(self, new: NewOrder) -> None:
        """One that nobody saw listed may rest all the same: it is canceled before it counts as lost."""
        try:
            await self.venue.cancel(new.key, new.client_order_id, conditional=True)
        except VenueError as why:
            log.warning("an order that was never listed", order=new.client_order_id, why=str(why))
        await self.ledger.lose(new.client_order_id, "NOT_LISTED", Refusal.NOT_LISTED)

    async def _is_flat(self, symbol: str, filled_at_ms: int) -> bool:
        """Whether nothing is open that a stop could cover. The exchange's list of positions may lag behind the fill,
        so for as long as its queries lag the fill is believed."""
        lag_ms = self.clock.work_ms(self.venue.capabilities.lookup_lag_ms)
        if self.clock.now_ms() - filled_at_ms < lag_ms:
            return False
        return not await self.position_is_open(symbol)

    async def _met_before(self, new: NewOrder) -> bool:
        """Whether a leg on file is at the exchange, or was. Asked before anything is sent: the exchange would accept
        the id of an order that has ended a second time.

        Raises:
            VenueUnavailable: it could not be asked.
        """
        try:
            await self.ledger.refresh(new.key, new.client_order_id, conditional=new.conditional)
        except UnknownOrder:
            return False
        return True

"""Sending one order: on file first, sent second, and an answer that never came is asked for, never sent again.

The answer to a request is only one of three ways to learn what became of it: the account stream may tell it first, and
after a while the exchange is asked. Whoever is first counts; an entry that filled must not wait for its stop until a
lost answer times out.
"""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

import structlog

from chimera.contracts.documents import Order
from chimera.contracts.enums import Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.fit import BROKEN_RULES, fitted
from chimera.domain.execution.orders import NewOrder, VenueOrder
from chimera.ports.clock import Clock
from chimera.ports.metrics import Metrics
from chimera.ports.randomness import Randomness
from chimera.ports.venue import DuplicateOrder, OutcomeUnknown, Refused, UnknownOrder, Venue, VenueUnavailable
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import wait_for
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.rulebook import Rulebook

log = structlog.get_logger(__name__)


REAL_MS_MIN = 50
"""No wait for an answer is shorter in real time, however fast the market runs."""


def within_ms(clock: Clock, market_ms: int) -> int:
    """A wait that invariant I2 counts, so it is market time, but never too short for a socket."""
    return max(market_ms, clock.work_ms(REAL_MS_MIN))


class Landing(StrEnum):
    """What became of a send."""

    TAKEN = "TAKEN"
    """The exchange has it; fills follow."""
    REFUSED = "REFUSED"
    """Definitely not taken; the order document says why."""
    UNAVAILABLE = "UNAVAILABLE"
    """Definitely not taken, because the exchange did not serve us: the same order may be sent later."""
    ABSENT = "ABSENT"
    """Nobody knows whether it arrived, and the exchange has not known it for longer than its queries lag."""
    UNSURE = "UNSURE"
    """Nobody knows yet, and the caller finds out by itself."""


@dataclass(frozen=True, slots=True)
class Sending:
    landing: Landing
    refusal: Refused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    ledger: Ledger
    rulebook: Rulebook
    venue: Venue
    clock: Clock
    randomness: Randomness
    metrics: Metrics
    teller: Teller
    lookup_lag_ms: int
    fill_wait_ms: int
    retry_max_ms: int
    ask_after_ms: int

    async def place(self, new: NewOrder, *, settle: bool = True, keep: type[Refused] | None = None) -> Sending:
        """Send an order that `ledger.open` has on file, and settle what became of it. `settle` False: where the answer
        is lost, say so at once instead of asking for as long as the exchange's queries lag. After a refusal of kind
        `keep` the order stays open on file: the caller sends it again, or gives it up itself."""
        began_ns = self.clock.perf_ns()
        answering = asyncio.ensure_future(self.venue.place(new))
        try:
            if not await self._answered(new, answering, settle=settle):
                answering.add_done_callback(_late)
                return Sending(Landing.TAKEN if self._is_there(new.client_order_id) else Landing.UNSURE)
            answer = await answering
        except asyncio.CancelledError:
            answering.cancel()
            raise
        except (DuplicateOrder, OutcomeUnknown) as unsure:
            if self._is_there(new.client_order_id):
                return Sending(Landing.TAKEN)
            log.warning("outcome unknown, asking", order=new.client_order_id, why=str(unsure))
            return await self.settle_unknown(new) if settle else Sending(Landing.UNSURE)
        except Refused as refusal:
            fits = await self._made_to_fit(new, refusal)
            if fits is not None:
                return await self.place(fits, settle=settle, keep=keep)
            if keep is None or not isinstance(refusal, keep):
                await self.ledger.refuse(new.client_order_id, refusal)
            return Sending(Landing.REFUSED, refusal)
        except VenueUnavailable as down:
            log.warning("not sent", order=new.client_order_id, why=str(down))
            return Sending(Landing.UNAVAILABLE)
        self.metrics.observe_ms("router_submit_latency_ms", (self.clock.perf_ns() - began_ns) / 1e6)
        await self.ledger.acknowledge(new.client_order_id, answer)
        return Sending(Landing.TAKEN)

    async def _made_to_fit(self, new: NewOrder, refusal: Refused) -> NewOrder | None:
        """The order as the rules want it now, on file so; None where they are not what it was refused for. A definite
        refusal leaves its id unused, so it is sent again under the same name."""
        if refusal.code not in BROKEN_RULES:
            return None
        await self.rulebook.renew()
        fits = fitted(new, self.rulebook.instruments[new.key])
        if fits is new or fits.qty < self.rulebook.instruments[new.key].min_qty:
            return None
        log.warning("an order is sent by the exchange's new rules", order=new.client_order_id, why=str(refusal))
        await self.ledger.refit(fits.client_order_id, qty=fits.qty, price=fits.price, stop_price=fits.stop_price)
        return fits

    async def _answered(self, new: NewOrder, answering: "asyncio.Future[VenueOrder]", *, settle: bool) -> bool:
        """True once the request was answered; False when the order was seen at the exchange before, or where `settle`
        is False and the answer takes longer than may be waited."""
        name = new.client_order_id
        changed = self.ledger.changed(name)
        answering.add_done_callback(lambda _: changed.tell())
        while True:
            deadline_ms = self.clock.now_ms() + within_ms(self.clock, self.ask_after_ms)
            if await wait_for(self.clock, changed, deadline_ms, lambda: answering.done() or self._is_there(name)):
                self.ledger.forget_waiters(name)
                return answering.done()
            if not settle:
                return False
            try:
                await self.ledger.refresh(new.key, name, conditional=new.conditional)
            except (UnknownOrder, VenueUnavailable) as unknown:
                log.info("no answer yet", order=name, why=str(unknown))

    def _is_there(self, client_order_id: str) -> bool:
        """The exchange has shown the order."""
        order = self.ledger.present(client_order_id)
        return order is not None and (order.is_listed or bool(order.venue_order_id) or order.status.is_final)

    async def settle_unknown(self, new: NewOrder) -> Sending:
        """Ask until the exchange knows the order, or has not known it for longer than its queries lag.

        While it cannot be asked the outcome stays unknown and nothing else happens with this order.
        """
        backoff = Backoff(self.clock, self.randomness, max_ms=self.retry_max_ms)
        unknown_since_ms: int | None = None
        while True:
            try:
                await self.ledger.refresh(new.key, new.client_order_id, conditional=new.conditional)
                return Sending(Landing.TAKEN)
            except UnknownOrder:
                now_ms = self.clock.now_ms()
                unknown_since_ms = now_ms if unknown_since_ms is None else unknown_since_ms
                if now_ms - unknown_since_ms >= self.clock.work_ms(self.lookup_lag_ms):
                    return Sending(Landing.ABSENT)
            except VenueUnavailable as down:
                unknown_since_ms = None
                log.warning("cannot ask for an order yet", order=new.client_order_id, why=str(down))
                await self.teller.alert(
                    AlertCode.ORDER_RETRY_EXHAUSTED,
                    Severity.ERROR,
                    f"the outcome of order {new.client_order_id} is unknown and the exchange does not answer",
                    order_id=new.client_order_id,
                )
            await backoff.wait()

    async def until_final(self, key: InstrumentKey, client_order_id: str) -> Order:
        """Wait for a market order's end: first for the account stream, then by asking.

        Raises:
            UnknownOrder: the exchange does not know an order that it took. S5's to judge.
        """
        backoff = Backoff(self.clock, self.randomness, max_ms=self.retry_max_ms)
        changed = self.ledger.changed(client_order_id)
        deadline_ms = self.clock.now_ms() + within_ms(self.clock, self.fill_wait_ms)
        while True:
            order = await self.ledger.order(client_order_id)
            assert order is not None
            if order.status.is_final:
                self.ledger.forget_waiters(client_order_id)
                return order
            if await wait_for(self.clock, changed, deadline_ms, lambda: self._is_final(client_order_id)):
                continue
            try:
                await self.ledger.refresh(key, client_order_id, conditional=False)
            except VenueUnavailable as down:
                log.warning("waiting for fills", order=client_order_id, why=str(down))
            if not self._is_final(client_order_id):
                await backoff.wait()
            deadline_ms = self.clock.now_ms() + within_ms(self.clock, self.fill_wait_ms)

    def _is_final(self, client_order_id: str) -> bool:
        order = self.ledger.present(client_order_id)
        return order is not None and order.status.is_final

    async def until_listed(self, key: InstrumentKey, client_order_id: str, listed_ms: int) -> bool:
        """True once the exchange lists the order: by the account stream, else by its list of open orders."""

        def listed() -> bool:
            order = self.ledger.present(client_order_id)
            return order is not None and (order.is_listed or order.status.is_final)

        deadline_ms = self.clock.now_ms() + listed_ms
        seen = await wait_for(self.clock, self.ledger.changed(client_order_id), deadline_ms, listed)
        self.ledger.forget_waiters(client_order_id)
        if seen:
            return True
        try:
            for each in await self.venue.open_orders((key,)):
                if each.client_order_id == client_order_id:
                    await self.ledger.book(each)
                    return True
        except VenueUnavailable as down:
            log.warning("cannot list orders", why=str(down))
        return False


def _late(answering: "asyncio.Future[VenueOrder]") -> None:
    """An answer that nobody waits for any more: the account stream or a query has said what became of the order."""
    if not answering.cancelled() and answering.exception() is not None:
        log.info("a late answer", why=str(answering.exception()))

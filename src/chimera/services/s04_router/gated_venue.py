"""The exchange behind the last gate: every order passes it, whoever sends it and whatever they believe.

Owns where the gate stands. What it stops is `domain.execution.last_gate`'s business. A stopped order is answered as the
exchange would refuse it, so nobody needs to know that there is a gate; a person is told, because it means a mistake.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from decimal import Decimal

import structlog

from chimera.contracts.enums import Market, Severity, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.last_gate import LAST_GATE, SECOND_MS, LastGate, nonsense, nonsense_pair, opens
from chimera.domain.execution.orders import NewOco, NewOrder, VenueOrder
from chimera.ports.clock import Clock
from chimera.ports.errors import DependencyDown
from chimera.ports.venue import Refused, Venue, VenueUnavailable
from chimera.runtime.telling import Teller
from chimera.services.s04_router.venue_through import VenueThrough

MidOf = Callable[[InstrumentKey], Awaitable[Decimal | None]]

log = structlog.get_logger(__name__)


def gate_of(variables: S4Settings) -> LastGate:
    """From the environment alone: no bundle says anything here."""
    return LastGate(
        variables.gate_notional_usdt_max,
        variables.gate_day_notional_usdt_max,
        variables.gate_orders_per_s_max,
        variables.gate_mid_distance_max,
    )


class StoppedByGate(Refused):
    """Nothing was sent, and the same order would be stopped again. `text` says why; `code` is 0, for no exchange said
    so."""

    def __init__(self, why: str) -> None:
        super().__init__(0, why)
        # The exchange's words would be a lie here.
        self.args = (why,)


class GatedVenue(VenueThrough):
    """
    Args:
        mid_of: the market's mid now; None: it is not known, and then nothing new is entered.
    """

    def __init__(self, inner: Venue, *, gate: LastGate, mid_of: MidOf, clock: Clock, teller: Teller) -> None:
        super().__init__(inner)
        self._gate = gate
        self._mid_of = mid_of
        self._clock = clock
        self._teller = teller
        self._told_at_ms: int | None = None
        self._untold = 0

    async def place(self, order: NewOrder) -> VenueOrder:
        """
        Raises:
            StoppedByGate: nothing was sent.
            VenueUnavailable: also where the mid cannot be learned for an entry; nothing was sent.
        """
        await self._pass(order.key, order.client_order_id, nonsense(order))
        if opens(order):
            qty = order.qty
            mid = await self._mid(order.key, order.client_order_id)
            if order.quote_qty is not None and mid > 0:
                qty = max(qty, order.quote_qty / mid)
            named = order.price if order.price is not None else order.stop_price
            await self._enter(order.key, order.client_order_id, qty, mid, named)
        else:
            self._gate.count(self._clock.now_ms())
        return await super().place(order)

    async def place_oco(self, oco: NewOco) -> Sequence[VenueOrder]:
        """
        Raises:
            StoppedByGate: nothing was sent.
            VenueUnavailable: also where the mid cannot be learned for an entry; nothing was sent.
        """
        key = InstrumentKey(Market.SPOT, oco.symbol)
        await self._pass(key, oco.list_client_id, nonsense_pair(oco))
        if oco.side is Side.BUY:
            mid = await self._mid(key, oco.list_client_id)
            await self._enter(key, oco.list_client_id, oco.qty, mid, oco.target_price)
        else:
            self._gate.count(self._clock.now_ms())
        # Two orders leave with one call.
        self._gate.count(self._clock.now_ms())
        return await super().place_oco(oco)

    async def _mid(self, key: InstrumentKey, name: str) -> Decimal:
        try:
            mid = await self._mid_of(key)
        except DependencyDown as down:
            raise VenueUnavailable(f"{name} was not sent: the mid of {key} cannot be learned: {down}") from down
        if mid is None:
            raise VenueUnavailable(f"{name} was not sent: the mid of {key} is not known")
        return mid

    async def _enter(self, key: InstrumentKey, name: str, qty: Decimal, mid: Decimal, named: Decimal | None) -> None:
        await self._pass(key, name, self._gate.refuses(self._clock.now_ms(), qty, mid, named))

    async def _pass(self, key: InstrumentKey, name: str, why: str | None) -> None:
        """Nothing where there is no reason; else tell a person, and stop it."""
        if why is None:
            return
        why = why if why.startswith(LAST_GATE) else f"{LAST_GATE} {why}"
        log.error("the last gate stopped an order", order=name[:80], instrument=str(key), why=why)
        await self._tell(f"{key}: order {name[:80]!r} was stopped before the exchange: {why}", key)
        raise StoppedByGate(why)

    async def _tell(self, what: str, key: InstrumentKey) -> None:
        """At most one alert a second: a program that runs away must not bury the alert that says so."""
        now_ms = self._clock.now_ms()
        if self._told_at_ms is not None and now_ms - self._told_at_ms < self._clock.work_ms(SECOND_MS):
            self._untold += 1
            return
        before = f" ({self._untold} others since the last alert)" if self._untold else ""
        self._told_at_ms, self._untold = now_ms, 0
        with suppress(DependencyDown):
            await self._teller.alert(AlertCode.LAST_GATE, Severity.ERROR, what + before, symbol=key.symbol)

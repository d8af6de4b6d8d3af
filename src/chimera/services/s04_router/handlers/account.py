"""Listening to the account: every order change and fill goes into the ledger, in the exchange's order."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from chimera.contracts import ids
from chimera.contracts.enums import Severity, Side
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import AccountChange, OrderUpdated, StreamReset, VenueFill, VenueOrder
from chimera.ports.clock import Clock
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.randomness import Randomness
from chimera.ports.venue import Venue
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.services.s04_router.handlers.recover import Recover
from chimera.services.s04_router.ledger import Ledger

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    ledger: Ledger
    recover: Recover
    venue: Venue
    clock: Clock
    randomness: Randomness
    metrics: Metrics
    teller: Teller

    async def listen(self) -> None:
        """For ever. Listens first and asks second: what happens between the two is told, what happened before is asked
        for, be it since the start or since an earlier run ended."""
        events = self.venue.account_events()
        # A stream begins when its first batch is asked for, here as soon as the loop has turned once.
        first = asyncio.ensure_future(anext(events, ()))
        try:
            await self.clock.sleep_until_ms(self.clock.now_ms())
            await self._take_in(StreamReset(self.clock.now_ms()))
            await self._take_in_all(await first)
        finally:
            first.cancel()
        async for changes in events:
            await self._take_in_all(changes)

    async def _take_in_all(self, changes: Sequence[AccountChange]) -> None:
        for change in changes:
            await self._take_in(change)

    async def _take_in(self, change: AccountChange) -> None:
        """The exchange tells a change once, so that what cannot be booked now holds up what follows it."""
        backoff = Backoff(self.clock, self.randomness)
        while True:
            try:
                if isinstance(change, OrderUpdated):
                    await self._order(change)
                elif isinstance(change, StreamReset):
                    await self.recover.catch_up()
                return
            except DependencyDown as down:
                log.warning("a change of the account waits", why=str(down))
            await backoff.wait()

    async def _order(self, change: OrderUpdated) -> None:
        fills = () if change.fill is None else (change.fill,)
        order = await self.ledger.book(change.order, fills)
        if order is None:
            await self._stranger(change.order)
            return
        if change.fill is not None and order.reason == "LIQUIDATION":
            await self.teller.alert(
                AlertCode.LIQUIDATION,
                Severity.FATAL,
                f"the exchange liquidated {change.fill.qty} {change.fill.symbol} at {change.fill.price}",
                symbol=change.fill.symbol,
                side=Side(change.fill.side).value,
            )
        if change.fill is not None:
            # Last, so that what had to wait for a store is counted once.
            await self._measure(change.fill)

    async def _measure(self, told: VenueFill) -> None:
        """From the fill on file, whose fee is in USDT whatever it was paid in."""
        fill_id = ids.fill_id(told.key, told.trade_id, told.side)
        for fill in await self.ledger.fills(told.client_order_id):
            if fill.fill_id != fill_id:
                continue
            self.metrics.count("fee_usdt_total", max(0.0, float(fill.fee_usdt or 0)))
            if fill.slippage_bps is not None:
                self.metrics.observe_bps("slippage_bps", fill.slippage_bps)

    async def _stranger(self, order: VenueOrder) -> None:
        log.warning("an order that is not ours", order=order.client_order_id, symbol=order.symbol)

"""Saying once of a trade that it goes nowhere. Since when it does stands on the trade, so that a restart forgets it
not."""

from dataclasses import dataclass

from chimera.contracts.collections import TRADES
from chimera.contracts.enums import Market, PositionEventKind
from chimera.domain.positions.stagnation import is_due, still_since
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.services.s06_positions.handlers.refresh import Refresh
from chimera.services.s06_positions.handlers.show import roe_of
from chimera.services.s06_positions.memory import Held, Memory
from chimera.services.s06_positions.trade import is_held


@dataclass(frozen=True, slots=True, kw_only=True)
class Stagnation:
    documents: Documents
    refresh: Refresh
    memory: Memory
    clock: Clock

    async def look(self, held: Held) -> None:
        """Each tick, also when the price stands still. Costs nothing while nothing begins, ends or is due."""
        trade, params, now_ms = held.trade, held.facts.params.stagnation, self.clock.now_ms()
        if trade.market is not Market.FUT or trade.stagnated_at is not None or not is_held(trade):
            return
        if held.mark_text is None:
            # Silence says neither that it moved nor that it did not.
            return
        since_ms = still_since(trade.still_since, roe_of(held), now_ms, params)
        if since_ms != trade.still_since or is_due(since_ms, now_ms, params):
            await self._keep(held, since_ms, now_ms)

    async def _keep(self, held: Held, since_ms: int | None, now_ms: int) -> None:
        params = held.facts.params.stagnation
        async with self.memory.lock(held.trade.trade_id):
            trade = await self.documents.get(TRADES, held.trade.trade_id)
            if trade is None or not is_held(trade) or trade.stagnated_at is not None:
                return
            after = trade.but(still_since=since_ms)
            if is_due(since_ms, now_ms, params):
                assert since_ms is not None
                due_at = since_ms + params.for_ms
                await self.refresh.event(
                    PositionEventKind.STAGNATED,
                    trade,
                    due_at,
                    price=trade.entry_price_avg,
                    roe=roe_of(held),
                    still_since=since_ms,
                )
                after = after.but(stagnated_at=due_at)
            await self.documents.put(TRADES, after)
            self.memory.keep(held.facts, after)

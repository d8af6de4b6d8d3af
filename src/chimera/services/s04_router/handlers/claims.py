"""What is open on an instrument, as the documents have it: whether a new entry has room, and what an exit ends.

The exchange nets every order of a futures instrument into one position. Two trades there could not be told apart
afterwards, and an exit that names no open trade would leave one on file for ever.
"""

from dataclasses import dataclass

from chimera.contracts.collections import INTENTS, TRADES
from chimera.contracts.enums import OPEN_INTENTS, OPEN_TRADES, IntentState, Market, Purpose, TradeStatus
from chimera.contracts.order_intent import OrderIntent
from chimera.ports.documents import Documents, Query
from chimera.runtime.service import Problem
from chimera.runtime.strangers import held_by_strangers

MAY_BE_OPEN = (*OPEN_INTENTS, IntentState.DONE)


@dataclass(frozen=True, slots=True)
class Claims:
    documents: Documents

    async def check_free(self, intent: OrderIntent) -> None:
        """
        Raises:
            Problem: 409, another trade is open or under way on this futures instrument, or somebody else holds it.
        """
        if intent.market is not Market.FUT:
            return
        if intent.purpose is Purpose.ADD:
            await self._check_add(intent)
            return
        where = (("market", intent.market.value), ("symbol", intent.symbol))
        for status in OPEN_TRADES:
            for trade in await self.documents.find(
                Query(collection=TRADES, index="by_instr", equal=(*where, ("status", status.value)), limit=1)
            ):
                raise Problem(
                    409, "position-open", f"{intent.instrument} has the open trade {trade.trade_id}; close it first"
                )
        theirs = await held_by_strangers(self.documents, intent.instrument)
        if theirs:
            raise Problem(
                409,
                "foreign-position",
                f"somebody else holds {theirs} {intent.instrument}, and the exchange would net the two; close it first",
            )
        for state in MAY_BE_OPEN:
            # What is done has a trade as soon as S6 has heard of it; only the last may not have been heard of yet.
            for record in await self.documents.find(
                Query(
                    collection=INTENTS,
                    index="by_instr",
                    equal=(*where, ("state", state.value)),
                    descending=True,
                    limit=1 if state.is_final else None,
                )
            ):
                if not record.purpose.is_new_entry or record.intent_id == intent.intent_id:
                    continue
                if state.is_final and await self.documents.get(TRADES, record.intent_id) is not None:
                    continue
                raise Problem(
                    409, "entry-under-way", f"{intent.instrument} has the unfinished entry {record.intent_id}; wait"
                )

    async def _check_add(self, intent: OrderIntent) -> None:
        """An add makes an open trade larger: it must be there, on the same side, and nothing else may be filling."""
        trade = None if intent.parent_id is None else await self.documents.get(TRADES, intent.parent_id)
        key = intent.instrument
        if trade is None or (trade.market, trade.symbol) != (key.market, key.symbol) or trade.side is not intent.side:
            raise Problem(
                422,
                "no-such-trade",
                f"parent_id {intent.parent_id!r} is no {intent.side} trade of {key}; an ADD names the trade it adds to",
            )
        if trade.status is not TradeStatus.ACTIVE:
            raise Problem(409, "trade-ended", f"trade {trade.trade_id} is {trade.status}; there is nothing to add to")
        theirs = await held_by_strangers(self.documents, key)
        if theirs:
            raise Problem(
                409,
                "foreign-position",
                f"somebody else holds {theirs} {key}, and the exchange would net the two; close it first",
            )
        for state in OPEN_INTENTS:
            same = (("market", key.market.value), ("symbol", key.symbol), ("state", state.value))
            for record in await self.documents.find(Query(collection=INTENTS, index="by_instr", equal=same)):
                if record.purpose.is_new_entry and record.intent_id != intent.intent_id:
                    raise Problem(409, "entry-under-way", f"{key} has the unfinished entry {record.intent_id}; wait")

    async def check_parent(self, intent: OrderIntent) -> None:
        """
        Raises:
            Problem: 422, the exit names as its parent what is no open trade of this instrument.
        """
        if intent.purpose is not Purpose.EXIT or intent.parent_id is None:
            return
        parent = await self.documents.get(INTENTS, intent.parent_id)
        trade = await self.documents.get(TRADES, intent.parent_id)
        known = parent is not None and parent.purpose.is_new_entry and parent.intent.instrument == intent.instrument
        if not known or (trade is not None and trade.status is TradeStatus.CLOSED):
            raise Problem(
                422,
                "no-such-trade",
                f"parent_id {intent.parent_id!r} is no open trade of {intent.instrument};"
                " give the intent_id of its entry, or leave parent_id out",
            )

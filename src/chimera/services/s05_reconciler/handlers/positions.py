"""Futures positions, there and on file, and the stop that each must have."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import INSTRUMENT_REGISTRY, INTENTS, TRADES
from chimera.contracts.documents import Trade
from chimera.contracts.enums import (
    OPEN_INTENTS,
    OPEN_TRADES,
    Intent,
    IntentState,
    Market,
    OrderType,
    Purpose,
    Severity,
    Side,
)
from chimera.contracts.http import ManageRequest, NettedRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FEAT_LAST
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.exact import exact
from chimera.domain.execution.orders import VenuePosition
from chimera.domain.positions.stops import protective
from chimera.domain.reconcile.compare import uncovered_qty
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue
from chimera.runtime.instruments import instrument_of
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.handlers.fills import Fills
from chimera.services.s05_reconciler.handlers.orders import covered_qty, stops_of
from chimera.services.s05_reconciler.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    settings: Settings
    documents: Documents
    snapshots: Snapshots
    venue: Venue
    peers: Peers
    fills: Fills
    clock: Clock
    teller: Teller

    async def open_trade(self, key: InstrumentKey) -> Trade | None:
        for status in OPEN_TRADES:
            found = await self.documents.find(
                Query(
                    collection=TRADES,
                    index="by_instr",
                    equal=(("market", key.market.value), ("symbol", key.symbol), ("status", status.value)),
                    limit=1,
                )
            )
            if found:
                return found[0]
        return None

    async def compare(
        self, keys: Sequence[InstrumentKey], positions: Sequence[VenuePosition], findings: Findings
    ) -> bool:
        """A position whose entry is still being worked on is the router's, and is left to it, but not for ever: False
        when there was one."""
        whole = True
        for key in keys:
            if key.market is not Market.FUT:
                continue
            if await self._entry_unfinished(key):
                whole = False
                continue
            position = next((each for each in positions if each.symbol == key.symbol), None)
            await self._compare_one(key, position, findings)
        return whole

    async def _compare_one(self, key: InstrumentKey, position: VenuePosition | None, findings: Findings) -> None:
        trade = await self.open_trade(key)
        if trade is None and position is None:
            return
        agrees = _signed(trade) == _qty(position)
        findings.agree(agrees)
        if not agrees:
            trade, position = await self._settle_qty(key, trade, findings)
        if position is not None:
            await self._ensure_stop(key, position, trade, findings)

    async def _settle_qty(
        self, key: InstrumentKey, trade: Trade | None, findings: Findings
    ) -> tuple[Trade | None, VenuePosition | None]:
        """The exchange's word wins: what it did is booked, then the trade is read anew."""
        before = float(_signed(trade))
        trade, position = await self._read_anew(key)
        for mend in (self.fills.adopt_exits, self._net):
            if trade is not None and (lacks := _lacking(trade, position)) and await mend(trade, lacks, findings):
                trade, position = await self._read_anew(key)
        after = float(_signed(trade))
        if after != before:
            await findings.fixed("TRADE_CORRECTED", key, str(key), before=before, after=after)
        differs = _signed(trade) != _qty(position)
        if differs:
            log.error("position and trade differ", instrument=str(key), trade=after, exchange=float(_qty(position)))
        elif after == before:
            # The position was listed before its last fill: the one that is asked for now agrees.
            return trade, position
        await self.teller.alert(
            AlertCode.RECON_FIXED,
            Severity.WARN,
            f"{key}: we had {before}, the exchange has {_qty(position)}; on file is now {after}",
            symbol=key.symbol,
        )
        return trade, position

    async def _net(self, trade: Trade, lacks: Decimal, findings: Findings) -> bool:
        """An entry against what a person held closed that first: the exchange has one position, and what was closed is
        open nowhere. True when the entry's fills say so."""
        before = sum((fill.qty for fill in trade.entries), Decimal(0)) - trade.qty_opened
        netted = NettedRequest(intent_id=trade.trade_id, qty=before + lacks)
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders/netted", body=netted, actor="s5"))
        if not answer.ok and answer.status not in (404, 422):
            raise CannotCompare(f"s4 could not net {trade.trade_id}: {answer.body}")
        if answer.ok:
            key = InstrumentKey(trade.market, trade.symbol)
            await findings.fixed("ENTRY_NETTED", key, trade.trade_id, before=float(before), after=float(netted.qty))
        return answer.ok

    async def _read_anew(self, key: InstrumentKey) -> tuple[Trade | None, VenuePosition | None]:
        await self._ask_s6(key)
        position = next((each for each in await self.venue.positions() if each.symbol == key.symbol), None)
        return await self.open_trade(key), position

    async def _ensure_stop(
        self, key: InstrumentKey, position: VenuePosition, trade: Trade | None, findings: Findings
    ) -> None:
        """Stops of a trade are S6's: it is asked first. What it cannot cover, and what nobody leads, gets one here."""
        missing = await self._uncovered(position)
        if missing > 0 and trade is not None:
            await self._ask_s6(key)
            still = next((each for each in await self.venue.positions() if each.symbol == key.symbol), None)
            missing = Decimal(0) if still is None else await self._uncovered(still)
            position = still or position
        findings.agree(missing == 0)
        nobodys = min(missing, _beyond(trade, position))
        # A stop of the trade's is S6's from then on, which keeps one for the trade's own quantity and no other.
        for owner, qty in ((trade, missing - nobodys), (None, nobodys)):
            if qty == 0 or (owner is None and not self.settings.adopt_unknown_position):
                continue
            price = await self._stop_price(key, position, owner)
            if price is None:
                raise CannotCompare(f"{key} has a position without a stop, and its price grid is not known yet")
            await self._order_stop(key, position, owner, qty, price, findings)

    async def _uncovered(self, position: VenuePosition) -> Decimal:
        stops = stops_of(position, await self.venue.open_orders((InstrumentKey(Market.FUT, position.symbol),)))
        return uncovered_qty(position.qty, [covered_qty(stop, position) for stop in stops])

    async def _stop_price(self, key: InstrumentKey, position: VenuePosition, trade: Trade | None) -> Decimal | None:
        """The trade's own, else ATRs from the mark: never by the loss cap, which would close a large one at once."""
        if trade is not None and trade.stop_price is not None:
            return trade.stop_price
        listed = await self.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
        if listed is None:
            return None
        side = Side.BUY if position.qty > 0 else Side.SELL
        distance = await self._distance(key, position.mark_price)
        return protective(instrument_of(listed), side, position.mark_price - side.sign * distance)

    async def _distance(self, key: InstrumentKey, mark: Decimal) -> Decimal:
        last = await self.snapshots.get_hash(FEAT_LAST.name(self.settings.env, key))
        atr = json.loads(last["features"]).get("atr_14") if "features" in last else None
        if isinstance(atr, int | float) and atr > 0:
            return exact(self.settings.atr_mult * atr)
        return mark * self.settings.fallback_stop_ratio

    async def _order_stop(
        self,
        key: InstrumentKey,
        position: VenuePosition,
        trade: Trade | None,
        qty: Decimal,
        price: Decimal,
        findings: Findings,
    ) -> None:
        k, unfinished = await self._next(key)
        if unfinished:
            return
        intent_id = ids.recon_stop_id(key, k)
        intent = OrderIntent(
            intent_id=intent_id,
            client_order_id=ids.client_order_id_of_intent(self.settings.id_prefix, key.symbol, intent_id),
            parent_id=trade.trade_id if trade is not None else None,
            ts=self.clock.now_ms(),
            market=key.market,
            symbol=key.symbol,
            side=Side.SELL if position.qty > 0 else Side.BUY,
            intent=Intent.EXIT,
            purpose=Purpose.SL,
            qty=qty,
            type=OrderType.STOP_MARKET,
            price=price,
            reduce_only=True,
        )
        answer = await self.peers.call(PeerCall("s4", "POST", "/orders", body=intent, actor="s5"))
        record = await self.documents.get(INTENTS, intent_id)
        if not answer.ok or record is None or (record.state.is_final and record.state is not IntentState.DONE):
            why = record.reason if record is not None else answer.body
            await self.teller.alert(
                AlertCode.STOP_NOT_PLACED,
                Severity.FATAL,
                f"{key} has {qty} without a stop and none could be placed: {why}",
                symbol=key.symbol,
            )
            raise CannotCompare(f"{key} has a position without a stop: {why}")
        await findings.fixed("STOP_PLACED", key, intent_id, before=None, after=float(price))
        if trade is None:
            await self.teller.alert(
                AlertCode.RECON_FIXED,
                Severity.WARN,
                f"{key} holds {qty} of {position.qty} that nobody here opened; it has a stop at {price} now",
                symbol=key.symbol,
            )

    async def _next(self, key: InstrumentKey) -> tuple[int, bool]:
        """The number of the next stop for this instrument, and whether the last is unfinished."""
        k, last = 0, None
        while (record := await self.documents.get(INTENTS, ids.recon_stop_id(key, k + 1))) is not None:
            k, last = k + 1, record
        return k + 1, last is not None and not last.state.is_final

    async def _entry_unfinished(self, key: InstrumentKey) -> bool:
        patience_ms = self.clock.work_ms(self.settings.entry_patience_ms)
        for state in OPEN_INTENTS:
            for record in await self.documents.find(
                Query(
                    collection=INTENTS,
                    index="by_instr",
                    equal=(("market", key.market.value), ("symbol", key.symbol), ("state", state.value)),
                )
            ):
                if record.purpose.is_new_entry and self.clock.now_ms() - record.created_at < patience_ms:
                    return True
        return False

    async def _ask_s6(self, key: InstrumentKey) -> None:
        """
        Raises:
            CannotCompare: S6 did not look.
        """
        wanted = ManageRequest(market=key.market, symbol=key.symbol)
        answer = await self.peers.call(PeerCall("s6", "POST", "/positions/manage", body=wanted, actor="s5"))
        if not answer.ok:
            raise CannotCompare(f"s6 did not read {key} anew: {answer.body}")


def _signed(trade: Trade | None) -> Decimal:
    return Decimal(0) if trade is None else trade.side.sign * trade.qty_open


def _qty(position: VenuePosition | None) -> Decimal:
    return Decimal(0) if position is None else position.qty


def _lacking(trade: Trade, position: VenuePosition | None) -> Decimal:
    """How much of the trade the exchange does not hold."""
    held = max(Decimal(0), trade.side.sign * _qty(position))
    return max(Decimal(0), trade.qty_open - held)


def _beyond(trade: Trade | None, position: VenuePosition) -> Decimal:
    """How much of the position is not the trade's."""
    if trade is None or trade.side.sign * position.qty < 0:
        return abs(position.qty)
    return max(Decimal(0), abs(position.qty) - trade.qty_open)

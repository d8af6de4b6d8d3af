"""Futures positions, there and on file, and the stop that each must have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import INSTRUMENT_REGISTRY, INTENTS
from chimera.contracts.documents import IntentRecord, StrangersState, Trade
from chimera.contracts.enums import (
    Intent,
    IntentState,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Severity,
    Side,
)
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.exact import exact
from chimera.domain.execution.orders import VenuePosition
from chimera.domain.positions.stops import protective
from chimera.domain.reconcile.compare import uncovered_qty
from chimera.domain.reconcile.fixes import Fix
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.venue import Venue
from chimera.runtime.instruments import instrument_of
from chimera.runtime.numbered import last_of
from chimera.runtime.strangers import STRANGERS
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.atr import Atr
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.handlers.fills import Fills, Seen
from chimera.services.s05_reconciler.handlers.orders import covered_qty, stops_of
from chimera.services.s05_reconciler.handlers.sharing import Sharing
from chimera.services.s05_reconciler.handlers.trades import ask_s6, beyond, entry_unfinished, open_trade
from chimera.services.s05_reconciler.settings import Settings

AT_ONCE = 10
AGAIN_MS, AGAIN_MAX_MS = 500, 15_000
"""So often a stop that is refused is tried again at the first pace, then ever later."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a comparison could not settle. `to_router`: a position whose entry is still being worked on is the router's,
    but not for ever. `moving`: one has just moved, and is to be looked at a little later."""

    to_router: bool
    moving: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`times` in a row, the last one at `at_ms`."""

    times: int
    at_ms: int
    why: str

    @property
    def pause_ms(self) -> int:
        """Of our own work, until the next try: each of them stays on file."""
        return min(AGAIN_MAX_MS, AGAIN_MS << min(10, max(0, self.times - AT_ONCE)))


def was_strangers_stop(result: OrderResult) -> bool:
    """Whether the stop that we put in for what a stranger holds has gone without selling: nobody else puts it back."""
    gone = result.status in (OrderStatus.CANCELED, OrderStatus.REJECTED)
    return gone and result.purpose is Purpose.SL and result.cmd_id.startswith(ids.RECON_STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    settings: Settings
    documents: Documents
    atr: Atr
    venue: Venue
    peers: Peers
    fills: Fills
    sharing: Sharing
    clock: Clock
    teller: Teller
    _seemed: dict[InstrumentKey, tuple[Decimal, int]] = field(default_factory=dict)
    """What strangers seemed to hold, and since when."""
    _recalled: set[InstrumentKey] = field(default_factory=set)
    _refused: dict[InstrumentKey, Refused] = field(default_factory=dict)
    """Whose stop could not be placed, which a person was told of."""

    async def compare(
        self,
        keys: Sequence[InstrumentKey],
        positions: Sequence[VenuePosition],
        seen: Mapping[InstrumentKey, Seen],
        findings: Findings,
    ) -> Left:
        """
        Raises:
            CannotCompare: of one instrument at least; the others were seen to.
        """
        to_router = moving = False
        failed: CannotCompare | None = None
        for key in keys:
            if key.market is not Market.FUT:
                continue
            if await self._entry_unfinished(key):
                to_router = True
                continue
            await self._tell_last_stop(key, findings)
            position = next((each for each in positions if each.symbol == key.symbol), None)
            try:
                settled = await self._compare_one(key, position, seen[key], findings)
            except CannotCompare as cannot:
                failed = cannot
                continue
            moving = moving or not settled
        if failed is not None:
            raise failed
        return Left(to_router=to_router, moving=moving)

    async def _compare_one(
        self, key: InstrumentKey, position: VenuePosition | None, seen: Seen, findings: Findings
    ) -> bool:
        """False: it has moved so lately that the exchange's own view may be behind. It is covered, and looked at again;
        a stranger's fills may leave the quantity as it was."""
        trade = await open_trade(self.documents, key)
        agrees = _signed(trade) == _qty(position)
        findings.agree(agrees)
        settled = agrees and not seen.strangers
        if not settled:
            try:
                trade, position, settled = await self._settle(key, trade, seen, findings)
            except CannotCompare:
                # What is naked is covered first, by whatever is known.
                if position is not None:
                    await self._ensure_stop(key, position, trade, findings)
                raise
        if position is not None:
            await self._ensure_stop(key, position, trade, findings)
        return await self._say_what_strangers_hold(key, _qty(position) - _signed(trade), settled)

    async def _settle(
        self, key: InstrumentKey, trade: Trade | None, seen: Seen, findings: Findings
    ) -> tuple[Trade | None, VenuePosition | None, bool]:
        """The exchange's word wins: by its fills what is ours is shared out, then the trade is read anew. False where
        that has to wait."""
        before = _signed(trade)
        trade, position = await self._read_anew(key)
        if trade is None:
            return trade, position, not self.fills.is_young(seen.newest_ms)
        owned = None if await self._entry_unfinished(key) else await self.sharing.owned(trade)
        if owned is None:
            return trade, position, False
        ours, noted = owned.shares.ours, None
        if ours != before:
            noted = await findings.note(
                Fix.TRADE_CORRECTED,
                key,
                str(key),
                at_ms=owned.fills[-1].ts,
                before=float(before),
                after=float(ours),
            )
        if await self.sharing.write(trade, owned, findings):
            trade, position = await self._read_anew(key)
        after = _signed(trade)
        if noted is not None and after != before:
            findings.done(noted)
        elif noted is not None:
            await findings.withdraw(noted)
        if after != ours:
            log.error("position and trade differ", instrument=str(key), trade=float(after), exchange=float(ours))
        if after != before or after != ours:
            await self.teller.alert(
                AlertCode.RECON_FIXED,
                Severity.WARN,
                f"{key}: we had {before}, the exchange has {ours} of it and {owned.shares.theirs} of somebody else's;"
                f" on file is now {after}",
                symbol=key.symbol,
            )
        return trade, position, not self.fills.is_young(seen.newest_ms)

    async def _say_what_strangers_hold(self, key: InstrumentKey, qty: Decimal, settled: bool) -> bool:
        """For S3 and S4, which enter nothing beside it. That somebody holds something is said when it was seen alike
        twice: a position that is behind its fills looks the same. False: it is to be looked at again."""
        seemed, since_ms = self._seemed.get(key, (None, 0))
        if seemed != qty:
            since_ms = self.clock.now_ms()
            self._seemed[key] = (qty, since_ms)
        state = await self.documents.get(STRANGERS, "strangers")
        held = {} if state is None else dict(state.held)
        if not settled or held.pop(str(key), Decimal(0)) == qty:
            return settled
        if qty and self.fills.is_young(since_ms):
            return False
        if qty:
            held[str(key)] = qty
        await self.documents.put(STRANGERS, StrangersState(held=held, updated_at=self.clock.now_ms()))
        return True

    async def _read_anew(self, key: InstrumentKey) -> tuple[Trade | None, VenuePosition | None]:
        await self._ask_s6(key)
        position = next((each for each in await self.venue.positions() if each.symbol == key.symbol), None)
        return await open_trade(self.documents, key), position

    async def _ensure_stop(
        self, key: InstrumentKey, position: VenuePosition, trade: Trade | None, findings: Findings
    ) -> None:
        """Stops of a trade are S6's: it is asked first. What it cannot cover, and what nobody leads, gets one here."""
        missing = await self._uncovered(position)
        silent: CannotCompare | None = None
        if missing > 0 and trade is not None:
            try:
                await self._ask_s6(key)
            except CannotCompare as cannot:
                # Whose stop it is can be settled later; that there is one cannot wait for who keeps it.
                silent = cannot
            still = next((each for each in await self.venue.positions() if each.symbol == key.symbol), None)
            missing = Decimal(0) if still is None else await self._uncovered(still)
            position = still or position
        findings.agree(missing == 0)
        if missing == 0:
            self._refused.pop(key, None)
        nobodys = min(missing, beyond(trade, position))
        # A stop of the trade's is S6's from then on, which keeps one for the trade's own quantity and no other.
        for owner, qty in ((trade, missing - nobodys), (None, nobodys)):
            if qty == 0 or (owner is None and not self.settings.adopt_unknown_position):
                continue
            price = await self._stop_price(key, position, owner)
            if price is None:
                raise CannotCompare(f"{key} has a position without a stop, and its price grid is not known yet")
            await self._order_stop(key, position, owner, qty, price, findings)
        if silent is not None:
            raise silent

    async def _uncovered(self, position: VenuePosition) -> Decimal:
        stops = stops_of(position, await self.venue.open_orders((InstrumentKey(Market.FUT, position.symbol),)))
        return uncovered_qty(position.qty, [covered_qty(stop, position) for stop in stops])

    async def _stop_price(self, key: InstrumentKey, position: VenuePosition, trade: Trade | None) -> Decimal | None:
        """The trade's own, else ATRs from the mark: never by the loss cap, which would close a large one at once. On
        the grid of now, which may not be that of when the trade's was listed."""
        listed = await self.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
        own = None if trade is None else trade.stop_price
        if listed is None:
            return own
        side = Side.BUY if position.qty > 0 else Side.SELL
        if own is None:
            own = position.mark_price - side.sign * await self._distance(key, position.mark_price)
        return protective(instrument_of(listed), side, own)

    async def _distance(self, key: InstrumentKey, mark: Decimal) -> Decimal:
        atr = await self.atr.of(key)
        return mark * self.settings.fallback_stop_ratio if atr is None else exact(self.settings.atr_mult * atr)

    async def _order_stop(
        self,
        key: InstrumentKey,
        position: VenuePosition,
        trade: Trade | None,
        qty: Decimal,
        price: Decimal,
        findings: Findings,
    ) -> None:
        k, last = await self._next(key)
        if last is not None and not last.state.is_final:
            return
        refused = self._refused.get(key)
        if refused is not None and self.clock.now_ms() < refused.at_ms + self.clock.work_ms(refused.pause_ms):
            raise CannotCompare(f"{key} has a position without a stop: {refused.why}")
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
            known = self._refused.get(key)
            times = 0 if known is None else known.times
            self._refused[key] = Refused(times=times + 1, at_ms=self.clock.now_ms(), why=str(why))
            if known is None:
                await self.teller.alert(
                    AlertCode.STOP_NOT_PLACED,
                    Severity.FATAL,
                    f"{key} has {qty} without a stop and none could be placed: {why}; it is tried on",
                    symbol=key.symbol,
                )
            raise CannotCompare(f"{key} has a position without a stop: {why}")
        self._refused.pop(key, None)
        await self._tell_stop(record, findings)
        if trade is None:
            await self.teller.alert(
                AlertCode.RECON_FIXED,
                Severity.WARN,
                f"{key} holds {qty} of {position.qty} that nobody here opened; it has a stop at {price} now",
                symbol=key.symbol,
            )

    async def _tell_last_stop(self, key: InstrumentKey, findings: Findings) -> None:
        """Once after a start: a run that was killed may have placed a stop and not told it."""
        if key in self._recalled:
            return
        self._recalled.add(key)
        _, last = await self._next(key)
        if last is not None and last.state is IntentState.DONE:
            await self._tell_stop(last, findings)

    async def _tell_stop(self, record: IntentRecord, findings: Findings) -> None:
        """As it is on file, so that it is told alike whoever tells it."""
        intent = record.intent
        after = {"qty": float(intent.qty), "stop": float(intent.price or 0), "trade": intent.parent_id}
        await findings.fixed(
            Fix.STOP_PLACED, intent.instrument, record.intent_id, at_ms=record.created_at, before=None, after=after
        )

    async def _next(self, key: InstrumentKey) -> tuple[int, IntentRecord | None]:
        """The number of the next stop for this instrument, and the last."""
        k, last = await last_of(lambda number: self.documents.get(INTENTS, ids.recon_stop_id(key, number)))
        return k + 1, last

    async def _entry_unfinished(self, key: InstrumentKey) -> bool:
        patience_ms = self.clock.work_ms(self.settings.entry_patience_ms)
        return await entry_unfinished(self.documents, key, self.clock.now_ms() - patience_ms)

    async def _ask_s6(self, key: InstrumentKey) -> None:
        """
        Raises:
            CannotCompare: S6 did not look.
        """
        await ask_s6(self.peers, key)


def _signed(trade: Trade | None) -> Decimal:
    return Decimal(0) if trade is None else trade.side.sign * trade.qty_open


def _qty(position: VenuePosition | None) -> Decimal:
    return Decimal(0) if position is None else position.qty

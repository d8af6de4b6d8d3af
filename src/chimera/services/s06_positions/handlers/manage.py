"""Leading the open trades: stops that follow, targets that rest, an end that leaves nothing behind.

What should be done is `domain/positions/manage`; here it is carried out, one effect at a time, each followed by a fresh
reading of the documents. Replacing a stop lists the new one before the old one goes.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import TRADES
from chimera.contracts.documents import Order
from chimera.contracts.enums import (
    CancelReason,
    FundingKind,
    Market,
    OrderType,
    Purpose,
    ReconcileScope,
    Severity,
    TradeStatus,
)
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import FundingEvent, OrderResult, ReconcileCmd
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import RECON_CMD
from chimera.domain.positions.manage import (
    LADDER,
    LIQUIDATION_BUFFER,
    PERSON,
    AddToPosition,
    CancelResting,
    CancelTarget,
    CloseTrade,
    Effect,
    MoveStop,
    PlaceTarget,
    ReduceAtMarket,
    ResizeStop,
    TakeBackEntry,
    manage,
)
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.runtime.telling import Teller
from chimera.services.s06_positions.handlers.adding import Adding
from chimera.services.s06_positions.handlers.limits import Limits
from chimera.services.s06_positions.handlers.ordering import Asked, Ordering, Outcome
from chimera.services.s06_positions.handlers.refresh import Refresh
from chimera.services.s06_positions.handlers.show import Show
from chimera.services.s06_positions.handlers.stagnation import Stagnation
from chimera.services.s06_positions.market import Market as MarketView
from chimera.services.s06_positions.memory import Held, Memory, Wait
from chimera.services.s06_positions.settings import Settings
from chimera.services.s06_positions.trade import (
    FOREIGN,
    covering_stop,
    is_open,
    open_stops,
    spot_effects,
    view_of,
)

PASSES_MAX = 12
"""Effects of one look; more than these are left to the next tick."""

PENDING_LOOK_MS = 2_000
RETRY_FIRST_MS = 500
RETRY_MAX_MS = 60_000
NAKED_RETRY_MS, NAKED_RETRY_MAX_MS = 1_000, 15_000
NAKED_TRIES = 20
"""Waits of our own work's time: for a result that may be lost, and after refusals, longer while a stop holds. A naked
position waits for a second, so many times; an exchange that refuses even then does so for long, and each try stays on
file."""
ADD_LOOK_MS = 5_000
ADD_RETRY_MAX_MS = 300_000
"""An add that may not be yet is looked at again; one that was refused waits longer each time: nothing is at risk."""
REDUCE_RETRY_MAX_MS = {LADDER: RETRY_MAX_MS, PERSON: 5_000}
"""A person waits for it, and the stop holds meanwhile."""
IN_VAIN_MAX = 3
"""Exits in a row that found nothing to sell. The first may have read a wallet that was behind; after so many, with
`REDUCE_RETRY_MAX_MS` between them, the coins are gone or held by somebody else, and what comes into the wallet later is
not the trade's to sell."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manage:
    settings: Settings
    documents: Documents
    refresh: Refresh
    ordering: Ordering
    adding: Adding
    market: MarketView
    show: Show
    stagnation: Stagnation
    limits: Limits
    memory: Memory
    bus: Bus
    clock: Clock
    teller: Teller

    async def on_result(self, result: OrderResult) -> None:
        """`ord:result`: whatever it says, the documents are read."""
        trade_id = await self._trade_of(result)
        if trade_id is not None:
            await self.lead(trade_id)

    async def on_funding(self, event: FundingEvent) -> None:
        """`mkt:funding`: what was settled belongs to the trade that was open then, also when it is told late."""
        if event.kind is not FundingKind.SETTLED:
            return
        held = self.memory.of(InstrumentKey(Market.FUT, event.symbol))
        if held is not None:
            await self.lead(held.trade.trade_id)
        where = (("market", Market.FUT.value), ("symbol", event.symbol), ("status", TradeStatus.CLOSED.value))
        for trade in await self.documents.find(
            Query(collection=TRADES, index="by_instr", equal=where, descending=True, limit=1)
        ):
            if trade.closed_at is not None and trade.opened_at <= event.funding_time <= trade.closed_at:
                await self.lead(trade.trade_id)

    async def start(self) -> None:
        """Read what is open. Nothing is ordered yet: the first tick does."""
        self.memory.clear()
        for trade_id in (*await self.refresh.open_trade_ids(), *await self.refresh.unseen_entries()):
            await self.refresh.run(trade_id)

    async def follow(self) -> None:
        """Look each second of market time while a trade is open, and cost nothing while none is."""
        while True:
            await self.memory.until_one_is_open()
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.settings.tick_ms)
            await self.tick()

    async def tick(self) -> None:
        for held in self.memory.open_trades():
            text = await self._mark_text(held)
            due = held.look_again_at_ms is not None and self.clock.now_ms() >= held.look_again_at_ms
            if text == held.mark_text and not due:
                await self._whatever_happens(held, self.stagnation.look(held))
                continue
            held.mark_text = text
            await self._whatever_happens(held, self._look(held, due=due))

    async def _mark_text(self, held: Held) -> str | None:
        """A price from before it was bought would move its stop by a profit that it never made. It may be shown."""
        since_ms = max((fill.ts for fill in held.trade.entries), default=0)
        held.shown_text = led = await self.market.mark_text(held.key, since_ms=since_ms)
        if led is None:
            held.shown_text = await self.market.mark_text(held.key)
        return led

    async def _look(self, held: Held, *, due: bool) -> None:
        # What is on its way or was refused is waited for; a moving market may still ask for something else.
        if due or any(type(effect) not in held.waits for effect in self._effects(held)):
            await self.lead(held.trade.trade_id)
        await self.stagnation.look(held)
        await self.show.position(held)

    async def heal(self) -> None:
        """The bus may have lost a result: read every open trade again."""
        for held in self.memory.open_trades():
            await self._whatever_happens(held, self.lead(held.trade.trade_id))

    async def _whatever_happens(self, held: Held, work: Awaitable[object]) -> None:
        """A trade that cannot be led may not keep the others from being led."""
        try:
            await work
        except DependencyDown:
            raise
        except Exception:
            log.exception("a trade could not be led", trade=held.trade.trade_id)

    async def run_all(self, key: InstrumentKey | None) -> Sequence[Held]:
        """POST /positions/manage: everything that may be open, from the documents, now."""
        looked: list[Held] = []
        for trade_id in (*await self.refresh.open_trade_ids(), *await self.refresh.unseen_entries()):
            held = await self.lead(trade_id, only=key)
            if held is not None:
                looked.append(held)
        return looked

    async def lead(self, trade_id: str, *, only: InstrumentKey | None = None) -> Held | None:
        """Read the trade anew and do what is to be done, until nothing is or something has to be waited for."""
        async with self.memory.lock(trade_id):
            held = await self.refresh.run(trade_id)
            if held is None or (only is not None and held.key != only):
                return None
            held.mark_text = await self._mark_text(held)
            for _ in range(PASSES_MAX):
                if not await self._act(held):
                    break
                held = await self.refresh.run(trade_id) or held
            held.look_again_at_ms = self._next_look(held)
            await self.show.position(held, news=True)
        if held.trade.status is TradeStatus.CLOSED:
            await self.limits.after_close()
        return held

    def _effects(self, held: Held) -> tuple[Effect, ...]:
        """What the market and the documents ask for. Without a price only what needs none."""
        trade = held.trade
        if trade.market is not Market.FUT:
            return spot_effects(held.facts, trade)
        if trade.stop_price is None:
            return ()
        view = view_of(held.facts, trade)
        if self._halve_again_at(held) is not None:
            view = replace(view, liquidation_price=None)
        return manage(view, None if held.mark_text is None else Decimal(held.mark_text), held.facts.params)

    def _halve_again_at(self, held: Held) -> int | None:
        """None: half may be closed now."""
        at_ms = None if held.halved_at_ms is None else held.halved_at_ms + self.settings.tick_ms
        return None if at_ms is None or at_ms <= self.clock.now_ms() else at_ms

    async def _act(self, held: Held) -> bool:
        """Do one thing. False: nothing is to be done, or it has to be waited for."""
        leaving = held.trade.persons_leave is not None
        if not held.facts.record.state.is_final:
            return leaving and await self._take_back(held, [held.trade.trade_id])
        if held.facts.adds_under_way and (leaving or held.trade.status is not TradeStatus.ACTIVE):
            return await self._take_back(held, [add.intent_id for add in held.facts.adds_under_way])
        if held.trade.status is not TradeStatus.ACTIVE:
            held.waits = {kind: wait for kind, wait in held.waits.items() if kind is CancelResting}
            return await self._cancel_all(
                held, [order for order in held.facts.own_orders if is_open(order)], CancelReason.FLAT
            )
        if await self._cancel_surplus(held):
            return True
        effects = self._effects(held)
        # An add that was refused is not wanted while its intent ends, and is right after: it waits all the same.
        wanted = {CancelResting, AddToPosition, *(type(effect) for effect in effects)}
        held.waits = {kind: wait for kind, wait in held.waits.items() if kind in wanted}
        for effect in effects:
            if not self._was_refused(held, type(effect)):
                return await self._carry_out(held, effect)
        return False

    def _was_refused(self, held: Held, kind: type[Effect]) -> bool:
        """A moment ago, so that it is not asked for again now."""
        wait = held.waits.get(kind)
        return wait is not None and wait.refused > 0 and self.clock.now_ms() < self._until_ms(held, wait)

    def _until_ms(self, held: Held, wait: Wait) -> int:
        """A position that has lost its stop since does not wait for long. On SPOT that is the router's to mend."""
        if held.trade.market is not Market.FUT or open_stops(held.facts.own_orders):
            return wait.until_ms
        return min(wait.until_ms, wait.since_ms + self.clock.work_ms(_naked_wait_ms(wait.refused)))

    def _next_look(self, held: Held) -> int | None:
        again_at_ms = self._halve_again_at(held)
        times = [self._until_ms(held, wait) for wait in held.waits.values()]
        return min(times if again_at_ms is None else [*times, again_at_ms], default=None)

    async def _cancel_all(self, held: Held, orders: Sequence[Order], reason: CancelReason) -> bool:
        if orders and self._was_refused(held, CancelResting):
            return False
        held.waits.pop(CancelResting, None)
        gone = [await self.ordering.cancel(order, reason) for order in orders]
        if not all(gone):
            self._look_again_after(held, CancelResting, PENDING_LOOK_MS, refused=1)
            return False
        return bool(gone)

    async def _take_back(self, held: Held, intent_ids: Sequence[str]) -> bool:
        """What is still being bought. S4 ends it with what it filled and keeps that covered until then."""
        if self._was_refused(held, TakeBackEntry):
            return False
        for intent_id in intent_ids:
            await self.ordering.take_back(intent_id, CancelReason.MANUAL)
        self._look_again_after(held, TakeBackEntry, PENDING_LOOK_MS, refused=1)
        return True

    async def _cancel_surplus(self, held: Held) -> bool:
        """Once one stop covers everything, older ones go."""
        covering = covering_stop(held.facts, held.trade)
        if covering is None or held.trade.market is not Market.FUT:
            held.waits.pop(CancelResting, None)
            return False
        surplus = [order for order in open_stops(held.facts.keepers_orders) if order.order_id != covering.order_id]
        return await self._cancel_all(held, surplus, CancelReason.REPLACED)

    async def _carry_out(self, held: Held, effect: Effect) -> bool:
        match effect:
            case MoveStop(price, qty, _) | ResizeStop(price, qty):
                return await self._stop(held, type(effect), price, qty)
            case PlaceTarget(_, price, qty):
                return await self._target(held, price, qty)
            case CancelTarget():
                return await self._cancel_targets(held)
            case AddToPosition(qty, stop_price):
                return await self._add(held, qty, stop_price)
            case ReduceAtMarket(qty, reason):
                return await self._reduce(held, qty, reason)
            case CancelResting() | CloseTrade() | TakeBackEntry():
                # A flat trade, and one whose entry is under way, were seen to before their effects were asked for, and
                # the reading itself closes it.
                return False

    async def _stop(self, held: Held, kind: type[Effect], price: Decimal, qty: Decimal) -> bool:
        if held.stop_done in {(price, qty, order.intent_id) for order in open_stops(held.facts.own_orders)}:
            # The router made it fit rules that are not known here yet: another would be made the same.
            self._refused(held, kind, RETRY_MAX_MS)
            return False
        asked = await self.ordering.ask(held, Purpose.SL, OrderType.STOP_MARKET, qty, price=price)
        if self._went_well(held, kind, asked):
            if asked.outcome is Outcome.DONE:
                held.stop_done = (price, qty, asked.intent_id)
            return asked.outcome is Outcome.DONE
        naked = not open_stops(held.facts.own_orders)
        refused = self._refused(held, kind, None if naked else RETRY_MAX_MS)
        if naked and (asked.price_is_passed or refused >= self.settings.attempts_max):
            return await self._reduce(held, qty, f"STOP_PASSED {asked.why}")
        return False

    async def _target(self, held: Held, price: Decimal, qty: Decimal) -> bool:
        asked = await self.ordering.ask(held, Purpose.TP, OrderType.TAKE_PROFIT_MARKET, qty, price=price)
        if self._went_well(held, PlaceTarget, asked):
            return asked.outcome is Outcome.DONE
        self._refused(held, PlaceTarget, RETRY_MAX_MS)
        if not asked.price_is_passed or not await self._reduce(held, qty, LADDER):
            return False
        held.waits.pop(PlaceTarget, None)
        return True

    async def _cancel_targets(self, held: Held) -> bool:
        targets = [order for order in held.facts.keepers_orders if order.purpose is Purpose.TP and is_open(order)]
        if all([await self.ordering.cancel(order, CancelReason.REPLACED) for order in targets]):
            held.waits.pop(CancelTarget, None)
            return bool(targets)
        self._refused(held, CancelTarget, RETRY_MAX_MS)
        return False

    async def _add(self, held: Held, qty: Decimal, stop_price: Decimal) -> bool:
        why = await self.adding.forbidden(held)
        if why is not None:
            self._look_again_after(held, AddToPosition, ADD_LOOK_MS, refused=1)
            return False
        asked = await self.adding.add(held, qty, stop_price)
        if asked is None:
            self._look_again_after(held, AddToPosition, ADD_LOOK_MS, refused=1)
            return False
        if self._went_well(held, AddToPosition, asked):
            return asked.outcome is Outcome.DONE
        self._refused(held, AddToPosition, ADD_RETRY_MAX_MS)
        return False

    async def _reduce(self, held: Held, qty: Decimal, reason: str) -> bool:
        """Close `qty` at market. A rung that is taken so is a target that filled."""
        if held.trade.market is Market.SPOT and await self._finds_nothing(held):
            return False
        ladder, near = reason == LADDER, reason == LIQUIDATION_BUFFER
        if reason not in (LADDER, PERSON) and ReduceAtMarket not in held.waits:
            # Once, however often it is tried until somebody buys.
            await self.teller.alert(
                AlertCode.LIQUIDATION if near else AlertCode.STOP_NOT_PLACED,
                Severity.FATAL,
                f"{held.key} closes {qty} at market: {reason}",
                trade_id=held.trade.trade_id,
                symbol=held.trade.symbol,
            )
        asked = await self.ordering.ask(held, Purpose.TP if ladder else Purpose.EXIT, OrderType.MARKET, qty)
        if self._went_well(held, ReduceAtMarket, asked):
            if near:
                held.halved_at_ms = self.clock.now_ms()
            return asked.outcome is Outcome.DONE
        log.warning("not reduced yet", trade=held.trade.trade_id, why=asked.why)
        self._refused(held, ReduceAtMarket, REDUCE_RETRY_MAX_MS.get(reason))
        return False

    async def _finds_nothing(self, held: Held) -> bool:
        """Whether exits of a SPOT trade found nothing to sell, so that the next one waits, or none is sent any more.
        The reconciler is asked first: it knows what a person has sold by hand."""
        leave = held.trade.persons_leave
        assert leave is not None, f"spot trade {held.trade.trade_id} is left by nobody's wish"
        vain, ended_ms = await self.ordering.in_vain(held, leave.at)
        until_ms = ended_ms + self.clock.work_ms(REDUCE_RETRY_MAX_MS[PERSON])
        now_ms = self.clock.now_ms()
        if vain == 0 or (vain < IN_VAIN_MAX and now_ms >= until_ms):
            return False
        if now_ms < until_ms:
            # Also after the last: the answer closes the trade, and nobody has to be told.
            held.waits[ReduceAtMarket] = Wait(now_ms, until_ms, vain)
            await self.bus.publish(
                RECON_CMD.name(self.settings.env),
                ReconcileCmd(
                    req_id=ids.request_id(now_ms, held.trade.trade_id, "nothing-to-sell"),
                    ts=now_ms,
                    scope=ReconcileScope.SYMBOL,
                    symbol=held.trade.symbol,
                ),
            )
            return True
        await self.teller.alert(
            AlertCode.ORDER_RETRY_EXHAUSTED,
            Severity.ERROR,
            f"{held.key}: {held.trade.trade_id} is not closed: {vain} exits found nothing of {held.trade.qty_open} free"
            " to sell, and no sale at the exchange explains it; no more are sent until somebody asks again",
            trade_id=held.trade.trade_id,
            symbol=held.trade.symbol,
        )
        given_up = leave.model_copy(update={"given_up_at": now_ms})
        await self.documents.put(TRADES, held.trade.but(persons_leave=given_up, updated_at=now_ms))
        await self.refresh.run(held.trade.trade_id)
        return True

    def _went_well(self, held: Held, kind: type[Effect], asked: Asked) -> bool:
        if asked.outcome is Outcome.REFUSED:
            log.warning("S4 did not do it", intent=asked.intent_id, why=asked.why)
            return False
        held.waits.pop(kind, None)
        if asked.outcome is Outcome.PENDING:
            self._look_again_after(held, kind, PENDING_LOOK_MS)
        return True

    def _refused(self, held: Held, kind: type[Effect], max_ms: int | None) -> int:
        """How often in a row by now; longer waits each time. `max_ms` None: what is naked waits for it."""
        refused = (held.waits[kind].refused if kind in held.waits else 0) + 1
        most_ms = _naked_wait_ms(refused) if max_ms is None else max_ms
        self._look_again_after(held, kind, min(most_ms, RETRY_FIRST_MS * 2 ** min(refused, 10)), refused)
        return refused

    def _look_again_after(self, held: Held, kind: type[Effect], wait_ms: int, refused: int = 0) -> None:
        now_ms = self.clock.now_ms()
        held.waits[kind] = Wait(now_ms, now_ms + self.clock.work_ms(wait_ms), refused)

    async def _trade_of(self, result: OrderResult) -> str | None:
        """The trade that a result is about: its parent, its own entry, or whatever is open where it left."""
        if result.parent_id is not None:
            return result.parent_id
        own = result.intent_id or result.cmd_id
        if result.purpose in (Purpose.ENTRY, Purpose.HEDGE) or self.memory.get(own) is not None:
            return own
        if result.reason not in FOREIGN and await self.documents.get(TRADES, own) is not None:
            return own
        held = self.memory.of(InstrumentKey(result.market, result.symbol))
        # A leg of an entry whose first fill was not seen yet is told under the entry's own name.
        return held.trade.trade_id if held is not None else own


def _naked_wait_ms(refused: int) -> int:
    return min(NAKED_RETRY_MAX_MS, NAKED_RETRY_MS << min(10, max(0, refused - NAKED_TRIES)))

"""How an intent is to be carried out, settled once before anything of it is sent.

Owns which policy is asked for what; the policies themselves are in `domain/execution`.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from chimera.contracts.documents import Execution, IntentRecord, Leg, Note, WorkSlice
from chimera.contracts.enums import ExecStyle, LegRole, Market, OrderType, Purpose, Routing
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import wallet
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.choice import Style
from chimera.domain.execution.downsize import GiveUp, Smaller, Want, precheck, spot_entries_stopped
from chimera.domain.execution.machine.flow import CLOSE_N, ENTRY_N, STOP_N, TARGET_N, Limits, Touch, leg_name
from chimera.domain.execution.orders import CONDITIONAL_FUT
from chimera.domain.execution.slicing import cut, due_offsets_ms
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness
from chimera.ports.state import Snapshots
from chimera.ports.venue import Venue, VenueUnavailable
from chimera.runtime.config_watch import ConfigUnavailable
from chimera.runtime.restraints import Restraints
from chimera.services.s04_router.ladders import Ladders
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.market import Market as MarketView
from chimera.services.s04_router.settings import Settings
from chimera.services.s04_router.terms import Terms, TermsKeeper

IB_RATE = "ib_rate"
"""The metric of S11 whose grade stops SPOT entries."""
IB_RATE_STOP = "IB_RATE too many SPOT orders were refused for lack of balance"

STYLES = {
    Style.MAKER_FIRST: ExecStyle.MAKER,
    Style.MAKER_ONLY: ExecStyle.POST_ONLY,
    Style.TAKER: ExecStyle.TAKER,
    Style.NONE: ExecStyle.POST_ONLY,
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    execution: Execution
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    ladders: Ladders
    ledger: Ledger
    venue: Venue
    terms: TermsKeeper
    restraints: Restraints
    market: MarketView
    snapshots: Snapshots
    clock: Clock
    randomness: Randomness

    async def of(self, record: IntentRecord, *, restored: bool) -> Plan:
        """How the intent is carried out; one that was planned before goes on as it was planned.

        Raises:
            DependencyDown: what decides it cannot be learned now.
        """
        if record.purpose is Purpose.GUARD:
            look_ms = max(self.settings.look_ms, self.settings.tick_interval_ms)
            execution = record.execution or self._whole(record, ExecStyle.GUARD, "watches the stop itself")
            return Plan(execution=execution, limits=Limits(look_ms=look_ms))
        if not record.purpose.is_new_entry:
            return Plan(execution=record.execution or await self._leaving(record, restored), limits=Limits())
        terms = await self._terms(record)
        limits = await self._limits(record)
        if record.execution is not None or restored:
            # Nothing more of it is sent, so that nothing needs to be chosen.
            return Plan(execution=record.execution or await self._leaving(record, restored), limits=limits)
        if terms is None:
            return Plan(execution=self._whole(record, self._style(record), "no configuration yet"), limits=limits)
        return await self._entering(record, terms, limits)

    async def _terms(self, record: IntentRecord) -> Terms | None:
        level = (await self.restraints.standing()).health
        intent = record.intent
        try:
            return await self.terms.of(intent.instrument, signal_id=intent.signal_id, level=level)
        except ConfigUnavailable:
            log.warning("an entry is carried out without a configuration", intent=record.intent_id)
            return None

    async def _limits(self, record: IntentRecord) -> Limits:
        intent = record.intent
        share = None
        if intent.market is Market.FUT:
            share = await self.ladders.first_share(intent.risk.rcu_rev or 0)
        return Limits(
            fee_ratio=await self._fee_ratio(intent.market),
            first_rung_share=share,
            leverage=intent.leverage or self.settings.leverage_max,
            funds_tries=self.settings.variables.funds_tries_max,
            funds_retry_ms=self.clock.work_ms(self.settings.variables.funds_retry_ms),
            look_ms=self.settings.look_ms,
            limit_rest_ms=self.settings.variables.limit_rest_ms,
        )

    async def _fee_ratio(self, market: Market) -> Decimal:
        """An exchange that does not say what it takes holds up no entry: its usual rate is reckoned with."""
        try:
            return await self.venue.taker_fee_ratio(market)
        except VenueUnavailable as down:
            log.warning("the taker's fee is not known", market=market.value, why=str(down))
            return self.settings.taker_fee_ratio

    async def _entering(self, record: IntentRecord, terms: Terms, limits: Limits) -> Plan:
        """By cost, book, health and route: as maker or not, in how many slices, and how long a quote may rest."""
        intent, now_ms = record.intent, self.clock.now_ms()
        instrument = self.instruments[intent.instrument]
        touch = await self.market.touch(
            intent.instrument, oldest_ms=now_ms - self.clock.work_ms(self.settings.snap_age_ms_max)
        )
        if touch is None:
            return Plan(
                execution=self._whole(record, ExecStyle.TAKER, "no book", stopped="NO_MARKET_DATA"), limits=limits
            )
        price = touch.bid
        twap = intent.exec_policy.twap
        qty, why_smaller = intent.qty, None
        if intent.market is Market.SPOT:
            if spot_entries_stopped(terms.grades.get(IB_RATE)):
                return Plan(
                    execution=self._whole(record, ExecStyle.TAKER, "ib_rate", stopped=IB_RATE_STOP), limits=limits
                )
            found = precheck(self._want(intent, touch, instrument, limits), await self._free(intent.market))
            if isinstance(found, GiveUp):
                return Plan(
                    execution=self._whole(record, ExecStyle.TAKER, "funds", stopped=found.reason), limits=limits
                )
            if isinstance(found, Smaller):
                qty, why_smaller = found.qty, found.why
        parts = terms.parts(qty * touch.mid, intent.market, twap)
        style = self._style(record)
        resting = style is ExecStyle.LIMIT
        # At market and at once: only slices that were asked for by name cut it.
        whole = resting or (intent.exec_policy.routing is Routing.DIRECT_TAKER and twap is None)
        quantities = (qty,) if whole else cut(qty, price, instrument, parts, self.settings.variables.twap_max_slices)
        book = terms.book(quantities[0] * touch.mid, touch.spread_bps, touch.depth_top1_usdt)
        why, stopped = f"{intent.type.value} at {intent.price}", None
        wait_ms = 0
        if not resting:
            choice = terms.choice(
                record.intent_id,
                book,
                intent.exec_policy.routing,
                new_entry=True,
                can_post=self.venue.capabilities.post_only,
            )
            why = choice.why
            style = STYLES[choice.style]
            stopped = f"MAKER_NOT_OFFERED {choice.why}" if choice.style is Style.NONE else None
            wait_ms = terms.wait(book, intent.exec_policy).wait_ms
            if style is ExecStyle.MAKER and wait_ms == 0:
                style, why = ExecStyle.TAKER, "a maker order has no time to rest"
        offsets = due_offsets_ms(len(quantities), parts, [self._chance(record, k) for k in range(len(quantities))])
        maker = terms.flags.execution.routing.maker_wait
        asked = intent.exec_policy.need_fill_ratio
        detail: dict[str, object] = {
            "style": style.value,
            "why": why,
            "slices": [float(each) for each in quantities],
            "route_rev": terms.route_rev,
            "config_rev": terms.rev,
        }
        if style in (ExecStyle.MAKER, ExecStyle.POST_ONLY):
            detail["maker_wait_ms"] = wait_ms
        if why_smaller is not None:
            detail["smaller"] = why_smaller
        execution = Execution(
            style=style,
            why=why,
            slices=tuple(
                WorkSlice(number=k, qty=each, due_at=now_ms + offset)
                for k, (each, offset) in enumerate(zip(quantities, offsets, strict=True))
            ),
            maker_wait_ms=wait_ms,
            maker_cap_ms=max(wait_ms, self.settings.variables.maker_max_wait_ms),
            need_fill_ratio=maker.need_fill_ratio if asked is None else asked,
            fallback=terms.flags.execution.routing.taker.fallback,
            stopped=stopped,
            planned_at=now_ms,
            slices_planned=len(quantities),
            notes=(Note(ts=now_ms, what="PLANNED", detail=detail),),
        )
        limits = replace(
            limits,
            liquidity=terms.limits(parts.min_slice_usdt),
            cost=terms.costs,
            regime=terms.regime,
            min_slice_usdt=parts.min_slice_usdt,
        )
        return Plan(execution=execution, limits=limits)

    def _chance(self, record: IntentRecord, k: int) -> float:
        """Of the intent's own, so that it is not foreseen and yet the same whenever it is planned."""
        return self.randomness.fork(f"{record.intent_id}/{k}").uniform()

    def _want(self, intent: OrderIntent, touch: Touch, instrument: Instrument, limits: Limits) -> Want:
        return Want(
            qty=intent.qty,
            price=touch.ask,
            fee_ratio=limits.fee_ratio,
            leverage=1,
            instrument=instrument,
            min_slice_usdt=limits.min_slice_usdt,
        )

    async def _free(self, market: Market) -> Decimal | None:
        free = (await self.snapshots.get_hash(wallet(market).name(self.settings.env))).get("free")
        return None if free is None else Decimal(free)

    def _whole(self, record: IntentRecord, style: ExecStyle, why: str, *, stopped: str | None = None) -> Execution:
        now_ms = self.clock.now_ms()
        detail = {"style": style.value, "why": why, "type": record.intent.type.value}
        return Execution(
            style=style,
            why=why,
            slices=(WorkSlice(number=0, qty=self._qty(record), due_at=now_ms),),
            stopped=stopped,
            planned_at=now_ms,
            notes=(Note(ts=now_ms, what="PLANNED", detail=detail),),
        )

    async def _leaving(self, record: IntentRecord, restored: bool) -> Execution:
        style = self._style(record)
        execution = self._whole(record, style, "exits take" if style is ExecStyle.TAKER else style.value)
        return execution.but(legs=await self._legs_on_file(record, style)) if restored else execution

    def _style(self, record: IntentRecord) -> ExecStyle:
        intent = record.intent
        if intent.market is Market.FUT and intent.type in CONDITIONAL_FUT:
            return ExecStyle.RESTING
        if intent.type in (OrderType.LIMIT, OrderType.LIMIT_MAKER):
            return ExecStyle.LIMIT
        return ExecStyle.TAKER

    def _qty(self, record: IntentRecord) -> Decimal:
        """Dust that the exchange's own change of rules left is covered and closed whole: it cuts to the position."""
        intent = record.intent
        if intent.market is Market.SPOT or not intent.reduce_only:
            return intent.qty
        return self.instruments[intent.instrument].ceil_qty(intent.qty)

    async def _legs_on_file(self, record: IntentRecord, style: ExecStyle) -> tuple[Leg, ...]:
        """Of an intent that an earlier version began, which kept its orders by these numbers alone."""
        first = LegRole.REST if style is ExecStyle.RESTING else LegRole.TAKE
        found = []
        for n, role in ((ENTRY_N, first), (STOP_N, LegRole.STOP), (TARGET_N, LegRole.TARGET), (CLOSE_N, LegRole.CLOSE)):
            order = await self.ledger.order(leg_name(record.intent.client_order_id, n))
            if order is not None and order.oco_pair_id is None:
                found.append(Leg(n=n, role=role))
        return tuple(found)

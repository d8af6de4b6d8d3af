"""How an intent is to be carried out, settled once before anything of it is sent.

Owns which policy is asked for what; the policies themselves are in `domain/execution`.
"""

from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts.documents import Execution, IntentRecord, Leg, Note, WorkSlice
from chimera.contracts.enums import ExecStyle, LegRole, Market, OrderType, Routing
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.machine.flow import CLOSE_N, ENTRY_N, STOP_N, TARGET_N, Limits, leg_name
from chimera.domain.execution.orders import CONDITIONAL_FUT
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.venue import Venue, VenueUnavailable
from chimera.services.s04_router.ladders import Ladders
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    ladders: Ladders
    ledger: Ledger
    venue: Venue
    clock: Clock

    async def limits(self, record: IntentRecord) -> Limits:
        intent = record.intent
        if not record.purpose.is_new_entry:
            return Limits()
        share = None
        if intent.market is Market.FUT:
            share = await self.ladders.first_share(intent.risk.rcu_rev or 0)
        return Limits(
            fee_ratio=await self._fee_ratio(intent.market),
            first_rung_share=share,
            leverage=intent.leverage or self.settings.leverage_max,
        )

    async def _fee_ratio(self, market: Market) -> Decimal:
        """An exchange that does not say what it takes holds up no entry: its usual rate is reckoned with."""
        try:
            return await self.venue.taker_fee_ratio(market)
        except VenueUnavailable as down:
            log.warning("the taker's fee is not known", market=market.value, why=str(down))
            return self.settings.taker_fee_ratio

    async def plan(self, record: IntentRecord, *, restored: bool) -> Execution:
        intent, now_ms = record.intent, self.clock.now_ms()
        style = self._style(record)
        return Execution(
            style=style,
            slices=(WorkSlice(number=0, qty=self._qty(record), due_at=now_ms),),
            legs=await self._legs_on_file(record, style) if restored else (),
            planned_at=now_ms,
            notes=(Note(ts=now_ms, what="PLANNED", detail={"style": style.value, "type": intent.type.value}),),
        )

    def _style(self, record: IntentRecord) -> ExecStyle:
        intent = record.intent
        if intent.market is Market.FUT and intent.type in CONDITIONAL_FUT:
            return ExecStyle.RESTING
        if intent.type in (OrderType.LIMIT, OrderType.LIMIT_MAKER):
            return ExecStyle.LIMIT
        if record.purpose.is_new_entry and intent.exec_policy.routing is Routing.MAKER_ONLY:
            return ExecStyle.POST_ONLY
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

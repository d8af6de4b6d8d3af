"""Ordering an add: only where everything allows it, its budget taken first, its name derived.

What is to be added is `domain/positions/adds`; here the world is asked. A reservation is given back at once where S4
refused for good, else when the add has ended (`handlers/refresh`); what a crash leaves S3's healing takes away.
"""

from dataclasses import dataclass
from decimal import Decimal

import structlog

from chimera.contracts.enums import HealthLevel, Regime
from chimera.domain.health.restraints import restraint
from chimera.domain.positions.adds import Growing, exposure, sized, within_hedge
from chimera.domain.positions.budget import futures_usage
from chimera.ports.clock import Clock
from chimera.ports.state import Reservation, Reservations, ReservationState, ReserveOutcome, Snapshots
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.regime import regime_now
from chimera.runtime.restraints import Restraints
from chimera.services.s06_positions.exposures import Exposures
from chimera.services.s06_positions.handlers.ordering import Asked, Ordering, Outcome
from chimera.services.s06_positions.memory import Held

ONE_INSTRUMENT = 10**6
"""The trade itself holds the instrument's place among the concurrent entries: an add takes no other."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adding:
    env: str
    ordering: Ordering
    exposures: Exposures
    restraints: Restraints
    snapshots: Snapshots
    reservations: Reservations
    watch: ConfigWatch
    clock: Clock

    async def forbidden(self, held: Held) -> str | None:
        """Why nothing may be added now. What cannot be learned forbids."""
        standing = await self.restraints.standing()
        actions = self.watch.current().flags.health_guard.actions
        if not restraint(standing.health or HealthLevel.RED, actions).adds:
            return f"health is {standing.health or 'unknown'}"
        if standing.kill_switch_on or standing.halted_by is not None or standing.paused_by(held.key) is not None:
            return "entries are forbidden"
        if not standing.reconciled:
            return "not reconciled"
        if await regime_now(self.snapshots, self.clock, self.env) is Regime.EXTREME:
            return "the regime is EXTREME"
        return None

    async def add(self, held: Held, qty: Decimal, stop_price: Decimal) -> Asked | None:
        """Reserve and order; None where spot held, the exposure or the budget leave no room for it."""
        assert held.mark_text is not None, "an add is wanted at a price"
        mark = Decimal(held.mark_text)
        qty = await self._within_limits(held, qty, mark)
        growing = self._growing(held, stop_price)
        addition = sized(growing, mark, qty)
        if addition is None:
            return None
        k = len(held.facts.adds) + 1
        intent = self.ordering.addition(held, k, addition.qty, stop_price=addition.stop_price, price=mark)
        if not await self._reserve(held, intent.intent_id, addition.qty, mark):
            return None
        asked = await self.ordering.add(intent)
        if asked.outcome is Outcome.REFUSED and asked.definite:
            await self.reservations.release(intent.intent_id)
        return asked

    async def _within_limits(self, held: Held, qty: Decimal, mark: Decimal) -> Decimal:
        flags, instrument, side = self.watch.current().flags, held.facts.instrument, held.trade.side
        now = await self.exposures.of(held.trade.symbol)
        if flags.inventory.spot_hedge_enable:
            qty = within_hedge(
                qty,
                side=side,
                gap_qty=now.net_delta,
                contract_size=instrument.contract_size,
                step_size=instrument.step_size,
            )
        after = exposure(
            fut_qty=now.fut_qty + side.sign * qty, contract_size=instrument.contract_size, spot_qty=now.spot_qty
        )
        # An add that lessens what is exposed, a short beside spot, is no more than there was.
        over = abs(after) > abs(now.qty) and abs(after) * mark > flags.risk.exposure_usdt_max
        return Decimal(0) if over else qty

    def _growing(self, held: Held, stop_price: Decimal) -> Growing:
        trade = held.trade
        assert trade.first_loss_usdt is not None, "an add is wanted where the first loss is known"
        return Growing(
            instrument=held.facts.instrument,
            side=trade.side,
            entry_price=trade.entry_price_avg,
            open_qty=trade.qty_open,
            first_qty=trade.qty_opened,
            first_loss_usdt=trade.first_loss_usdt,
            stop_price=trade.stop_price or stop_price,
        )

    async def _reserve(self, held: Held, intent_id: str, qty: Decimal, mark: Decimal) -> bool:
        reservation = Reservation(
            intent_id=intent_id,
            key=held.key,
            amount_usdt=futures_usage(
                qty=qty, entry_price=mark, leverage=held.trade.leverage, fee_ratio=held.facts.fee_ratio
            ),
            state=ReservationState.RESERVED,
            ts=self.clock.now_ms(),
        )
        budget = self.watch.current().flags.risk.budget.fut_margin_usdt_max
        for _ in range(2):
            outcome = await self.reservations.reserve(
                reservation, amount_max_usdt=budget, concurrency_max=ONE_INSTRUMENT
            )
            if outcome is not ReserveOutcome.ALREADY:
                break
            # Left by an add of this number that never came to S4's file: it was for another price or quantity.
            await self.reservations.release(intent_id)
        if outcome is not ReserveOutcome.RESERVED:
            log.info("no budget for an add", intent=intent_id, outcome=outcome.value)
        return outcome is ReserveOutcome.RESERVED

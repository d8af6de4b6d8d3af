"""Gathering everything one decision knows.

The stream's decisions come thousands a minute and nearly all of them refuse, so what is asked here is cheap: fast
state, and documents only where the day is new. A decision that would open is made again on what `truth` reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.collections import INTENTS, TRADES
from chimera.contracts.enums import OPEN_INTENTS, OPEN_TRADES, HealthLevel, Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import MKT_SNAP, RISK_LIMITS
from chimera.domain.decision.facts import Controls, Exposure, Facts, Quote
from chimera.domain.decision.model import Score
from chimera.domain.decision.windows import window_open
from chimera.domain.health.restraints import restraint
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.state import Reservations, ReservationState, Snapshots
from chimera.runtime.config_watch import ConfigSnapshot
from chimera.runtime.restraints import Restraints, Standing
from chimera.runtime.strangers import held_by_strangers
from chimera.services.s03_strategy.history import History, Past
from chimera.services.s03_strategy.settings import Settings

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The features that this decision is about. `at_ms` is when they were told; stale factors are already left out."""

    key: InstrumentKey
    signal_id: str
    t0: int
    at_ms: int
    features: Mapping[str, float]
    stored: Mapping[str, float | str | bool]
    stale: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the documents say of one instrument: asked only before opening."""

    open_position: bool
    unfinished_intents: int
    past: Past


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    fee_ratios: dict[Market, Decimal]
    documents: Documents
    snapshots: Snapshots
    reservations: Reservations
    restraints: Restraints
    history: History
    clock: Clock

    async def facts(
        self, seen: Seen, snapshot: ConfigSnapshot, score: Score, *, hint: Side | None, truth: Truth | None = None
    ) -> Facts:
        """
        Raises:
            DependencyDown: fast state or documents did not answer.
        """
        now_ms = self.clock.now_ms()
        key = seen.key
        snap = await self.snapshots.get_hash(MKT_SNAP.name(self.settings.env, key))
        bid, ask = snap.get("bid"), snap.get("ask")
        return Facts(
            instrument=self.instruments[key],
            t0=seen.t0,
            controls=self._controls(await self.restraints.standing(), snapshot, key, now_ms),
            exposure=await self._exposure(key, now_ms, truth),
            quote=Quote(
                bid=Decimal(bid) if bid is not None else Decimal(0),
                ask=Decimal(ask) if ask is not None else Decimal(0),
                features=seen.features,
                feature_age_ms=now_ms - seen.at_ms if bid is not None else None,
            ),
            taker_fee_ratio=self.fee_ratios[key.market],
            side_hint=hint,
            model_p=score.p,
            model_note=score.note,
        )

    async def truth(self, key: InstrumentKey) -> Truth:
        """Read the documents: open trades, a stranger's position, unfinished entries, the day's, the last stop-out."""
        where = (("market", key.market.value), ("symbol", key.symbol))
        trades = 0
        for status in OPEN_TRADES:
            trades += len(
                await self.documents.find(
                    Query(collection=TRADES, index="by_instr", equal=(*where, ("status", status.value)), limit=1)
                )
            )
        intents = 0
        for state in OPEN_INTENTS:
            found = await self.documents.find(
                Query(collection=INTENTS, index="by_instr", equal=(*where, ("state", state.value)))
            )
            intents += sum(record.purpose.is_new_entry for record in found)
        return Truth(
            open_position=trades > 0 or await held_by_strangers(self.documents, key) != 0,
            unfinished_intents=intents,
            past=await self.history.read(key, self.clock.now_ms()),
        )

    def _controls(self, standing: Standing, snapshot: ConfigSnapshot, key: InstrumentKey, now_ms: int) -> Controls:
        windows = snapshot.flags.risk.windows
        restrained = restraint(standing.health or HealthLevel.RED, snapshot.flags.health_guard.actions)
        return Controls(
            kill_switch_on=standing.kill_switch_on,
            paused=standing.paused_by(key) is not None,
            window_open=not windows or window_open(windows, now_ms),
            health_level=standing.health,
            health_age_ms=0 if standing.health is not None else None,
            health_size_mult=restrained.size_mult,
            halts=() if standing.halted_by is None else (standing.halted_by,),
            reconciled=standing.reconciled,
        )

    async def _exposure(self, key: InstrumentKey, now_ms: int, truth: Truth | None) -> Exposure:
        limits = await self.snapshots.get_hash(RISK_LIMITS.name(self.settings.env))
        used = Decimal(0)
        instruments_used: dict[InstrumentKey, None] = {}
        open_here, opening_here = False, 0
        for reservation in await self.reservations.all():
            if reservation.key.market is key.market:
                used += reservation.amount_usdt
                instruments_used[reservation.key] = None
            if reservation.key == key:
                open_here = open_here or reservation.state is ReservationState.OPEN
                opening_here += reservation.state is ReservationState.RESERVED
        past = truth.past if truth is not None else await self.history.of(key, now_ms)
        stopped_at = past.stopped_out_at
        loss, drawdown = limits.get("daily_loss_usdt"), limits.get("drawdown_ratio")
        return Exposure(
            open_position=open_here or (truth is not None and truth.open_position),
            unfinished_intents=max(opening_here, truth.unfinished_intents if truth is not None else 0),
            entries_this_signal_day=past.entries,
            minutes_since_stop_out=None if stopped_at is None else (now_ms - stopped_at) / MINUTE_MS,
            cooldown_known=True,
            other_spot_symbol_held=any(
                other.market is Market.SPOT and other.symbol != key.symbol for other in instruments_used
            ),
            budget_used_usdt=used,
            concurrency=len(instruments_used),
            daily_loss_usdt=None if loss is None else float(loss),
            drawdown_ratio=None if drawdown is None else float(drawdown),
            daily_loss_base_usdt=float(limits.get("daily_loss_base_usdt", "0")),
            drawdown_base_ratio=float(limits.get("drawdown_base_ratio", "0")),
        )

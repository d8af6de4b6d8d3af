"""One decision: load, decide, save, tell.

The same path for a feature event and for POST /decide. A decision is durable before anything is emitted; an entry is
reserved before it is durable, and released as soon as it is known that it will not be.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS, ORDERS, SIGNALS, STRATEGY_EVENTS
from chimera.contracts.documents import Decision as StoredDecision
from chimera.contracts.documents import Signal, StrategyEvent
from chimera.contracts.enums import (
    Action,
    EventKind,
    Intent,
    Market,
    OrderType,
    Purpose,
    Reason,
    Routing,
    Severity,
    Side,
)
from chimera.contracts.http import DecideAnswer, DecidedIntent, DecideRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FEAT_LAST, LOCK_POS
from chimera.contracts.messages import FeatureEvent, SignalEvent
from chimera.contracts.messages.features import DecisionSummary
from chimera.contracts.messages.orders import ExecPolicy, Oco, RiskRef, StopSpec, TargetSpec
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import ENTRY_TTL_MS, OrderIntent
from chimera.contracts.streams import SIG_EVENTS
from chimera.domain.decision.decide import Decision, DecisionConfig, choose_side, decide
from chimera.domain.decision.trail import trail_of
from chimera.domain.market.instrument import Instrument
from chimera.ports.bus import Bus, BusUnavailable
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Put, Query, RevisionConflict
from chimera.ports.metrics import Metrics
from chimera.ports.state import Locks, Reservation, Reservations, ReservationState, ReserveOutcome, Snapshots
from chimera.runtime.config_watch import ConfigSnapshot
from chimera.runtime.service import Problem
from chimera.runtime.telling import Teller
from chimera.services.s03_strategy.handlers.emit import Emit
from chimera.services.s03_strategy.handlers.facts import Gather, Seen, Truth
from chimera.services.s03_strategy.history import OWN_INTENTS, History, own_intents
from chimera.services.s03_strategy.plans import Plans
from chimera.services.s03_strategy.settings import Settings

NOT_BY_A_TICK = frozenset({"OPEN_POSITION", "UNFINISHED_INTENT", "MAX_ENTRIES", "COOLDOWN", "HALT", "SPOT_BUY_ONLY"})
"""Refusals that end with a result, a person or a later time, never with the market's next move."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    seen: Seen
    decision: Decision
    intent: OrderIntent | None = None
    own: tuple[str, ...] = ()
    """All entries that the signal itself has asked for, this one too unless a person's hint did."""


@dataclass(slots=True, kw_only=True)
class Decide:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    plans: Plans
    gather: Gather
    history: History
    emit: Emit
    documents: Documents
    snapshots: Snapshots
    reservations: Reservations
    locks: Locks
    bus: Bus
    clock: Clock
    metrics: Metrics
    teller: Teller
    _last: dict[InstrumentKey, tuple[str, str]] = field(default_factory=dict)
    _heard_at: dict[InstrumentKey, int] = field(default_factory=dict)
    _look_again_at: dict[InstrumentKey, int] = field(default_factory=dict)
    _opening: int = 0

    async def on_features(self, event: FeatureEvent) -> None:
        """`feat:events`: decide; store it when it opens or when its reason is another than the last."""
        key = InstrumentKey(event.market, event.symbol)
        if key not in self.instruments:
            return
        now_ms = self._heard_at[key] = self.clock.now_ms()
        snapshot = self.plans.snapshot()
        side = choose_side(None, event.features, snapshot.flags.strategy.side_mode)
        # Without a side nothing can open, and what a tick cannot mend still stands: once a minute is often enough.
        if now_ms < self._look_again_at.get(key, 0) and (side is None or self._last_detail(key) in NOT_BY_A_TICK):
            return
        self._look_again_at[key] = now_ms + self.settings.look_again_ms
        began_ns = self.clock.perf_ns()
        try:
            await self._run(seen_of_event(key, event), hint=None, always_store=False)
        except BaseException:
            # It will be told again; this look did not count.
            self.look_again(key)
            raise
        self.metrics.observe_ms("strategy_decide_latency_ms", (self.clock.perf_ns() - began_ns) / 1e6)

    def _last_detail(self, key: InstrumentKey) -> str:
        return self._last.get(key, ("", ""))[1]

    def look_again(self, key: InstrumentKey) -> None:
        """Something of this instrument ended: the next tick decides afresh."""
        self._look_again_at.pop(key, None)

    async def on_request(self, request: DecideRequest, *, dry_run: bool) -> DecideAnswer:
        """POST /decide and /dryrun.

        Raises:
            Problem: 400, unknown symbol or no features of it at all.
        """
        began_ns = self.clock.perf_ns()
        key = self._key_of(request)
        seen = await self._last_seen(key)
        if dry_run:
            outcome = await self._judge(seen, hint=request.side_hint, truth=await self.gather.truth(key))
            if outcome.decision.opens:
                outcome = Outcome(seen, outcome.decision, self._intent(seen, outcome.decision, 1))
        else:
            outcome = await self._run(seen, hint=request.side_hint, always_store=True)
        self.metrics.observe_ms("strategy_decide_latency_ms", (self.clock.perf_ns() - began_ns) / 1e6)
        return answer_of(outcome)

    async def heartbeat(self) -> None:
        """No feature event for a while: judge on what was last seen, so that staleness shows and is stored."""
        # An exchange that moves less often is not silent in between.
        silent_ms = max(self.clock.work_ms(self.settings.variables.heartbeat_ms), self.settings.feature_age_ms_max)
        for key in self.instruments:
            if self.clock.now_ms() - self._heard_at.get(key, 0) < silent_ms:
                continue
            try:
                seen = await self._last_seen(key)
            except Problem:
                continue
            outcome = await self._judge(seen, hint=None)
            if not outcome.decision.opens:
                await self._store_if_new(outcome)

    def _key_of(self, request: DecideRequest) -> InstrumentKey:
        snapshot = self.plans.snapshot()
        markets = self.plans.markets(snapshot, request.symbol)
        known = [key for key in self.instruments if key.symbol == request.symbol]
        if not known:
            traded = ", ".join(sorted({key.symbol for key in self.instruments}))
            raise Problem(400, "unknown-symbol", f"symbol {request.symbol!r} is not traded here; use one of {traded}")
        market = request.market or next((each for each in markets), known[0].market)
        key = InstrumentKey(market, request.symbol)
        if key not in self.instruments:
            raise Problem(400, "unknown-symbol", f"{key} is not traded here; use one of {', '.join(map(str, known))}")
        return key

    async def _last_seen(self, key: InstrumentKey) -> Seen:
        last = await self.snapshots.get_hash(FEAT_LAST.name(self.settings.env, key))
        if not last or "features" not in last:
            raise Problem(400, "no-features", f"nothing is known of {key} yet; wait for its first features")
        features = json.loads(last["features"])
        t0 = int(last["t0"])
        return make_seen(
            key, last.get("signal_id") or ids.signal_id(t0, key), t0, t0, features, tuple(json.loads(last["stale"]))
        )

    async def _judge(self, seen: Seen, *, hint: Side | None, truth: Truth | None = None) -> Outcome:
        snapshot, config = self.plans.of(seen.key)
        decision = decide(await self.gather.facts(seen, snapshot, hint=hint, truth=truth), config)
        return Outcome(seen, self._unless_not_traded(decision, snapshot, seen.key, hint))

    def _unless_not_traded(
        self, decision: Decision, snapshot: ConfigSnapshot, key: InstrumentKey, hint: Side | None
    ) -> Decision:
        """An instrument outside `strategy.markets` or S3_SYMBOLS is watched, not traded: only an explicit hint opens
        it."""
        if not decision.opens or hint is not None or self.plans.traded(snapshot, key):
            return decision
        return decision.skipped(Reason.GATE, "NOT_TRADED")

    async def _run(self, seen: Seen, *, hint: Side | None, always_store: bool) -> Outcome:
        outcome = await self._judge(seen, hint=hint)
        if outcome.decision.opens:
            outcome = await self._open(seen, hint)
        decision = outcome.decision
        if decision.opens:
            return outcome
        self.metrics.count("gate_skip_count", reason=decision.detail)
        if always_store:
            await self._store(outcome)
        else:
            await self._store_if_new(outcome)
        return outcome

    async def _store_if_new(self, outcome: Outcome) -> None:
        decision = outcome.decision
        said = (decision.reason.value, decision.detail)
        if self._last.get(outcome.seen.key) != said:
            await self._store(outcome)
            if decision.detail in (AlertCode.NO_ENABLED_RULE.value, AlertCode.FACTOR_MISSING.value):
                await self.teller.alert(
                    AlertCode(decision.detail),
                    Severity.WARN,
                    f"{outcome.seen.key} cannot be entered: {decision.detail} {', '.join(decision.missing)}".strip(),
                    symbol=outcome.seen.key.symbol,
                )
            # Only now: what could not be stored or told is tried again with the next message.
            self._last[outcome.seen.key] = said

    async def _open(self, seen: Seen, hint: Side | None) -> Outcome:
        """Decide again on the documents, under the instrument's lock; reserve, save, emit."""
        lock = LOCK_POS.name(self.settings.env, seen.key)
        # A person may ask about the signal that the stream decides on: two decisions, two owners.
        self._opening += 1
        owner = f"s3:{seen.signal_id}:{self._opening}"
        fence = await self.locks.acquire(lock, owner, ttl_ms=self.settings.variables.decide_lock_ms)
        if fence is None:
            return await self._refused(seen, hint, Reason.GATE, "LOCKED")
        try:
            return await self._open_locked(seen, hint)
        finally:
            await self.locks.release(lock, owner)

    async def _open_locked(self, seen: Seen, hint: Side | None) -> Outcome:
        snapshot, config = self.plans.of(seen.key)
        truth = await self.gather.truth(seen.key)
        decision = decide(await self.gather.facts(seen, snapshot, hint=hint, truth=truth), config)
        if not decision.opens:
            return Outcome(seen, decision)
        assert decision.plan is not None
        before = await self.documents.get(SIGNALS, seen.signal_id)
        intent = await self._named_intent(seen, decision, before)
        reserved = await self._reserve(intent, decision, config)
        if reserved is not ReserveOutcome.RESERVED:
            return await self._refused(seen, hint, Reason.RISK_BUDGET, reserved.value)
        own = own_intents(before) if hint is not None else (*own_intents(before), intent.intent_id)
        outcome = Outcome(seen, decision, intent, own)
        told = self.teller.record(
            EventKind.DECIDE,
            seen.key,
            intent.intent_id,
            decision=decision.action.value,
            side=intent.side.value,
            qty=float(intent.qty),
            rules=list(decision.rules_fired),
            config_rev=decision.config_rev,
        )
        try:
            # One write for both: the order waits for it.
            await self._keep(outcome, told)
        except BaseException:
            await self.reservations.release(intent.intent_id)
            raise
        self.history.forget(seen.key)
        self._last[seen.key] = (decision.reason.value, decision.detail)
        try:
            await self._tell(outcome)
        except BusUnavailable as down:
            log.warning("a decision was not told", signal=seen.signal_id, why=str(down))
        await self.emit.entry(intent)
        return outcome

    async def _reserve(self, intent: OrderIntent, decision: Decision, config: DecisionConfig) -> ReserveOutcome:
        assert decision.plan is not None
        return await self.reservations.reserve(
            Reservation(
                intent_id=intent.intent_id,
                key=intent.instrument,
                amount_usdt=decision.plan.reserve_usdt,
                state=ReservationState.RESERVED,
                ts=self.clock.now_ms(),
            ),
            amount_max_usdt=config.limits.budget_usdt_max,
            concurrency_max=config.limits.concurrent_entries_per_market,
        )

    async def _refused(self, seen: Seen, hint: Side | None, reason: Reason, detail: str) -> Outcome:
        outcome = await self._judge(seen, hint=hint)
        return Outcome(seen, outcome.decision.skipped(reason, detail))

    async def _named_intent(self, seen: Seen, decision: Decision, signal: Signal | None) -> OrderIntent:
        """The intent under the next free number of its signal, with an order id that nobody else holds."""
        known = await self.documents.find(
            Query(collection=INTENTS, index="by_signal", equal=(("intent.signal_id", seen.signal_id),))
        )
        used = {record.intent_id for record in known}
        if signal is not None and signal.decision.intent_id:
            used.add(signal.decision.intent_id)
        k = 1
        while ids.intent_id(seen.signal_id, Purpose.ENTRY, k) in used:
            k += 1
        intent = self._intent(seen, decision, k)
        attempt = 0
        while await self.documents.get(ORDERS, intent.client_order_id) is not None:
            attempt += 1
            intent = intent.but(
                client_order_id=ids.client_order_id(
                    self.settings.id_prefix, seen.key.symbol, seen.t0, intent.intent_id, attempt
                )
            )
        return intent

    def _intent(self, seen: Seen, decision: Decision, k: int) -> OrderIntent:
        plan = decision.plan
        assert plan is not None
        assert decision.side is not None
        now_ms = self.clock.now_ms()
        intent_id = ids.intent_id(seen.signal_id, Purpose.ENTRY, k)
        futures = seen.key.market is Market.FUT
        # What S4 keeps when it derives stop and target from the fill. A target at a fixed distance is a price.
        stop_type = OrderType.STOP_MARKET if futures else OrderType.STOP_LOSS
        target_type = OrderType.TAKE_PROFIT_MARKET if futures else OrderType.LIMIT_MAKER
        by_profit = futures or self.plans.of(seen.key)[1].sizing.spot_tp_bps == 0
        return OrderIntent(
            intent_id=intent_id,
            signal_id=seen.signal_id,
            client_order_id=ids.client_order_id(self.settings.id_prefix, seen.key.symbol, seen.t0, intent_id),
            ts=now_ms,
            market=seen.key.market,
            symbol=seen.key.symbol,
            side=decision.side,
            intent=Intent.ENTRY,
            purpose=Purpose.ENTRY,
            qty=plan.qty,
            type=OrderType.MARKET,
            sl=StopSpec(type=stop_type, distance=plan.stop_distance),
            tp=TargetSpec(type=target_type, ratio=plan.target_ratio) if by_profit else None,
            entry_ref_price=decision.entry_ref_price,
            expires_at=now_ms + ENTRY_TTL_MS,
            exec_policy=ExecPolicy(
                routing=Routing.AUTO,
                oco=None if futures else Oco(enabled=True, tp=plan.tp_price, sl=plan.stop_price),
            ),
            risk=RiskRef(rcu_rev=decision.config_rev),
            leverage=plan.leverage if futures else None,
        )

    async def _store(self, outcome: Outcome) -> None:
        """A refusal on its signal, then on `sig:events`. Where the signal opened something that stays: whoever looks
        for the day's entries, or for what became of an order, must find it."""
        while True:
            known = await self.documents.get_stored(SIGNALS, outcome.seen.signal_id)
            if known is not None and known.doc.decision.action is Action.OPEN:
                return
            try:
                if known is None:
                    await self.documents.insert(SIGNALS, self._signal_of(outcome))
                else:
                    await self.documents.replace(SIGNALS, self._signal_of(outcome), rev=known.rev)
                break
            except (DuplicateKey, RevisionConflict):
                # Somebody else decided on the same signal meanwhile, and may have opened: look again.
                continue
        await self._tell(outcome)

    async def _keep(self, outcome: Outcome, *events: StrategyEvent) -> None:
        """An open, over whatever stands on its signal."""
        puts: list[Put[Any]] = [Put(SIGNALS, self._signal_of(outcome))]
        await self.documents.put_many([*puts, *(Put(STRATEGY_EVENTS, event) for event in events)])

    def _signal_of(self, outcome: Outcome) -> Signal:
        seen, decision, intent = outcome.seen, outcome.decision, outcome.intent
        now_ms = self.clock.now_ms()
        trail: dict[str, Any] = trail_of(decision)
        if intent is not None and decision.opens:
            trail["intent"] = intent.to_dict()
            trail[OWN_INTENTS] = list(outcome.own)
        return Signal(
            signal_id=seen.signal_id,
            t0=seen.t0,
            market=seen.key.market,
            symbol=seen.key.symbol,
            features=dict(seen.stored),
            decision=StoredDecision(
                action=decision.action,
                size_mult=decision.size_mult,
                tp_mult=decision.tp_mult,
                sl_mult=decision.sl_mult,
                reason=decision.reason.value,
                detail=decision.detail,
                rules_fired=decision.rules_fired,
                model_p=decision.model_p,
                intent_id=intent.intent_id if intent is not None and decision.opens else None,
                trail=trail,
            ),
            config_rev=decision.config_rev,
            created_at=now_ms,
            updated_at=now_ms,
            stale=seen.stale,
        )

    async def _tell(self, outcome: Outcome) -> None:
        seen, decision, intent = outcome.seen, outcome.decision, outcome.intent
        await self.bus.publish(
            SIG_EVENTS.name(self.settings.env, seen.key),
            SignalEvent(
                signal_id=seen.signal_id,
                t0=seen.t0,
                market=seen.key.market,
                symbol=seen.key.symbol,
                features_ref=seen.signal_id,
                decision=DecisionSummary(
                    action=decision.action,
                    size_mult=decision.size_mult,
                    tp_mult=decision.tp_mult,
                    sl_mult=decision.sl_mult,
                    reason=decision.reason.value,
                    detail=decision.detail,
                ),
                config_rev=decision.config_rev,
                rules_fired=decision.rules_fired,
                model_p=decision.model_p,
                intent_id=intent.intent_id if intent is not None and decision.opens else None,
                reason=decision.reason,
            ),
        )


def make_seen(
    key: InstrumentKey, signal_id: str, t0: int, at_ms: int, features: Mapping[str, Any], stale: tuple[str, ...]
) -> Seen:
    """Only fresh figures may decide; what is stale or a word is stored all the same."""
    fresh = {
        name: value
        for name, value in features.items()
        if name not in stale and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return Seen(key=key, signal_id=signal_id, t0=t0, at_ms=at_ms, features=fresh, stored=features, stale=stale)


def seen_of_event(key: InstrumentKey, event: FeatureEvent) -> Seen:
    t0 = event.t0 if event.t0 is not None else event.ts
    signal_id = event.signal_id or ids.signal_id(t0, key)
    if not event.stale:
        # The usual case, thousands of times a minute: nothing to leave out, nothing to copy.
        features: Mapping[str, Any] = event.features
        return Seen(key=key, signal_id=signal_id, t0=t0, at_ms=event.ts, features=features, stored=features, stale=())
    return make_seen(key, signal_id, t0, event.ts, event.features, event.stale)


def answer_of(outcome: Outcome) -> DecideAnswer:
    decision, intent = outcome.decision, outcome.intent
    plan = decision.plan
    return DecideAnswer(
        decision=decision.action,
        reason=decision.reason,
        detail=decision.detail,
        intent=DecidedIntent(**intent.__dict__, tp_px=plan.tp_price, sl_px=plan.stop_price)
        if intent is not None and plan is not None and decision.opens
        else None,
        config_rev=decision.config_rev,
        rules_fired=decision.rules_fired,
        model_p=decision.model_p,
        signal_id=outcome.seen.signal_id,
        size_mult=decision.size_mult,
        tp_mult=decision.tp_mult,
        sl_mult=decision.sl_mult,
        trail=trail_of(decision),
    )

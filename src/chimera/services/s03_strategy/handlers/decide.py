"""One decision: load, decide, save, tell.

The same path for a feature event and for POST /decide. A decision is durable before anything is emitted; an entry is
reserved before it is durable, and released as soon as it is known that it will not be.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from chimera.contracts.messages.orders import ExecPolicy, Oco, RiskRef, StopSpec, TargetSpec, Twap
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import ENTRY_TTL_MS, OrderIntent
from chimera.contracts.streams import SIG_EVENTS
from chimera.domain.decision.audit import violations
from chimera.domain.decision.decide import Decision, DecisionConfig, choose_side, decide
from chimera.domain.decision.gates import first_refusal
from chimera.domain.decision.model import Score
from chimera.domain.decision.trail import trail_of
from chimera.domain.market.instrument import Instrument
from chimera.ports.bus import Bus, BusUnavailable
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Put, Query, RevisionConflict
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.state import Locks, Reservation, Reservations, ReservationState, ReserveOutcome, Snapshots
from chimera.runtime.service import Problem
from chimera.runtime.telling import Teller
from chimera.services.s03_strategy.handlers.buffer import Buffer
from chimera.services.s03_strategy.handlers.emit import Emit
from chimera.services.s03_strategy.handlers.facts import Gather, Seen, Truth
from chimera.services.s03_strategy.handlers.score import Scorer, stored_p
from chimera.services.s03_strategy.history import OWN_INTENTS, History, own_intents
from chimera.services.s03_strategy.plans import Basis, Plans
from chimera.services.s03_strategy.settings import Settings

NOT_TRADED = "NOT_TRADED"
"""`detail` of what the bundle or S3_SYMBOLS leaves to be watched only."""
LOCKED = "LOCKED"
"""Somebody else decides about this instrument at this moment."""
GATE_MISSED = "GATE_MISSED"
"""The second opinion on an open found a gate that should have refused."""
SIZE_ZERO = "SIZE_ZERO"
TOLD = (AlertCode.NO_ENABLED_RULE.value, AlertCode.FACTOR_MISSING.value)
"""Refusals of which a person is told."""

NOT_BY_A_TICK = frozenset({"OPEN_POSITION", "UNFINISHED_INTENT", "MAX_ENTRIES", "COOLDOWN", "HALT", "SPOT_BUY_ONLY"})
"""Refusals that end with a result, a person or a later time, never with the market's next move."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One decision to be made. What it goes by is taken once; `score` grows up when the model has been asked."""

    seen: Seen
    hint: Side | None
    basis: Basis
    score: Score


@dataclass(frozen=True, slots=True)
class Outcome:
    question: Question
    decision: Decision
    intent: OrderIntent | None = None
    own: tuple[str, ...] = ()
    """All entries that the signal itself has asked for, this one too unless a person's hint did."""

    @property
    def seen(self) -> Seen:
        return self.question.seen

    def refused(self, reason: Reason, detail: str) -> "Outcome":
        """The same, refused after all."""
        return Outcome(self.question, self.decision.skipped(reason, detail))


@dataclass(slots=True, kw_only=True)
class Decide:
    settings: Settings
    instruments: dict[InstrumentKey, Instrument]
    plans: Plans
    scorer: Scorer
    gather: Gather
    history: History
    emit: Emit
    buffer: Buffer
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
    _last_mid: dict[InstrumentKey, float] = field(default_factory=dict)
    """The last price that was fresh when it came."""
    _opening: int = 0
    _opens_checked: int = 0
    _opens_missed: int = 0

    async def on_features(self, event: FeatureEvent) -> None:
        """`feat:events`: decide; store it when it opens or when its reason is another than the last."""
        key = InstrumentKey(event.market, event.symbol)
        if key not in self.instruments:
            return
        now_ms = self._heard_at[key] = self.clock.now_ms()
        mid = event.features.get("mid")
        if isinstance(mid, float) and "mid" not in event.stale:
            self._last_mid[key] = mid
        question = self._question(seen_of_event(key, event), None)
        side = choose_side(None, event.features, question.basis.config.side_mode)
        # Without a side nothing can open, and what a tick cannot mend still stands: once a minute is often enough.
        if now_ms < self._look_again_at.get(key, 0) and (side is None or self._last_detail(key) in NOT_BY_A_TICK):
            return
        self._look_again_at[key] = now_ms + self.settings.look_again_ms
        began_ns = self.clock.perf_ns()
        try:
            await self._run(question, always_store=False)
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
        question = self._question(await self._last_seen(key), request.side_hint)
        if dry_run:
            outcome = await self._judge_with_model(question, await self.gather.truth(key))
            if outcome.decision.opens:
                outcome = replace(outcome, intent=self._intent(question, outcome.decision, 1))
        else:
            outcome = await self._run(question, always_store=True)
            self.metrics.observe_ms("strategy_decide_latency_ms", (self.clock.perf_ns() - began_ns) / 1e6)
        return answer_of(outcome)

    async def on_batch(self, requests: Sequence[DecideRequest]) -> tuple[DecideAnswer, ...]:
        """POST /decide/batch: each by itself, in order. All are looked at before the first is decided.

        Raises:
            Problem: 400, naming each request that cannot be decided about: nothing was decided. 503, when something
                goes down between two of them: its `answers` are those that were decided and stand.
        """
        errors = []
        for i, request in enumerate(requests):
            try:
                await self._last_seen(self._key_of(request))
            except Problem as problem:
                value = f"{request.market}:{request.symbol}" if request.market else request.symbol
                errors.append({"field": f"requests[{i}]", "value": value, "remedy": problem.detail})
        if errors:
            first = errors[0]
            told = f"{first['field']}: {first['remedy']}"
            raise Problem(
                400,
                "batch-refused",
                f"nothing was decided: {len(errors)} of {len(requests)} requests cannot be decided about; {told}",
                errors=errors,
            )
        answers: list[DecideAnswer] = []
        for request in requests:
            try:
                answers.append(await self.on_request(request, dry_run=request.dry_run))
            except DependencyDown as down:
                raise Problem(
                    503,
                    "dependency-down",
                    f"{down}. {len(answers)} of {len(requests)} were decided, see `answers`; ask again for the rest.",
                    dependency=down.what,
                    answers=[answer.to_dict() for answer in answers],
                ) from down
        return tuple(answers)

    async def heartbeat(self) -> None:
        """No feature event for a while: judge on what was last seen, so that staleness shows and is stored, and look
        how near open positions are to their liquidation."""
        # An exchange that moves less often is not silent in between.
        silent_ms = max(self.clock.work_ms(self.settings.variables.heartbeat_ms), self.settings.feature_age_ms_max)
        for key in self.instruments:
            if self.clock.now_ms() - self._heard_at.get(key, 0) < silent_ms:
                continue
            try:
                seen = await self._last_seen(key)
            except Problem:
                continue
            # First, for it protects what is open; and by the last good price where the newest was none.
            await self.buffer.look(key, seen.features.get("mid", self._last_mid.get(key)))
            outcome = await self._judge(self._question(seen, None))
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

    def _question(self, seen: Seen, hint: Side | None) -> Question:
        """
        Raises:
            ConfigUnavailable: nothing to decide by.
        """
        basis = self.plans.of(seen.key, seen.signal_id)
        score = self.scorer.before_asking(basis.snapshot.flags.model, basis.model)
        return Question(seen=seen, hint=hint, basis=basis, score=score)

    async def _judge(self, question: Question, truth: Truth | None = None) -> Outcome:
        seen, basis, hint = question.seen, question.basis, question.hint
        facts = await self.gather.facts(seen, basis.snapshot, question.score, hint=hint, truth=truth)
        outcome = Outcome(question, decide(facts, basis.config))
        # An instrument outside `strategy.markets` or S3_SYMBOLS is watched, not traded: only an explicit hint opens it.
        if outcome.decision.opens and hint is None and not self.plans.traded(basis.snapshot, seen.key):
            return outcome.refused(Reason.GATE, NOT_TRADED)
        return outcome

    async def _judge_with_model(self, question: Question, truth: Truth | None = None) -> Outcome:
        """Without the model first: it is asked where nothing but its answer is still open. Then by what it said."""
        outcome = await self._judge(question, truth)
        model = question.basis.model
        if model is None or not waits_for_model(outcome.decision):
            return outcome
        score = await self.scorer.ask(model, question.basis.snapshot.flags.model, question.seen.features)
        return await self._judge(replace(question, score=score), truth)

    async def _run(self, question: Question, *, always_store: bool) -> Outcome:
        outcome = await self._judge_with_model(question)
        if outcome.decision.opens:
            outcome = await self._open(outcome)
        decision = outcome.decision
        for rule_id in decision.rules_fired:
            self.metrics.count("rules_fired_count", rule=rule_id)
        if decision.opens:
            return outcome
        self.metrics.count("gate_skip_count", reason=decision.detail)
        if always_store:
            await self._store(outcome)
            await self._alert_of(outcome)
        else:
            await self._store_if_new(outcome)
        return outcome

    async def _store_if_new(self, outcome: Outcome) -> None:
        decision = outcome.decision
        said = (decision.reason.value, decision.detail)
        if self._last.get(outcome.seen.key) != said:
            await self._store(outcome)
            await self._alert_of(outcome)
            # Only now: what could not be stored or told is tried again with the next message.
            self._last[outcome.seen.key] = said

    async def _alert_of(self, outcome: Outcome) -> None:
        """Some refusals are a person's to mend."""
        decision = outcome.decision
        if decision.detail in TOLD:
            await self.teller.alert(
                AlertCode(decision.detail),
                Severity.WARN,
                f"{outcome.seen.key} cannot be entered: {decision.detail} {', '.join(decision.missing)}".strip(),
                symbol=outcome.seen.key.symbol,
            )

    async def _open(self, outcome: Outcome) -> Outcome:
        """Decide again on the documents, under the instrument's lock; reserve, save, emit."""
        seen = outcome.seen
        lock = LOCK_POS.name(self.settings.env, seen.key)
        # A person may ask about the signal that the stream decides on: two decisions, two owners.
        self._opening += 1
        owner = f"s3:{seen.signal_id}:{self._opening}"
        fence = await self.locks.acquire(lock, owner, ttl_ms=self.settings.variables.decide_lock_ms)
        if fence is None:
            return outcome.refused(Reason.GATE, LOCKED)
        try:
            return await self._open_locked(outcome.question, lock, owner)
        finally:
            await self._unlock(lock, owner)

    async def _unlock(self, lock: str, owner: str) -> None:
        """What was decided stands: a lock that cannot be given back ends by itself."""
        try:
            await self.locks.release(lock, owner)
        except DependencyDown as down:
            log.warning("a lock was not released", lock=lock, why=str(down))

    async def _open_locked(self, question: Question, lock: str, owner: str) -> Outcome:
        seen, hint, config = question.seen, question.hint, question.basis.config
        outcome = await self._judge(question, await self.gather.truth(seen.key))
        decision = outcome.decision
        if not decision.opens:
            return outcome
        assert decision.plan is not None
        if await self._gate_missed(outcome):
            return outcome.refused(Reason.GATE, GATE_MISSED)
        before = await self.documents.get(SIGNALS, seen.signal_id)
        intent = await self._named_intent(question, decision, before)
        reserved = await self._reserve(intent, decision, config)
        if reserved is not ReserveOutcome.RESERVED:
            return outcome.refused(Reason.RISK_BUDGET, reserved.value)
        if not await self._still_ours(lock, owner, intent):
            return outcome.refused(Reason.GATE, LOCKED)
        own = own_intents(before) if hint is not None else (*own_intents(before), intent.intent_id)
        outcome = replace(outcome, intent=intent, own=own)
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

    async def _still_ours(self, lock: str, owner: str, intent: OrderIntent) -> bool:
        """Whoever took longer than the lock lives may not be alone any more: he lets go of what he reserved."""
        ours = False
        try:
            ours = await self.locks.renew(lock, owner, ttl_ms=self.settings.variables.decide_lock_ms)
        finally:
            if not ours:
                await self.reservations.release(intent.intent_id)
        return ours

    async def _gate_missed(self, outcome: Outcome) -> bool:
        """A second opinion on every open, by other code. It should never differ."""
        decision = outcome.decision
        assert decision.facts is not None
        missed = violations(decision.facts, outcome.question.basis.config)
        self._opens_checked += 1
        self._opens_missed += bool(missed)
        self.metrics.gauge("risk_gate_miss_rate", self._opens_missed / self._opens_checked)
        if not missed:
            return False
        log.error("a gate missed", signal=outcome.seen.signal_id, gates=missed)
        await self.teller.alert(
            AlertCode.SLO_RISK_GATE_MISS_RATE,
            Severity.ERROR,
            f"{outcome.seen.signal_id} would have opened against {', '.join(missed)}: refused",
            signal_id=outcome.seen.signal_id,
            symbol=outcome.seen.key.symbol,
        )
        return True

    async def _named_intent(self, question: Question, decision: Decision, signal: Signal | None) -> OrderIntent:
        """The intent under the next free number of its signal, with an order id that nobody else holds."""
        seen = question.seen
        known = await self.documents.find(
            Query(collection=INTENTS, index="by_signal", equal=(("intent.signal_id", seen.signal_id),))
        )
        used = {record.intent_id for record in known}
        if signal is not None and signal.decision.intent_id:
            used.add(signal.decision.intent_id)
        k = 1
        while ids.intent_id(seen.signal_id, Purpose.ENTRY, k) in used:
            k += 1
        intent = self._intent(question, decision, k)
        attempt = 0
        while await self.documents.get(ORDERS, intent.client_order_id) is not None:
            attempt += 1
            intent = intent.but(
                client_order_id=ids.client_order_id(
                    self.settings.id_prefix, seen.key.symbol, seen.t0, intent.intent_id, attempt
                )
            )
        return intent

    def _intent(self, question: Question, decision: Decision, k: int) -> OrderIntent:
        seen, plan = question.seen, decision.plan
        assert plan is not None
        assert decision.side is not None
        now_ms = self.clock.now_ms()
        intent_id = ids.intent_id(seen.signal_id, Purpose.ENTRY, k)
        futures = seen.key.market is Market.FUT
        # What S4 keeps when it derives stop and target from the fill. A target at a fixed distance is a price.
        stop_type = OrderType.STOP_MARKET if futures else OrderType.STOP_LOSS
        target_type = OrderType.TAKE_PROFIT_MARKET if futures else OrderType.LIMIT_MAKER
        by_profit = futures or question.basis.config.sizing.spot_tp_bps == 0
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
                twap=Twap(enabled=True, slices=decision.slices) if decision.slices > 1 else None,
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
        trail = reasoning_of(outcome)
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
                model_p=stored_p(decision.model_p),
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
                model_p=stored_p(decision.model_p),
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


def waits_for_model(decision: Decision) -> bool:
    """Whether nothing but the model's answer is missing: gates, side and rules have let it pass. How much would be too
    much or too little depends on that answer."""
    return decision.opens or (
        decision.reason is not Reason.RULE
        and decision.detail not in (NOT_TRADED, SIZE_ZERO)
        and first_refusal(decision.gates) is None
    )


def reasoning_of(outcome: Outcome) -> dict[str, Any]:
    """The trail, with the name of the model that was to be asked, and its hash where it was open."""
    trail = trail_of(outcome.decision)
    basis = outcome.question.basis
    trail["model"]["name"] = basis.snapshot.flags.model.name
    trail["model"]["hash"] = None if basis.model is None else basis.model.document.hash
    return trail


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
        model_p=stored_p(decision.model_p),
        signal_id=outcome.seen.signal_id,
        size_mult=decision.size_mult,
        tp_mult=decision.tp_mult,
        sl_mult=decision.sl_mult,
        trail=reasoning_of(outcome),
    )

"""Bringing a decided entry to S4: by REST first, by stream where that road is closed. S4 executes once either way."""

from dataclasses import dataclass, field
from typing import Literal

import structlog

from chimera.contracts.enums import AnswerStatus, Severity
from chimera.contracts.http import PROBLEM_TYPE_BASE, OrderAnswer
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.streams import ORD_CMD
from chimera.ports.bus import Bus, BusUnavailable
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.peers import PeerAnswer, PeerCall, Peers, PeerUnavailable
from chimera.ports.state import Reservations
from chimera.runtime.telling import Teller

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    env: str
    mode: Literal["rest_then_stream", "both"]
    peers: Peers
    bus: Bus
    reservations: Reservations
    metrics: Metrics
    teller: Teller
    refused: set[str] = field(default_factory=set)
    """Intents that S4 refused and a person was told of, until they are written off."""

    async def entry(self, intent: OrderIntent) -> None:
        """Deliver by at least one road. A definite refusal releases the reservation; silence never does.

        Never raises for a dependency that is down: the decision stands, and healing settles what was left undone.
        """
        told = self.mode == "both" and await self._by_stream(intent)
        try:
            # Accepted is delivered: what becomes of it is told as a result, and no decision waits for the exchange.
            answer = await self.peers.call(
                PeerCall("s4", "POST", "/orders", body=intent, query={"wait_ms": "0"}, actor="s3")
            )
        except PeerUnavailable as silent:
            log.warning("S4 did not answer", intent=intent.intent_id, why=str(silent))
            await self._without_rest(intent, told)
            return
        if answer.status >= 500:
            log.warning("S4 could not take it", intent=intent.intent_id, status=answer.status)
            await self._without_rest(intent, told)
        elif not answer.ok:
            await self._refused(intent, answer, definite=not is_conflict(answer))
        else:
            self.metrics.count("intent_emit_ok")
            if OrderAnswer.model_validate(answer.body).status is AnswerStatus.REJECTED:
                await self._release(intent)

    async def _without_rest(self, intent: OrderIntent, told: bool) -> None:
        if told or (self.mode != "both" and await self._by_stream(intent)):
            self.metrics.count("intent_emit_ok")
            return
        self.metrics.count("intent_emit_fail")
        # The bus is the road that alerts take too: whoever writes the intent off tells of it.
        log.error("an intent could not be delivered", intent=intent.intent_id)

    async def _by_stream(self, intent: OrderIntent) -> bool:
        try:
            await self.bus.publish(ORD_CMD.name(self.env, intent.instrument), intent.to_cmd())
        except BusUnavailable as down:
            log.warning("the bus did not take an intent", intent=intent.intent_id, why=str(down))
            return False
        return True

    async def _refused(self, intent: OrderIntent, answer: PeerAnswer, *, definite: bool) -> None:
        self.metrics.count("intent_emit_fail")
        if definite:
            self.refused.add(intent.intent_id)
            await self._release(intent)
        await self.failed(intent.intent_id, intent.symbol, f"S4 refused it: {answer.body.get('detail', answer.status)}")

    async def failed(self, intent_id: str, symbol: str, why: str) -> None:
        """Tell a person that a decision to open came to nothing on its way."""
        try:
            await self.teller.alert(
                AlertCode.INTENT_EMIT_FAILED,
                Severity.ERROR,
                f"{intent_id} was decided and not executed: {why}",
                intent_id=intent_id,
                symbol=symbol,
            )
        except BusUnavailable as down:
            log.warning("an alert was not told", intent=intent_id, why=str(down))

    async def _release(self, intent: OrderIntent) -> None:
        try:
            await self.reservations.release(intent.intent_id)
        except DependencyDown as down:
            log.warning("a reservation was not released", intent=intent.intent_id, why=str(down))


def is_conflict(answer: PeerAnswer) -> bool:
    """Something is executed under this very name, with another body: that is no refusal of it."""
    return str(answer.body.get("type", "")) == PROBLEM_TYPE_BASE + "intent-conflict"

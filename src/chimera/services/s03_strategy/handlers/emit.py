"""Bringing a decided entry to S4: by REST first, by stream where that road is closed. S4 executes once either way."""

from dataclasses import dataclass
from typing import Literal

import structlog

from chimera.contracts.enums import AnswerStatus, Severity
from chimera.contracts.http import PROBLEM_TYPE_BASE, OrderAnswer
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.streams import ORD_CMD
from chimera.ports.bus import Bus, BusUnavailable
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

    async def entry(self, intent: OrderIntent) -> None:
        """Deliver by at least one road. A definite refusal releases the reservation; silence never does."""
        if self.mode == "both":
            await self._by_stream(intent)
        try:
            answer = await self.peers.call(PeerCall("s4", "POST", "/orders", body=intent, actor="s3"))
        except PeerUnavailable as silent:
            log.warning("S4 did not answer", intent=intent.intent_id, why=str(silent))
            await self._second_road(intent)
            return
        if answer.status >= 500:
            await self._second_road(intent)
        elif not answer.ok:
            await self._refused(intent, answer, definite=not is_conflict(answer))
        else:
            self.metrics.count("intent_emit_ok")
            if OrderAnswer.model_validate(answer.body).status is AnswerStatus.REJECTED:
                await self.reservations.release(intent.intent_id)

    async def _second_road(self, intent: OrderIntent) -> None:
        if self.mode != "both":
            await self._by_stream(intent)

    async def _by_stream(self, intent: OrderIntent) -> None:
        try:
            await self.bus.publish(ORD_CMD.name(self.env, intent.instrument), intent.to_cmd())
        except BusUnavailable as down:
            self.metrics.count("intent_emit_fail")
            # The bus is the road that alerts take too: the log is what is left, and the start settles the intent.
            log.error("an intent could not be delivered", intent=intent.intent_id, why=str(down))
            return
        self.metrics.count("intent_emit_ok")

    async def _refused(self, intent: OrderIntent, answer: PeerAnswer, *, definite: bool) -> None:
        if definite:
            await self.reservations.release(intent.intent_id)
        self.metrics.count("intent_emit_fail")
        await self.teller.alert(
            AlertCode.INTENT_EMIT_FAILED,
            Severity.ERROR,
            f"S4 refused {intent.intent_id}: {answer.body.get('detail', answer.status)}",
            intent_id=intent.intent_id,
            symbol=intent.symbol,
        )


def is_conflict(answer: PeerAnswer) -> bool:
    """Something is executed under this very name, with another body: that is no refusal of it."""
    return str(answer.body.get("type", "")) == PROBLEM_TYPE_BASE + "intent-conflict"

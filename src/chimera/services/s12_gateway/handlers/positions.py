"""What a person does about open positions and resting orders: close, move a stop, flatten, cancel.

Owns how long the person waits. The work is S6's and S4's, which go on with it however slow they are and whoever hangs
up; here it is asked for, never taken back. Less risk never waits for what only tells about it: an audit that cannot
be told now is told later.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import CancelReason, Market, Purpose, Switch
from chimera.contracts.http.gateway import (
    CancelOrderRequest,
    ClosePositionRequest,
    FlattenAnswer,
    FlattenRequest,
    KillSwitchRequest,
    StopPriceRequest,
)
from chimera.contracts.http.orders import CancelRequest
from chimera.contracts.http.positions import LeaveAllAnswer, LeaveAllRequest, LeaveRequest, PutStopRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerAnswer, PeerCall, Peers
from chimera.runtime.audits import Audits
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.waiting import DeadlinePassed, until
from chimera.services.s12_gateway.handlers.kill_switch import TurnKillSwitch

WAIT_MS = 10_000
"""Of our own work. Below the 15 s of `chimera`'s own client, so that a person reads our words and not its."""
SELF = "s12"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPositions:
    documents: Documents
    peers: Peers
    clock: Clock
    audits: Audits
    kill_switch: TurnKillSwitch
    _going: set[asyncio.Task[PeerAnswer]] = field(default_factory=set)
    """What a person no longer waits for, kept until it is done."""

    async def close(self, request: Request) -> Reply:
        """POST /positions/{INSTR}/close. S6 audits it with what was."""
        wanted: ClosePositionRequest = request.body
        key = _key_of(request.path["instr"])
        body = LeaveRequest(market=key.market, symbol=key.symbol, reason=wanted.reason).to_dict()
        return await self._pass_on(request, "s6", "/positions/close", body, f"closing {key}")

    async def stop(self, request: Request) -> Reply:
        """POST /positions/{INSTR}/stop. S6 audits it with the stop before."""
        wanted: StopPriceRequest = request.body
        key = _key_of(request.path["instr"])
        body = PutStopRequest(
            market=key.market, symbol=key.symbol, price=wanted.price, confirm=wanted.confirm, reason=wanted.reason
        ).to_dict()
        return await self._pass_on(request, "s6", "/positions/stop", body, f"moving the stop of {key}")

    async def flatten(self, request: Request) -> Reply:
        """POST /flatten: the kill switch first, or the strategy would open again what is being closed."""
        wanted: FlattenRequest = request.body
        if not wanted.confirm:
            raise Problem(
                422, "not-confirmed", "this closes every position at market: send confirm: true to say that you mean it"
            )
        is_pulled = await self._pull(request.actor or SELF, wanted.reason)
        told = await self._ask(
            request, "s6", "/positions/flatten", LeaveAllRequest(reason=wanted.reason).to_dict(), "flattening"
        )
        if not told.ok:
            return Reply(told.body, told.status, told.content_type)
        left = LeaveAllAnswer.model_validate(told.body)
        switch = Switch.ON if is_pulled else Switch.OFF
        return Reply(FlattenAnswer(kill_switch=switch, flat=left.flat, instruments=left.instruments))

    async def cancel(self, request: Request) -> Reply:
        """POST /orders/{id}/cancel: an order by its id, or every order of an intent by its."""
        wanted: CancelOrderRequest = request.body
        name = request.path["id"]
        order = await self.documents.get(ORDERS, name)
        record = None if order is not None else await self.documents.get(INTENTS, name)
        if order is None and record is None:
            raise Problem(404, "no-such-order", f"there is neither an order nor an intent {name!r}")
        if not wanted.confirm:
            await self._refuse_protection(order, record)
        call = CancelRequest(
            order_id=name if order is not None else None,
            intent_id=name if record is not None else None,
            reason=wanted.reason or CancelReason.MANUAL,
            escalate=wanted.escalate,
        )
        before = order.to_dict() if order is not None else record.to_dict() if record is not None else None
        told = await self._ask(
            request, "s4", "/cancel", call.to_dict(), f"canceling {name}", audit=("CANCEL", name, before)
        )
        return Reply(told.body, told.status, told.content_type)

    async def _refuse_protection(self, order: Order | None, record: IntentRecord | None) -> None:
        """
        Raises:
            Problem: 409, what is to be canceled holds a position's stop. A stop that goes is put again, or its position
                closed: nobody is helped by it.
        """
        if order is not None and order.protects:
            raise _protects(order.order_id, order.market)
        if record is None:
            return
        if not record.state.is_final:
            # Of what is still being worked only the working orders are taken back; a guard is the stop itself.
            if record.purpose is Purpose.GUARD:
                raise _protects(record.intent_id, record.market)
            return
        for each in await self.documents.find(
            Query(collection=ORDERS, index="by_intent", equal=(("intent_id", record.intent_id),))
        ):
            if each.protects:
                raise _protects(each.order_id, each.market)

    async def _pull(self, actor: str, reason: str) -> bool:
        """Closing goes on even where nobody can pull the switch: less risk is better than an orderly refusal."""
        body = KillSwitchRequest(state=Switch.ON, reason=f"flatten: {reason}")
        try:
            await self.kill_switch.turn(Request(body=body, actor=actor))
        except (Problem, DependencyDown):
            return False
        return True

    async def _pass_on(self, request: Request, service: str, path: str, body: Any, what: str) -> Reply:
        told = await self._ask(request, service, path, body, what)
        return Reply(told.body, told.status, told.content_type)

    async def _ask(
        self,
        request: Request,
        service: str,
        path: str,
        body: Any,
        what: str,
        audit: tuple[str, str, Any] | None = None,
    ) -> PeerAnswer:
        """The answer, or after `WAIT_MS` a refusal that says so; the call itself goes on.

        Args:
            audit: action, subject and what was before, where the service itself tells the audit nothing.
        """
        actor = request.actor or SELF
        call = PeerCall(service, "POST", path, body, actor=actor, idempotency_key=request.idempotency_key)
        task = asyncio.ensure_future(self._do(call, actor, audit))
        self._going.add(task)
        task.add_done_callback(self._done)
        deadline_ms = self.clock.now_ms() + self.clock.work_ms(WAIT_MS)
        try:
            return await until(self.clock, deadline_ms, asyncio.shield(task))
        except DeadlinePassed:
            raise Problem(
                503,
                "still-going-on",
                f"{what}: {service} has not answered within {WAIT_MS / 1_000:g} s and goes on with it. Look at the"
                " positions and orders; asking again is safe and does it once.",
            ) from None

    async def _do(self, call: PeerCall, actor: str, audit: tuple[str, str, Any] | None) -> PeerAnswer:
        try:
            told = await self.peers.call(call)
        except DependencyDown as down:
            if audit is not None:
                action, subject, before = audit
                await self.audits.tell(actor, action, subject, before, {"asked": call.body, "unknown": str(down)})
            raise
        if audit is not None and told.ok:
            action, subject, before = audit
            await self.audits.tell(actor, action, subject, before, told.body)
        return told

    def _done(self, task: asyncio.Task[PeerAnswer]) -> None:
        self._going.discard(task)
        if not task.cancelled():
            # Read, so that a failure nobody waits for any more is no warning of the loop's.
            task.exception()


def _key_of(text: str) -> InstrumentKey:
    try:
        return InstrumentKey.parse(text)
    except ValueError as error:
        raise Problem(400, "malformed-path", f"{error}; write it so in the path") from error


def _protects(name: str, market: Market) -> Problem:
    after = (
        "S6 would place it again. To be rid of it close the position, to have it elsewhere move it."
        if market is Market.FUT
        else "a guard would watch the same prices in its place. To be rid of it close the position."
    )
    return Problem(
        409, "protects-a-position", f"{name} holds a position's stop; {after} Send confirm: true to cancel it anyway."
    )

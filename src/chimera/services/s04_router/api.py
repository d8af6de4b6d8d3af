"""S4's calls: bodies in, handlers, answers out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chimera.contracts.http import (
    CancelAnswer,
    CancelRequest,
    GuardAnswer,
    GuardRequest,
    IntentAnswer,
    LookupRequest,
    OrderAnswer,
    OrderIntentError,
    ShareRequest,
    SubmitQuery,
    parse_order_intent,
)
from chimera.contracts.order_intent import OrderIntent
from chimera.runtime.service import Problem, Reply, Request, Route
from chimera.services.s04_router.handlers.accept import Accept
from chimera.services.s04_router.handlers.cancel import Cancel
from chimera.services.s04_router.handlers.cover import Cover
from chimera.services.s04_router.handlers.recover import Recover


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    accept: Accept
    cancel: Cancel
    cover: Cover
    recover: Recover
    now_ms: Callable[[], int]
    id_prefix: str

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="POST",
                path="/orders",
                handle=self._orders,
                body=OrderIntent,
                parse=self._read_order,
                query=SubmitQuery,
                answer=OrderAnswer,
                summary="Execute one intent, once; three spellings are read.",
                errors=(403, 409, 422, 503),
            ),
            Route(
                method="GET",
                path="/orders/{intent_id}",
                handle=self._present,
                answer=IntentAnswer,
                summary="How an intent stands, with every order of it.",
                errors=(404,),
            ),
            Route(
                method="POST",
                path="/cancel",
                handle=self._cancel,
                body=CancelRequest,
                answer=CancelAnswer,
                summary="Take one order back, or all of an intent.",
                errors=(404, 409, 503),
            ),
            Route(
                method="POST",
                path="/orders/refresh",
                handle=self._refresh,
                summary="Ask the exchange for every order that is open on file, and book what it says.",
                errors=(503,),
            ),
            Route(
                method="POST",
                path="/orders/lookup",
                handle=self._lookup,
                body=LookupRequest,
                summary="Ask the exchange what became of one order, and book it.",
                errors=(404, 503),
            ),
            Route(
                method="POST",
                path="/orders/guard",
                handle=self._guard,
                body=GuardRequest,
                answer=GuardAnswer,
                summary="See to it that what a SPOT entry bought is protected: by a guard, where nothing else does.",
                errors=(404, 503),
            ),
            Route(
                method="POST",
                path="/orders/share",
                handle=self._share,
                body=ShareRequest,
                summary="Note what of a trade strangers closed, and what of strangers' its entry did.",
                errors=(404, 422, 503),
            ),
        )

    def _read_order(self, raw: Any) -> OrderIntent:
        if isinstance(raw, OrderIntent):
            return raw
        if not isinstance(raw, dict):
            raise ValueError("body: an order is a JSON object; see the README for samples")
        try:
            return parse_order_intent(raw, self.now_ms(), self.id_prefix)
        except OrderIntentError as error:
            fields = [problem.to_dict() for problem in error.problems]
            raise Problem(400, "malformed-body", str(error), errors=fields) from error

    async def _orders(self, request: Request) -> Reply:
        return Reply(await self.accept.submit(request.body, wait_ms=request.query.wait_ms))

    async def _present(self, request: Request) -> Reply:
        return Reply(await self.accept.present(request.path["intent_id"]))

    async def _cancel(self, request: Request) -> Reply:
        return Reply(await self.cancel.cancel(request.body))

    async def _refresh(self, request: Request) -> Reply:
        await self.recover.catch_up()
        return Reply({"status": "OK"})

    async def _lookup(self, request: Request) -> Reply:
        await self.recover.look_up(request.body)
        return Reply({"status": "OK"})

    async def _guard(self, request: Request) -> Reply:
        return Reply(await self.cover.guard(request.body.intent_id))

    async def _share(self, request: Request) -> Reply:
        await self.recover.share(request.body)
        return Reply({"status": "OK"})

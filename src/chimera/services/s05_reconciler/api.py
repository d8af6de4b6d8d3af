"""S5's calls: compare now, and how the last comparison ended."""

from collections.abc import Callable
from dataclasses import dataclass

from chimera.contracts import ids
from chimera.contracts.enums import ReconcileScope
from chimera.contracts.http import ReconcileAnswer, ReconcileRequest, ReconcileStatusAnswer
from chimera.runtime.service import Problem, Reply, Request, Route
from chimera.services.s05_reconciler.handlers.reconcile import Reconcile


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    reconcile: Reconcile
    symbols: tuple[str, ...]
    now_ms: Callable[[], int]

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="POST",
                path="/reconcile",
                handle=self._reconcile,
                body=ReconcileRequest,
                answer=ReconcileAnswer,
                summary="Compare with the exchange now, and mend what differs.",
                errors=(404, 503),
            ),
            Route(
                method="GET",
                path="/status",
                handle=self._status,
                answer=ReconcileStatusAnswer,
                summary="How the last comparison ended.",
            ),
        )

    async def _reconcile(self, request: Request) -> Reply:
        wanted: ReconcileRequest = request.body
        if wanted.scope is ReconcileScope.SYMBOL and wanted.symbol not in self.symbols:
            raise Problem(
                404, "unknown-symbol", f"{wanted.symbol!r} is not traded; known: {', '.join(sorted(set(self.symbols)))}"
            )
        req_id = ids.request_id(self.now_ms(), request.actor, wanted.scope.value)
        return Reply(await self.reconcile.asked(req_id, wanted.scope, wanted.symbol))

    async def _status(self, request: Request) -> Reply:
        return Reply(self.reconcile.status())

"""S3's calls."""

from dataclasses import dataclass

from chimera.contracts.http import (
    DecideAnswer,
    DecideBatchAnswer,
    DecideBatchRequest,
    DecideRequest,
    ReservationsAnswer,
    ReservationView,
)
from chimera.ports.state import Reservations
from chimera.runtime.service import Reply, Request, Route
from chimera.services.s03_strategy.handlers.decide import Decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    decide: Decide
    reservations: Reservations

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="POST",
                path="/decide",
                handle=self._decide,
                body=DecideRequest,
                answer=DecideAnswer,
                summary="Decide now on the last features; opens unless dry_run.",
                errors=(503,),
            ),
            Route(
                method="POST",
                path="/decide/batch",
                handle=self._batch,
                body=DecideBatchRequest,
                answer=DecideBatchAnswer,
                summary="Several decisions, each by itself, in order. All are looked at before the first is decided:"
                " where one names what cannot be decided about, 400 names it and nothing was decided. A 503 in between"
                " carries the answers of those that were decided.",
                errors=(503,),
            ),
            Route(
                method="POST",
                path="/dryrun",
                handle=self._dry_run,
                body=DecideRequest,
                answer=DecideAnswer,
                summary="What would be decided now; reserves, writes and emits nothing.",
                errors=(503,),
            ),
            Route(
                method="GET",
                path="/reservations",
                handle=self._reserved,
                answer=ReservationsAnswer,
                summary="What of the risk budget is reserved, and for which intents.",
                errors=(503,),
            ),
        )

    async def _decide(self, request: Request) -> Reply:
        body: DecideRequest = request.body
        return Reply(await self.decide.on_request(body, dry_run=body.dry_run))

    async def _dry_run(self, request: Request) -> Reply:
        return Reply(await self.decide.on_request(request.body, dry_run=True))

    async def _batch(self, request: Request) -> Reply:
        body: DecideBatchRequest = request.body
        return Reply(DecideBatchAnswer(answers=await self.decide.on_batch(body.requests)))

    async def _reserved(self, request: Request) -> Reply:
        return Reply(
            ReservationsAnswer(
                reservations=tuple(
                    ReservationView(
                        intent_id=each.intent_id,
                        market=each.key.market,
                        symbol=each.key.symbol,
                        amount_usdt=each.amount_usdt,
                        state=each.state.value,
                        ts=each.ts,
                    )
                    for each in await self.reservations.all()
                )
            )
        )

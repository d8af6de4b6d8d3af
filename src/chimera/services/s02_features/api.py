"""S2's call: the features of stored signals once more."""

from dataclasses import dataclass

from chimera.contracts.http.features import RecomputeAnswer, RecomputeQuery
from chimera.runtime.service import Problem, Reply, Request, Route
from chimera.services.s02_features.handlers.bars import DAY_MS
from chimera.services.s02_features.handlers.recompute import Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    recompute: Recompute
    symbols: tuple[str, ...]
    days_max: int

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="POST",
                path="/features/recompute",
                handle=self._recompute,
                query=RecomputeQuery,
                answer=RecomputeAnswer,
                summary="Compute the features of stored signals again from stored bars, and repair those that differ.",
                errors=(400, 503),
            ),
        )

    async def _recompute(self, request: Request) -> Reply:
        asked: RecomputeQuery = request.query
        if asked.symbol not in self.symbols:
            known = ", ".join(sorted(set(self.symbols)))
            raise Problem(400, "unknown-symbol", f"symbol {asked.symbol!r} has no features; known: {known}")
        if asked.to_ms <= asked.from_ms:
            raise Problem(
                400, "wrong-window", f"to {asked.to_ms} must be later than from {asked.from_ms}: it is not included"
            )
        if asked.to_ms - asked.from_ms > self.days_max * DAY_MS:
            raise Problem(
                400,
                "window-too-long",
                f"from {asked.from_ms} to {asked.to_ms} is more than {self.days_max} days; ask for a part at a time"
                " (S2_RECOMPUTE_DAYS_MAX)",
            )
        return Reply(await self.recompute.run(asked.symbol, asked.from_ms, asked.to_ms))

"""Bodies of S5."""

from typing import Self

from pydantic import model_validator

from chimera.contracts.base import Contract, EpochMs, Estimate, JsonObject
from chimera.contracts.enums import ReconcileScope, ReconcileStatus
from chimera.contracts.http.common import Asked


class ReconcileRequest(Asked):
    """`POST /reconcile`: SYMBOL needs `symbol`, the other scopes ignore it."""

    scope: ReconcileScope
    symbol: str | None = None

    @model_validator(mode="after")
    def _symbol_with_its_scope(self) -> Self:
        if self.scope is ReconcileScope.SYMBOL and not self.symbol:
            raise ValueError("scope SYMBOL needs a symbol")
        return self


class ReconcileAnswer(Contract):
    """What was found and mended."""

    req_id: str
    status: ReconcileStatus
    actions: tuple[JsonObject, ...] = ()
    ts: EpochMs


class ReconcileStatusAnswer(Contract):
    """`GET /status` of S5. Rates are shares of agreement, 1.0 is none amiss."""

    reconciled: bool
    last_run_ts: EpochMs | None = None
    status: ReconcileStatus | None = None
    orders_jaccard: Estimate | None = None
    agreement_ratio: Estimate | None = None
    detail: str | None = None

"""Bodies of S4's breaker."""

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, Estimate
from chimera.contracts.enums import BreakerState
from chimera.contracts.http.common import Asked


class BreakerRequest(Asked):
    """`POST /breaker/open` and `POST /breaker/close`: why, for whoever reads the audit."""

    reason: str = Field(min_length=1, max_length=500)


class BreakerAnswer(Contract):
    """How the breaker stands. `error_rate`: failed calls / calls of the window. `until`: when it tries again by itself;
    absent where a person opened it, or where it is not open."""

    state: BreakerState
    by: str | None = None
    reason: str | None = None
    opened_at: EpochMs | None = None
    until: EpochMs | None = None
    error_rate: Estimate
    calls: int

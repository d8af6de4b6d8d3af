"""Bodies of S2."""

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs


class RecomputeQuery(Contract):
    """Query of `POST /features/recompute`: epoch ms, `to` exclusive."""

    symbol: str = Field(min_length=1)
    from_ms: EpochMs = Field(validation_alias="from", serialization_alias="from")
    to_ms: EpochMs = Field(validation_alias="to", serialization_alias="to")


class RecomputeAnswer(Contract):
    """How many signals were computed anew, and how many came out otherwise than they stood."""

    symbol: str
    signals: int
    changed: int

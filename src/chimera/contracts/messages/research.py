"""Labels, autopsies and simulations: who asks for a computation and how it ended."""

from typing import Literal

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, Estimate, JsonObject, Message
from chimera.contracts.enums import JobStatus

HorizonH = Literal[12, 24, 36]
"""Hours after t0 at which a signal is labelled."""


class LabelCmd(Message):
    """S12 → S7 on `label:cmd`. Schema: LabelCmd.json. Label what is due, from `since_ms` on where it is given."""

    horizon_h: HorizonH
    since_ms: EpochMs | None = None


class LabelResult(Message):
    """S7 → S12 on `label:result`. Schema: LabelResult.json. Counts of signals."""

    horizon_h: HorizonH
    processed: int = Field(ge=0)
    errors: int = Field(ge=0)


class LabelReady(Message):
    """S7 → S8 on `label:ready`. No schema in the spec: CONTRACTS 1.3. One label was written."""

    signal_id: str
    horizon_h: HorizonH
    trade_id: str | None = None


class AutopsyCmd(Message):
    """S12 → S8 on `autopsy:cmd`. Schema: AutopsyCmd.json."""

    trade_id: str


class AutopsyResult(Message):
    """S8 → S12 on `autopsy:result`. Schema: AutopsyResult.json."""

    trade_id: str
    report_id: str | None = None
    status: JobStatus


class SimWindow(Contract):
    """Days or instants as ISO 8601 text, UTC; `to` is exclusive."""

    from_time: str = Field(validation_alias="from", serialization_alias="from")
    to_time: str = Field(validation_alias="to", serialization_alias="to")


class Sensitivity(Contract):
    """Move each of the `topk` numbers by +- `epsilon` (a fraction), with at most `n_eval` evaluations."""

    enabled: bool | None = None
    topk: int | None = None
    epsilon: Estimate | None = None
    n_eval: int | None = None


class SimCmd(Message):
    """S12 → S10 on `sim:cmd`. Schema: SimCmd.json. Compare a bundle with `ref_rev` (a revision, or "active")."""

    sim_id: str
    bundle_id: str
    ref_rev: int | str | None = None
    window: SimWindow
    symbols: tuple[str, ...] | None = None
    horizons: tuple[str, ...] | None = None
    sensitivity: Sensitivity | None = None


class SimResult(Message):
    """S10 → S12 on `sim:result`. Schema: SimResult.json."""

    sim_id: str
    status: JobStatus
    summary: JsonObject | None = None
    approx_effect: JsonObject | None = None
    sensitivity_analysis: JsonObject | None = None
    bounds_guard: JsonObject | None = None

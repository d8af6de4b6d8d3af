"""Bodies of S7, S8 and S9."""

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, JsonObject
from chimera.contracts.documents.research import Experiment, Hypothesis
from chimera.contracts.enums import JobStatus
from chimera.contracts.http.common import Asked
from chimera.contracts.messages.research import HorizonH


class BackfillQuery(Contract):
    """Query of `POST /labels/backfill`: hours after t0, 12, 24 or 36."""

    h: HorizonH
    since_ms: EpochMs | None = None


class BackfillAnswer(Contract):
    """Counts of signals."""

    horizon_h: HorizonH
    processed: int = Field(ge=0)
    errors: int = Field(ge=0)


class AutopsyAnswer(Contract):
    """`POST /autopsy/{trade_id}`."""

    trade_id: str
    report_id: str | None = None
    status: JobStatus


class HypothesisRequest(Asked):
    """`POST /hypotheses`: something we believe and want tested."""

    description: str = Field(min_length=1)
    related_trades: tuple[str, ...] = ()
    validation_metrics: tuple[str, ...] = ()


class HypothesisAnswer(Contract):
    hypothesis: Hypothesis


class ExperimentRequest(Asked):
    """`POST /experiments/run`: `design` says window, split, grid and what counts as success."""

    hypothesis_id: str
    design: JsonObject


class ExperimentAnswer(Contract):
    """`experiment` is there once it has ended."""

    exp_id: str
    running: bool
    experiment: Experiment | None = None

"""L2: how sure the model must be for which size.

Owns the bands, and the words for a model that did not answer. What the model is, and that it answers in time, is the
caller's. Source: SERVICES S3 L2.
"""

from dataclasses import dataclass
from math import nan

from chimera.domain.decision.calibration import Calibration

CONSTANT = "constant"
"""`model.name` of the model that needs no file: it says `model.constant_p`, always."""

CONSTANT_P = 0.65
"""What it says in the default bundle."""

NO_MODEL = "NO_MODEL"
"""The bundle's model is not open: it is being opened, or cannot be."""
MODEL_TIMEOUT = "MODEL_TIMEOUT"
"""It did not answer within `model.timeout_ms`."""
MODEL_INVALID = "MODEL_INVALID"
"""It answered something that is no probability, or failed."""
NOT_ASKED = "NOT_ASKED"
"""The decision is still being looked at without it; a model is asked only where everything else would open."""


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """`size_mult` for this p; `skip` when p is too low, or is no probability at all. `note` says what was done."""

    size_mult: float
    skip: bool
    note: str


@dataclass(frozen=True, slots=True)
class Band:
    """From `from_p` on, itself left out where `excluded`, up to the next higher band."""

    from_p: float
    excluded: bool
    outcome: ModelOutcome


@dataclass(frozen=True, slots=True)
class Score:
    """What the model said. `p` None: nothing, and `note` why. NaN: something that is no probability."""

    p: float | None
    note: str = ""


BROKEN = Score(nan)
"""It answered, and that is no probability."""

INVALID = ModelOutcome(0.0, True, MODEL_INVALID)
BANDS = (
    Band(0.85, True, ModelOutcome(1.2, False, "P_HIGH")),
    Band(0.6, False, ModelOutcome(1.0, False, "P_NORMAL")),
    Band(0.4, False, ModelOutcome(0.5, False, "P_LOW")),
    Band(0.0, False, ModelOutcome(0.0, True, "P_TOO_LOW")),
)
"""From the highest down: (0.85, 1], [0.6, 0.85], [0.4, 0.6), [0, 0.4)."""


def judge(p: float | None, note: str = "") -> ModelOutcome:
    """The outcome of the band that holds `p`. None (no model, or too late): 1.0, said by `note`.

    A p that is NaN or outside [0, 1] is a broken model and not a missing one: skip.
    """
    if p is None:
        return ModelOutcome(1.0, False, note or NO_MODEL)
    if not 0.0 <= p <= 1.0:
        return INVALID
    for band in BANDS:
        if p > band.from_p or (p == band.from_p and not band.excluded):
            return band.outcome
    raise AssertionError("the last band begins at 0")


def score_of(output: float, calibration: Calibration) -> Score:
    """A model's own output as a score. One that is no probability is not calibrated: that would make it look like
    one."""
    return Score(calibration.calibrated(output)) if 0.0 <= output <= 1.0 else BROKEN

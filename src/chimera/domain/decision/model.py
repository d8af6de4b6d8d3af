"""L2: how sure the model must be for which size.

Owns the bands. What the model is, and that it answers in time, is the caller's. Source: SERVICES S3 L2.
"""

from dataclasses import dataclass

CONSTANT_P = 0.65
"""The model of the default bundle says this, always."""


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """`size_mult` for this p; `skip` when p is too low, or is no probability at all. `note` says what was done."""

    size_mult: float
    skip: bool
    note: str


NO_MODEL = "NO_MODEL"
_INVALID = ModelOutcome(0.0, True, "MODEL_INVALID")
_SURE = ModelOutcome(1.2, False, "P_HIGH")
_FAIR = ModelOutcome(1.0, False, "P_NORMAL")
_DOUBTFUL = ModelOutcome(0.5, False, "P_LOW")
_REFUSED = ModelOutcome(0.0, True, "P_TOO_LOW")


def judge(p: float | None, note: str = "") -> ModelOutcome:
    """p > 0.85: 1.2; [0.6, 0.85]: 1.0; [0.4, 0.6): 0.5; below: skip. None (no model, or too late): 1.0, said by `note`.

    A p that is NaN or outside [0, 1] is a broken model and not a missing one: skip.
    """
    if p is None:
        return ModelOutcome(1.0, False, note or NO_MODEL)
    if not 0.0 <= p <= 1.0:
        return _INVALID
    if p > 0.85:
        return _SURE
    if p >= 0.6:
        return _FAIR
    if p >= 0.4:
        return _DOUBTFUL
    return _REFUSED

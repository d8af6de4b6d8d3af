"""From what a model says to a probability that can be believed.

Owns the two calibrations that a model's document may carry, how they are read and what they make of a score. A score
is the model's own output, a probability already, in [0, 1]; what comes out is one as well, and never falls where the
score rises. Whether the score is any good is the caller's to ask first: a calibration would hide that it is none.

    platt      1 / (1 + exp(a*score + b)), a <= 0. Source: Platt (1999), the sign as scikit-learn writes it
    isotonic   straight lines between points (x, y), level outside of them
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, isfinite
from typing import Any, Protocol

POINTS_MAX = 10_000
PLATT_ABS_MAX = 1_000.0
"""A steeper curve is a step: a probability of 0 or 1 that nobody has measured."""


class Calibration(Protocol):
    def calibrated(self, score: float) -> float: ...


@dataclass(frozen=True, slots=True)
class AsItIs:
    """The model was calibrated before it was exported."""

    def calibrated(self, score: float) -> float:
        return score


@dataclass(frozen=True, slots=True)
class Platt:
    a: float
    b: float

    def calibrated(self, score: float) -> float:
        at = self.a * score + self.b
        # Two spellings of one curve: exp of a large positive number would overflow.
        return 1.0 / (1.0 + exp(at)) if at < 0.0 else exp(-at) / (1.0 + exp(-at))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """`x` rises, `y` does not fall; as many of one as of the other."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def calibrated(self, score: float) -> float:
        x, y = self.x, self.y
        right = bisect_right(x, score)
        if right == 0:
            return y[0]
        if right == len(x):
            return y[-1]
        left = right - 1
        share = (score - x[left]) / (x[right] - x[left])
        # Rounding must not carry it past the next point.
        return min(y[left] + share * (y[right] - y[left]), y[right])


def parse_calibration(raw: Mapping[str, Any] | None) -> Calibration:
    """Read `models.calibration`: none, {"method": "platt", "a", "b"} or {"method": "isotonic", "x": [], "y": []}.

    Raises:
        ValueError: naming the field, its value and the remedy.
    """
    if raw is None:
        return AsItIs()
    method = raw.get("method")
    match method:
        case "platt":
            _only(raw, ("method", "a", "b"))
            a, b = _number(raw, "a"), _number(raw, "b")
            if a > 0.0:
                raise _refused("a", a, "0 or below, or a better score would be a worse chance")
            if max(abs(a), abs(b)) > PLATT_ABS_MAX:
                raise _refused("a, b", (a, b), f"at most {PLATT_ABS_MAX:g} either way")
            return Platt(a, b)
        case "isotonic":
            _only(raw, ("method", "x", "y"))
            x, y = _numbers(raw, "x"), _numbers(raw, "y")
            if len(x) != len(y):
                raise _refused("x, y", (len(x), len(y)), "as many of one as of the other")
            if any(right <= left for left, right in pairwise(x)):
                raise _refused("x", _short(x), "each greater than the one before")
            if any(right < left for left, right in pairwise(y)):
                raise _refused("y", _short(y), "none smaller than the one before")
            if not (y[0] >= 0.0 and y[-1] <= 1.0):
                raise _refused("y", _short(y), "probabilities from 0 to 1")
            return Isotonic(x, y)
    raise _refused("method", method, "platt or isotonic; leave calibration out where the model needs none")


def _only(raw: Mapping[str, Any], known: Sequence[str]) -> None:
    for name, value in raw.items():
        if name not in known:
            raise _refused(name, value, f"leave it out; known here: {', '.join(known)}")


def _number(raw: Mapping[str, Any], name: str) -> float:
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _refused(name, value, "a finite number")
    return float(value)


def _numbers(raw: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = raw.get(name)
    if not isinstance(values, list | tuple) or not 1 <= len(values) <= POINTS_MAX:
        raise _refused(name, values, f"a list of 1 to {POINTS_MAX} numbers")
    return tuple(_number({f"{name}[{i}]": value}, f"{name}[{i}]") for i, value in enumerate(values))


def _short(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:5])
    return f"[{shown}{', …' if len(values) > 5 else ''}]"


def _refused(name: str, value: Any, remedy: str) -> ValueError:
    return ValueError(f"calibration.{name} is {value!r:.100}: give {remedy}")

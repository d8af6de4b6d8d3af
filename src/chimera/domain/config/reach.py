"""What a condition can do at all, whatever the market does.

Owns reasoning about conditions without values. A leaf changes its answer only at the numbers and texts that stand in
it, so a factor has finitely many kinds of value: each number that is named, one between each two, one beyond the ends
of its range, and, where it may be a text, each text that is named and one that is not. Over the product of these the
answer is exact, for one factor as for several; where the product is too large, parts are judged by themselves, and
what then cannot be ruled out counts as possible. What is called impossible never happens, in either case.

    never, always   of one condition
    Space           several conditions over the same kinds of value, for whoever compares them
    Effort          how much of all this may still be done
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import nextafter
from sys import float_info

import numpy as np

from chimera.domain.decision.condition import Bools, Condition, Join, Leaf, Not, Scalar, leaves

Range = tuple[float, float]

CELLS_MAX = 200_000
"""Of a product of kinds: a millisecond of work. Six factors with three numbers each fit."""
AXES_MAX = 24
"""Numpy knows a few more."""

_OVERHEAD = 20
"""Steps that any question takes, however small."""
_CELLS_A_STEP = 500
"""Cells of a product that numpy joins while one leaf is asked of one value."""

_UNNAMED = "\0"
"""A text that stands in no rule."""


class TooMuch(Exception):
    """A question takes more steps than are left. Nothing was taken off."""


@dataclass(slots=True)
class Effort:
    """Steps that are left: one is a leaf that is asked of one value, less than a microsecond."""

    left: int

    def spend(self, steps: int) -> None:
        """
        Raises:
            TooMuch: there are not so many left.
        """
        if steps > self.left:
            raise TooMuch
        self.left -= steps


@dataclass(frozen=True, slots=True)
class Space:
    """Every combination of kinds of value of some factors, an axis a factor."""

    kinds: Mapping[str, tuple[Scalar, ...]]

    def where(self, condition: Condition) -> Bools:
        """Where it holds; every factor that it reads must have an axis."""
        return np.broadcast_to(self._where(condition), tuple(len(kinds) for kinds in self.kinds.values()))

    def _where(self, condition: Condition) -> Bools:
        match condition:
            case Leaf():
                held = np.array([condition.holds(kind) for kind in self.kinds[condition.factor]], dtype=np.bool_)
                return held.reshape([-1 if factor == condition.factor else 1 for factor in self.kinds])
            case Not():
                return ~self._where(condition.part)
            case Join():
                held = self._where(condition.parts[0])
                for part in condition.parts[1:]:
                    held = held & self._where(part) if condition.kind == "allOf" else held | self._where(part)
                return held


def space_of(
    conditions: Iterable[Condition], ranges: Mapping[str, Range], effort: Effort | None = None
) -> Space | None:
    """The kinds of value that `conditions` tell apart; None where there are too many combinations.

    Args:
        ranges: of each factor that is always a number, the least and the greatest it may be; of another nothing is
            known but that it is a finite number or a text.
        effort: what making it, and asking each of `conditions` once where it holds, takes is taken off; None: no bound.

    Raises:
        TooMuch: more than is left.
    """
    asked: dict[str, int] = {}
    named: dict[str, list[Scalar]] = {}
    for condition in conditions:
        for leaf in leaves(condition):
            values = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
            named.setdefault(leaf.factor, []).extend(values)
            asked[leaf.factor] = asked.get(leaf.factor, 0) + len(values)
    if effort is not None:
        effort.spend(_OVERHEAD + 2 * sum(asked.values()))
    kinds = {factor: _kinds(values, ranges.get(factor)) for factor, values in named.items()}
    cells = 1
    for each in kinds.values():
        cells *= len(each)
    if effort is not None and cells <= CELLS_MAX:
        of_leaves = sum(count * len(kinds[factor]) for factor, count in asked.items())
        effort.spend(of_leaves + sum(asked.values()) * (cells // _CELLS_A_STEP))
    return Space(kinds) if cells <= CELLS_MAX and len(kinds) <= AXES_MAX else None


def never(condition: Condition, ranges: Mapping[str, Range], effort: Effort | None = None) -> bool:
    """Whether it can be said that it never holds."""
    return not _possible(condition, ranges, effort)[0]


def always(condition: Condition, ranges: Mapping[str, Range], effort: Effort | None = None) -> bool:
    """Whether it can be said that it always holds."""
    return not _possible(condition, ranges, effort)[1]


def _possible(condition: Condition, ranges: Mapping[str, Range], effort: Effort | None) -> tuple[bool, bool]:
    """Whether it may hold, and whether it may fail."""
    space = space_of((condition,), ranges, effort)
    if space is not None:
        held = space.where(condition)
        return bool(held.any()), not bool(held.all())
    match condition:
        case Not():
            holds, fails = _possible(condition.part, ranges, effort)
            return fails, holds
        case Join():
            each = [_possible(part, ranges, effort) for part in condition.parts]
            if condition.kind == "allOf":
                return all(holds for holds, _ in each), any(fails for _, fails in each)
            return any(holds for holds, _ in each), all(fails for _, fails in each)
    # One leaf with more numbers than anybody writes.
    return True, True


def _kinds(named: Sequence[Scalar], bounds: Range | None) -> tuple[Scalar, ...]:
    low, high = (-float_info.max, float_info.max) if bounds is None else bounds
    numbers = sorted({low, high, *(value for value in named if not isinstance(value, str) and low <= value <= high)})
    kinds: list[Scalar] = list(numbers)
    for before, after in pairwise(numbers):
        between = before / 2 + after / 2
        if not before < between < after:
            between = nextafter(before, after)
        if before < between < after:
            kinds.append(between)
    if bounds is None:
        kinds += sorted({_UNNAMED, *(value for value in named if isinstance(value, str))})
    return tuple(kinds)

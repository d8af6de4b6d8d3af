"""Factors made of another factor: `pctile(f,win)`, `zscore(f,win)`, `abs(f)`.

Owns what such a definition says and the order in which several of them are computed. `f` is the id of a factor or
again such an expression; `win` is a number of minutes, hours or days: `90m`, `24h`, `30d`. Who computes:
`derived_nodes` event by event, `table` over columns; what a window does with its samples stands in `windows`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.registry import BUILT_IN, PLAIN
from chimera.domain.features.windows import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SAMPLE_ABS_MAX,
    WINDOW_MS_MAX,
    WINDOW_MS_MIN,
    WindowKind,
    grid_ms,
)

DEPTH_MAX = 6
"""How many calls may stand upon each other."""
WINDOWS_MAX = 3
"""How many of them may be windows: each needs its own length of history before the next can begin."""

_CALL = re.compile(r"\s*([a-z]+)\s*\((.*)\)\s*", re.DOTALL)
_NAME = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*")
_LENGTH = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
FORMS = "pctile(f,win), zscore(f,win) or abs(f)"


class DefinitionError(ValueError):
    """A definition that cannot be computed. Names the factor, the field, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class Absolute:
    """`abs(of)`."""

    of: "Expression"

    def __str__(self) -> str:
        return f"abs({self.of})"


@dataclass(frozen=True, slots=True)
class Placed:
    """`pctile(of,win)` or `zscore(of,win)`."""

    kind: WindowKind
    of: "Expression"
    window_ms: int

    def __str__(self) -> str:
        return f"{self.kind}({self.of},{_spelled(self.window_ms)})"


Expression = str | Absolute | Placed
"""A factor's id, or a call."""


class Source(Enum):
    """What a factor moves with, in the end. Source: `FactorSpec.freq` of the plain factor below it."""

    TICK = "tick"
    MINUTE = "1m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def is_kline(self) -> bool:
        return self in (Source.MINUTE, Source.HOUR)


@dataclass(frozen=True, slots=True)
class Step:
    """One call. `of` is the name of a plain factor or of an earlier step; `window_ms` is 0 for `abs`.

    `name` is the factor's id, or the expression itself where it is only a part of another one. `lookback_ms` is how
    much history of its plain factor is needed by it and by whatever is made of it. `is_quick`: it moves with the plain
    factor at every moment, since no window lies between.
    """

    name: str
    of: str
    kind: WindowKind | None
    window_ms: int
    spec: FactorSpec | None
    plain: str
    source: Source
    is_quick: bool
    lookback_ms: int

    @property
    def grid_ms(self) -> int:
        return grid_ms(self.window_ms)

    @property
    def size(self) -> int:
        return self.window_ms // self.grid_ms


def is_derived(definition: str) -> bool:
    """Whether a definition has the shape of these; it may still be a wrong one."""
    call = _CALL.fullmatch(definition)
    return call is not None and call[1] in (*(kind.value for kind in WindowKind), "abs")


def parse(definition: str, *, factor_id: str = "") -> Expression:
    """What a definition says, its names not yet looked up.

    Raises:
        DefinitionError: it is none of the three forms, too deep, or its window is no possible length.
    """
    expression = _parse(definition, factor_id, DEPTH_MAX)
    if isinstance(expression, str):
        raise _wrong(factor_id, definition, f"is a name, not a call; write {FORMS}")
    return expression


def plan(derived: Sequence[FactorSpec]) -> tuple[Step, ...]:
    """The built-in derived factors and `derived`, each after what it is made of, each call once.

    Raises:
        DefinitionError: a definition that is wrong, names a factor that does not exist, or leads back to itself.
    """
    return _plan(tuple(derived))


@lru_cache(maxsize=64)
def _plan(derived: tuple[FactorSpec, ...]) -> tuple[Step, ...]:
    specs: dict[str, FactorSpec] = {}
    for spec in (*BUILT_IN, *derived):
        if spec.factor_id in specs or spec.factor_id in _PLAIN:
            raise _wrong(spec.factor_id, spec.definition, "defines a factor that exists already; give it another id")
        specs[spec.factor_id] = spec
        if not -SAMPLE_ABS_MAX <= spec.range[0] <= spec.range[1] <= SAMPLE_ABS_MAX:
            raise DefinitionError(
                f"factor {spec.factor_id}: range {spec.range} must ascend and lie within ±{SAMPLE_ABS_MAX:g}"
            )
    expressions = {name: parse(spec.definition, factor_id=name) for name, spec in specs.items()}
    steps: dict[str, Step] = {}
    for name in specs:
        _resolve(name, specs, expressions, steps, ())
    return _with_lookback(list(steps.values()))


_PLAIN: Mapping[str, FactorSpec] = {spec.factor_id: spec for spec in PLAIN}


def _resolve(
    name: str,
    specs: Mapping[str, FactorSpec],
    expressions: Mapping[str, Expression],
    steps: dict[str, Step],
    on_the_way: tuple[str, ...],
) -> None:
    """Adds the step of the factor `name`, and whatever it needs before it."""
    if name in steps:
        return
    if name in on_the_way:
        way = " -> ".join((*on_the_way[on_the_way.index(name) :], name))
        raise _wrong(
            name, specs[name].definition, f"leads back to itself ({way}); define one of them without the other"
        )

    def name_of(expression: Expression, spec: FactorSpec | None) -> str:
        if isinstance(expression, str):
            if expression in _PLAIN:
                return expression
            if expression not in expressions:
                known = ", ".join((*_PLAIN, *expressions))
                raise _wrong(name, specs[name].definition, f"names {expression!r}, which is none of {known}")
            _resolve(expression, specs, expressions, steps, (*on_the_way, name))
            return expression
        of = name_of(expression.of, None)
        own = spec.factor_id if spec is not None else str(expression)
        if own not in steps:
            below = steps.get(of)
            source = below.source if below is not None else Source(_PLAIN[of].freq)
            plain = below.plain if below is not None else of
            kind, window_ms = (expression.kind, expression.window_ms) if isinstance(expression, Placed) else (None, 0)
            is_quick = kind is None and source is Source.TICK and (below is None or below.is_quick)
            step = Step(own, of, kind, window_ms, spec, plain, source, is_quick, window_ms)
            _check_depth(step, steps, name, specs[name].definition)
            steps[own] = step
        return own

    name_of(expressions[name], specs[name])


def _check_depth(step: Step, steps: Mapping[str, Step], name: str, definition: str) -> None:
    chain = [step]
    while (below := steps.get(chain[-1].of)) is not None:
        chain.append(below)
    windows = sum(link.kind is not None for link in chain)
    if len(chain) > DEPTH_MAX or windows > WINDOWS_MAX:
        raise _wrong(
            name,
            definition,
            f"is {len(chain)} calls deep, {windows} of them windows; at most {DEPTH_MAX}, {WINDOWS_MAX} of them such",
        )


def _with_lookback(steps: list[Step]) -> tuple[Step, ...]:
    needed: dict[str, int] = {}
    result: list[Step] = []
    for step in reversed(steps):
        own = step.window_ms + needed.get(step.name, 0)
        needed[step.of] = max(needed.get(step.of, 0), own)
        result.append(
            Step(step.name, step.of, step.kind, step.window_ms, step.spec, step.plain, step.source, step.is_quick, own)
        )
    return tuple(reversed(result))


def _parse(text: str, factor_id: str, depth_left: int) -> Expression:
    name = _NAME.fullmatch(text)
    if name is not None:
        return name[1]
    call = _CALL.fullmatch(text)
    if call is None:
        raise _wrong(factor_id, text, f"is no name and no call; write {FORMS}")
    if depth_left == 0:
        raise _wrong(
            factor_id, text, f"is more than {DEPTH_MAX} calls deep; name the inner part as a factor of its own"
        )
    function, inside = call[1], call[2]
    if function == "abs":
        return Absolute(_parse(inside, factor_id, depth_left - 1))
    if function not in (kind.value for kind in WindowKind):
        raise _wrong(factor_id, text, f"calls {function!r}, which does not exist; write {FORMS}")
    of, comma, length = inside.rpartition(",")
    if not comma:
        raise _wrong(factor_id, text, f"has no window; write {function}({inside.strip() or 'f'},24h)")
    return Placed(WindowKind(function), _parse(of, factor_id, depth_left - 1), _window_ms(length.strip(), factor_id))


def _window_ms(text: str, factor_id: str) -> int:
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise _wrong(factor_id, text, "is no window; write a number of minutes, hours or days, as 90m, 24h or 30d")
    window_ms = int(found[1]) * _UNITS_MS[found[2]]
    if not WINDOW_MS_MIN <= window_ms <= WINDOW_MS_MAX:
        raise _wrong(
            factor_id, text, f"is outside {_spelled(WINDOW_MS_MIN)} to {_spelled(WINDOW_MS_MAX)}; choose one within"
        )
    if window_ms % grid_ms(window_ms) != 0:
        raise _wrong(factor_id, text, "is longer than 24h and no whole number of hours; write whole hours or days")
    return window_ms


def _spelled(window_ms: int) -> str:
    unit = next(unit for unit in ("d", "h", "m") if window_ms % _UNITS_MS[unit] == 0)
    return f"{window_ms // _UNITS_MS[unit]}{unit}"


def _wrong(factor_id: str, value: str, what: str) -> DefinitionError:
    return DefinitionError(f"factor {factor_id or '?'}: definition {value!r} {what}")

"""What goes wrong in one run, and when: faults of the exchange, and faults of everything else.

Owns the words for what can befall processes and what they talk to, how a plan is drawn from a seed, and its JSON. The
exchange's own words are `domain.matching.faults`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from chimera.app.registry import SERVICES
from chimera.domain.matching.faults import DRAWN_IN_PROCESS, HOUR_MS, SPECS, Fault, FaultKind, FaultPlan
from chimera.simulation.attack.chance import Chance
from chimera.simulation.attack.process import Side


class Befalls(StrEnum):
    """What befalls the house itself. `SHAPES` says what each needs to be told."""

    KILLED = "KILLED"
    """A service, at one of its next calls."""
    MACHINE_KILLED = "MACHINE_KILLED"
    """Every service in one instant."""
    POWER_CUT = "POWER_CUT"
    """The same, and what was not synced is not on file."""
    HUNG = "HUNG"
    """A service stands still, and goes on."""
    ZOMBIE = "ZOMBIE"
    """A service stands still, another takes its place, and then the first goes on."""
    CUT_OFF = "CUT_OFF"
    """A service does not reach one of its sides."""
    SLOW = "SLOW"
    """One of its sides takes long to answer a service."""
    BUS_DOWN = "BUS_DOWN"
    STATE_DOWN = "STATE_DOWN"
    DOCUMENTS_DOWN = "DOCUMENTS_DOWN"
    PARTED = "PARTED"
    """No service reaches another."""
    BUS_WIPED = "BUS_WIPED"
    STATE_WIPED = "STATE_WIPED"
    BUS_FAILED_OVER = "BUS_FAILED_OVER"
    """What was acknowledged last is lost, and groups stand where they stood."""
    BUS_TRIMMED = "BUS_TRIMMED"
    """What nobody had read yet is gone."""
    POISONED = "POISONED"
    """An entry that nobody understands stands on a stream."""
    MACHINE_SLEPT = "MACHINE_SLEPT"
    """Every service stands still, and goes on as if no time had passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which details a kind has: how long it lasts (0, 0: an instant), whose it is, and `amount` from to, what it
    means."""

    lasts_ms: tuple[int, int] = (0, 0)
    amount: tuple[int, int] = (0, 0)
    amount_is: str = ""
    of_service: bool = False
    spares: frozenset[str] = frozenset()
    """Services that chance does not choose."""
    of_side: bool = False


ALONE = frozenset({"s4", "s5", "s6"})
"""Of these one process must run at a time, and nothing ensures that yet."""

SHAPES: Mapping[Befalls, Shape] = MappingProxyType(
    {
        Befalls.KILLED: Shape(lasts_ms=(100, 20_000), of_service=True, amount=(1, 60), amount_is="calls until it dies"),
        Befalls.MACHINE_KILLED: Shape(lasts_ms=(1_000, 60_000)),
        Befalls.POWER_CUT: Shape(lasts_ms=(1_000, 60_000)),
        Befalls.HUNG: Shape(lasts_ms=(100, 30_000), of_service=True),
        Befalls.ZOMBIE: Shape(lasts_ms=(2_000, 30_000), of_service=True, spares=ALONE),
        Befalls.CUT_OFF: Shape(lasts_ms=(100, 30_000), of_service=True, of_side=True),
        Befalls.SLOW: Shape(
            lasts_ms=(1_000, 60_000), of_service=True, of_side=True, amount=(1, 300), amount_is="ms each call takes"
        ),
        Befalls.BUS_DOWN: Shape(lasts_ms=(100, 20_000)),
        Befalls.STATE_DOWN: Shape(lasts_ms=(100, 20_000)),
        Befalls.DOCUMENTS_DOWN: Shape(lasts_ms=(100, 20_000)),
        Befalls.PARTED: Shape(lasts_ms=(100, 30_000)),
        Befalls.BUS_WIPED: Shape(),
        Befalls.STATE_WIPED: Shape(),
        Befalls.BUS_FAILED_OVER: Shape(amount=(0, 5), amount_is="entries of each stream that are lost"),
        Befalls.BUS_TRIMMED: Shape(amount=(0, 3), amount_is="entries of each stream that are left"),
        Befalls.POISONED: Shape(amount=(0, 60), amount_is="is the stream"),
        Befalls.MACHINE_SLEPT: Shape(lasts_ms=(500, 1_800_000)),
    }
)

DOWN_SIDES: Mapping[Befalls, Side] = MappingProxyType(
    {
        Befalls.BUS_DOWN: Side.BUS,
        Befalls.STATE_DOWN: Side.STATE,
        Befalls.DOCUMENTS_DOWN: Side.DOCUMENTS,
        Befalls.PARTED: Side.PEERS,
    }
)
"""The kinds that cut every service off from one side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One thing that befalls the house at a moment of market time."""

    kind: Befalls
    at_ms: int
    lasts_ms: int = 0
    service: str = ""
    side: Side | None = None
    amount: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "at_ms": self.at_ms,
            "lasts_ms": self.lasts_ms,
            "service": self.service,
            "side": None if self.side is None else self.side.value,
            "amount": self.amount,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Blow":
        return cls(
            kind=Befalls(row["kind"]),
            at_ms=row["at_ms"],
            lasts_ms=row.get("lasts_ms", 0),
            service=row.get("service", ""),
            side=None if row.get("side") is None else Side(row["side"]),
            amount=row.get("amount", 0),
        )

    def __str__(self) -> str:
        shape = SHAPES[self.kind]
        words = [self.kind.value, self.service, self.side.value if self.side else ""]
        if shape.amount_is:
            words.append(f"{self.amount} {shape.amount_is}")
        if self.lasts_ms:
            words.append(f"for {self.lasts_ms} ms")
        return " ".join(word for word in words if word)


Trouble = Fault | Blow
"""One fault of a plan."""

Kind = FaultKind | Befalls
KINDS: tuple[Kind, ...] = (*DRAWN_IN_PROCESS, *Befalls)


def kind_of(name: str) -> Kind:
    """
    Raises:
        ValueError: no fault has this name.
    """
    for kind in KINDS:
        if kind.value == name.upper():
            return kind
    raise ValueError(f"kind: {name!r} is no fault; there are {', '.join(kind.value for kind in KINDS)}")


@dataclass(frozen=True, slots=True)
class Plan:
    """`troubles` by time; `at_step`: one more, at the step of that number instead of at its time. The same plan on the
    same seed is the same run."""

    troubles: tuple[Trouble, ...] = ()
    at_step: tuple[int, Trouble] | None = None

    @property
    def of_venue(self) -> list[Fault]:
        return [each for each in self.troubles if isinstance(each, Fault)]

    @property
    def of_house(self) -> list[Blow]:
        return [each for each in self.troubles if isinstance(each, Blow)]

    def to_json(self) -> list[dict[str, Any]]:
        rows = [each.to_json() for each in self.troubles]
        return rows if self.at_step is None else [*rows, {"step": self.at_step[0]} | self.at_step[1].to_json()]

    @classmethod
    def from_json(cls, rows: Sequence[Mapping[str, Any]]) -> "Plan":
        """
        Raises:
            ValueError: a row that is no fault; it says which and why.
        """
        if not isinstance(rows, list):
            raise ValueError(f"a plan is a list of faults, not {type(rows).__name__}")
        timed, at_step = [], None
        for number, row in enumerate(rows):
            try:
                if "step" in row:
                    at_step = int(row["step"]), _trouble({name: row[name] for name in row if name != "step"})
                else:
                    timed.append(_trouble(row))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"fault {number} of the plan: {error!s}") from error
        return cls(tuple(timed), at_step)


def _trouble(row: Mapping[str, Any]) -> Trouble:
    return Blow.from_json(row) if row["kind"] in Befalls.__members__ else Fault.from_json(row)


def swarm(chance: Chance, from_ms: int, to_ms: int, kinds: Sequence[Kind] = KINDS) -> Plan:
    """First draw which kinds are on and how often they come, then when: a plan in which everything happens at once
    hides what happens when one thing does. Source: Groce et al., Swarm Testing, ISSTA 2012."""
    on = [kind for kind in kinds if chance.random() < chance_on(kinds)] or [chance.choice(kinds)]
    return drawn(chance, from_ms, to_ms, on, per_hour=10 ** chance.uniform(0.3, 1.5))


def chance_on(kinds: Sequence[Kind]) -> float:
    return 1.0 if len(kinds) == 1 else 0.3


def drawn(chance: Chance, from_ms: int, to_ms: int, on: Sequence[Kind], *, per_hour: float) -> Plan:
    """At random instants, on average `per_hour`, every kind alike."""
    of_venue = [kind for kind in on if isinstance(kind, FaultKind)]
    of_house = [kind for kind in on if isinstance(kind, Befalls)]
    share = len(of_venue) / len(on)
    troubles: list[Trouble] = []
    if of_venue:
        plan = FaultPlan.draw(chance.random, from_ms=from_ms, to_ms=to_ms, per_hour=per_hour * share, kinds=of_venue)
        troubles += [armed.fault for armed in plan.armed]
    if of_house:
        troubles += _blows(chance, from_ms, to_ms, of_house, per_hour * (1 - share))
    return Plan(tuple(sorted(troubles, key=lambda each: each.at_ms)))


def _blows(chance: Chance, from_ms: int, to_ms: int, on: Sequence[Befalls], per_hour: float) -> Iterator[Blow]:
    at_ms = float(from_ms)
    while True:
        at_ms += chance.wait(per_hour) * HOUR_MS
        if at_ms >= to_ms:
            return
        yield blow(chance, chance.choice(on), int(at_ms))


def blow(chance: Chance, kind: Befalls, at_ms: int) -> Blow:
    """One of this kind, its details by chance. Lengths and amounts are small more often than large."""
    shape = SHAPES[kind]
    return Blow(
        kind=kind,
        at_ms=at_ms,
        lasts_ms=_between(chance, shape.lasts_ms),
        service=chance.choice([each for each in SERVICES if each not in shape.spares]) if shape.of_service else "",
        side=chance.choice(tuple(Side)) if shape.of_side else None,
        amount=_between(chance, shape.amount),
    )


def moment(chance: Chance, kind: Kind, at_ms: int) -> Trouble:
    """One of any kind, its details by chance."""
    if isinstance(kind, Befalls):
        return blow(chance, kind, at_ms)
    spec = SPECS[kind]
    params = {name: param.draw(chance.random) for name, param in spec.params.items()}
    return Fault(kind=kind, at_ms=at_ms, duration_ms=spec.lasts.draw(chance.random), params=params)


def _between(chance: Chance, bounds: tuple[int, int]) -> int:
    low, high = bounds
    if low == high:
        return low
    return int((low + 1) * ((high + 1) / (low + 1)) ** chance.random()) - 1

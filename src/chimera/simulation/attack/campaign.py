"""Many runs, each by its seed, and what they came to.

Owns which runs there are for a mode, running them on several processors, and what is done with one that broke: its plan
is made small, and its story is kept.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import Pool
from pathlib import Path

from chimera.simulation.attack.chance import Chance
from chimera.simulation.attack.plan import KINDS, Kind, Plan, drawn, moment, swarm
from chimera.simulation.attack.run import BEGIN_MS, DAY_MS, HOUR_MS, Outcome, run_seed
from chimera.simulation.attack.shrink import shrunk
from chimera.simulation.quiet import quiet

MODES = ("swarm", "sweep", "single", "none")

SINGLE_PER_HOUR = 12.0

SHRINKS_MAX = 60
"""Runs that are spent on making a plan small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one process is given. `label` says which run of its seed this is, where there are several."""

    seed: int
    days: float
    plan: Plan
    label: str = ""


def plan_for(seed: int, days: float, mode: str, kinds: Sequence[Kind] = KINDS) -> Plan:
    """The plan of a seed; the mode is part of it, as the same seed has another one in another mode.

    Raises:
        ValueError: a mode that needs no plan of this sort.
    """
    chance = Chance(f"{mode} {seed}")
    end_ms = BEGIN_MS + int(days * DAY_MS)
    match mode:
        case "none":
            return Plan()
        case "swarm":
            return swarm(chance, BEGIN_MS, end_ms, kinds)
        case "single":
            return drawn(chance, BEGIN_MS, end_ms, [chance.choice(kinds)], per_hour=SINGLE_PER_HOUR)
        case _:
            raise ValueError(f"mode {mode!r} has no plan by seed alone; choose swarm, single or none")


def runs_of(
    seeds: Sequence[int], days: float, mode: str, kinds: Sequence[Kind] = KINDS, every: int = 1
) -> Iterator[Run]:
    """Sweep: each seed runs once in peace; then, at each `every`-th step of that run, one fault strikes, the kinds
    taking turns."""
    for seed in seeds:
        if mode != "sweep":
            yield Run(seed=seed, days=days, plan=plan_for(seed, days, mode, kinds))
            continue
        chance = Chance(f"sweep {seed}")
        peaceful = carried_out(Run(seed=seed, days=days, plan=Plan()))
        for turn, step in enumerate(range(seed % every, sum(peaceful.steps.values()), every)):
            kind = kinds[(turn + seed) % len(kinds)]
            yield Run(seed=seed, days=days, plan=Plan(at_step=(step, moment(chance, kind, 0))), label=f"step {step}")


@dataclass(slots=True, kw_only=True)
class Broke:
    """A run that broke something: its smallest plan, and the story of that."""

    run: Run
    broken: dict[str, list[str]]
    least: Run
    shrinks: int = 0
    lines: list[str] = field(default_factory=list)

    def first(self) -> str:
        """The first broken invariant, in one sentence."""
        name, sentences = next(iter(self.broken.items()))
        return f"{name}: {sentences[0]}"


def campaign(runs: Iterator[Run] | Sequence[Run], jobs: int) -> Iterator[tuple[Run, Outcome]]:
    """In the order in which they end."""
    if jobs == 1:
        for run in runs:
            yield run, carried_out(run)
        return
    with Pool(jobs, maxtasksperchild=20) as pool:
        yield from pool.imap_unordered(_with_run, runs)


def _with_run(run: Run) -> tuple[Run, Outcome]:
    return run, carried_out(run)


def carried_out(run: Run, *, story: bool = False) -> Outcome:
    with quiet():
        return run_seed(run.seed, run.plan, days=run.days, story=story)


def explained(run: Run, outcome: Outcome, told: Callable[[str], None] = lambda _: None) -> Broke:
    """Make the plan of a run that broke small, and tell its story."""
    names = _invariants(outcome)
    # Nothing after the moment of the finding matters; whole hours, since the rounds are hours.
    hours = -(-(outcome.at_ms - BEGIN_MS) // HOUR_MS)
    short = replace(
        run,
        days=min(run.days, hours * HOUR_MS / DAY_MS),
        plan=replace(run.plan, troubles=tuple(each for each in run.plan.troubles if each.at_ms <= outcome.at_ms)),
    )
    least, tries = short, 0

    def breaks(plan: Plan) -> bool:
        nonlocal tries
        if tries >= SHRINKS_MAX:
            return False
        tries += 1
        still = bool(names & _invariants(carried_out(replace(short, plan=plan))))
        told(f"{len(plan.troubles)} faults: {'broken' if still else 'holds'}")
        return still

    if run.plan.at_step is None:
        least = replace(short, plan=shrunk(short.plan, breaks))
    final = carried_out(least, story=True)
    broke = Broke(run=run, broken=final.broken or outcome.broken, least=least, shrinks=tries)
    if final.story is not None:
        broke.lines = [str(line) for line in final.story.lines]
    return broke


def _invariants(outcome: Outcome) -> set[str]:
    """The names alone: of one fault less it may be found an hour later."""
    return {name.partition(" in round")[0].partition(" after ")[0] for name in outcome.broken}


def keep(broke: Broke, folder: Path) -> tuple[Path, Path]:
    """Write plan and story, for whoever runs it again. Returns where."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"seed-{broke.run.seed}"
    plan, story = folder / f"{name}.json", folder / f"{name}.txt"
    plan.write_text(json.dumps(broke.least.plan.to_json(), indent=1) + "\n")
    story.write_text("\n".join(broke.lines) + "\n")
    return plan, story

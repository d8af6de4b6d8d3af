"""The whole system attacked by seed, what struck where, and the mistakes that were found: docs/proof/simulation.md.

Owns the extent, and the page. The runs are `chimera simulate`'s.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import Pool

from chimera.simulation.attack.campaign import Run, campaign, explained, plan_for
from chimera.simulation.attack.plan import KINDS
from chimera.simulation.attack.points import Point
from tests.prove.planted import DAYS as PLANTED_DAYS
from tests.prove.planted import PLANTED, Caught, search
from tests.prove.planted import SEEDS as PLANTED_SEEDS

SEEDS = range(1, 201)
DAYS = 1.0
MODE = "swarm"


@dataclass(slots=True)
class Attacked:
    """`struck` by kind and the step that was under way. `broken`: one line each, with the smallest plan."""

    runs: int = 0
    intents: int = 0
    fills: int = 0
    struck: Counter[tuple[str, Point]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def never(self) -> list[str]:
        """Kinds that struck nowhere, and steps at which nothing struck."""
        kinds = {kind for kind, _ in self.struck}
        points = {point for _, point in self.struck}
        return [f"{kind.value} never struck" for kind in KINDS if kind.value not in kinds] + [
            f"nothing struck at: {point}" for point in Point if point not in points
        ]


def attacked(processes: int, every: int = 1) -> Attacked:
    began_s = time.perf_counter()
    found = Attacked()
    runs = [Run(seed=seed, days=DAYS, plan=plan_for(seed, DAYS, MODE)) for seed in SEEDS[::every]]
    for run, outcome in campaign(runs, processes):
        found.runs += 1
        found.intents += outcome.intents
        found.fills += outcome.fills
        found.struck.update(outcome.struck)
        if outcome.broken:
            broke = explained(run, outcome)
            found.broken.append(f"seed {run.seed}: {broke.first()}; by {broke.least.plan.to_json()}")
            print(found.broken[-1], flush=True)
    found.took_s = time.perf_counter() - began_s
    return found


def caught(processes: int) -> list[Caught]:
    with Pool(processes, maxtasksperchild=1) as pool:
        return pool.map(search, PLANTED, chunksize=1)


def page(found: Attacked, mistakes: Sequence[Caught], where: str) -> str:
    columns = list(Point)
    rows = [
        f"| {kind.value} | " + " | ".join(str(found.struck[kind.value, point] or ".") for point in columns) + " |"
        for kind in KINDS
    ]
    return "\n".join(
        [
            "# Attacked by seed",
            "",
            f"Written by `make prove` (`python -m tests.prove --part attack`), {where}, in"
            f" {found.took_s / 60:.0f} minutes.",
            "What is simulated, and how to read what broke: [simulation](../simulation.md).",
            "",
            f"Seeds {SEEDS[0]} to {SEEDS[-1]}, {found.runs} runs of {DAYS:g} virtual day each, mode {MODE}:"
            f" {found.intents:,} intents, {found.fills:,} fills, {sum(found.struck.values()):,} faults that struck,"
            f" {len(found.broken)} runs in which something broke.",
            "",
            *(f"- {each}" for each in found.broken),
            "",
            "## Which fault struck while which step was under way",
            "",
            "| fault | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
            *rows,
            "",
            *(f"- {each}" for each in found.never),
            "",
            "## Mistakes that were put in, and the seed that found each",
            "",
            f"Of seeds {PLANTED_SEEDS[0]} to {PLANTED_SEEDS[-1]}, {PLANTED_DAYS * 24:g} hours each, the first that"
            " breaks with the mistake and holds without.",
            "",
            "| mistake | seed | what was said |",
            "|---|---|---|",
            *(f"| {each.name} | {each.seed or '**not found**'} | {each.said} |" for each in mistakes),
            "",
        ]
    )

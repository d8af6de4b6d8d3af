"""`make prove`: every proof in full, and what came of it in docs/proof.

python -m tests.prove                  everything, on every processor
python -m tests.prove --every 10       each tenth kill and cell: what is written says so
python -m tests.prove --part suites    only what are tests of their own
python -m tests.prove --part attack    only the whole system, attacked by seed
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from chimera.simulation.checkers import CHECKS
from chimera.simulation.loop import run_virtual
from chimera.simulation.quiet import quiet
from tests.prove.attacked import attacked, caught, page
from tests.prove.faults import ROWS
from tests.prove.flows import FLOWS
from tests.prove.many import Many, Races, consecutive, p95, races
from tests.prove.matrix import (
    Cell,
    Orderly,
    Point,
    Struck,
    Table,
    all_cells,
    orderly,
    strike,
    table,
    unexplained,
    unreached,
)
from tests.prove.suites import Ran, run_all
from tests.prove.sweep import Kill, all_kills, broken_by, steps_of

PROOF = Path(__file__).parents[2] / "docs" / "proof"
INTENTS_SEEDS = range(1, 4)
RIGHT_RATIO = 0.999
"""Of the intents, that must end as they should (the seeds' acceptance); of the invariants none may break."""

RACES_SEED = 5
INTENTS_COUNT = RACES_COUNT = 1_000


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.prove")
    words.add_argument("--every", type=int, default=1, help="only each so-many-th kill and cell")
    words.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    words.add_argument("--part", choices=("all", "sweeps", "suites", "attack"), default="all")
    asked = words.parse_args()
    PROOF.mkdir(parents=True, exist_ok=True)
    wrong = _swept(asked.every, asked.processes) if asked.part in ("all", "sweeps") else []
    if asked.part == "suites" or (asked.part == "all" and asked.every == 1):
        wrong += _tested(asked.processes)
    if asked.part in ("all", "attack"):
        wrong += _attacked(asked.every, asked.processes)
    print("\n".join(wrong) or "nothing is broken")
    return 1 if wrong else 0


def _tested(processes: int) -> list[str]:
    """Each row is written as soon as it is there: the whole takes long."""
    suites: list[Ran] = []
    for ran in run_all(processes):
        suites.append(ran)
        (PROOF / "suites.md").write_text(_suites_page(suites))
    return [found for ran in suites for found in ran.broken]


def _attacked(every: int, processes: int) -> list[str]:
    found, mistakes = attacked(processes, every), caught(processes)
    (PROOF / "simulation.md").write_text(page(found, mistakes, _where()))
    wrong = [*found.broken, *(f"not found: {each.name}" for each in mistakes if each.seed is None)]
    return wrong + (found.never if every == 1 else [])


def _swept(every: int, processes: int) -> list[str]:
    began_s = time.perf_counter()
    with quiet(), Pool(processes) as pool:
        acceptance = [pool.apply_async(_many, (INTENTS_COUNT // every, seed)) for seed in INTENTS_SEEDS]
        raced = pool.apply_async(_races, (RACES_COUNT // every, RACES_SEED))
        kills, broken, sweep_s = _sweep(pool, every)
        runs, struck, matrix_s = _matrix(pool, every)
        many, race = [each.get() for each in acceptance], raced.get()
    cells = table(runs, struck)
    wrong = [*broken, *(each.wrong for each in struck if each.wrong)]
    wrong += [f"seed {each.seed}: {found}" for each in many if each.right_ratio < RIGHT_RATIO for found in each.wrong]
    wrong += [f"{name}: {found}" for each in (*many, race) for name, found in each.findings.items()]
    wrong += [f"no rule and no run: {each}" for each in unexplained(cells)]
    wrong += [f"never reached: {each}" for each in (unreached(cells) if every == 1 else ())]
    (PROOF / "crash-sweep.md").write_text(_sweep_page(kills, broken))
    (PROOF / "fault-matrix.md").write_text(_matrix_page(cells))
    (PROOF / "README.md").write_text(
        _front(every, kills, broken, sweep_s, struck, matrix_s, many, race, time.perf_counter() - began_s)
    )
    return wrong


def _kill(kill: Kill) -> str | None:
    """A run that ends by an exception has broken something too, and must not end the pool."""
    try:
        with quiet():
            found = broken_by(kill)
    except Exception as broken:
        found = f"{kill}: {broken!r}"
    return _shown(found)


def _strike(cell: Cell) -> Struck:
    try:
        with quiet():
            struck = strike(cell)
    except Exception as broken:
        struck = Struck(cell, wrong=f"{' / '.join(cell)}: {broken!r}")
    _shown(struck.wrong)
    return struck


def _shown(found: str | None) -> str | None:
    """At once: the whole takes long."""
    if found:
        print(found, flush=True)
    return found


def _many(count: int, seed: int) -> Many:
    try:
        with quiet():
            return run_virtual(consecutive(count, seed))
    except Exception as broken:
        return Many(count, seed, wrong=[repr(broken)])


def _races(count: int, seed: int) -> Races:
    with quiet():
        return run_virtual(races(count, seed))


def _sweep(pool: Any, every: int) -> tuple[list[Kill], list[str], float]:
    began_s = time.perf_counter()
    kills = [kill for name in FLOWS for kill in all_kills(name, steps_of(name))][::every]
    broken = [found for found in pool.imap_unordered(_kill, kills, chunksize=8) if found]
    return kills, broken, time.perf_counter() - began_s


def _matrix(pool: Any, every: int) -> tuple[dict[str, Orderly], list[Struck], float]:
    began_s = time.perf_counter()
    runs = {name: orderly(name) for name in FLOWS}
    struck = list(pool.imap_unordered(_strike, all_cells(runs)[::every], chunksize=8))
    return runs, struck, time.perf_counter() - began_s


# --- the pages


def _sweep_page(kills: Sequence[Kill], broken: Sequence[str]) -> str:
    by_flow = Counter(kill.flow for kill in kills)
    twice = Counter(kill.flow for kill in kills if kill.again is not None)
    rows = [f"| {name} | {by_flow[name]} | {twice[name]} |" for name in FLOWS]
    return "\n".join(
        [
            "# Killed at every step",
            "",
            "Written by `make prove`. A step is the moment before or after a document that carries a duty was written,",
            "or a request was carried out by the exchange. After each kill everything in memory is gone, the market",
            "stands still, falls or rises, and the house starts again; some recoveries are killed as well.",
            "",
            "| flow | kills | of these, killed again while recovering |",
            "|---|---|---|",
            *rows,
            "",
            f"{len(kills)} kills, {len(broken)} of them broke an invariant.",
            "",
            *(f"- {each}" for each in broken),
            "",
        ]
    )


def _matrix_page(cells: Table) -> str:
    whys = sorted({why for tally in cells.values() if not tally.can for why in tally.why_not})
    notes = {why: number for number, why in enumerate(whys, 1)}
    lines = [
        "# Fault by step",
        "",
        "Written by `make prove`. A cell says how often the fault struck at that step, over all flows; `!` how many",
        "of these broke an invariant; `n3` that it can occur in no flow, by the rule of note 3. Where it can in some",
        "flows only, the rules that exclude the others are those of the same notes. A dot: not in this run.",
        "",
        "| fault | " + " | ".join(Point) + " |",
        "|---" * (len(Point) + 1) + "|",
    ]
    for row in ROWS:
        shown = []
        for point in Point:
            tally = cells[row.name, point]
            if tally.can:
                shown.append(f"{tally.ran}{f' !{tally.wrong}' if tally.wrong else ''}" if tally.ran else ".")
            else:
                shown.append(" ".join(f"n{notes[why]}" for why in sorted(tally.why_not)[:2]))
        lines.append(f"| {row.name}: {row.what} | " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", *(f"{number}. {why}" for why, number in notes.items()), ""])


def _front(
    every: int,
    kills: Sequence[Kill],
    broken: Sequence[str],
    sweep_s: float,
    struck: Sequence[Struck],
    matrix_s: float,
    many: Sequence[Many],
    race: Races,
    whole_s: float,
) -> str:
    wrong = sum(each.wrong is not None for each in struck)
    extent = "everything" if every == 1 else f"each {every}th kill and cell, as many intents and races, no more"
    return "\n".join(
        [
            "# What is proven of the execution",
            "",
            f"Written by `make prove` (`python -m tests.prove --every {every}`: {extent}), {_where()}, in"
            f" {whole_s / 60:.0f} minutes.",
            "",
            "| proof | runs | violations | minutes |",
            "|---|---|---|---|",
            f"| [killed at every step](crash-sweep.md) | {len(kills)} kills | {len(broken)} | {sweep_s / 60:.1f} |",
            f"| [fault by step](fault-matrix.md) | {sum(each.hit for each in struck)} faults that struck |"
            f" {wrong} | {matrix_s / 60:.1f} |",
            *(
                f"| consecutive intents, seed {each.seed} | {each.count}, of these {sum(each.right.values())} as they"
                f" should | {len(each.findings)} | |"
                for each in many
            ),
            f"| races of a pair, seed {RACES_SEED} | {race.count} | {len(race.findings)} | |",
            "| [tests that run in full](suites.md): models, mutants, events, fuzz, kills | | | |",
            "",
            f"Invariants asked after every run: {', '.join(CHECKS)}, I2 and I2 spot over the whole time, I6 over"
            " every time in which entries were forbidden (kill switch, RED, open breaker, skew, no comparison), I13.",
            "",
            *(_of_the_intents(each) for each in many),
            *(f"- Not as it should, seed {each.seed}: {found}" for each in many for found in each.wrong),
            "",
            "Our own work takes no market time in virtual time; `chimera bench orders` measures it.",
            "",
            f"Of the {race.count} pairs whose two prices were touched in one instant, {race.exclusive} sold by exactly"
            f" one leg, {race.left} were taken back by a person's exit before.",
            "",
            "## What is not covered here",
            "",
            "- All of it runs in one process in virtual time, on the exchange that `chimera venue` serves, behind"
            " the venue port: bytes, sockets and reconnects are `tests/process` and `tests/adapters`.",
            "- A kill ends the process between two steps; a torn write to the disk is the database's own promise.",
            "- A matrix cell is struck when its flow first takes the step. Two faults at once are not swept here.",
            "- While service is refused, and while the house is down, I2 does not count; that people were alarmed does."
            " What a person opens beside an entry of ours is told from it, and gets a stop, when the entry has ended.",
            "- Faults 24, 25, 33 and 36 occur at no step of an order: batches are never sent, transfers, the local book"
            " and bars have tests of their own.",
            "- Fault 61 is a loop that slept for an hour and a clock that is behind after a restart: a jump of the"
            " machine's clock does not reach a clock that counts from its start.",
            "",
        ]
    )


def _where() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return (
        f"at commit {commit.stdout.strip() or 'unknown'}, on {os.cpu_count()} processors ({platform.machine()}, Python"
        f" {platform.python_version()})"
    )


def _suites_page(suites: Sequence[Ran]) -> str:
    return "\n".join(
        [
            "# Tests that run in full",
            "",
            f"Written by `make prove` (`python -m tests.prove --part suites`), {_where()}.",
            "The quick cut of each of them is part of `make test`.",
            "",
            "| proof | runs | violations | minutes |",
            "|---|---|---|---|",
            *map(_suite_row, suites),
            "",
            *(f"- {found}" for ran in suites for found in ran.broken),
            "",
        ]
    )


def _suite_row(ran: Ran) -> str:
    did = ", ".join(f"{count:,} {what}" for what, count in ran.counts.items())
    runs = f"{did}, by {ran.tests} tests" if did else f"{ran.tests} tests"
    return f"| {ran.suite.name} | {runs} | {len(ran.broken)} | {ran.took_s / 60:.1f} |"


def _of_the_intents(many: Many) -> str:
    refused = ", ".join(f"{count} {why}" for why, count in many.refused.most_common())
    return (
        f"Of the {many.count} intents of seed {many.seed}, {sum(many.right.values())} ended as they should"
        f" ({many.right_ratio:.2%}), of these {sum(many.refused.values())} by a refusal: {refused or 'none'}."
        f" {sum(many.hits.values())} faults of {len(many.hits)} kinds struck meanwhile. From the call to the first"
        f" result, intents at market: p95 {p95(many.calm_ms)} ms of market time where no fault was near,"
        f" {p95(many.results_ms)} ms with all faults; a person closed the breaker {many.opened} times.\n"
    )


if __name__ == "__main__":
    sys.exit(main())

"""Proofs that are tests of their own: run in full by pytest, and read from the report that it writes.

Owns which they are. A test says how much it did by `record_property(what, count)`; counts of one name add up.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
HYPOTHESIS_SEED = 1
TIMEOUT_S = 3_600
"""Of one test: what takes seconds in the quick cut takes minutes in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    name: str
    paths: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Ran:
    """`counts` by what was counted. `broken`: each test that failed or could not run, with the end of what it said."""

    suite: Suite
    tests: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    took_s: float = 0.0


SUITES = (
    Suite(name="pairs of events that race, by name", paths=("domain/execution/machine/test_races.py",)),
    Suite(
        name="mutants of the machine and of the router",
        paths=("domain/execution/machine/test_mutants.py", "services/test_s04_mutants.py"),
    ),
    Suite(name="writes whose answer is lost", paths=("prove/test_lost_answers.py",)),
    Suite(name="events told twice, lost, in another order", paths=("services/test_s04_event_sweep.py",)),
    Suite(name=f"fuzz of the router's calls, seed {HYPOTHESIS_SEED}", paths=("services/test_s04_fuzz.py",)),
    Suite(name="the flows B1 to B8 against the exchange's server", paths=("process/test_flows.py",)),
    Suite(name="`kill -9` of the process while it trades, seed 5", paths=("process/test_kill_s4.py",)),
    Suite(name="small machines, whatever may happen to them", paths=("domain/execution/machine/test_model.py",)),
)


def run_all(processes: int) -> Iterator[Ran]:
    """One after another, each on all processors."""
    for suite in SUITES:
        yield run(suite, processes)


def run(suite: Suite, processes: int) -> Ran:
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="chimera-prove-") as folder:
        report = Path(folder) / "report.xml"
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(processes)),
                *("--dist", "loadgroup", "-o", f"timeout={TIMEOUT_S}", f"--hypothesis-seed={HYPOTHESIS_SEED}"),
                f"--junitxml={report}",
                *(f"tests/{path}" for path in suite.paths),
            ],
            cwd=ROOT,
            env=os.environ | {"CHIMERA_PROVE": "full", "CHIMERA_REQUIRE_ALL": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        ran = read(suite, report) if report.exists() else Ran(suite=suite)
    if ended.returncode and not ran.broken:
        ran.broken.append(f"{suite.name}: pytest ended with {ended.returncode}: {ended.stdout[-500:]}")
    ran.took_s = time.perf_counter() - began_s
    return ran


def read(suite: Suite, report: Path) -> Ran:
    ran = Ran(suite=suite)
    for case in ElementTree.parse(report).iter("testcase"):
        ran.tests += 1
        for said in case.iter("property"):
            ran.counts[said.get("name", "")] += int(said.get("value", "0"))
        for wrong in (*case.iter("failure"), *case.iter("error"), *case.iter("skipped")):
            ran.broken.append(f"{case.get('classname')}::{case.get('name')}: {(wrong.text or '')[-500:]}")
    return ran

"""Whole runs by seed: they trade, they hold, they are the same again, and a mistake in the house does not pass.

The quick cut runs an hour or two of a few seeds; `make prove` runs a day of two hundred.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from chimera.simulation.attack.campaign import Run, carried_out, explained, keep, plan_for
from chimera.simulation.attack.plan import Befalls, Blow, Plan
from chimera.simulation.attack.run import BEGIN_MS
from tests.prove.planted import PLANTED, planted

HOURS = 1.0 / 24
SEEDS: list[dict[str, object]] = json.loads((Path(__file__).parent / "seeds.json").read_text())
"""Every run that ever broke something, with what it was: `plan` where it was made small, else the mode's own."""

pytestmark = pytest.mark.timeout(300)


def test_a_house_in_peace_trades_and_keeps_every_promise() -> None:
    outcome = carried_out(Run(seed=6, days=2 * HOURS, plan=Plan()))

    assert outcome.broken == {}
    assert outcome.fills > 20
    assert sum(outcome.struck.values()) == 0


@pytest.mark.parametrize("seed", [3, 10])
def test_a_house_under_attack_keeps_every_promise(seed: int) -> None:
    outcome = carried_out(Run(seed=seed, days=HOURS, plan=plan_for(seed, HOURS, "swarm")))

    assert outcome.broken == {}
    assert sum(outcome.struck.values()) > 5
    assert outcome.fills > 0


@pytest.mark.parametrize("row", SEEDS, ids=lambda row: f"seed {row['seed']}, {row['was']}")
def test_what_once_broke_holds(row: dict[str, object]) -> None:
    days, seed = float(str(row["days"])), int(str(row["seed"]))
    rows = row.get("plan")
    plan = Plan.from_json(rows) if isinstance(rows, list) else plan_for(seed, days, str(row["mode"]))

    assert carried_out(Run(seed=seed, days=days, plan=plan)).broken == {}


def test_the_same_seed_is_the_same_run_under_another_hash_seed() -> None:
    words = [sys.executable, "-m", "chimera", "simulate", "--seed", "3", "--days", "0.05", "--json"]
    digests = []
    for hash_seed in ("1", "2"):
        said = subprocess.run(
            words, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        digests.append(json.loads(said.stdout)["digest"])

    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("name", "seed", "invariant"),
    [
        ("money is a float", 1, "I7"),
        ("an open bar is used", 1, "I12"),
    ],
)
def test_a_planted_mistake_is_found(name: str, seed: int, invariant: str) -> None:
    with planted(name):
        outcome = carried_out(Run(seed=seed, days=HOURS, plan=plan_for(seed, HOURS, "swarm")))

    assert any(found.startswith(invariant) for found in outcome.broken), outcome.broken


def test_what_broke_is_told_small_and_again(tmp_path: Path) -> None:
    kill = Blow(kind=Befalls.KILLED, at_ms=BEGIN_MS + 1_800_000, lasts_ms=1_000, service="s12", amount=1)
    run = Run(seed=1, days=HOURS, plan=Plan((kill,)))
    with planted("money is a float"):
        broke = explained(run, carried_out(run))

    assert broke.least.plan == Plan(), "it breaks without any fault"
    assert broke.first().startswith("I7")
    plan, story = keep(broke, tmp_path)
    assert Plan.from_json(json.loads(plan.read_text())) == Plan()
    told = Counter(line[20:29].strip() for line in story.read_text().splitlines())
    assert {"hand", "bus", "documents", "exchange", "town"} <= set(told)


def test_there_is_a_mistake_for_each_kind_that_was_asked_for() -> None:
    assert len(PLANTED) >= 15

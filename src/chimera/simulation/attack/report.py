"""`chimera simulate`: what is asked for, and what is said of it.

Owns the words. The seed stands first in each line, and where something broke: the invariant in one sentence, the
smallest plan, the commands that show it again, and the end of its story.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from chimera.simulation.attack.campaign import MODES, Broke, Run, campaign, carried_out, explained, keep, runs_of
from chimera.simulation.attack.plan import KINDS, Kind, Plan, kind_of
from chimera.simulation.attack.run import Outcome

SHOWN_LINES = 40
"""Of a story, its end. The whole is in its file."""

SEEDS_MAX = 1_000_000


class AttackProblem(Exception):
    """What was asked for cannot be run. The message says which option, and what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    seeds: range
    days: float
    mode: str
    kinds: tuple[Kind, ...]
    every: int
    plan: Plan | None
    jobs: int
    story: bool
    about: tuple[str, ...]
    keep: Path

    @classmethod
    def read(
        cls,
        *,
        seeds: str,
        days: float,
        mode: str,
        kinds: tuple[str, ...],
        every: int,
        plan: Path | None,
        jobs: int,
        story: bool,
        about: tuple[str, ...],
        keep: Path,
    ) -> "Attack":
        """
        Raises:
            AttackProblem
        """
        wanted = _seeds(seeds)
        if mode not in MODES:
            raise AttackProblem(f"--faults {mode!r}: known are {', '.join(MODES)}")
        if (story or plan is not None) and len(wanted) != 1:
            raise AttackProblem(f"--seeds {seeds}: --story and --plan are of one run; give --seed N")
        if story and mode == "sweep":
            raise AttackProblem("--faults sweep: --story is of one run; give it the --plan of one that broke")
        try:
            chosen = tuple(map(kind_of, kinds)) or KINDS
        except ValueError as error:
            raise AttackProblem(f"--{error}") from error
        return cls(
            seeds=wanted,
            days=days,
            mode=mode,
            kinds=chosen,
            every=every,
            plan=None if plan is None else _plan(plan),
            jobs=jobs,
            story=story,
            about=about,
            keep=keep,
        )

    def runs(self) -> Iterator[Run]:
        if self.plan is not None:
            return iter([Run(seed=self.seeds[0], days=self.days, plan=self.plan)])
        return runs_of(self.seeds, self.days, self.mode, self.kinds, self.every)


def _seeds(text: str) -> range:
    first, dots, last = text.partition("..")
    if not first.isdecimal() or (dots and not last.isdecimal()):
        raise AttackProblem(f"--seeds {text!r}: write 1..200, or one number")
    low, high = int(first), int(last) if dots else int(first)
    if not low <= high < low + SEEDS_MAX:
        raise AttackProblem(f"--seeds {text!r}: from the smaller to the larger, at most {SEEDS_MAX}")
    return range(low, high + 1)


def _plan(path: Path) -> Plan:
    try:
        return Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise AttackProblem(f"--plan {path}: {error.strerror}") from error
    except ValueError as error:
        raise AttackProblem(f"--plan {path}: {error}") from error


def run_attack(attack: Attack, out: Console, err: Console, *, as_json: bool) -> bool:
    """True: everything held."""
    if attack.story:
        return _tell(attack, out)
    began_s = time.perf_counter()
    held = broke = 0
    struck: Counter[str] = Counter()
    for run, outcome in campaign(attack.runs(), attack.jobs):
        for (kind, _), count in outcome.struck.items():
            struck[kind] += count
        if as_json:
            _write(out, json.dumps(_row(run, outcome)))
        else:
            out.print(_line(run, outcome), highlight=False)
        if not outcome.broken:
            held += 1
            continue
        broke += 1
        found = explained(run, outcome, lambda what: err.print(f"  {what}", style="dim", highlight=False))
        plan, story = keep(found, attack.keep)
        if not as_json:
            _explain(found, plan, story, out)
    took_s = time.perf_counter() - began_s
    if not as_json:
        out.print(
            f"{held} of {held + broke} runs held, {sum(struck.values())} faults of {len(struck)} kinds struck;"
            f" {took_s:.0f} s",
            highlight=False,
        )
    return not broke


def _tell(attack: Attack, out: Console) -> bool:
    """The whole story of one run, to read or to search."""
    (run,) = attack.runs()
    outcome = carried_out(run, story=True)
    assert outcome.story is not None
    for line in outcome.story.about(attack.about):
        _write(out, line)
    out.print(_line(run, outcome), highlight=False)
    return not outcome.broken


NAME = re.compile(r"[A-Za-z0-9_:.-]*\d[A-Za-z0-9_:.-]*")
"""Of an order, a trade, a signal: what has a number in it."""


def _of_interest(found: Broke) -> list[str]:
    """The lines about what the sentence names, and every fault; all lines where it names nothing."""
    names = [name for name in NAME.findall(found.first()) if not name.replace(".", "").replace("-", "").isdigit()]
    about = [line for line in found.lines if any(name in line for name in names) or line[20:25] in ("blow ", "town ")]
    return about if any(name in line for line in about for name in names) else found.lines


def _write(out: Console, line: str) -> None:
    """As it is: no markup, no wrapping, and a million of them in a second."""
    out.file.write(line + "\n")


def _line(run: Run, outcome: Outcome) -> str:
    said = "held" if not outcome.broken else "[bold red]BROKEN[/] " + escape("; ".join(outcome.broken))
    label = f" {run.label}" if run.label else ""
    return (
        f"seed {run.seed}{label}: {said}; {sum(outcome.struck.values())} faults struck, {outcome.intents} intents,"
        f" {outcome.fills} fills, digest {outcome.digest}"
    )


def _row(run: Run, outcome: Outcome) -> dict[str, object]:
    return {
        "seed": run.seed,
        "label": run.label,
        "held": not outcome.broken,
        "broken": outcome.broken,
        "struck": sum(outcome.struck.values()),
        "intents": outcome.intents,
        "fills": outcome.fills,
        "digest": outcome.digest,
    }


def _explain(found: Broke, plan: Path, story: Path, out: Console) -> None:
    again = f"chimera simulate --seed {found.least.seed} --days {found.least.days:.4g} --plan {plan}"
    out.print(f"  {escape(found.first())}", style="red", highlight=False)
    out.print(f"  The smallest plan that breaks it, after {found.shrinks} runs:", highlight=False)
    for trouble in found.least.plan.to_json():
        out.print(f"    {escape(json.dumps(trouble))}", highlight=False)
    out.print(f"  Again:  {again}", highlight=False, soft_wrap=True)
    out.print(f"  Of its story, whole in {story}:", highlight=False)
    for line in _of_interest(found)[-SHOWN_LINES:]:
        out.print(f"    {escape(line)}", highlight=False, soft_wrap=True)

"""The system over the full wire path: `chimera up --venue http://…` trades against `chimera venue`, with faults drawn
at random, and at the end the documents are the exchange's ledger, no id was placed twice, no position was naked.

Checked from the exchange's own files and the documents. `CHIMERA_WIRE_MINUTES` says how long (default 1.2),
`CHIMERA_WIRE_FAULTS` how many faults are armed in that time (default 24), `CHIMERA_WIRE_SPEED` how fast the market is
(default 3: other tests share the machine), `CHIMERA_WIRE_SEED` which. The acceptance asks for 60 minutes, 250 faults,
speed 10. The figures are printed.
"""

import json
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from chimera.contracts.collections import TRADES
from chimera.domain.matching.faults import DRAWN, FaultKind, FaultPlan
from chimera.simulation.checkers import check_evidence
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.stops_listed import NakedSpan, naked_spans, stops_in_time
from tests.process.system import NotThere, System, VenueProcess
from tests.process.trader import Trader, wait_deciding, widen_limits

MINUTES = float(os.environ.get("CHIMERA_WIRE_MINUTES", "1.2"))
FAULTS = int(os.environ.get("CHIMERA_WIRE_FAULTS", "24"))
SPEED = int(os.environ.get("CHIMERA_WIRE_SPEED", "3"))
SEED = int(os.environ.get("CHIMERA_WIRE_SEED", "11"))

pytestmark = [pytest.mark.process, pytest.mark.timeout(int(MINUTES * 60) + 600)]

PAUSE_S = (0.1, 0.6) if MINUTES <= 10 else (0.5, 3.5)
"""Between two wishes of the trader. Fees of a whole hour at full pace would reach the day's loss limit."""

HEAL_S = 15.0
SETTLED_WITHIN_S = 60.0
ALERTS_OF_IT = ("STOP_NOT_PLACED", "ORDER_RETRY_EXHAUSTED", "CLOCK_SKEW", "FEED_SILENT", "NOTE", "RECON_FAILED")
NAKED_MS_MAX = 2_000
ALERTED_WITHIN_MS = 5_000
"""Of our own time: an alert is told when a first try has failed."""

REFUSING = frozenset(
    {FaultKind.OUTAGE, FaultKind.BAN_418, FaultKind.RATE_429, FaultKind.CLOCK_OFFSET, FaultKind.SYMBOL_HALTED}
)
"""While one of these is under way the exchange serves nobody, or takes no order. A fault of one call is no excuse."""


@dataclass(slots=True)
class Run:
    answered: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    armed: Counter[str] = field(default_factory=Counter)
    began: list[tuple[int, str]] = field(default_factory=list)
    refused: list[tuple[int, int]] = field(default_factory=list)
    """Venue time in which the exchange refused service."""


def test_the_documents_are_the_ledger_after_an_hour_of_faults(
    tmp_path: Path, pair: tuple[System, VenueProcess]
) -> None:
    system, venue = pair
    venue.start()
    system.start()
    system.wait_reconciled()
    since_ms = system.venue_now_ms()
    widen_limits(system)
    wait_deciding(system)

    run = drive(system, venue)
    settle(system, venue, run)

    evidence = system.evidence()
    naked = [span for span in naked_spans(evidence) if span.from_ms >= since_ms]
    late = stops_in_time(evidence, run.refused, since_ms=since_ms)
    excused = [span for span in naked if _length(span, evidence) > NAKED_MS_MAX]
    print(
        f"\n{MINUTES:g} min at speed {SPEED}, seed {SEED}: {sum(run.armed.values())} faults of {len(run.armed)} kinds"
        f" armed, {sum(run.hits.values())} hits of {len(run.hits)} kinds; {len(evidence.orders)} orders,"
        f" {len(evidence.fills)} fills, {len(evidence.on_file(TRADES))} trades; naked {len(naked)} times,"
        f" {len(excused)} times longer than {NAKED_MS_MAX} ms;"
        f" answers {dict(run.answered)}; hits {dict(run.hits)}; late stops {late}"
    )
    assert not late, f"{late}\n{sorted(run.began)}\n{system.log_tail()}"
    alerts = alerts_of(system)
    silent = [span for span in excused if not any(_tells(ts, span, evidence) for ts in alerts)]
    assert not silent, f"nobody was told of {silent}\n{sorted(run.began)}"
    assert len(evidence.fills) > 2, "hardly anything was traded: nothing was proven"


def _length(span: NakedSpan, evidence: Evidence) -> int:
    return (evidence.now_ms if span.to_ms is None else span.to_ms) - span.from_ms


def _tells(ts: int, span: NakedSpan, evidence: Evidence) -> bool:
    ends_ms = evidence.now_ms if span.to_ms is None else span.to_ms
    return span.from_ms <= ts <= ends_ms + ALERTED_WITHIN_MS * SPEED


def alerts_of(system: System) -> list[int]:
    """When somebody was told that a position may have no stop, or that the exchange does not serve us."""
    connection = sqlite3.connect(f"{(system.data / 'documents.sqlite').as_uri()}?mode=ro", uri=True)
    try:
        rows = [json.loads(body) for (body,) in connection.execute("SELECT body FROM alerts")]
    finally:
        connection.close()
    told = [row for row in rows if row.get("code") in ALERTS_OF_IT]
    return [row["ts"] for row in told] + [row["last_ts"] for row in told if row.get("last_ts")]


def drive(system: System, venue: VenueProcess) -> Run:
    """Trade and break things until the time is up."""
    run = Run()
    chance = random.Random(SEED)
    trader = Trader(system, chance, name="WIRE")
    if FAULTS:
        arm(venue, run)
    until_s = time.perf_counter() + MINUTES * 60
    while time.perf_counter() < until_s:
        try:
            answer_of(chance.choice((trader.decide, trader.order, trader.order, trader.exit, trader.cancel))(), run)
        except (NotThere, OSError, HTTPException, AssertionError) as error:
            run.answered[type(error).__name__] += 1
        time.sleep(chance.uniform(*PAUSE_S))
    return run


def arm(venue: VenueProcess, run: Run) -> None:
    """All faults of the run at once: each waits for its own instant of market time."""
    now_ms = venue.told("GET", "/fapi/v1/time")["serverTime"]
    length_ms = int(MINUTES * 60_000 * SPEED)
    plan = FaultPlan.draw(
        random.Random(SEED + 1).random,
        from_ms=now_ms,
        to_ms=now_ms + length_ms,
        per_hour=FAULTS * 3_600_000 / length_ms,
        kinds=DRAWN,
        symbols=("BTCUSDT", "ETHUSDT"),
    )
    venue.told("POST", "/admin/faults", plan.to_json())
    run.armed.update(armed.fault.kind.value for armed in plan.armed)


def settle(system: System, venue: VenueProcess, run: Run) -> None:
    """Heal everything, then everything must come to agree."""
    for each in venue.told("GET", "/admin/faults")["faults"]:
        if each["hits"]:
            run.hits[each["kind"]] += each["hits"]
            run.began.append((each["began_ms"], each["kind"]))
            if each["kind"] in REFUSING:
                run.refused.append((each["began_ms"], each["began_ms"] + lasts_ms(each)))
    venue.told("DELETE", "/admin/faults")
    time.sleep(HEAL_S)
    deadline_s = time.perf_counter() + SETTLED_WITHIN_S
    while True:
        found = {name: findings for name, findings in check_evidence(system.evidence()).items() if findings}
        if not found or time.perf_counter() > deadline_s:
            break
        time.sleep(0.5)
    assert not found, f"{found}\narmed {dict(run.armed)}\nhits {dict(run.hits)}\n{system.log_tail()}"


def lasts_ms(fault: dict[str, Any]) -> int:
    """How long it kept the exchange from serving, in venue time."""
    seconds = fault["params"].get("ban_s") or fault["params"].get("retry_after_s")
    return int(seconds) * 1_000 * SPEED if seconds else int(fault["duration_ms"])


def answer_of(connection: HTTPConnection, run: Run) -> None:
    try:
        answer = connection.getresponse()
        body: Any = json.loads(answer.read())
    finally:
        connection.close()
    word = body.get("decision") or body.get("status") or ""
    why = body.get("cause") or body.get("reason") or body.get("type") or ""
    run.answered[f"{answer.status} {word} {why}".strip()] += 1


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[System, VenueProcess]]:
    venue = VenueProcess(tmp_path / "exchange", SPEED, SEED)
    system = System(tmp_path / "data", SPEED, SEED, venue=venue)
    yield system, venue
    system.end()
    venue.end()

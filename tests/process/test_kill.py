"""`kill -9` at random moments, again and again on one folder: after each restart the invariants hold.

Checked from the simulated exchange's own ledger and the documents, by checkers that know nothing else. The folder
stays the same, so damage would add up. `CHIMERA_KILLS` says how often (default 7, each moment once) and
`CHIMERA_KILL_SPEED` how fast the market is (default 4: a stop has 500 ms of ours, since other tests share the disk).
The acceptance asks for 20 and 10. The figures are printed.
"""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chimera.contracts.collections import TRADES
from chimera.contracts.enums import Market, TradeStatus
from chimera.simulation.checkers import check_evidence
from chimera.simulation.checkers.budget_adds_up import reserved_is_used
from chimera.simulation.checkers.stops_listed import downtime_of, naked_spans, stops_in_time
from tests.process.system import System
from tests.process.trader import Trader, wait_deciding, widen_limits

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

SPEED = int(os.environ.get("CHIMERA_KILL_SPEED", "4"))
SEED = 11
QUIET_S = 2.0
SETTLED_WITHIN_S = 6.0
"""The market goes on trading by itself: what is in motion at one look is done at the next."""

MOMENTS = (
    "at rest",
    "after an order",
    "after a decision",
    "after an exit",
    "after a cancel",
    "during the start",
    "at the fill",
)


@dataclass(slots=True)
class Figures:
    kills: list[str] = field(default_factory=list)
    reconciled_s: list[float] = field(default_factory=list)
    naked_at_kill: int = 0
    naked_while_down_ms: int = 0
    answered: Counter[str] = field(default_factory=Counter)


def run_kills(system: System, kills: int) -> Figures:
    chance = random.Random(SEED)
    trader, figures = Trader(system, chance), Figures()
    downtimes: list[tuple[int, int]] = []
    system.start()
    # The first kill of all: the past is still being simulated, and what an interrupted warm-up wrote is not used.
    time.sleep(chance.uniform(0.5, 3.0))
    system.kill()
    system.start()
    system.wait_reconciled()
    since_ms = system.venue_now_ms()
    widen_limits(system)
    for number in range(kills):
        moment = MOMENTS[number % len(MOMENTS)]
        wait_deciding(system)
        for _ in range(chance.randrange(2, 5)):
            answer_of(chance.choice((trader.decide, trader.order, trader.order, trader.exit, trader.cancel))(), figures)
        strike(system, trader, chance, moment)
        down_ms = system.venue_now_ms()
        figures.kills.append(moment)
        figures.naked_at_kill += bool([s for s in naked_spans(system.evidence()) if s.to_ms is None])
        system.start()
        figures.reconciled_s.append(system.wait_reconciled())
        downtimes.append((down_ms, system.venue_now_ms()))
        time.sleep(QUIET_S)
        check(system, downtimes, since_ms, f"kill {number + 1}, {moment}")
    evidence = system.evidence()
    figures.naked_while_down_ms = sum(
        downtime_of(span.from_ms, evidence.now_ms if span.to_ms is None else span.to_ms, downtimes)
        for span in naked_spans(evidence)
    )
    return figures


def strike(system: System, trader: Trader, chance: random.Random, moment: str) -> None:
    act = {
        "after an order": trader.order,
        "after a decision": trader.decide,
        "after an exit": trader.exit,
        "after a cancel": trader.cancel,
    }.get(moment)
    if moment == "during the start":
        system.kill()
        system.start()
        time.sleep(chance.uniform(0.2, 3.0))
    elif moment == "at the fill":
        # As soon as the exchange's own file shows it: the stop is on its way.
        while not trader.free():
            trader.exit().getresponse().read()
        fills = system.venue_fills()
        waiting = trader.enter()
        deadline_s = time.perf_counter() + 2
        while system.venue_fills() == fills and time.perf_counter() < deadline_s:
            pass
        system.kill()
        waiting.close()
        return
    elif act is not None:
        waiting = act()
        # From before it is read to after its stop and target are listed; most of it is over in a few ms.
        time.sleep(chance.choice((0.01, 0.03, 0.08)) * chance.random())
        system.kill()
        waiting.close()
        return
    else:
        time.sleep(chance.uniform(0, 2.0))
    system.kill()


def answer_of(connection: Any, figures: Figures) -> None:
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    word = body.get("decision") or body.get("status") or ""
    why = body.get("cause") or body.get("detail") or body.get("message") or ""
    figures.answered[f"{answer.status} {word} {why}".strip()] += 1


def check(system: System, downtimes: list[tuple[int, int]], since_ms: int, where: str) -> None:
    """Every invariant, within a few looks."""
    deadline_s = time.perf_counter() + SETTLED_WITHIN_S
    while True:
        found = look(system)
        if not found or time.perf_counter() > deadline_s:
            break
        time.sleep(0.2)
    late = stops_in_time(system.evidence(), downtimes, since_ms=since_ms)
    if late:
        found["I2 over time"] = late
    assert not found, f"{where}: {found}\n{system.log_tail()}"


def look(system: System) -> dict[str, list[str]]:
    reserved_status, reserved = system.call("GET", "/s3/reservations")
    assert reserved_status == 200, reserved
    evidence = system.evidence()
    found = {name: findings for name, findings in check_evidence(evidence).items() if findings}
    amounts = {each["intent_id"]: Decimal(str(each["amount_usdt"])) for each in reserved["reservations"]}
    differs = reserved_is_used(evidence, amounts)
    if differs:
        found["I4 reserved"] = differs
    return found


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "data", SPEED, SEED)
    yield system
    system.end()


def test_after_every_kill_the_invariants_hold(system: System) -> None:
    kills = int(os.environ.get("CHIMERA_KILLS", "7"))

    figures = run_kills(system, kills)

    seconds = sorted(figures.reconciled_s)
    evidence = system.evidence()
    trades = [trade for trade in evidence.on_file(TRADES) if trade.market is Market.FUT]
    print(
        f"\n{kills} kills ({', '.join(figures.kills)}), {len(seconds)} restarts reconciled"
        f" in {seconds[len(seconds) // 2]:.2f} s (median), {seconds[-1]:.2f} s (worst);"
        f" naked at {figures.naked_at_kill} kills, {figures.naked_while_down_ms} ms of venue time while down;"
        f" answers {dict(figures.answered)}; {len(trades)} futures trades,"
        f" {sum(trade.status is TradeStatus.CLOSED for trade in trades)} closed; {len(evidence.fills)} fills"
    )
    assert len(figures.reconciled_s) == kills
    assert len(evidence.fills) > kills // 2, "hardly anything was traded: nothing was proven"

"""`kill -9` of the real process at random moments of a stream of entries and exits against `chimera venue`, whose
market goes on meanwhile: after each restart every order is there once (I1), everything open is covered again in time
(I2), and the documents are the ledger (I5).

Asked of the exchange's own files by the checkers. The moments are drawn from one seed, CHIMERA_KILL_SEED; the quick cut
kills 3 times, CHIMERA_PROVE=full 40 times, CHIMERA_KILLS as often as it says. The figures are printed.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import pytest

from chimera.simulation.checkers import books_agree, orders_once, stops_listed
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.stops_listed import Downtime, naked_spans, stops_in_time
from tests.process.system import System, VenueProcess
from tests.process.trader import Trader, wait_deciding, widen_limits
from tests.prove.extent import Record, count

KILLS = int(os.environ.get("CHIMERA_KILLS", count(full=40, quick=3)))
SEED = int(os.environ.get("CHIMERA_KILL_SEED", "5"))
SPEED = 2
"""A stop has a second of ours: other tests share the processors."""

WITHIN_S = 8.0
"""The market goes on: what is in motion at one look is done at the next."""

pytestmark = [pytest.mark.process, pytest.mark.timeout(120 + 60 * KILLS)]


@dataclass(slots=True)
class Figures:
    trading_again_s: list[float] = field(default_factory=list)
    naked_at_kill: int = 0
    downtimes: list[Downtime] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    venue = VenueProcess(tmp_path / "exchange", SPEED, SEED)
    system = System(tmp_path / "data", SPEED, SEED, venue=venue)
    venue.start()
    yield system
    system.end()
    venue.end()


def stream(trader: Trader, chance: random.Random, figures: Figures) -> list[HTTPConnection]:
    """Entries and exits, the last of them without waiting for its answer: the kill comes while it is carried out."""
    for _ in range(chance.randrange(2, 4)):
        trader.order().getresponse().read()
        figures.asked["answered"] += 1
    figures.asked["cut off"] += 1
    return [chance.choice((trader.order, trader.exit, trader.order))()]


def findings(system: System) -> dict[str, list[str]]:
    evidence = system.evidence()
    checks = {"I1": orders_once.check, "I2": stops_listed.check, "I5": books_agree.check}
    return {name: found for name, check in checks.items() if (found := check(evidence))}


def settled(system: System, figures: Figures, since_ms: int) -> dict[str, list[str]]:
    deadline_s = time.perf_counter() + WITHIN_S
    while (found := findings(system)) and time.perf_counter() < deadline_s:
        time.sleep(0.2)
    late = stops_in_time(system.evidence(), figures.downtimes, since_ms=since_ms)
    return found | ({"I2 over time": late} if late else {})


def open_spans(evidence: Evidence) -> int:
    return sum(span.to_ms is None for span in naked_spans(evidence))


def test_killed_while_it_carries_orders_out_it_comes_back_to_the_same_books(
    system: System, record_property: Record
) -> None:
    chance, figures = random.Random(SEED), Figures()
    trader = Trader(system, chance, name="KILL4")
    system.start()
    system.wait_reconciled()
    since_ms = system.venue_now_ms()
    widen_limits(system)
    for number in range(KILLS):
        wait_deciding(system)
        waiting = stream(trader, chance, figures)
        # From before the order is read to after its stop and its target are listed.
        time.sleep(chance.choice((0.005, 0.02, 0.08, 0.3)) * chance.random())
        down_ms = system.venue_now_ms()
        system.kill()
        for connection in waiting:
            connection.close()
        figures.naked_at_kill += open_spans(system.evidence())
        system.start()
        figures.trading_again_s.append(system.wait_reconciled())
        figures.downtimes.append((down_ms, system.venue_now_ms()))
        found = settled(system, figures, since_ms)
        assert not found, f"kill {number + 1} of seed {SEED}: {found}\n{system.log_tail()}"

    evidence, seconds = system.evidence(), sorted(figures.trading_again_s)
    print(
        f"\nseed {SEED}: {KILLS} kills, {dict(figures.asked)}; trading again after {seconds[len(seconds) // 2]:.2f} s"
        f" (median), {seconds[-1]:.2f} s (worst); {figures.naked_at_kill} naked at the kill;"
        f" {len(evidence.fills)} fills"
    )
    record_property("kills", KILLS)
    record_property("fills", len(evidence.fills))
    assert len(evidence.fills) >= KILLS, "hardly anything was traded: nothing was proven"

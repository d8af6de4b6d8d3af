"""Two weeks before the start: the whole system in virtual time, ending now, kept as the data folder to go on from.

Nothing is in the folder until everything is: the exchange's files first, the documents last, each by a rename.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chimera.adapters.simulated_venue.journal import FileJournal
from chimera.app.data_folder import DOCUMENTS_NAME, WARM_UP_NAME
from chimera.app.simulated_market import Market, MarketPlan, keys_for
from chimera.contracts.collections import system_state
from chimera.contracts.documents import HaltsState
from chimera.contracts.settings import S1Settings, S3Settings, S4Settings
from chimera.ports.peers import PeerCall
from chimera.ports.world import World
from chimera.runtime.garbage import rarely_collected
from chimera.simulation.loop import run_virtual
from chimera.simulation.simulator import Setup, simulate

DAY_MS = 86_400_000
MINUTE_MS = 60_000
HALTS = system_state(HaltsState)
TARGETS = {"BTCUSDT": 65_400.0}
"""Where the demonstration market stands when the warm-up ends: the documents' order samples are valid there."""

WARMUP_TICKS_PER_MINUTE = 3
"""Both extremes and the close of every minute; its open is where the minute before ended. A newcomer waits for this."""


def warm_up(
    folder: Path,
    *,
    symbols: tuple[str, ...],
    days: int,
    seed: int,
    end_ms: int,
    id_prefix: str,
    env: str,
    s3: S3Settings,
    s4: S4Settings,
    tell: Callable[[int, str], None],
) -> None:
    """Simulate `days` days up to `end_ms` (put on the minute) and leave the result in `folder`."""
    end_ms -= end_ms % MINUTE_MS
    start_ms = end_ms - days * DAY_MS
    plan = MarketPlan.ending_at(symbols, seed=seed, start_ms=start_ms, end_ms=end_ms, targets=TARGETS)
    market = Market.build(plan, None, ticks_per_minute=WARMUP_TICKS_PER_MINUTE, end_ms=end_ms)
    tell(0, f"simulating {days} days")
    venue, part = folder / "venue", folder / WARM_UP_NAME
    # In this order: the documents in `part` tell a hand-over that was interrupted from a system that lost its own.
    shutil.rmtree(venue, ignore_errors=True)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()

    async def run() -> None:
        ended = await simulate(
            Setup(
                feed=market.ticker,
                rules=market.rules,
                traded=keys_for(symbols),
                start_ms=start_ms,
                end_ms=end_ms,
                seed=seed,
                id_prefix=id_prefix,
                env=env,
                s3=s3,
                s4=s4,
                minute_days=S1Settings().minute_days,
                attend=Owner(end_ms).look_in,
                progress=lambda at_ms: tell((at_ms - start_ms) // DAY_MS, f"simulating {days} days"),
            )
        )
        tell(days, "writing the data folder")
        await ended.documents.backup_to(part / DOCUMENTS_NAME)
        journal = FileJournal(part)
        journal.write_state(ended.venue.exchange.export_state())
        journal.set_meta({"plan": plan.to_json(), "checkpoint": market.checkpoint(end_ms)})
        journal.mark_time(ended.world.clock.now_ms())
        journal.mark_tick(end_ms)
        journal.close()

    with rarely_collected():
        run_virtual(run())
    venue.mkdir(exist_ok=True)
    for name in sorted(path.name for path in part.iterdir() if path.name.startswith("venue.")):
        os.replace(part / name, venue / name)
    os.replace(part / DOCUMENTS_NAME, folder / DOCUMENTS_NAME)
    shutil.rmtree(part)


@dataclass(slots=True)
class Owner:
    """The person whom two weeks of trading would have had: looks in once a UTC day and releases what was halted.

    Without one, the first bad day of the past would be its last day of trading, and what a newcomer opens stands still.
    """

    end_ms: int
    _day: int | None = None

    async def look_in(self, world: World, at_ms: int) -> None:
        day = at_ms // DAY_MS
        if day == self._day and at_ms < self.end_ms:
            return
        self._day = day
        halts = await world.documents.get(HALTS, "halts")
        for name in halts.halts if halts else ():
            body = {"reason": "looked at; the next day may trade again"}
            told = await world.peers.call(
                PeerCall("s12", "POST", f"/halts/{name}/release", body, actor="owner of the simulated past")
            )
            if not told.ok:
                raise RuntimeError(f"{name} could not be released: {told.status} {told.body}")


def tell_json(day: int, note: str) -> None:
    """Progress for the parent process, one JSON object a line."""
    sys.stdout.write(json.dumps({"day": day, "note": note}) + "\n")
    sys.stdout.flush()

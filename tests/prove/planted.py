"""Plausible mistakes, put into the running system: each must be found by a seed.

Owns the mistakes, each as a patch, and the search for the seed that finds it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chimera.adapters.memory import bus as memory_bus
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.state import MemoryLocks, MemoryReservations
from chimera.contracts.documents import Fill, FundingRecord
from chimera.domain.execution.machine import bracket, lead, work
from chimera.domain.execution.machine.flow import LEAVING, Draft
from chimera.domain.execution.orders import VenueFill
from chimera.domain.features.feature_book import FeatureBook
from chimera.domain.market.instrument import Instrument
from chimera.ports.state import Reservation
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.kill_switch import KillSwitch
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.send import Send
from chimera.services.s04_router.ledger import Ledger
from chimera.simulation.attack.campaign import Run, carried_out, plan_for
from tests.domain.execution.machine.test_mutants import whole
from tests.services.test_s04_mutants import (
    anybodys,
    asks_nothing,
    believes_the_cancel,
    floored_as_float,
    unsynced,
    whatever,
)

Plant = Callable[[pytest.MonkeyPatch], None]

SEEDS = range(1, 201)
DAYS = 0.125


async def at_the_end(self: MemoryBus, stream: str, group: str) -> None:
    kept = self._streams.get(stream) or self._make(stream)
    if group not in kept.groups:
        kept.groups[group] = memory_bus._Group(kept.end)


_release = MemoryReservations.release


def released_again(patch: pytest.MonkeyPatch) -> None:
    """Whoever releases what was released takes it from the sum once more."""
    gone: dict[str, Reservation] = {}

    async def release(self: MemoryReservations, intent_id: str) -> bool:
        record = self._records.get(intent_id)
        if record is None and intent_id in gone:
            self._used_usdt[gone[intent_id].key.market] -= gone[intent_id].amount_usdt
            return True
        if record is not None:
            gone[intent_id] = record
        return await _release(self, intent_id)

    patch.setattr(MemoryReservations, "release", release)


def every_telling_is_news(self: Ledger, entry: Any, fills: Sequence[VenueFill]) -> list[Fill]:
    return [self._fill(entry.order, fill) for fill in fills]


_bracket = bracket.bracket


def target_ends_it_all(draft: Draft, *, worked: bool) -> None:
    """A target that filled in part is taken for the end: the stop of the rest goes."""
    if draft.flow.filled(*LEAVING) > 0:
        bracket._flat(draft, worked=worked)
    else:
        _bracket(draft, worked=worked)


_is_on = KillSwitch.is_on


def read_once(patch: pytest.MonkeyPatch) -> None:
    answers: dict[int, bool] = {}

    async def is_on(self: KillSwitch) -> bool:
        if answers.get(id(self)) is not False:
            answers[id(self)] = await _is_on(self)
        return answers[id(self)]

    patch.setattr(KillSwitch, "is_on", is_on)


_of = ConfigWatch.of


def two_in_one(patch: pytest.MonkeyPatch) -> None:
    """The revision is read anew for each decision, the flags were read at the start."""
    first: dict[int, Any] = {}

    def of(self: ConfigWatch, signal_id: str) -> Any:
        newest = _of(self, signal_id)
        begun = first.setdefault(id(self), newest)
        return replace(begun, rev=newest.rev)

    patch.setattr(ConfigWatch, "of", of)


def never_again(patch: pytest.MonkeyPatch) -> None:
    """What is in force at the start stays in force."""
    patch.setattr(ConfigWatch, "_is_news", lambda self, active: self._in_force is None)


def each_time_another(patch: pytest.MonkeyPatch) -> None:
    """A settlement that is polled again is another settlement."""
    told = [0]

    def doc_key(self: FundingRecord) -> str:
        told[0] += 1
        return f"{self.symbol}-{self.funding_time}-{told[0]}"

    patch.setattr(FundingRecord, "doc_key", doc_key)


_on_ticker = FeatureBook.on_ticker


def open_bar(self: FeatureBook, ts: int, bid: float, ask: float) -> None:
    """The running minute counts as if it had closed."""
    _on_ticker(self, ts, bid, ask)
    minute_ms = 60_000
    if self._closes._newest >= 0:
        self._closes.add((bid + ask) / 2, (ts // minute_ms + 1) * minute_ms)


def sets(where: object, name: str, mistake: Any) -> Plant:
    return lambda patch: patch.setattr(where, name, mistake)


def bracket_everywhere(mistake: Any) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(bracket, "bracket", mistake)
        patch.setattr(lead, "bracket", mistake)

    return plant


PLANTED: Mapping[str, Plant] = {
    "the stop does not follow a partial fill": sets(bracket, "_holds", whatever),
    "a resend without a lookup": sets(Send, "settle_unknown", asks_nothing),
    "a consumer group begins at the end": sets(MemoryBus, "ensure_group", at_the_end),
    "sent before it is on the disk": unsynced,
    "a lock is freed by anybody": sets(MemoryLocks, "release", anybodys),
    "a reservation is released twice": released_again,
    "a cancel is believed before it is confirmed": sets(Calls, "take_back", believes_the_cancel),
    "a fill counts as often as it is told": sets(Ledger, "_new_fills", every_telling_is_news),
    "a target takes the stop of the rest along": bracket_everywhere(target_ends_it_all),
    "the rest of a maker order is bought twice": sets(work, "rest_of", whole),
    "the kill switch is read once": read_once,
    "two configurations in one decision": two_in_one,
    "a new configuration is not heard of": never_again,
    "money is a float": sets(Instrument, "floor_qty", floored_as_float),
    "funding is booked twice": each_time_another,
    "an open bar is used": sets(FeatureBook, "on_ticker", open_bar),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        PLANTED[name](patch)
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught:
    """`seed` None: none of the seeds found it."""

    name: str
    seed: int | None
    said: str = ""


def search(name: str, seeds: Sequence[int] = SEEDS) -> Caught:
    """The first seed that breaks with the mistake and holds without it."""
    for seed in seeds:
        run = Run(seed=seed, days=DAYS, plan=plan_for(seed, DAYS, "swarm"))
        with planted(name):
            outcome = carried_out(run)
        if outcome.broken and not carried_out(run).broken:
            invariant, sentences = next(iter(outcome.broken.items()))
            return Caught(name=name, seed=seed, said=f"{invariant}: {sentences[0]}")
    return Caught(name=name, seed=None)

"""No factor knows what comes after its moment.

Each history is lived, or computed, three times: whole, cut at t0, and wildly altered after t0. What a snapshot of t0
says must be the same. The factors are those of the registry and some derived ones: a new one is covered by being there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from chimera.domain.features.registry import FACTOR_IDS
from chimera.domain.features.table import FeatureHistory, feature_table
from tests.domain.features.histories import (
    CALM,
    DAY,
    DERIVED,
    MAX_AGE,
    MIN_MOVE,
    MINUTE,
    Life,
    Trouble,
    altered,
    cut,
    history,
    moments,
)

Said = Mapping[str, object]
"""A factor's value, or why it is stale."""
Look = Callable[[FeatureHistory, int], Said]
"""What is said of a moment by somebody who was given a history, which may go on after the moment."""

WANTED = {*FACTOR_IDS, *(spec.factor_id for spec in DERIVED)}


def by_table(past: FeatureHistory, t0: int) -> Said:
    values, flags = feature_table(
        past, np.array([t0], dtype=np.int64), max_age_ms=MAX_AGE, min_move=MIN_MOVE, derived=DERIVED
    ).row(0)
    return values | flags


def by_book(past: FeatureHistory, t0: int) -> Said:
    """All later bars are told before the moment is looked at, and of the quick sources one: the book keeps two."""
    life = Life(past, DERIVED)
    life.at(t0 - 90_000)
    snapshot = life.at(t0, bars_ahead=10**6, ticks_ahead=1)
    return snapshot.values | dict(snapshot.flags)


@dataclass(frozen=True)
class Looked:
    """What was found: factors that knew the future, and those that were ever fresh."""

    cheats: frozenset[str]
    fresh: frozenset[str]


def look_around(look: Look, past: FeatureHistory, t0s: list[int]) -> Looked:
    cheats: set[str] = set()
    fresh: set[str] = set()
    for t0 in t0s:
        whole, without, changed = (look(known, t0) for known in (past, cut(past, t0), altered(past, t0)))
        assert set(whole) >= WANTED, "every registered factor is looked at"
        cheats |= {name for name in whole if not whole[name] == without[name] == changed[name]}
        fresh |= {name for name in whole if isinstance(whole[name], float)}
    return Looked(frozenset(cheats), frozenset(fresh))


@cache
def a_month() -> FeatureHistory:
    return history(11, minutes=33 * 1440, days=40, trouble=CALM)


def t0s_of(past: FeatureHistory, seed: int, count: int) -> list[int]:
    """In the last day and a half, where there are quotes; some of them at a close."""
    at = moments(past, seed, 20_000)
    at = at[(at > past.minutes.end_ms - 36 * 60 * MINUTE) & (at < past.minutes.end_ms - 10 * MINUTE)]
    rng = np.random.default_rng(seed)
    return sorted(int(t0) for t0 in rng.choice(at, count, replace=False))


@pytest.mark.parametrize("look", [by_table, by_book], ids=["table", "book"])
def test_no_factor_that_is_fresh_knows_what_comes_later(look: Look) -> None:
    past = a_month()

    looked = look_around(look, past, t0s_of(past, 1, 2))

    assert looked.cheats == frozenset()
    assert looked.fresh >= WANTED, "each was fresh once, or this says nothing of it"


@pytest.mark.parametrize("look", [by_table, by_book], ids=["table", "book"])
@pytest.mark.parametrize("seed", range(4))
def test_no_factor_of_a_bad_market_knows_what_comes_later(look: Look, seed: int) -> None:
    past = history(seed, minutes=2_600, trouble=Trouble(missing=0.002, outlier=0.002))

    looked = look_around(look, past, t0s_of(past, seed, 5))

    assert looked.cheats == frozenset()


def a_cheat_by_a_minute(past: FeatureHistory, t0: int) -> Said:
    """Reads the bar that is not closed yet."""
    row = min(int(np.searchsorted(past.minutes.open_time, t0, "right")) - 1, len(past.minutes) - 1)
    return {**by_table(past, t0), "cheat": float(past.minutes.close[row])}


def a_cheat_by_the_whole(past: FeatureHistory, t0: int) -> Said:
    """Scales by a mean over everything, as a careless normalisation does."""
    return {**by_table(past, t0), "cheat": float(np.mean(past.minutes.close))}


def a_cheat_by_the_day(past: FeatureHistory, t0: int) -> Said:
    """Takes the running day for a closed one."""
    assert past.lead is not None
    today = past.lead.close[past.lead.open_time // DAY == t0 // DAY]
    return {**by_table(past, t0), "cheat": float(today[-1]) if len(today) > 0 else 0.0}


@pytest.mark.parametrize("cheat", [a_cheat_by_a_minute, a_cheat_by_the_whole, a_cheat_by_the_day])
def test_a_factor_that_looks_ahead_is_caught(cheat: Look) -> None:
    past = history(2, minutes=2_000, trouble=Trouble(missing=0.0))

    looked = look_around(cheat, past, t0s_of(past, 2, 3))

    assert looked.cheats == {"cheat"}

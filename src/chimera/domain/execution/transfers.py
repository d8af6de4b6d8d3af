"""What the exchange's history says about a transfer whose answer we never had, and what to do about it.

Owns which movement is ours and when one that is not listed can be said never to have happened. Pure; S1 asks.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from chimera.contracts.enums import Market
from chimera.domain.execution.orders import Transfer

ASSET = "USDT"
"""The only asset that is moved."""

CLOCKS_APART_MS = 2_000
"""How much earlier than the time that the exchange told before it was asked it may date the movement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """A movement that the exchange was asked for. All times are the exchange's own: our clock may be wrong.

    Attributes:
        first_ms: Right before the first try.
        last_ms: Right before the last try.
        settle_ms: A try is neither carried out nor listed later than so after it began.
    """

    source: Market
    target: Market
    amount_usdt: Decimal
    first_ms: int
    last_ms: int
    tries: int
    settle_ms: int

    @property
    def listed_from_ms(self) -> int:
        """What lies before it in the history cannot be this movement."""
        return self.first_ms - CLOCKS_APART_MS


class Next(StrEnum):
    WAIT = "WAIT"
    REPEAT = "REPEAT"
    GIVE_UP = "GIVE_UP"


def matches(sought: Sought, history: Sequence[Transfer], claimed: Collection[int]) -> list[Transfer]:
    """Movements that may be this one, oldest first; `claimed` are those that other transfers of ours are."""
    found = [
        moved
        for moved in history
        if (moved.source, moved.target, moved.asset, moved.amount)
        == (sought.source, sought.target, ASSET, sought.amount_usdt)
        and sought.listed_from_ms <= moved.ts <= sought.last_ms + sought.settle_ms
        and moved.tran_id not in claimed
    ]
    return sorted(found, key=lambda moved: (moved.ts, moved.tran_id))


def when_not_listed(sought: Sought, now_ms: int, *, repeats: int, repeat_within_ms: int) -> Next:
    """The history, read at `now_ms`, has no match."""
    if now_ms < sought.last_ms + sought.settle_ms:
        return Next.WAIT
    if sought.tries > repeats or now_ms > sought.first_ms + repeat_within_ms:
        return Next.GIVE_UP
    return Next.REPEAT

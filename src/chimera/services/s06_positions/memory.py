"""The trades that are open, in memory, so that a tick costs nothing while none is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from weakref import WeakValueDictionary

from chimera.contracts.documents import Trade
from chimera.contracts.instrument_key import InstrumentKey
from chimera.services.s06_positions.trade import Facts


@dataclass(frozen=True, slots=True)
class Wait:
    """`refused` times in a row, the last at `since_ms`; not asked for again before `until_ms`."""

    since_ms: int
    until_ms: int
    refused: int = 0


@dataclass(slots=True, kw_only=True)
class Held:
    """One trade as it was read last, and what was done about it.

    `mark_text` is the mark at the last look. `look_again_at_ms` None: nothing is to be done until the market or an
    order moves. `waits` holds, by kind of effect, what was refused or is on its way: that kind is not ordered again
    before its time, whatever is told meanwhile (the refusal itself comes back as a result), and no other kind waits
    for it. `halved_at_ms` is when half was closed last because the liquidation was near: once a tick, not at each look.
    `stop_done` is the price and quantity of the last stop that was placed, and its intent. `released` are the adds
    that ended and whose budget was given back.
    """

    facts: Facts
    trade: Trade
    mark_text: str | None = None
    shown_text: str | None = None
    """The last price that is known, be it from before the trade."""
    look_again_at_ms: int | None = 0
    waits: dict[type, "Wait"] = field(default_factory=dict)
    halved_at_ms: int | None = None
    stop_done: tuple[Decimal, Decimal, str] | None = None
    released: set[str] = field(default_factory=set)
    shown: tuple[str, ...] = ()
    snapshot_at_ms: int = 0

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(self.trade.market, self.trade.symbol)


@dataclass(slots=True)
class Memory:
    _held: dict[str, Held] = field(default_factory=dict)
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Of trades that somebody holds or waits for: every order result asks for one, and few of them open a trade."""
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def open_trades(self) -> Sequence[Held]:
        return tuple(self._held.values())

    def of(self, key: InstrumentKey) -> Held | None:
        return next((held for held in self._held.values() if held.key == key), None)

    def get(self, trade_id: str) -> Held | None:
        return self._held.get(trade_id)

    def keep(self, facts: Facts, trade: Trade) -> Held:
        held = self._held.get(trade.trade_id)
        if held is None:
            held = self._held[trade.trade_id] = Held(facts=facts, trade=trade)
        held.facts = facts
        # The same trade stays the same object: who compares it sees at once that nothing changed.
        held.trade = held.trade if held.trade == trade else trade
        self._some.set()
        return held

    async def until_one_is_open(self) -> None:
        await self._some.wait()

    def forget(self, trade_id: str) -> None:
        self._held.pop(trade_id, None)
        if not self._held:
            self._some.clear()

    def clear(self) -> None:
        self._held.clear()
        self._some.clear()

    def lock(self, trade_id: str) -> asyncio.Lock:
        """One hand at a time on one trade: a result, a tick and a person's call may come together."""
        return self._locks.setdefault(trade_id, asyncio.Lock())

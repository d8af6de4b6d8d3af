"""How far back the exchange is asked what moved the wallets."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import system_state
from chimera.contracts.documents import BalancesState
from chimera.contracts.enums import Market
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import Findings
from chimera.services.s05_reconciler.handlers.balances import Balances
from chimera.services.s05_reconciler.settings import Settings
from chimera.simulation.loop import run_virtual
from tests.ports.hand_clock import HandClock
from tests.services.meddling import Meddled
from tests.services.trading_floor import BEGIN_MS, ENV, FUT, SPOT, Floor

DAY_MS = 86_400_000
MINUTE_MS = 60_000


@dataclass
class Books:
    """The account's books beside the floor's exchange, and since when that was asked for its lists."""

    floor: Floor
    clock: HandClock
    balances: Balances
    since_ms: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    async def begin(cls, speed: float = 1.0) -> "Books":
        floor = await Floor.open("s10", "s1")
        clock = HandClock(speed=speed, at_ms=BEGIN_MS + DAY_MS)
        venue: Any = Meddled(floor.venue)
        documents = floor.world.documents
        balances = Balances(
            settings=Settings(env=ENV, keys=(FUT, SPOT)),
            documents=documents,
            venue=venue,
            clock=clock,
            teller=Teller(source="s5", env=ENV, bus=floor.world.bus, documents=documents, clock=clock),
        )
        books = cls(floor, clock, balances)
        for name in ("transfers", "income"):
            venue.instead[name] = books.noting(name)
        await books.look()
        return books

    def noting(self, name: str) -> Any:
        async def listed(real: Any, since_ms: int) -> Any:
            self.since_ms.setdefault(name, []).append(since_ms)
            return await real(since_ms)

        return listed

    async def look(self) -> None:
        await self.balances.compare(Findings(documents=self.floor.world.documents))

    async def state(self) -> BalancesState:
        state = await self.floor.world.documents.get(system_state(BalancesState), "balances")
        assert state is not None
        return state

    def deposits(self) -> None:
        self.floor.venue.settle(
            self.floor.venue.exchange.deposit(Market.SPOT, "USDT", Decimal(250), self.floor.world.clock.now_ms())
        )


@pytest.mark.parametrize("speed", [1, 60])
def test_the_margin_for_clocks_that_differ_is_one_of_our_own_work(speed: int) -> None:
    async def scenario() -> None:
        books = await Books.begin(speed)
        began_ms = books.clock.now_ms()
        await books.clock.advance(MINUTE_MS)
        books.deposits()
        await books.look()

        since_ms = began_ms - MINUTE_MS * speed
        assert books.since_ms == {"transfers": [since_ms] * 2, "income": [since_ms] * 2}
        await books.floor.stop()

    run_virtual(scenario())


def test_after_months_without_a_change_the_exchange_is_asked_for_the_last_day_only() -> None:
    async def scenario() -> None:
        books = await Books.begin()
        began_ms = books.clock.now_ms()
        await books.clock.advance(MINUTE_MS)
        await books.look()
        assert (await books.state()).at == began_ms
        for _ in range(200):
            await books.clock.advance(DAY_MS)
            await books.look()
        books.deposits()
        await books.look()

        for asked in books.since_ms.values():
            assert asked[-1] >= books.clock.now_ms() - DAY_MS - MINUTE_MS
        await books.floor.stop()

    run_virtual(scenario())

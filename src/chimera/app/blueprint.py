"""The house as it is drawn: every service built, none of them started.

Owns a world good enough to build services in, for whoever wants to know what they declare (streams, routes, cards)
without a running system. Nothing is asked of this world and nothing happens in it.
"""

from collections.abc import Sequence

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.simulated_venue.feed import OpenSide, Tick
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.house import House
from chimera.app.registry import Settings
from chimera.app.worlds import one_process_world
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S3Settings, S4Settings
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.listing import listed
from chimera.domain.market.quotes import Bar
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.runtime.http import LocalPeers
from chimera.runtime.kill_switch import no_file
from chimera.services.s12_gateway.settings import GatewaySettings

ENV = "dev"
KEYS = (InstrumentKey(Market.FUT, "BTCUSDT"), InstrumentKey(Market.SPOT, "BTCUSDT"))
"""One instrument of each market: what a service declares for one it declares for all."""


class NoMarket:
    """A market that has ended before it began."""

    tick_interval_ms = 0

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        return None

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return ()

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return ()

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        return ()


def still_venue(clock: LoopClock) -> tuple[SimulatedVenue, SimulatedFactorFeed]:
    """An exchange on which nothing ever happens, for worlds in which nobody asks it anything."""
    rules = ExchangeRules(instruments=tuple(listed(key) for key in KEYS))
    market = NoMarket()
    venue = SimulatedVenue(
        exchange=Exchange(rules, spot_balances={}, fut_balances={}),
        rules=rules,
        feed=market,
        clock=clock,
        journal=NoJournal(),
    )
    return venue, SimulatedFactorFeed(market, clock)


async def drawn_house() -> House:
    """Call it in a running loop; there is nothing to stop afterwards."""
    clock = LoopClock(0)
    venue, factor_feed = still_venue(clock)
    peers = LocalPeers()
    world = one_process_world(
        clock=clock,
        randomness=SeededRandomness(0),
        documents=SqliteDocuments.in_loop(),
        venue=venue,
        factor_feed=factor_feed,
        objects=MemoryObjects(),
        peers=peers,
    )
    settings = Settings(
        env=ENV,
        keys=KEYS,
        id_prefix="s3",
        tick_interval_ms=venue.tick_interval_ms,
        s3=S3Settings(),
        s4=S4Settings(),
        gateway=GatewaySettings(env=ENV),
        kill_file=no_file,
    )
    return House.build(world, settings, peers)

"""Which exchange a system trades on, and what belongs to it: its clock, its instruments, its upkeep.

Owns the difference between the worlds of one process. Everything else of a running system is the same on each side.

    SimSide      the simulated exchange in process, with its journal in the data folder
    PaperSide    prices of a real exchange, fills of the simulated one          (app/paper.py)
    RemoteSide   an exchange that is reached over the network, real or not     (app/remote.py)
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from chimera.adapters.clocks import LoopClock
from chimera.adapters.simulated_venue.journal import RESUME_MARGIN_MS, FileJournal
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import DataFolder
from chimera.app.hosted_exchange import HostedExchange
from chimera.app.simulated_market import Market, MarketPlan, keys_for
from chimera.contracts.collections import SIGNALS
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.matching.exchange import Exchange
from chimera.ports.clock import Clock
from chimera.ports.documents import Query
from chimera.ports.venue import FactorFeed, Venue
from chimera.runtime.guard import is_loopback

Spawn = Callable[[str, Coroutine[Any, Any, None]], None]

Waiting = Callable[[str | None], None]
"""Told, for people, what is waited for, and None when that is over."""

SIM, PAPER, TESTNET, LIVE = "sim", "paper", "testnet", "live"
"""Beside them `--venue` takes the URL of an exchange's server."""

STALL_MAX_MS = 60_000
"""So much of our own time may lie between the clock's last mark and what is on file; more is another past."""


class UpProblem(Exception):
    """The system cannot start as asked; the text says why and what to do."""


class StartRefused(UpProblem):
    """The exchange, or its account, is not as it must be: nothing was traded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `chimera up` was asked for. `service_ports`: S1 listens there, S12 eleven further on; None: not at all.
    `venue`: sim, paper, testnet, live, or the URL of an exchange's server. `understood`: whoever asked knows that it
    may be real money. `market_data`: where paper takes its prices from: live, testnet or a URL. `speed` None: the
    venue's own.
    `end_ms`: market time at which a new folder's warm-up ends and the market goes on; None: now."""

    data: Path
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    venue: str = "sim"
    understood: bool = False
    market_data: str = "live"
    warmup_days: int = 14
    speed: float | None = None
    seed: int = 7
    host: str = "127.0.0.1"
    port: int = 8080
    service_ports: int | None = None
    end_ms: int | None = None


def refuse_by_name(venue: str, *, understood: bool) -> None:
    """For every way to an account: what its name alone forbids, before anything is made or asked.

    Raises:
        UpProblem: it may be real money and nobody said so, or the key would go where it must not.
    """
    if venue == LIVE and not understood:
        raise UpProblem(
            "--venue live sends real orders for real money. If you mean it, add --i-understand; else --venue testnet"
        )
    if not is_url(venue):
        return
    host = _host_of(venue)
    if host.split(".")[-2:][0].startswith("binance"):  # .com, .us, binancefuture.com, …
        raise UpProblem(
            f"--venue {venue}: Binance itself is not reached by its address. Use --venue live --i-understand for real"
            " money, or --venue testnet."
        )
    if is_loopback(host):
        return
    if not venue.startswith("https://"):
        raise UpProblem(
            f"--venue {venue}: the key would cross the network in clear. Use https there, or a tunnel that ends on this"
            " machine (http://127.0.0.1:PORT)."
        )
    if not understood:
        raise UpProblem(
            f"--venue {venue} is not on this machine, and what it does with orders may cost real money. If you mean it,"
            " add --i-understand."
        )


def is_url(venue: str) -> bool:
    return venue.startswith(("http://", "https://"))


def is_elsewhere(venue: str) -> bool:
    """The URL of a server that is not on this machine."""
    return is_url(venue) and not is_loopback(_host_of(venue))


def _host_of(url: str) -> str:
    """
    Raises:
        UpProblem: it names none.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise UpProblem(f"{url} is no address of an exchange; write it like http://127.0.0.1:9900")
    return host.rstrip(".")


def called(venue: str) -> str:
    """For people."""
    names = {
        SIM: "the simulated exchange",
        PAPER: "paper: real prices, simulated fills",
        TESTNET: "Binance's testnet",
        LIVE: "BINANCE WITH REAL MONEY",
    }
    return names.get(venue, f"the exchange's server at {venue}")


class Side(Protocol):
    """The exchange's side of a running system, opened."""

    @property
    def name(self) -> str:
        """For people: sim, paper, testnet, live, local, remote."""
        ...

    @property
    def venue(self) -> Venue: ...

    @property
    def factor_feed(self) -> FactorFeed | None: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def keys(self) -> tuple[InstrumentKey, ...]:
        """What is traded."""
        ...

    @property
    def watched(self) -> tuple[InstrumentKey, ...]:
        """What is watched besides."""
        ...

    def before_house(self, spawn: Spawn) -> None:
        """What must run before the services start."""
        ...

    def after_house(self, spawn: Spawn) -> None:
        """What goes on once all of them have started."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSide:
    hosted: HostedExchange[SimulatedVenue]
    keys: tuple[InstrumentKey, ...]
    factor_feed: FactorFeed
    name: str = "sim"

    @property
    def venue(self) -> SimulatedVenue:
        return self.hosted.host

    @property
    def clock(self) -> Clock:
        return self.hosted.clock

    @property
    def watched(self) -> tuple[InstrumentKey, ...]:
        return tuple(instrument.key for instrument in self.hosted.host.rules.instruments)

    @classmethod
    async def open(cls, speed: float, folder: DataFolder, documents: SqliteDocuments) -> "SimSide":
        """The exchange as it was left, its clock where it stood.

        Raises:
            UpProblem: the exchange's file was made by no warm-up, or belongs to other documents.
        """
        journal = FileJournal(folder.venue)
        plan = plan_of(journal, folder)
        market = Market.build(plan, journal.meta("checkpoint"), ticks_per_minute=ticks_per_minute(speed))
        stood_at_ms, tick_ms = journal.times_ms()
        resumes_at_ms = await resumes_at_ms_of(
            stood_at_ms + int(RESUME_MARGIN_MS * speed), int(STALL_MAX_MS * speed), documents, folder
        )
        clock = LoopClock(resumes_at_ms, speed)
        venue = SimulatedVenue(
            exchange=Exchange.restore(market.rules, journal.state()),
            rules=market.rules,
            feed=market.ticker,
            clock=clock,
            journal=journal,
        )
        return cls(
            hosted=HostedExchange(host=venue, journal=journal, market=market, shown_until_ms=tick_ms),
            keys=keys_for(plan.symbols),
            factor_feed=SimulatedFactorFeed(market.ticker, clock),
        )

    def before_house(self, spawn: Spawn) -> None:
        self.hosted.host.show_again(self.hosted.shown_until_ms)
        self.hosted.mark_clock(spawn)

    def after_house(self, spawn: Spawn) -> None:
        self.hosted.open_market(spawn)

    async def close(self) -> None:
        self.hosted.close()


def plan_of(journal: FileJournal, folder: DataFolder) -> MarketPlan:
    """
    Raises:
        UpProblem: the exchange's file was made by no warm-up.
    """
    plan = journal.meta("plan")
    if plan is None:
        raise UpProblem(
            f"the exchange in {folder.venue} does not say which market it had. Restore a copy of the whole data folder,"
            " or choose another --data."
        )
    return MarketPlan.from_json(plan)


async def resumes_at_ms_of(now_ms: int, stall_max_ms: int, documents: SqliteDocuments, folder: DataFolder) -> int:
    """`now_ms`, or the newest document's time where a process that had stalled was killed before it marked its clock: a
    clock that stands before what is on file would write the past a second time.

    Raises:
        UpProblem: the exchange's files and the documents are not of one system.
    """
    newest = await documents.find(Query(collection=SIGNALS, index="by_t0", descending=True, limit=1))
    newest_ms = newest[0].t0 if newest else 0
    if newest_ms > now_ms + stall_max_ms:
        raise UpProblem(
            f"the clock went backwards: the exchange in {folder.venue} stands at {now_ms}, and {folder.documents}"
            f" holds a signal of {newest_ms}. Put both back from the same backup, or choose another --data."
        )
    return max(now_ms, newest_ms)


def ticks_per_minute(speed: float) -> int:
    """Four ticks of the market a real second at any speed, and never fewer than four a minute: a page that lives."""
    return max(4, min(240, round(240 / speed)))

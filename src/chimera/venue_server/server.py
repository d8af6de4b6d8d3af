"""`chimera venue`: the exchange as a process of its own.

Owns the order of a start: the state folder is taken, the port is taken, the market stands where it was left, then the
doors open. Being killed at any moment is only an early stop: what was answered is in the journal.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from chimera.adapters.clocks import LoopClock, wall_ms
from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.journal import RESUME_MARGIN_MS, FileJournal, JournalError
from chimera.adapters.simulated_venue.operator import Operator
from chimera.app.hosted_exchange import HostedExchange
from chimera.app.remote import LOCAL_KEY, LOCAL_SECRET
from chimera.app.serving import listen, server, stop
from chimera.app.simulated_market import Market, MarketPlan
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import FaultPlan
from chimera.runtime.garbage import rarely_collected
from chimera.venue_server.about import about_routes
from chimera.venue_server.admin import admin_routes
from chimera.venue_server.asgi import SocketHandler, VenueApp
from chimera.venue_server.auth import ApiKey, KeyRing
from chimera.venue_server.calls import Route
from chimera.venue_server.faults import ServerFaults
from chimera.venue_server.floor import Floor, Unsaved
from chimera.venue_server.futures import futures_routes
from chimera.venue_server.futures.listen_keys import ListenKeys
from chimera.venue_server.limits import LimitRules, Limits
from chimera.venue_server.max import max_routes
from chimera.venue_server.spot import spot_routes
from chimera.venue_server.spot.ws_api import PATH, SpotSocketApi
from chimera.venue_server.streams.hub import Hub
from chimera.venue_server.wallet import wallet_routes

DAY_MS = 86_400_000
TICKS_A_SECOND = 4
"""Of the market, real seconds at any speed; never fewer than four a market minute."""

log = structlog.get_logger(__name__)


class VenueProblem(Exception):
    """The exchange cannot open as asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOptions:
    """`state` None: the account ends with the process. `start_ms`: market time of a new exchange; None: now, or with
    `klines` the second day of the files. `api_key` and `api_secret` empty: the well-known ones of a local account.
    `ticks_per_minute` None: four a real second."""

    port: int = 9900
    host: str = "127.0.0.1"
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    seed: int = 7
    klines: Path | None = None
    speed: float = 1.0
    state: Path | None = None
    start_ms: int | None = None
    spot_usdt: Decimal = Decimal(10_000)
    fut_usdt: Decimal = Decimal(10_000)
    api_key: str = ""
    api_secret: str = ""
    limits: LimitRules = field(default_factory=LimitRules)
    ticks_per_minute: int | None = None


async def serve(options: VenueOptions, say: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        VenueProblem, JournalError, KlineFileError, PortProblem: nothing was started.
    """
    sock = listen(options.host, options.port)
    with TemporaryDirectory(prefix="chimera-venue-") as scratch:
        folder = Path(scratch) if options.state is None else options.state
        hosted, keys = open_exchange(options, folder)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, stopping.set)
        venue = VenueServer(hosted, keys, options.limits)
        web = server(venue.app, streams=True)
        task = loop.create_task(web.serve(sockets=[sock]), name="http venue")
        task.add_done_callback(venue.doors_closed)
        try:
            venue.open()
            first = keys.all[0]
            say(
                f"The exchange is open at http://{options.host}:{options.port}  (market time {options.speed:g}x,"
                f" {', '.join(options.symbols)})"
            )
            say(f"API key {first.key}  secret {first.secret or '(Ed25519)'}")
            with rarely_collected():
                await venue.until_broken(stopping)
        finally:
            await stop((web, task))
            await venue.close()


def open_exchange(options: VenueOptions, folder: Path) -> tuple[HostedExchange[ExchangeHost], KeyRing]:
    """The exchange as it was left in `folder`, or a new one there. Call it in the running loop.

    Raises:
        VenueProblem: what was asked for contradicts what the folder holds.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    journal = FileJournal(folder)
    try:
        kept = journal.meta("venue")
        plan = journal.meta("plan")
        if kept is None:
            kept = _new_exchange(options, journal)
            plan = journal.meta("plan")
        _refuse_other(options, kept, folder)
        market = _market(options, tuple(kept["symbols"]), plan, journal)
        stood_at_ms, tick_ms = journal.times_ms()
        clock = LoopClock(stood_at_ms + int(RESUME_MARGIN_MS * options.speed), options.speed)
        host = ExchangeHost(
            exchange=Exchange.restore(market.rules, journal.state()),
            rules=market.rules,
            feed=market.ticker,
            clock=clock,
            journal=journal,
        )
    except BaseException:
        journal.close()
        raise
    keys = _keys(options, kept, journal.meta("keys") or [])
    return HostedExchange(host=host, journal=journal, market=market, shown_until_ms=tick_ms), keys


def _keys(options: VenueOptions, kept: dict[str, Any], rows: list[dict[str, Any]]) -> KeyRing:
    """The exchange's own key first, whatever became of it: whoever starts the exchange can ask it; then those added."""
    name, secret = options.api_key or kept["api_key"], options.api_secret or kept["api_secret"]
    ring = KeyRing(ApiKey(key=name, secret=secret))
    for row in rows:
        key = ApiKey(**{**row, "ips": tuple(row["ips"])})
        asked_anew = key.key == name and options.api_secret
        ring.add(replace(key, secret=secret, public_key="") if asked_anew else key)
    return ring


def _new_exchange(options: VenueOptions, journal: FileJournal) -> dict[str, Any]:
    kept = {
        "symbols": list(options.symbols),
        "klines": str(options.klines) if options.klines is not None else None,
        "seed": options.seed,
        "api_key": options.api_key or LOCAL_KEY,
        "api_secret": options.api_secret or LOCAL_SECRET,
    }
    meta: dict[str, Any] = {"venue": kept}
    if options.klines is not None:
        market = _from_files(options, options.symbols, options.klines)
        day_after_ms = (market.source.start_ms // DAY_MS + 2) * DAY_MS
        start_ms = options.start_ms if options.start_ms is not None else day_after_ms
        end_ms = market.source.end_ms
        if not market.source.start_ms <= start_ms < (end_ms or start_ms + 1):
            raise VenueProblem(
                f"the market of {options.klines} lasts from {market.source.start_ms} to {end_ms}, and {start_ms} is not"
                " in it: choose another --start-ms, or more days of klines."
            )
    else:
        start_ms = options.start_ms if options.start_ms is not None else wall_ms()
        plan = MarketPlan.ending_at(options.symbols, seed=options.seed, start_ms=start_ms, end_ms=start_ms, targets={})
        meta["plan"] = plan.to_json()
        market = Market.build(plan, None, ticks_per_minute=options.ticks_per_minute or ticks_per_minute(options.speed))
    exchange = Exchange(
        market.rules, spot_balances={"USDT": options.spot_usdt}, fut_balances={"USDT": options.fut_usdt}
    )
    journal.write_state(exchange.export_state())
    journal.mark_time(start_ms)
    journal.mark_tick(start_ms)
    journal.set_meta(meta)  # last: without it the folder is still a new one
    return kept


def _refuse_other(options: VenueOptions, kept: dict[str, Any], folder: Path) -> None:
    asked = {
        "symbols": list(options.symbols),
        "klines": str(options.klines) if options.klines is not None else None,
        "seed": options.seed,
    }
    for name, value in asked.items():
        if kept[name] != value:
            raise VenueProblem(
                f"the exchange in {folder} has {name} {kept[name]!r}, and {value!r} was asked for: ask for the same, or"
                " choose another --state."
            )


def _market(options: VenueOptions, symbols: tuple[str, ...], plan: Any, journal: FileJournal) -> Market:
    if options.klines is not None:
        return _from_files(options, symbols, options.klines)
    return Market.build(
        MarketPlan.from_json(plan),
        journal.meta("checkpoint"),
        ticks_per_minute=options.ticks_per_minute or ticks_per_minute(options.speed),
    )


def _from_files(options: VenueOptions, symbols: Sequence[str], klines: Path) -> Market:
    try:
        return Market.from_files(
            klines,
            symbols,
            seed=options.seed,
            ticks_per_minute=options.ticks_per_minute or ticks_per_minute(options.speed),
        )
    except ValueError as problem:
        raise VenueProblem(f"{klines}: {problem}") from problem


def ticks_per_minute(speed: float) -> int:
    return max(4, min(240, round(60 * TICKS_A_SECOND / speed)))


class VenueServer:
    """The exchange with its doors: everything but the port, so that tests and benches can put it on one of theirs."""

    def __init__(
        self,
        hosted: HostedExchange[ExchangeHost],
        keys: KeyRing,
        limits: LimitRules,
        faults: FaultPlan | None = None,
    ) -> None:
        self.hosted = hosted
        self.floor = Floor(host=hosted.host, keys=keys, limits=Limits(limits, hosted.clock.speed))
        self.listen_keys = ListenKeys()
        speed = hosted.clock.speed
        rows = hosted.journal.meta("listen_keys") or []
        self.listen_keys.restore([(key, of, int(until_ms / speed)) for key, of, until_ms in rows], self.floor.real_ms())
        self.listen_keys.on_change = self._keep_keys
        keys.on_change = self._keep_keys
        self.hub = Hub(self.floor, self.listen_keys)
        self.plan = faults if faults is not None else FaultPlan()
        self._operator = Operator(hosted.host)
        self.faults = ServerFaults(self.floor, self.plan, self.hub, self.listen_keys, lambda: self.app, self._operator)
        self.floor.faults = self.faults
        self.app = VenueApp(self.floor, self._routes(), self._sockets())
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: str | None = None
        self._stopping: asyncio.Event | None = None

    def _keep_keys(self) -> None:
        """
        Raises:
            Unsaved: the journal failed.
        """
        speed = self.hosted.clock.speed
        meta = {
            "keys": [asdict(key) for key in self.floor.keys.all],
            "listen_keys": [(key, of, int(until_ms * speed)) for key, of, until_ms in self.listen_keys.rows()],
        }
        try:
            self.hosted.journal.set_meta(meta)
        except JournalError as error:
            raise Unsaved(str(error)) from error

    def _routes(self) -> list[Route]:
        return [
            *futures_routes(self.floor, self.listen_keys),
            *spot_routes(self.floor),
            *wallet_routes(self.floor),
            *max_routes(self.floor),
            *about_routes(self.floor),
            *admin_routes(self.floor, self.plan, self._operator),
        ]

    def _sockets(self) -> dict[str, SocketHandler]:
        spot_api = SpotSocketApi(self.floor, self.hub, lambda: self.app)
        return self.faults.watched({**self.hub.sockets(), PATH: spot_api})

    def open(self, *, still: bool = False) -> None:
        """Show the last prices and let the market go on; `still` leaves its ticks to whoever asked for that."""
        self.hosted.host.show_again(self.hosted.shown_until_ms)
        self.hosted.mark_clock(self._spawn)
        if not still:
            self.hosted.open_market(self._spawn)
        self.faults.look()
        self._spawn("listen keys", self.listen_keys.watch(self.floor.clock, self.floor.real_ms))

    async def until_broken(self, stopping: asyncio.Event) -> None:
        """
        Raises:
            VenueProblem: a part of the exchange failed; what it shows would no longer be what it keeps.
        """
        self._stopping = stopping
        if self._broken is None:
            await stopping.wait()
        if self._broken is not None:
            raise VenueProblem(f"the exchange stopped: {self._broken}")

    async def close(self) -> None:
        self.faults.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.hosted.close()

    def doors_closed(self, task: "asyncio.Task[None]") -> None:
        """The HTTP server ended: on a stop of ours nobody listens any more, at any other time the exchange stops."""
        self._ended(task)
        if self._broken is None:
            self._break(f"{task.get_name()} ended by itself")

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a part of the exchange failed", part=task.get_name(), exc_info=error)
            self._break(f"{task.get_name()}: {error}")

    def _break(self, why: str) -> None:
        self._broken = why
        if self._stopping is not None:
            self._stopping.set()

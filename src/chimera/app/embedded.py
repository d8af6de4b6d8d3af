"""The embedded world on the simulated exchange: one process that trades, is served, and goes on where it stopped.

Owns the order of a start: the folder is taken, the ports are taken, the page is there, the warm-up has run to its end,
the exchange stands as it was left, the house recovers, trading goes on. Stopping is the same backwards, and being
killed at any moment is only an early stop.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from chimera.adapters.chance import SystemRandomness
from chimera.adapters.clocks import LoopClock, wall_ms
from chimera.adapters.local_objects import LocalObjects
from chimera.adapters.simulated_venue.journal import RESUME_MARGIN_MS, FileJournal
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import API_TOKEN_NAME, RUN_NAME, DataFolder, open_folder
from chimera.app.front import Front
from chimera.app.house import House
from chimera.app.registry import START_ORDER, Settings
from chimera.app.serving import listen, server, stop
from chimera.app.simulated_market import Market, MarketPlan, keys_for
from chimera.app.worlds import one_process_world
from chimera.contracts.collections import SIGNALS
from chimera.contracts.settings import ChimeraSettings, S3Settings, S4Settings
from chimera.domain.matching.exchange import Exchange
from chimera.ports.clock import Clock
from chimera.ports.documents import Query
from chimera.ports.world import World
from chimera.runtime.guard import BrowserGuard
from chimera.runtime.http import LocalPeers, build_app
from chimera.services.s12_gateway.page import PageSettings, mount_page
from chimera.services.s12_gateway.passwords import require_password_for
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.services.s12_gateway.web import build_web

CLOCK_MARK_MS = 50
"""How often the exchange's clock is written down, our own work's time."""

STALL_MAX_MS = 60_000
"""So much of our own time may lie between the clock's last mark and what is on file; more is another past."""

CHECKPOINT_MS = 60_000
"""How often the market's day state is written down, so that a restart need not walk from the first day."""

SERVICE_COUNT = 12
LOOPBACK = "127.0.0.1"
"""All but the gateway ask nobody who they are, so the services' own ports are never opened beyond this machine."""

log = structlog.get_logger(__name__)


class UpProblem(Exception):
    """The system cannot start as asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `chimera up` was asked for. `service_ports`: S1 listens there, S12 eleven further on; None: not at all.
    `end_ms`: market time at which a new folder's warm-up ends and the market goes on; None: now."""

    data: Path
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    warmup_days: int = 14
    speed: float = 60.0
    seed: int = 7
    host: str = "127.0.0.1"
    port: int = 8080
    service_ports: int | None = None
    end_ms: int | None = None


@dataclass(slots=True)
class _Progress:
    days: int
    day: int = 0
    note: str = "starting"

    def now(self) -> tuple[int, int, str]:
        return self.day, self.days, self.note


@dataclass(slots=True)
class _Serving:
    """Everything that listens."""

    servers: list[tuple[uvicorn.Server, "asyncio.Task[None]"]] = field(default_factory=list)

    def add(self, app: Any, sock: socket.socket, name: str) -> None:
        each = server(app)
        task = asyncio.get_running_loop().create_task(each.serve(sockets=[sock]), name=f"http {name}")
        self.servers.append((each, task))

    async def stop(self) -> None:
        await stop(*self.servers)


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


async def up(options: UpOptions, env: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        UpProblem, DataFolderProblem, PortProblem, SettingsError: nothing was started.
    """
    shared = ChimeraSettings.from_env(env)
    s3, s4 = S3Settings.from_env(env), S4Settings.from_env(env)
    folder = open_folder(options.data)
    try:
        folder.refuse_half()
        await _check_host(options, folder)
        socks = _take_ports(options)
    except BaseException:
        folder.close_unused()
        raise
    try:
        await _run(options, folder, socks, shared, s3, s4, say)
    finally:
        folder.close()


async def _check_host(options: UpOptions, folder: DataFolder) -> None:
    """Beyond loopback everybody on the network can knock: a password must stand first."""
    if is_loopback(options.host):
        return
    documents = SqliteDocuments.in_thread(folder.documents) if not folder.is_new else SqliteDocuments.in_loop()
    try:
        await require_password_for(options.host, documents)
    finally:
        await documents.close()


def _take_ports(options: UpOptions) -> dict[str, socket.socket]:
    ports: dict[str, int] = {}
    first = options.service_ports
    if first is not None:
        ports = {f"s{n + 1}": first + n for n in range(SERVICE_COUNT) if f"s{n + 1}" in START_ORDER}
    for service_id, port in ports.items():
        if port == options.port:
            raise UpProblem(
                f"--port {port} is also the port of {service_id.upper()}: --service-ports {first} takes"
                f" {min(ports.values())} to {max(ports.values())}. Change one of the two."
            )
    socks = {"gateway": listen(options.host, options.port)}
    return socks | {service_id: listen(LOOPBACK, port) for service_id, port in ports.items()}


async def _run(
    options: UpOptions,
    folder: DataFolder,
    socks: dict[str, socket.socket],
    shared: ChimeraSettings,
    s3: S3Settings,
    s4: S4Settings,
    say: Callable[[str], None],
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stopping.set)
    randomness = SystemRandomness()
    link_token, api_token = randomness.token_hex(32), _api_token(folder, randomness.token_hex(32))
    progress = _Progress(options.warmup_days)
    front = Front(progress.now)
    serving = _Serving()
    serving.add(front, socks["gateway"], "gateway")
    _write_run_file(folder, options)
    say(
        f"Chimera on the simulated exchange. Open  http://{_shown(options.host)}:{options.port}/login?token={link_token}"
    )
    say(f"Programs use the token in {folder.path / API_TOKEN_NAME}. Stop with Ctrl-C; the data stays in {folder.path}.")
    try:
        if folder.is_new and not await _warm_up(options, folder, progress, stopping):
            return
        progress.note = "starting the services"
        for note in _kept_from_before(options, folder):
            say(note)
        embedded = await Embedded.open(options, folder, shared, s3, s4)
        try:
            await embedded.serve(front, serving, socks, link_token, api_token)
            say("Trading. The page is live.")
            await embedded.until_broken(stopping)
        finally:
            await embedded.close()
    finally:
        await front.close()
        await serving.stop()


def _kept_from_before(options: UpOptions, folder: DataFolder) -> list[str]:
    """What was asked for and cannot be had, because this folder's exchange began otherwise."""
    journal = FileJournal(folder.venue)
    try:
        plan = _plan_of(journal, folder)
    finally:
        journal.close()
    notes = []
    if plan.symbols != options.symbols:
        notes.append(
            f"This folder's exchange lists {', '.join(plan.symbols)}; for other symbols choose another --data."
        )
    if plan.seed != options.seed:
        notes.append(f"This folder's market has seed {plan.seed}; for another seed choose another --data.")
    return notes


def _plan_of(journal: FileJournal, folder: DataFolder) -> MarketPlan:
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


async def _warm_up(options: UpOptions, folder: DataFolder, progress: _Progress, stopping: asyncio.Event) -> bool:
    """Let the past be simulated by a process of its own: virtual time and a served page do not share a loop.

    False: the program is to stop. What an interrupted warm-up wrote is not used.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chimera",
        "warm-up",
        *("--data", str(folder.path), "--days", str(options.warmup_days), "--seed", str(options.seed)),
        *(
            "--symbols",
            ",".join(options.symbols),
            "--end-ms",
            str(wall_ms() if options.end_ms is None else options.end_ms),
        ),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert child.stdout is not None
    watch = asyncio.create_task(_stop_child(child, stopping))
    async for line in child.stdout:
        told = json.loads(line)
        progress.day, progress.note = told["day"], told["note"]
    code = await child.wait()
    watch.cancel()
    if stopping.is_set():
        return False
    if code != 0:
        raise UpProblem(f"the warm-up failed with code {code}; its message stands above. Try again, or another --data.")
    return True


async def _stop_child(child: asyncio.subprocess.Process, stopping: asyncio.Event) -> None:
    await stopping.wait()
    with suppress(ProcessLookupError):
        child.terminate()


def _api_token(folder: DataFolder, fresh: str) -> str:
    """The token for programs on this machine, kept in the folder that only its owner can read."""
    path = folder.path / API_TOKEN_NAME
    if path.exists():
        return path.read_text(encoding="utf-8").strip()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(fresh)
    return fresh


def _write_run_file(folder: DataFolder, options: UpOptions) -> None:
    folder.write_json(
        RUN_NAME, {"pid": os.getpid(), "host": _shown(options.host), "port": options.port, "speed": options.speed}
    )


def _shown(host: str) -> str:
    """What a browser on this machine calls it."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)


@dataclass(slots=True)
class Embedded:
    """The running system: exchange, house, clock."""

    options: UpOptions
    folder: DataFolder
    world: World
    house: House
    venue: SimulatedVenue
    journal: FileJournal
    market: Market
    documents: SqliteDocuments
    clock: Clock
    resumed_at_ms: int
    _broken: str | None = None
    _stopping: asyncio.Event | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def open(
        cls, options: UpOptions, folder: DataFolder, shared: ChimeraSettings, s3: S3Settings, s4: S4Settings
    ) -> "Embedded":
        """The exchange as it was left, its clock where it stood, and a world around them."""
        journal = FileJournal(folder.venue)
        plan = _plan_of(journal, folder)
        market = Market.build(
            plan,
            journal.meta("checkpoint"),
            ticks_per_minute=ticks_per_minute(options.speed),
        )
        stood_at_ms, tick_ms = journal.times_ms()
        documents = SqliteDocuments.in_thread(folder.documents)
        resumes_at_ms = await resumes_at_ms_of(
            stood_at_ms + int(RESUME_MARGIN_MS * options.speed), int(STALL_MAX_MS * options.speed), documents, folder
        )
        clock = LoopClock(resumes_at_ms, options.speed)
        exchange = Exchange.restore(market.rules, journal.state())
        venue = SimulatedVenue(exchange=exchange, rules=market.rules, feed=market.ticker, clock=clock, journal=journal)
        peers = LocalPeers()
        world = one_process_world(
            clock=clock,
            randomness=SystemRandomness(),
            documents=documents,
            venue=venue,
            factor_feed=SimulatedFactorFeed(market.ticker, clock),
            objects=LocalObjects(folder.objects, in_thread=True),
            peers=peers,
        )
        kill_file = folder.kill_file
        settings = Settings(
            env=shared.env,
            keys=keys_for(plan.symbols),
            watched=tuple(instrument.key for instrument in market.rules.instruments),
            id_prefix=shared.id_prefix,
            tick_interval_ms=venue.tick_interval_ms,
            s3=s3,
            s4=s4,
            gateway=GatewaySettings(env=shared.env, cookie_name=f"chimera_{options.port}"),
            kill_file=kill_file.exists,
        )
        return cls(
            options=options,
            folder=folder,
            world=world,
            house=House.build(world, settings, peers),
            venue=venue,
            journal=journal,
            market=market,
            documents=documents,
            clock=clock,
            resumed_at_ms=tick_ms,
        )

    async def serve(
        self,
        front: Front,
        serving: _Serving,
        socks: dict[str, socket.socket],
        link_token: str,
        api_token: str,
    ) -> None:
        """Start the market and the house, then open the doors."""
        self.venue.show_again(self.resumed_at_ms)
        self._spawn("venue clock", self._mark_clock())
        await self.house.start()
        self._spawn("venue", self.venue.run(self.resumed_at_ms))
        self._spawn("venue checkpoint", self._checkpoint())
        settings = self.house.settings
        routes = self.house.routes()
        web = build_web(self.world, settings.gateway, routes["s12"])
        await web.access.set_link(link_token)
        await web.access.set_api_token(api_token)
        mount_page(
            web,
            self.world,
            PageSettings(
                env=settings.env, keys=settings.keys, storage=self.folder.web, venue="sim", speed=self.options.speed
            ),
        )
        await front.open(web.asgi)
        for service_id, runner in self.house.runners.items():
            if service_id == "s12" and service_id in socks:
                serving.add(front, socks[service_id], service_id)
            elif service_id in socks:
                guarded = BrowserGuard(app=build_app(runner.service, routes[service_id]))
                serving.add(guarded, socks[service_id], service_id)

    async def until_broken(self, stopping: asyncio.Event) -> None:
        """
        Raises:
            UpProblem: the exchange cannot go on. Stopping is right: what it shows would no longer be what it keeps.
        """
        self._stopping = stopping
        if self._broken is None:
            await stopping.wait()
        if self._broken is not None:
            raise UpProblem(f"the simulated exchange stopped: {self._broken}")

    def _spawn(self, name: str, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a part of the exchange failed", part=task.get_name(), exc_info=error)
            self._broken = f"{task.get_name()}: {error}"
            if self._stopping is not None:
                self._stopping.set()

    async def _mark_clock(self) -> None:
        while True:
            self.journal.mark_time(self.clock.now_ms())
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(CLOCK_MARK_MS))

    async def _checkpoint(self) -> None:
        while True:
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(CHECKPOINT_MS))
            self.journal.set_meta({"checkpoint": self.market.checkpoint(self.clock.now_ms())})

    async def close(self) -> None:
        await self.house.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.journal.mark_time(self.clock.now_ms())
        await self.documents.close()
        self.journal.close()


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

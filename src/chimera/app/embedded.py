"""The embedded world: one process that trades, is served, and goes on where it stopped.

Owns the order of a start: the folder is taken, the ports are taken, the page says how far the start is, the warm-up has
run to its end, the exchange stands as it was left, what guards positions recovers, the doors open, what decides
follows, trading goes on. It may be told to stop at any moment of that. Stopping is the same backwards, and being killed
at any moment is only an early stop.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
import uvicorn

from chimera.adapters.chance import SystemRandomness
from chimera.adapters.clocks import wall_ms
from chimera.adapters.compute import ComputeInThread
from chimera.adapters.local_objects import LocalObjects
from chimera.adapters.onnx_models import OnnxModels
from chimera.adapters.simulated_venue.journal import FileJournal
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import API_TOKEN_NAME, RUN_NAME, DataFolder, open_folder
from chimera.app.front import Front
from chimera.app.house import House
from chimera.app.registry import SERVICES, Settings
from chimera.app.serving import listen, server, stop
from chimera.app.sides import (
    LIVE,
    PAPER,
    SIM,
    Side,
    SimSide,
    StartRefused,
    UpOptions,
    UpProblem,
    Waiting,
    called,
    plan_of,
    refuse_by_name,
)
from chimera.app.worlds import one_process_world
from chimera.contracts.settings import (
    ChimeraSettings,
    S1Settings,
    S2Settings,
    S3Settings,
    S4Settings,
    S5Settings,
    S10Settings,
)
from chimera.ports.world import World
from chimera.runtime.garbage import rarely_collected
from chimera.runtime.guard import BrowserGuard
from chimera.runtime.http import LocalPeers, build_app
from chimera.runtime.waiting import unless
from chimera.services.s12_gateway.page import PageSettings, mount_page
from chimera.services.s12_gateway.passwords import require_password_for
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.services.s12_gateway.web import build_web

SIM_SPEED = 60.0
SERVICE_COUNT = 12
LOOPBACK = "127.0.0.1"
"""All but the gateway ask nobody who they are, so the services' own ports are never opened beyond this machine."""

STARTING = "starting the services"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Progress:
    days: int
    day: int = 0
    note: str = "starting"

    def now(self) -> tuple[int, int, str]:
        return self.day, self.days, self.note

    def wait(self, note: str | None) -> None:
        self.note = note or STARTING


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
    if options.venue == PAPER and options.speed not in (None, 1.0):
        raise UpProblem(f"--speed {options.speed:g}: paper follows a real market, which runs at 1; leave --speed out")
    refuse_by_name(options.venue, understood=options.understood)
    shared = ChimeraSettings.from_env(env)
    s1, s2 = S1Settings.from_env(env), S2Settings.from_env(env)
    s3, s4 = S3Settings.from_env(env), S4Settings.from_env(env)
    s5, s10 = S5Settings.from_env(env), S10Settings.from_env(env)
    if options.venue == LIVE and env.get("S4_TESTNET", "").strip() and s4.testnet:
        raise UpProblem("--venue live: S4_TESTNET is true, which forbids real money. Unset it, or use --venue testnet")
    folder = open_folder(options.data)
    try:
        folder.claim(options.venue, exchange_inside=options.venue == SIM)
        await _check_host(options, folder)
        socks = _take_ports(options)
    except BaseException:
        folder.close_unused()
        raise
    try:
        await _run(options, folder, socks, shared, s1, s2, s3, s4, s5, s10, say)
    except StartRefused:
        # A mistyped address must not claim the folder for an exchange that was never traded on.
        folder.close_unused()
        raise
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
        ports = {f"s{n + 1}": first + n for n in range(SERVICE_COUNT) if f"s{n + 1}" in SERVICES}
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
    s1: S1Settings,
    s2: S2Settings,
    s3: S3Settings,
    s4: S4Settings,
    s5: S5Settings,
    s10: S10Settings,
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
        f"Chimera on {called(options.venue)}. Open  http://{_shown(options.host)}:{options.port}/login?token={link_token}"
    )
    say(f"Programs use the token in {folder.path / API_TOKEN_NAME}. Stop with Ctrl-C; the data stays in {folder.path}.")
    try:
        if options.venue == SIM:
            if folder.is_new and not await _warm_up(options, folder, progress, stopping):
                return
            for note in _kept_from_before(options, folder):
                say(note)
        progress.note = STARTING
        try:
            embedded = await unless(
                stopping, Embedded.open(options, folder, shared, s1, s2, s3, s4, s5, s10, stopping, progress.wait)
            )
        except UpProblem as problem:
            raise StartRefused(str(problem)) from problem
        if embedded is None:  # it may wait for days, and whoever stops it must not have to kill it
            return
        try:
            await unless(stopping, embedded.serve(front, serving, socks, link_token, api_token))
            if not stopping.is_set():
                say("Trading. The page is live.")
            with rarely_collected():
                await embedded.until_broken()
        finally:
            await embedded.close()
    finally:
        await front.close()
        await serving.stop()


def _kept_from_before(options: UpOptions, folder: DataFolder) -> list[str]:
    """What was asked for and cannot be had, because this folder's exchange began otherwise."""
    journal = FileJournal(folder.venue)
    try:
        plan = plan_of(journal, folder)
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
    folder.write_json(RUN_NAME, {"pid": os.getpid(), "host": _shown(options.host), "port": options.port})


def _shown(host: str) -> str:
    """What a browser on this machine calls it."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)


@dataclass(slots=True)
class Embedded:
    """The running system: the exchange's side, house, documents."""

    speed: float
    folder: DataFolder
    world: World
    house: House
    side: Side
    documents: SqliteDocuments
    stopping: asyncio.Event
    """Set by whoever stops it, and by itself where the exchange's side cannot go on."""
    _broken: str | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def open(
        cls,
        options: UpOptions,
        folder: DataFolder,
        shared: ChimeraSettings,
        s1: S1Settings,
        s2: S2Settings,
        s3: S3Settings,
        s4: S4Settings,
        s5: S5Settings,
        s10: S10Settings,
        stopping: asyncio.Event,
        waiting: Waiting,
    ) -> "Embedded":
        """The exchange's side, and a world around it. Waits for an exchange that limits this address.

        Raises:
            UpProblem: this exchange cannot be traded on as things are.
        """
        new = folder.is_new
        documents = SqliteDocuments.in_thread(folder.documents)
        try:
            side = await open_side(options, folder, documents, s4, waiting)
        except BaseException:
            await documents.close()
            if new:
                folder.forget()
            raise
        peers = LocalPeers()
        world = one_process_world(
            clock=side.clock,
            randomness=SystemRandomness(),
            documents=documents,
            venue=side.venue,
            factor_feed=side.factor_feed,
            objects=LocalObjects(folder.objects, in_thread=True),
            peers=peers,
            compute=ComputeInThread(),
            models=OnnxModels(in_thread=True),
        )
        kill_file = folder.kill_file
        settings = Settings(
            env=shared.env,
            keys=side.keys,
            watched=side.watched,
            id_prefix=shared.id_prefix,
            tick_interval_ms=side.venue.tick_interval_ms,
            s1=s1,
            s2=s2,
            s3=s3,
            s4=s4,
            s5=s5,
            s10=s10,
            gateway=GatewaySettings(env=shared.env, cookie_name=f"chimera_{options.port}"),
            kill_file=kill_file.exists,
        )
        return cls(
            speed=side.clock.speed,
            folder=folder,
            world=world,
            house=House.build(world, settings, peers),
            side=side,
            documents=documents,
            stopping=stopping,
        )

    async def serve(
        self,
        front: Front,
        serving: _Serving,
        socks: dict[str, socket.socket],
        link_token: str,
        api_token: str,
    ) -> None:
        """Start what guards positions, open the doors, start what decides, and let a market inside go on."""
        self.side.before_house(self._spawn)
        await self.house.start_guarding()
        settings = self.house.settings
        routes = self.house.routes()
        web = build_web(self.world, settings.gateway, routes["s12"])
        await web.access.set_link(link_token)
        await web.access.set_api_token(api_token)
        mount_page(
            web,
            self.world,
            PageSettings(
                env=settings.env,
                keys=settings.keys,
                storage=self.folder.web,
                venue=self.side.name,
                speed=self.speed,
            ),
        )
        await front.open(web.asgi)
        for service_id, runner in self.house.runners.items():
            if service_id == "s12" and service_id in socks:
                serving.add(front, socks[service_id], service_id)
            elif service_id in socks:
                guarded = BrowserGuard(app=build_app(runner.service, routes[service_id]))
                serving.add(guarded, socks[service_id], service_id)
        await self.house.start_deciding()
        self.side.after_house(self._spawn)

    async def until_broken(self) -> None:
        """
        Raises:
            UpProblem: the exchange cannot go on. Stopping is right: what it shows would no longer be what it keeps.
        """
        await self.stopping.wait()
        if self._broken is not None:
            raise UpProblem(f"the exchange's side stopped: {self._broken}")

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a part of the exchange's side failed", part=task.get_name(), exc_info=error)
            self._broken = f"{task.get_name()}: {error}"
            self.stopping.set()

    async def close(self) -> None:
        await self.house.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.side.close()
        await self.documents.close()


async def open_side(
    options: UpOptions, folder: DataFolder, documents: SqliteDocuments, s4: S4Settings, waiting: Waiting
) -> Side:
    """Waits for an exchange that limits this address.

    Raises:
        UpProblem: the exchange cannot be traded on as things are.
    """
    if options.venue == SIM:
        return await SimSide.open(options.speed or SIM_SPEED, folder, documents)
    # What only an exchange elsewhere needs is imported for it alone: the demonstration starts without.
    from chimera.app.paper import PaperSide
    from chimera.app.remote import RemoteSide

    if options.venue == PAPER:
        return await PaperSide.open(options, folder, documents, waiting)
    return await RemoteSide.open(options, s4, waiting)

"""One WebSocket connection that is always there, or on its way back.

Owns connecting, the waits between attempts, and when a connection must be replaced: it ended, it says nothing, it soon
will be cut, or its reader asks for it. A replacement is opened and subscribed before the old one is closed, so that
what is said meanwhile is heard twice rather than not at all. What is said, and how to subscribe, is the reader's.

All durations here are of our own work: real time, whatever the speed of the market. The exchange cuts a connection
after 24 hours, allows 300 connections in 5 minutes from one address and 10 (spot 5) messages to it in a second.
Source: "Connect" of the futures WebSocket pages, "General information" of spot's web-socket-streams and
web-socket-api documents.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import aiohttp
import orjson
import structlog

from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness
from chimera.ports.venue import VenueError
from chimera.runtime.retry import Backoff
from chimera.runtime.waiting import Changed, DeadlinePassed, until

STREAMS_MAX = 1_024
"""Of one connection."""
SEND_DISTANCE_MS = 250
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
PATIENCE_MAX = 16
PATIENCE_ALONE = 4
"""Limits for which one stream may be silent while others of a living connection speak."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    open_ms: int = 10_000
    ack_ms: int = 10_000
    probe_ms: int = 30_000
    """A connection on which silence is legal is asked for a sign of life when it was silent so long."""
    dead_ms: int = 90_000
    stall_ms: int = 5_000
    kline_stall_ms: int = 90_000
    lifetime_ms: int = 23 * 3_600_000
    overlap_ms: int = 1_000
    """How long a replaced connection is still read: what was on its way is not lost."""
    stable_ms: int = 60_000
    """A connection that held so long makes the next wait a short one again."""
    backoff_first_ms: int = 1_000
    backoff_max_ms: int = 30_000
    keep_key_ms: int = 20 * 60_000
    """Between two extensions of a listen key, which lives for 60 minutes."""


class ConnectGate:
    """Connections of one address in a sliding window; one for the whole process."""

    def __init__(self, clock: Clock, most: int = 300, window_ms: int = 300_000) -> None:
        self._clock = clock
        self._most = most
        self._window_ms = clock.work_ms(window_ms)
        self._passed: deque[int] = deque(maxlen=most)

    async def enter(self) -> None:
        """Wait until another connection may be opened."""
        while len(self._passed) == self._most:
            free_ms = self._passed[0] + self._window_ms
            if free_ms <= self._clock.now_ms():
                break
            await self._clock.sleep_until_ms(free_ms)
        self._passed.append(self._clock.now_ms())


class WontOpen(Exception):
    """The exchange answered, and did not subscribe us. The text holds no secret."""


class Replace(StrEnum):
    """Why a connection is replaced. Of the first two whatever was said meanwhile may have been missed."""

    LOST = "it ended"
    SILENT = "it says nothing"
    RENEWED = "its time is up"

    @property
    def may_have_missed(self) -> bool:
        return self is not Replace.RENEWED


@dataclass(slots=True)
class Watch:
    """One stream that has to speak. A silent one is given ever more time, until it has kept to its limit for long:
    what is quiet by nature is not heard better for being asked for again."""

    name: str
    limit_ms: int
    """Market time."""
    patience: int = 1
    _heard_ms: int = 0
    """When it spoke last, or when its connection began."""
    _spoke: bool = False
    _regular_since_ms: int = 0

    def begin(self, now_ms: int) -> None:
        self._spoke = False
        self._heard_ms = self._regular_since_ms = now_ms

    def hear(self, now_ms: int) -> None:
        if now_ms - self._heard_ms > self.limit_ms:
            self._regular_since_ms = now_ms
        self._heard_ms = now_ms
        self._spoke = True

    @property
    def due_ms(self) -> int:
        return self._heard_ms + self.limit_ms * self.patience

    def spoke_since(self, since_ms: int) -> bool:
        return self._spoke and self._heard_ms > since_ms

    def lose_patience(self) -> None:
        self.patience = min(self.patience * 2, PATIENCE_MAX)

    def is_regular(self, now_ms: int, stable_ms: int) -> bool:
        """It has kept to its limit for so long, and speaks."""
        return self._spoke and now_ms - self._heard_ms <= self.limit_ms and now_ms - self._regular_since_ms >= stable_ms


class Socket:
    """An open connection. Reads until it ends; a request is answered by the message with its id."""

    def __init__(
        self,
        ws: "aiohttp.ClientWebSocketResponse[Any]",
        hear: Callable[[Any, int], None],
        misheard: Callable[[Exception, Any], None],
        clock: Clock,
    ) -> None:
        self._ws = ws
        self._hear = hear
        self._misheard = misheard
        self._clock = clock
        self._answers: dict[int | str, asyncio.Future[Mapping[str, Any]]] = {}
        self._next_id = 0
        self._may_send_ms = 0
        self.changed = Changed()
        self.opened_ms = self.heard_ms = clock.now_ms()
        self.ended = False
        self.replace: Replace | None = None
        self.reading = asyncio.ensure_future(self._read())

    def want_replaced(self, why: Replace) -> None:
        """The reader knows that this connection is of no use, or soon will be."""
        if self.replace is not Replace.LOST:
            self.replace = why
        self.changed.tell()

    async def ask(self, method: str, params: Any, deadline_ms: int) -> Mapping[str, Any]:
        """
        Raises:
            DeadlinePassed: no answer.
            ConnectionError: the connection ended first.
        """
        self._next_id += 1
        request_id = self._next_id
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[request_id] = answer
        try:
            if self.ended:
                raise ConnectionError("the connection has ended")
            wait_until_ms = self._may_send_ms
            self._may_send_ms = max(self._clock.now_ms(), wait_until_ms) + self._clock.work_ms(SEND_DISTANCE_MS)
            await self._clock.sleep_until_ms(wait_until_ms)
            request = {"id": request_id, "method": method} | ({} if params is None else {"params": params})
            await self._ws.send_str(orjson.dumps(request).decode())
            return await until(self._clock, deadline_ms, answer)
        finally:
            del self._answers[request_id]

    async def close(self) -> None:
        await stop((self.reading,))
        await self._ws.close()

    async def _read(self) -> None:
        ws, hear, now_ms, loads = self._ws, self._hear, self._clock.now_ms, orjson.loads
        frames = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
        try:
            while True:
                message = await ws.receive()
                if message.type not in frames:
                    break
                self.heard_ms = at_ms = now_ms()
                data: Any = message.data
                try:
                    data = loads(data)
                    if "id" in data and data["id"] in self._answers:
                        self._answer(data)
                    else:
                        hear(data, at_ms)
                # An event of theirs must never end the stream of events, whatever it does to us.
                except Exception as error:
                    self._misheard(error, data)
        except (aiohttp.ClientError, OSError) as error:
            log.info("a connection broke", why=type(error).__name__)
        finally:
            self.ended = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the connection has ended"))
            self.changed.tell()

    def _answer(self, data: Mapping[str, Any]) -> None:
        answer = self._answers[data["id"]]
        if not answer.done():
            answer.set_result(data)


class Reader(Protocol):
    """What is said on a connection, and how to ask for it."""

    @property
    def name(self) -> str:
        """For logs. An address may hold a secret."""
        ...

    @property
    def watches(self) -> Sequence[Watch]: ...

    async def url(self) -> str:
        """Where to connect now; may ask the exchange for it."""
        ...

    async def subscribe(self, socket: Socket) -> None:
        """Ask for what is wanted and wait until it is acknowledged. Raises WontOpen."""
        ...

    def hear(self, data: Any, now_ms: int, socket: Socket) -> None:
        """One message. What it raises is told to `misheard` and ends nothing."""
        ...

    def misheard(self, error: Exception, data: Any) -> None: ...

    def lost(self) -> None:
        """Nothing, or nothing reliable, is heard until `opened`."""
        ...

    def opened(self, *, missed: bool) -> None:
        """Subscribed. `missed`: not everything was heard since the connection before, if there was one."""
        ...

    async def probe(self, socket: Socket) -> bool:
        """Whether the silent connection still is what we subscribed. Raises as `Socket.ask` does."""
        ...


@dataclass(slots=True, kw_only=True)
class Line:
    """Keeps one connection for a reader. `probes`: silence is legal on it, a sign of life is asked for."""

    reader: Reader
    session: aiohttp.ClientSession
    clock: Clock
    randomness: Randomness
    gate: ConnectGate
    limits: SocketLimits
    probes: bool = False
    opened_count: int = 0
    _current: Socket | None = None
    _retired: list[tuple[Socket, "asyncio.Task[None]"]] = field(default_factory=list)
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._backoff = Backoff(
            self.clock, self.randomness, first_ms=self.limits.backoff_first_ms, max_ms=self.limits.backoff_max_ms
        )

    def reopen(self) -> None:
        """What is said on the present connection cannot be relied on any more."""
        if self._current is not None:
            self._current.want_replaced(Replace.LOST)

    async def run(self) -> None:
        """For ever; when cancelled, every connection is closed."""
        current: Socket | None = None
        why = Replace.LOST
        try:
            while True:
                fresh = await self._open()
                missed = current is None or current.ended or why.may_have_missed
                if current is not None:
                    self._retire(current)
                self._current = current = fresh
                self.reader.opened(missed=missed)
                why = await self._keep(current)
                log.info("a connection is replaced", connection=self.reader.name, why=why.value)
                if why.may_have_missed:
                    self.reader.lost()
                held = self.clock.now_ms() - current.opened_ms >= self.clock.work_ms(self.limits.stable_ms)
                if held:
                    self._backoff.reset()
                if current.ended or not held:
                    await self._backoff.wait()
        finally:
            sockets = [socket for socket, _ in self._retired]
            for _, closing in self._retired:
                closing.cancel()
            self._retired.clear()
            for socket in sockets if current is None else [*sockets, current]:
                await socket.close()

    async def _open(self) -> Socket:
        while True:
            try:
                return await self._try_to_open()
            except DeadlinePassed:
                why = "no answer in time"
            except WontOpen as wont:
                why = str(wont)
            except VenueError as error:
                why = str(error)
            except aiohttp.WSServerHandshakeError as error:
                why = f"refused with status {error.status}"
            except (aiohttp.ClientError, OSError, ValueError) as error:
                # The text of some of them is the address, and the address may hold a listen key.
                why = type(error).__name__
            log.warning("no connection", connection=self.reader.name, why=why)
            await self._backoff.wait()

    async def _try_to_open(self) -> Socket:
        clock = self.clock
        url = await self.reader.url()
        await self.gate.enter()
        ws = await until(
            clock,
            clock.now_ms() + clock.work_ms(self.limits.open_ms),
            self.session.ws_connect(
                url,
                autoping=True,
                decode_text=False,
                max_msg_size=MESSAGE_BYTES_MAX,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            ),
        )
        reader = self.reader
        socket = Socket(ws, lambda data, now_ms: reader.hear(data, now_ms, socket), reader.misheard, clock)
        try:
            await reader.subscribe(socket)
        except BaseException:
            await socket.close()
            raise
        self.opened_count += 1
        return socket

    def _retire(self, old: Socket) -> None:
        entry = (old, asyncio.ensure_future(self._close_later(old)))
        self._retired.append(entry)
        entry[1].add_done_callback(lambda _: self._retired.remove(entry) if entry in self._retired else None)

    async def _close_later(self, old: Socket) -> None:
        if not old.ended:
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(self.limits.overlap_ms))
        await old.close()

    async def _keep(self, socket: Socket) -> Replace:
        """Until it has to be replaced."""
        clock, limits, watches = self.clock, self.limits, self.reader.watches
        began_ms = clock.now_ms()
        for watch in watches:
            watch.begin(began_ms)
        # The jitter keeps connections that were opened together from being renewed together for ever.
        renew_ms = socket.opened_ms + clock.work_ms(int(limits.lifetime_ms * (0.95 + self.randomness.uniform() / 20)))
        probe_ms, dead_ms = clock.work_ms(limits.probe_ms), clock.work_ms(limits.dead_ms)
        stable_ms = clock.work_ms(limits.stable_ms)
        while True:
            now_ms = clock.now_ms()
            if socket.ended:
                return Replace.LOST
            if socket.replace is not None:
                return socket.replace
            if now_ms >= renew_ms:
                return Replace.RENEWED
            due_ms = renew_ms
            for watch in watches:
                if watch.patience > 1 and watch.is_regular(now_ms, stable_ms):
                    watch.patience = 1
                if now_ms >= watch.due_ms:
                    log.warning("a stream is silent", stream=watch.name, limit_ms=watch.limit_ms * watch.patience)
                    bearable = watch.patience < PATIENCE_ALONE
                    watch.lose_patience()
                    if not bearable or not await self._is_only(watch, socket):
                        return Replace.SILENT
                due_ms = min(due_ms, watch.due_ms)
            if self.probes:
                if now_ms - socket.heard_ms >= probe_ms and not await self._is_alive(socket, socket.heard_ms + dead_ms):
                    return Replace.SILENT
                due_ms = min(due_ms, socket.heard_ms + probe_ms)
            await socket.changed.wait_until(clock, due_ms)

    async def _is_only(self, silent: Watch, socket: Socket) -> bool:
        """Whether nothing but this stream is silent: another one spoke a moment ago, and the connection still is what
        we subscribed. Answers alone prove nothing: connected is not receiving."""
        now_ms, moment_ms = self.clock.now_ms(), silent.limit_ms // 2
        if not any(watch.spoke_since(now_ms - moment_ms) for watch in self.reader.watches):
            return False
        return await self._is_alive(socket, now_ms + moment_ms)

    async def _is_alive(self, socket: Socket, deadline_ms: int) -> bool:
        heard_ms = socket.heard_ms
        try:
            return await until(self.clock, deadline_ms, self.reader.probe(socket))
        except DeadlinePassed:
            return socket.heard_ms > heard_ms
        except (aiohttp.ClientError, OSError):
            return False


def failures(tasks: Sequence["asyncio.Future[Any]"], tell: Callable[[], None]) -> list[BaseException]:
    """Filled with what ends one of `tasks` by itself, a bug; `tell` is called then."""
    failed: list[BaseException] = []

    def done(task: "asyncio.Future[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            failed.append(error)
            tell()

    for task in tasks:
        task.add_done_callback(done)
    return failed


async def stop(tasks: Sequence["asyncio.Future[Any]"]) -> None:
    """Cancel and see them end, in order, also when cancelled meanwhile. What they had to say was said before."""
    me = asyncio.current_task()
    assert me is not None
    cancels = me.cancelling()
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
    if me.cancelling() > cancels:
        raise asyncio.CancelledError

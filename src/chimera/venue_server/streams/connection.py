"""One stream socket: what it listens to, what waits to leave, and how it ends.

Owns the queue of a listener and its limits. Writing never waits for a slow client: its queue fills up and the
connection is closed, as at the exchange, so memory stays flat. Durations are real time.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chimera.ports.clock import Clock
from chimera.venue_server.floor import Receive, Send
from chimera.venue_server.streams import control
from chimera.venue_server.streams.names import Group
from chimera.venue_server.streams.topics import Listener, envelope_head

QUEUE_MAX = 20_000
"""Messages; about 5 MB. A client that is so far behind is cut off."""

STREAMS_MAX = 1_024
LIFE_MS = 86_400_000
SECOND_MS = 1_000

GOING_AWAY = 1_001
ABNORMAL = 1_006
POLICY = 1_008


@dataclass(frozen=True, slots=True)
class Manners:
    """How a site treats its sockets."""

    incoming_per_s: int
    ping_s: float
    pong_s: float


MANNERS = {
    Group.SPOT: Manners(5, 20.0, 60.0),
    Group.PUBLIC: Manners(10, 180.0, 600.0),
    Group.MARKET: Manners(10, 180.0, 600.0),
    Group.PRIVATE: Manners(10, 180.0, 600.0),
    Group.API: Manners(10_000, 20.0, 60.0),
}


class Streams(Protocol):
    """What a connection needs of whoever brings the events. A name that means nothing is no error."""

    def listen(self, connection: "Connection", name: str) -> None: ...

    def leave(self, connection: "Connection", name: str) -> None: ...

    def meddle(self, connection: "Connection", stream: str, event: str) -> None: ...


class Connection(Listener):
    """
    Args:
        address: of the client.
        streams: named in the URL.
        keys: listen keys of the URL with the names of the events that are wanted; none of them: every event.
    """

    def __init__(
        self,
        source: Streams,
        clock: Clock,
        *,
        group: Group,
        combined: bool,
        address: str,
        streams: list[str],
        keys: Mapping[str, frozenset[str]],
        life_ms: int = LIFE_MS,
    ) -> None:
        self.group = group
        self.combined = combined
        self.address = address
        self.streams: dict[str, None] = {}
        self.keys: dict[str, frozenset[str]] = dict(keys)
        self.stalled = False
        """Nothing leaves any more, and what should have left is lost; the connection stands."""
        self._source = source
        self._clock = clock
        self._named = streams
        self._queue: deque[str] = deque()
        self._bell = asyncio.Event()
        self._life_ms = life_ms
        self._close_code: int | None = None
        self._transport: Any = None
        self._second_ms = 0
        self._heard = 0

    # --- outgoing

    def hear(self, stream: str, text: str) -> None:
        self._leave(text)

    def hear_spoilt(self, stream: str, event: str) -> None:
        self._source.meddle(self, stream, event)

    def tell(self, stream: str, event: str) -> None:
        """Put a bare event into the envelope of this connection, and send it."""
        self._leave(f"{envelope_head(stream)}{event}}}" if self.combined else event)

    def close(self, code: int = ABNORMAL) -> None:
        """End the connection from this side; 1006 cuts it without a word."""
        if self._close_code is None:
            self._close_code = code
            self._queue.clear()
            self._bell.set()
            if code == ABNORMAL and self._transport is not None:
                self._transport.abort()

    def _leave(self, text: str) -> None:
        if self.stalled or self._close_code is not None:
            return
        self._queue.append(text)
        if len(self._queue) > QUEUE_MAX:
            self.close(POLICY)
        else:
            self._bell.set()

    async def _write(self, send: Send) -> None:
        queue, bell = self._queue, self._bell
        try:
            while self._close_code is None:
                await bell.wait()
                bell.clear()
                while queue:
                    await send({"type": "websocket.send", "text": queue.popleft()})
            if self._close_code != ABNORMAL:
                await send({"type": "websocket.close", "code": self._close_code})
        except (OSError, RuntimeError):
            return  # the client has gone, which the reader hears too

    # --- incoming

    async def serve(self, receive: Receive, send: Send) -> None:
        """From the handshake to the end."""
        self._set_keepalive(send)
        await send({"type": "websocket.accept"})
        writer = asyncio.get_running_loop().create_task(self._write(send), name="stream socket")
        end_of_life = self._clock.call_at_ms(
            self._clock.now_ms() + self._clock.work_ms(self._life_ms), lambda: self.close(GOING_AWAY)
        )
        try:
            for name in self._named:
                self._listen(name)
            while (message := await receive())["type"] != "websocket.disconnect":
                if self._too_many():
                    self.close(POLICY)
                elif self._close_code is None:
                    self._take(message.get("text") or message.get("bytes") or "")
        finally:
            end_of_life.cancel()
            writer.cancel()
            for name in self.streams:
                self._source.leave(self, name)

    def _set_keepalive(self, send: Send) -> None:
        """The web server has one interval for all sockets; each site has its own."""
        protocol: Any = getattr(send, "__self__", None)
        self._transport = getattr(protocol, "transport", None)
        if hasattr(protocol, "ping_interval") and hasattr(protocol, "ping_timeout"):
            manners = MANNERS[self.group]
            protocol.ping_interval, protocol.ping_timeout = manners.ping_s, manners.pong_s

    def _too_many(self) -> bool:
        second_ms = self._clock.now_ms() // self._clock.work_ms(SECOND_MS)
        if second_ms != self._second_ms:
            self._second_ms, self._heard = second_ms, 0
        self._heard += 1
        return self._heard > MANNERS[self.group].incoming_per_s

    def _take(self, text: str | bytes) -> None:
        """One message of the client's."""
        self._leave(self._answer(text))

    def _answer(self, text: str | bytes) -> str:
        try:
            request = control.read(text)
            return control.answer(self._obey(request), request.request_id)
        except control.Unreadable as unreadable:
            return control.error(unreadable)

    def _obey(self, request: control.Request) -> Any:
        match request.method:
            case "SUBSCRIBE":
                names = control.streams(request)
                if len(self.streams.keys() | set(names)) > STREAMS_MAX:
                    raise control.Unreadable(2, "Invalid request: too many streams", request.request_id)
                for name in names:
                    self._listen(name)
            case "UNSUBSCRIBE":
                for name in control.streams(request):
                    if name in self.streams or name in self.keys:
                        self.streams.pop(name, None)
                        self._source.leave(self, name)
            case "LIST_SUBSCRIPTIONS":
                return list(dict.fromkeys((*self.keys, *self.streams)))
            case "SET_PROPERTY":
                self.combined = control.combined(request)
            case _:
                control.property_name(request)
                return self.combined
        return None

    def _listen(self, name: str) -> None:
        if name not in self.streams and len(self.streams) < STREAMS_MAX:
            self.streams[name] = None
            self._source.listen(self, name)

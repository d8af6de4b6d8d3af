"""A small exchange of WebSockets for tests: answers the control messages and says what a test tells it to."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from tests.loopback import free_ports

PATIENCE_S = 10


class Peer:
    """One connection as the exchange sees it."""

    def __init__(self, ws: web.WebSocketResponse, path: str, query: dict[str, str]) -> None:
        self.ws = ws
        self.path = path
        self.query = query
        self.streams: list[str] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def is_open(self) -> bool:
        return not self.ws.closed

    async def say(self, message: Any) -> None:
        text = message if isinstance(message, str) else orjson.dumps(message).decode()
        if self.is_open:
            await self.ws.send_str(text)


class StreamServer:
    """`answer` may replace the answer to a control message; None leaves it unanswered."""

    def __init__(self) -> None:
        self.port = free_ports()
        self.peers: list[Peer] = []
        self.ended = 0
        self.answer: Callable[[Peer, dict[str, Any]], Any] | None = None
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def open_peers(self, path: str = "/") -> list[Peer]:
        return [peer for peer in self.peers if peer.is_open and peer.path.startswith(path)]

    async def say(self, stream: str, data: Any) -> None:
        """To everybody who subscribed, as a combined stream."""
        for peer in list(self.peers):
            if stream in peer.streams:
                await peer.say({"stream": stream, "data": data})

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        peer = Peer(ws, request.path, dict(request.query))
        self.peers.append(peer)
        self._changed.set()
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                break
            asked = orjson.loads(message.data)
            peer.asked.append(asked)
            reply = self._usual_answer(peer, asked) if self.answer is None else self.answer(peer, asked)
            if reply is not None:
                await peer.say(reply)
            self._changed.set()
        self.peers.remove(peer)
        self.ended += 1
        self._changed.set()
        return ws

    def _usual_answer(self, peer: Peer, asked: dict[str, Any]) -> Any:
        if asked["method"] == "SUBSCRIBE":
            peer.streams += asked["params"]
            return {"result": None, "id": asked["id"]}
        if asked["method"] == "LIST_SUBSCRIPTIONS":
            return {"result": peer.streams or ["the-listen-key"], "id": asked["id"]}
        return {"id": asked["id"], "status": 200, "result": {"subscriptionId": 0}, "rateLimits": []}


@asynccontextmanager
async def serving() -> Any:
    server = StreamServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", server.port).start()
    try:
        yield server
    finally:
        for peer in list(server.peers):
            await peer.ws.close()
        await runner.cleanup()

"""A stream socket of a test: what came, in order, and waiting for what one wants to see."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from tests.venue_server.running import RunningVenue


class Listening:
    """`said` holds everything that was received, the newest last."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.said: list[Any] = []

    async def next(self) -> Any:
        """
        Raises:
            ConnectionError: the exchange closed the socket.
        """
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError(f"{message.type.name} {self.socket.close_code}")
        self.said.append(orjson.loads(message.data))
        return self.said[-1]

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The next message that is wanted; those before it are kept in `said`."""
        while not wanted(told := await self.next()):
            pass
        return told

    async def end(self) -> None:
        """Read to the end.

        Raises:
            ConnectionError: always, with the code of the close.
        """
        while True:
            await self.next()

    async def event(self, name: str) -> Any:
        return await self.until(lambda told: isinstance(told, dict) and told.get("e") == name)

    async def ask(self, method: str, *params: Any, request_id: Any = 1) -> Any:
        """The answer to a control message."""
        await self.socket.send_bytes(orjson.dumps({"method": method, "params": list(params), "id": request_id}))
        return await self.answer(request_id)

    async def answer(self, request_id: Any) -> Any:
        return await self.until(
            lambda told: isinstance(told, dict) and {"result", "error"} & told.keys() and told["id"] == request_id
        )


@asynccontextmanager
async def listening(venue: RunningVenue, path: str) -> AsyncIterator[Listening]:
    async with venue.session.ws_connect(venue.ws + path, max_msg_size=0) as socket:
        yield Listening(socket)

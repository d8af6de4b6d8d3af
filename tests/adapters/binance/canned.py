"""An exchange on the loopback that answers what a test told it to, and remembers what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from tests.loopback import free_ports


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    query: str
    body: str
    headers: dict[str, str]

    @property
    def params(self) -> dict[str, str]:
        """Of query and body, decoded."""
        return dict(parse_qsl(f"{self.query}&{self.body}", keep_blank_values=True))

    @property
    def payload(self) -> str:
        """What was signed."""
        return (self.query + self.body).rpartition("&signature=")[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """`lost`: the connection is cut where the answer should come. `never`: nobody says anything."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    lost: bool = False
    never: bool = False


Say = Answer | Callable[[Asked], Answer]


@dataclass(slots=True)
class Canned:
    """`say` queues answers for one call; the last one is given again and again."""

    root: str
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, list[Say]] = field(default_factory=dict)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, call: str, *answers: Any) -> None:
        """`call` is method and path. An answer that is no `Answer` is the body of a good one."""
        self.answers[call] = [each if isinstance(each, Answer) or callable(each) else Answer(each) for each in answers]

    def of(self, call: str) -> list[Asked]:
        method, _, path = call.partition(" ")
        return [each for each in self.asked if (each.method, each.path) == (method, path)]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method,
            request.path,
            request.rel_url.raw_query_string,
            (await request.read()).decode(),
            {name.lower(): value for name, value in request.headers.items()},
        )
        self.asked.append(asked)
        queue = self.answers.get(f"{asked.method} {asked.path}")
        if queue is None:
            return web.Response(status=404, text="<html>nobody told me</html>", content_type="text/html")
        said = queue[0] if len(queue) == 1 else queue.pop(0)
        answer = said(asked) if callable(said) else said
        if answer.never:
            await self._stopped.wait()
        if answer.lost or answer.never:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        raw = answer.raw if answer.raw is not None else orjson.dumps(answer.body)
        return web.Response(status=answer.status, body=raw, headers=answer.headers)

    def stop(self) -> None:
        self._stopped.set()


@asynccontextmanager
async def canned_exchange() -> AsyncIterator[Canned]:
    port = free_ports()
    canned = Canned(f"http://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", canned.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, shutdown_timeout=0.1).start()
    try:
        yield canned
    finally:
        canned.stop()
        await runner.cleanup()


def refused(code: int, text: str, status: int = 400, **headers: str) -> Answer:
    return Answer({"code": code, "msg": text}, status, {name.replace("_", "-"): told for name, told in headers.items()})

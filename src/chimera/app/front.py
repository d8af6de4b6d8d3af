"""The first thing that listens: a page that says how far the start is, then the gateway itself.

A browser that is opened too early must not find a closed port. Until the house stands every page says 'warming up';
then the same server hands everything to the gateway, whose own start and end it runs as a server would.
"""

import asyncio
import json
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from chimera.runtime.guard import Asgi, Receive, Scope, Send, header
from chimera.services.s12_gateway.pages import CSP, HTML, warming_up_page

RETRY_AFTER_S = b"1"


@dataclass(slots=True)
class Front:
    """An ASGI application that another one moves into. `progress` is (day, days, note)."""

    progress: Callable[[], tuple[int, int, str]]
    _inner: Asgi | None = None
    _to_inner: asyncio.Queue[MutableMapping[str, Any]] = field(default_factory=asyncio.Queue)
    _lifespan: asyncio.Task[None] | None = None

    async def open(self, inner: Asgi) -> None:
        """Start `inner` as its server would, then let it answer."""
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def send(message: MutableMapping[str, Any]) -> None:
            if not started.done() and message["type"].startswith("lifespan.startup"):
                if message["type"].endswith("failed"):
                    started.set_exception(RuntimeError(message.get("message", "the gateway did not start")))
                else:
                    started.set_result(None)

        async def run() -> None:
            await inner({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, self._to_inner.get, send)

        await self._to_inner.put({"type": "lifespan.startup"})
        self._lifespan = asyncio.get_running_loop().create_task(run(), name="gateway lifespan")
        await started
        self._inner = inner

    async def close(self) -> None:
        if self._lifespan is not None:
            await self._to_inner.put({"type": "lifespan.shutdown"})
            await asyncio.gather(self._lifespan, return_exceptions=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _own_lifespan(receive, send)
        elif self._inner is not None:
            await self._inner(scope, receive, send)
        elif scope["type"] == "http":
            await self._not_yet(scope, send)

    async def _not_yet(self, scope: Scope, send: Send) -> None:
        day, days, note = self.progress()
        asks_for_json = "application/json" in (header(scope, "accept") or "")
        if asks_for_json or str(scope["path"]).startswith(("/api/", "/auth/", "/health", "/ready")):
            body, kind = (
                json.dumps({"status": "WARMING_UP", "day": day, "days": days, "note": note}),
                "application/json",
            )
        else:
            body, kind = warming_up_page(day, days, note), HTML
        headers = [
            (b"content-type", kind.encode()),
            (b"retry-after", RETRY_AFTER_S),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", CSP.encode()),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})


async def _own_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return

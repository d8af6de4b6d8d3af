"""Calling an ASGI application as a server would, without a socket: real JSON in, real bytes out, in any loop."""

import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI

JSON = "application/json"
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


async def ask(
    app: FastAPI,
    method: str,
    path: str,
    body: Any = None,
    *,
    raw: bytes | None = None,
    query: dict[str, str] | None = None,
    actor: str = "",
) -> Answer:
    """`raw` goes out as it is, `body` as JSON."""
    sent: list[MutableMapping[str, Any]] = []
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    arriving = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        return arriving.pop(0) if arriving else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [
        (b"host", b"s4"),
        (b"content-type", JSON.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"x-chimera-actor", actor.encode()),
    ]
    await app(
        {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(query or {}).encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("s4", 8080),
        },
        receive,
        send,
    )
    start = next(message for message in sent if message["type"] == "http.response.start")
    kind = dict(start["headers"]).get(b"content-type", b"").decode()
    text = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body").decode()
    return Answer(start["status"], kind, text)

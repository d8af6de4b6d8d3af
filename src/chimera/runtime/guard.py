"""What a page of another site may not do to a server on somebody's own machine.

Owns three checks of every HTTP and WebSocket request, before any route: the Host header names this server (DNS
rebinding), a change or a WebSocket comes from a page of ours where a browser says from where (CSRF, WebSocket
hijacking), and no other page may frame, sniff or cache what we answer. Knows no user and no session.
"""

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from chimera.contracts.http import PROBLEM_MEDIA_TYPE
from chimera.runtime.http import problem_body
from chimera.runtime.service import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[Scope, Problem], tuple[str, bytes]]
"""Content type and body of a refusal: a problem for programs, a page for people."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = ("localhost",)

STRICT_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def header(scope: Scope, name: str) -> str | None:
    wanted = name.encode()
    for key, value in scope["headers"]:
        if key == wanted:
            return str(value, "latin-1")
    return None


def host_name(authority: str) -> str:
    """`localhost` of `localhost:8080`, `::1` of `[::1]:8080`; lower case."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def is_address(host: str) -> bool:
    """A literal IP address: no DNS answer can point it elsewhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host in LOOPBACK_NAMES or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_ours(authority: str | None, names: tuple[str, ...]) -> bool:
    """Whether a Host header may be meant for us: a loopback name, a literal address, or one of `names`."""
    host = host_name(authority or "")
    return host in LOOPBACK_NAMES or is_address(host) or host in names


def as_problem_json(scope: Scope, problem: Problem) -> tuple[str, bytes]:
    return PROBLEM_MEDIA_TYPE, json.dumps(problem_body(problem)).encode()


async def send_refusal(send: Send, problem: Problem, content_type: str, body: bytes) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserGuard:
    """ASGI middleware; put it outermost. `names` are hosts allowed besides loopback names and literal addresses.

    `csp_of` gives the Content-Security-Policy of a path; `cacheable` paths keep their own caching headers.
    """

    app: Asgi
    names: tuple[str, ...] = ()
    csp_of: Callable[[str], str] = lambda path: STRICT_CSP
    cacheable: Callable[[str], bool] = lambda path: False
    refuse: Refuse = as_problem_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        problem = self._problem(scope)
        if scope["type"] == "websocket":
            if problem is None:
                await self.app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": problem.kind})
            return
        guarded = self._with_headers(scope["path"], send)
        if problem is None:
            await self.app(scope, receive, guarded)
        else:
            await send_refusal(guarded, problem, *self.refuse(scope, problem))

    def _problem(self, scope: Scope) -> Problem | None:
        host = header(scope, "host")
        if not is_ours(host, self.names):
            return Problem(
                403,
                "host-not-allowed",
                f"this server does not answer to the name {host!r}; use 127.0.0.1, or allow it when starting",
            )
        if scope["type"] == "http" and scope["method"] in SAFE_METHODS:
            return None
        origin = header(scope, "origin")
        foreign = origin is not None and (urlsplit(origin).netloc.lower() != (host or "").lower())
        # Some browsers leave Origin out of a same-origin POST; none of them leaves both out of a cross-site one.
        if foreign or (origin is None and header(scope, "sec-fetch-site") in ("cross-site", "same-site")):
            return Problem(403, "foreign-origin", f"a page of {origin or 'another site'} may not change anything here")
        return None

    def _with_headers(self, path: str, send: Send) -> Send:
        ours = [
            (b"content-security-policy", self.csp_of(path).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            # Not no-referrer: under it a browser sends the login form with the origin `null`, which is nobody's.
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        if not self.cacheable(path):
            ours.append((b"cache-control", b"no-store"))
        names = {name for name, _ in ours}

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in names]
                message = {**message, "headers": kept + ours}
            await send(message)

        return send_with_headers

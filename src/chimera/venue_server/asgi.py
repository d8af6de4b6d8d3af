"""HTTP in, one answer out; WebSocket handed to whoever serves its path.

Owns the order in which a request is looked at: route, ban, faults, weight, key and signature, order count, the
exchange itself, faults again. Plain ASGI without body models: this is the hot path of every benchmark.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog

from chimera.domain.matching.refusals import Refusal
from chimera.venue_server import auth
from chimera.venue_server.calls import SILENCE, Answer, Call, Route, Site
from chimera.venue_server.floor import Floor, Receive, Send, Unsaved
from chimera.venue_server.limits import Limited

log = structlog.get_logger(__name__)

STATUS_BY_CODE = {
    -1000: 500,
    -1001: 500,
    -1002: 401,
    -1003: 429,
    -1006: 500,
    -1007: 408,
    -1008: 503,
    -1015: 429,
    -2014: 401,
    -2015: 401,
}
"""All other refusals are 400."""

JSON = {Site.FUTURES: b"application/json", Site.SPOT: b"application/json;charset=UTF-8"}
SITE_HEADERS: dict[Site, list[tuple[bytes, bytes]]] = {
    Site.FUTURES: [(b"server", b"Tengine"), (b"x-response-time", b"0ms")],
    Site.SPOT: [(b"server", b"nginx"), (b"x-mbx-uuid", b"00000000-0000-0000-0000-000000000000")],
    Site.WALLET: [(b"server", b"nginx")],
    Site.MAX: [],
    Site.ADMIN: [],
}
BODY_MAX = 1_000_000

FORBIDDEN = Answer(403, b"{}")
LOOPBACK_NAMES = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})

UNFORESEEN = (ArithmeticError, ValueError, TypeError, LookupError)
"""What a parameter that nobody thought of ends in."""

CHANGING = frozenset({"POST", "PUT", "DELETE"})
UNKNOWN = Refusal(-1000, "An unknown error occurred while processing the request.")
"""Also to a request that may have changed the account all the same."""
UNREADABLE = Refusal(-1100, "Illegal characters found in a parameter.")

SocketHandler = Callable[[dict[str, Any], Receive, Send], Any]


class VenueApp:
    """
    Args:
        sockets: by path prefix, the longest that fits serves a WebSocket; without one the handshake is refused.
    """

    def __init__(self, floor: Floor, routes: Iterable[Route], sockets: Mapping[str, SocketHandler]) -> None:
        self._floor = floor
        self._routes: dict[tuple[str, str], Route] = {}
        for route in routes:
            name = (route.method, route.path)
            if name in self._routes:
                raise ValueError(f"{route.method} {route.path} is served twice")
            self._routes[name] = route
        self._paths = {path for _, path in self._routes}
        self._sockets = sorted(sockets.items(), key=lambda item: -len(item[0]))

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            answer = FORBIDDEN if _from_a_page(scope) else await self._http(scope, receive)
            if answer.status == SILENCE:
                await _gone(receive)
            elif answer.body is None:
                await _hang_up(receive, send)
            else:
                await _send(answer, answer.body, send)
        elif scope["type"] == "websocket":
            for prefix, serve in () if _from_a_page(scope) else self._sockets:
                if scope["path"].startswith(prefix):
                    await serve(scope, receive, send)
                    return
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _lifespan(receive, send)

    async def _http(self, scope: dict[str, Any], receive: Receive) -> Answer:
        body = await _body(receive)
        if body is None:
            return Answer(413, b"{}")
        method, path = scope["method"], scope["path"]
        route = self.route(method, path)
        if route is None:
            known = path in self._paths
            return Answer(405 if known else 404, b"<html><body>Not found</body></html>", content_type=b"text/html")
        return await self.ask(_call(scope, body, self._floor.now_ms()), route)

    def route(self, method: str, path: str) -> Route | None:
        return self._routes.get((method, path))

    async def ask(self, call: Call, route: Route) -> Answer:
        """What leaves as the answer, with everything that goes wrong on purpose; the WebSocket API asks here too."""
        answer: Answer | None = Answer(500, None)
        try:
            answer = await self._floor.faults.before(call, route)
            if answer is None:
                # Time may have passed in a fault that only delays: the exchange looks when the call arrives.
                call.now_ms = self._floor.now_ms()
                answer = self.answer(call, route)
        finally:
            # Whatever went wrong, a fault that began with this call ends with it.
            answer = await self._floor.faults.after(call, route, answer or Answer(500, None))
        return answer

    def answer(self, call: Call, route: Route) -> Answer:
        """What the exchange says to the call."""
        floor = self._floor
        now_ms = floor.real_ms()
        headers = list(SITE_HEADERS[route.site])
        changes = False
        try:
            if route.site is not Site.ADMIN:
                floor.limits.refuse_banned(call.address, now_ms)
            weight = route.weight if isinstance(route.weight, int) else route.weight(call)
            if weight or route.pool:
                floor.limits.weigh(call.address, route.site, weight, route.pool, now_ms)
            auth.check(floor.keys, call, route.security, route.site, floor.clock.speed)
            if route.orders:
                floor.limits.count_orders(route.site, route.orders, now_ms, route.orders_long)
            changes = call.method in CHANGING
            status, value = 200, route.handler(call)
        except Refusal as refusal:
            status, value = STATUS_BY_CODE.get(refusal.code, 400), _refused(route.site, refusal)
        except Limited as limited:
            status, value = limited.status, {"code": limited.refusal.code, "msg": limited.refusal.text}
            headers.append((b"retry-after", str(limited.retry_after_s).encode()))
        except Unsaved as error:
            log.error("the exchange could not write its journal", error=str(error))
            return Answer(500, None)
        except UNFORESEEN:
            log.exception("a request failed in a way nobody foresaw", method=call.method, path=call.path)
            said = UNKNOWN if changes else UNREADABLE
            status, value = STATUS_BY_CODE.get(said.code, 400), _refused(route.site, said)
        headers += floor.limits.headers(call.address, route.site, route.pool, now_ms)
        if route.orders:
            headers += floor.limits.order_headers(route.site, now_ms)
        return Answer(status, orjson.dumps(value), headers, JSON.get(route.site, b"application/json"))


def _from_a_page(scope: dict[str, Any]) -> bool:
    """Whether a web page of somebody else's asks, through the browser of whoever runs us: the keys of a local exchange
    are known to all, so the address is all that keeps strangers out. Names that lead to loopback are no proof."""
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"")
    origin = headers.get(b"origin")
    # Clients' own socket libraries name the exchange itself.
    if origin is not None and origin.partition(b"://")[2] != host:
        return True
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        return True
    address = (scope.get("client") or ("", 0))[0].removeprefix("::ffff:")
    if address != "::1" and not address.startswith("127."):
        return False
    name = host if host.endswith(b"]") else host.rpartition(b":")[0] or host
    return name.lower() not in LOOPBACK_NAMES


def _refused(site: Site, refusal: Refusal) -> dict[str, Any]:
    if site is Site.MAX:
        return {"error": {"code": refusal.code, "message": refusal.text}}
    return {"code": refusal.code, "msg": refusal.text}


def _call(scope: dict[str, Any], body: bytes, now_ms: int) -> Call:
    query = scope["query_string"].decode("latin-1")
    text = body.decode("utf-8", "replace")
    params = dict(parse_qsl(text, keep_blank_values=True)) if text and text[0] not in "{[" else {}
    if query:
        params.update(parse_qsl(query, keep_blank_values=True))
    client = scope.get("client") or ("", 0)
    return Call(
        method=scope["method"],
        path=scope["path"],
        query=query,
        body=text,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        params=params,
        address=client[0],
        now_ms=now_ms,
    )


async def _body(receive: Receive) -> bytes | None:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_MAX:
            return None
    return body


async def _send(answer: Answer, body: bytes, send: Send) -> None:
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", str(len(body)).encode()),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _hang_up(receive: Receive, send: Send) -> None:
    """Close the connection without an answer. ASGI has no word for it: the server's own transport is closed."""
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise ConnectionAbortedError("no answer is given on purpose")
    transport.abort()
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

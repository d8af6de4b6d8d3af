"""Spot over one WebSocket: the requests of the REST, sessions with a key, and the account's events.

Owns the envelope, the session and its subscriptions. Every request becomes the same `Call` that HTTP makes and goes
the same way, so limits, keys, time windows, refusals and faults are one. What is signed are the parameters by name.
Requests of one connection run beside each other: a late answer holds up no other. Source: the exchange's
web-socket-api page, 2026-07.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs

import orjson
import structlog

from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.asgi import UNKNOWN
from chimera.venue_server.auth import not_allowed
from chimera.venue_server.calls import SILENCE, Answer, Call, Handler, Route, Security, Site
from chimera.venue_server.floor import Floor, Receive, Send
from chimera.venue_server.limits import Limited
from chimera.venue_server.spot.account import order_limits, weight_limit
from chimera.venue_server.streams.connection import ABNORMAL, POLICY, Connection
from chimera.venue_server.streams.hub import Hub
from chimera.venue_server.streams.names import Group

log = structlog.get_logger(__name__)

PATH = "/ws-api/v3"
CONNECT_WEIGHT = 2
SESSION_WEIGHT = 2
SUBSCRIPTIONS_MAX = 65_535

METHODS = {
    "ping": ("GET", "/api/v3/ping"),
    "time": ("GET", "/api/v3/time"),
    "exchangeInfo": ("GET", "/api/v3/exchangeInfo"),
    "depth": ("GET", "/api/v3/depth"),
    "klines": ("GET", "/api/v3/klines"),
    "uiKlines": ("GET", "/api/v3/uiKlines"),
    "avgPrice": ("GET", "/api/v3/avgPrice"),
    "ticker.24hr": ("GET", "/api/v3/ticker/24hr"),
    "ticker.price": ("GET", "/api/v3/ticker/price"),
    "ticker.book": ("GET", "/api/v3/ticker/bookTicker"),
    "trades.recent": ("GET", "/api/v3/trades"),
    "trades.historical": ("GET", "/api/v3/historicalTrades"),
    "trades.aggregate": ("GET", "/api/v3/aggTrades"),
    "order.place": ("POST", "/api/v3/order"),
    "order.test": ("POST", "/api/v3/order/test"),
    "order.status": ("GET", "/api/v3/order"),
    "order.cancel": ("DELETE", "/api/v3/order"),
    "openOrders.status": ("GET", "/api/v3/openOrders"),
    "openOrders.cancelAll": ("DELETE", "/api/v3/openOrders"),
    "allOrders": ("GET", "/api/v3/allOrders"),
    "orderList.place": ("POST", "/api/v3/order/oco"),
    "orderList.place.oco": ("POST", "/api/v3/orderList/oco"),
    "orderList.cancel": ("DELETE", "/api/v3/orderList"),
    "orderList.status": ("GET", "/api/v3/orderList"),
    "openOrderLists.status": ("GET", "/api/v3/openOrderList"),
    "allOrderLists": ("GET", "/api/v3/allOrderList"),
    "myTrades": ("GET", "/api/v3/myTrades"),
    "account.status": ("GET", "/api/v3/account"),
    "account.rateLimits.orders": ("GET", "/api/v3/rateLimit/order"),
    "account.commission": ("GET", "/api/v3/account/commission"),
}
"""Where the same request is in the REST."""


class Desk(Protocol):
    """Who answers: the server's own app."""

    def route(self, method: str, path: str) -> Route | None: ...

    async def ask(self, call: Call, route: Route) -> Answer: ...


class SpotSocketApi:
    """
    Args:
        desk: asked when a connection comes, because app and sockets are made of each other.
    """

    def __init__(self, floor: Floor, hub: Hub, desk: Callable[[], Desk]) -> None:
        self._floor = floor
        self._hub = hub
        self._desk = desk

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        address = (scope.get("client") or ("", 0))[0]
        await receive()
        try:
            now_ms = self._floor.real_ms()
            self._floor.limits.refuse_banned(address, now_ms)
            self._floor.limits.weigh(address, Site.SPOT, CONNECT_WEIGHT, "", now_ms)
        except Limited:
            await send({"type": "websocket.close", "code": POLICY})
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        says_limits = query.get("returnRateLimits", ["true"])[0].lower() != "false"
        session = _Session(self._floor, self._hub, self._desk(), address, says_limits)
        self._hub.connections[session] = None
        try:
            await session.serve(receive, send)
        finally:
            del self._hub.connections[session]
            session.end()


@dataclass(slots=True)
class _Subscription:
    end: Callable[[], None]
    of_session: bool
    """Ends with the session's log-out."""


@dataclass(slots=True)
class _Request:
    id: Any = None
    method: str = ""
    params: dict[str, str] = field(default_factory=dict)


class _Session(Connection):
    def __init__(self, floor: Floor, hub: Hub, desk: Desk, address: str, says_limits: bool) -> None:
        super().__init__(hub, floor.clock, group=Group.API, combined=False, address=address, streams=[], keys={})
        self._floor = floor
        self._feed = hub.spot_account
        self._desk = desk
        self._says_limits = says_limits
        self._connected_at_ms = floor.now_ms()
        self._key: str | None = None
        self._key_since_ms: int | None = None
        self._subscriptions: dict[int, _Subscription] = {}
        self._subscribed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        signed, keyed, free = Security.SIGNED, Security.KEY, Security.NONE
        self._own = {
            route.path: route
            for route in (
                _own("session.logon", self._logon, signed),
                _own("session.status", self._status, free),
                _own("session.logout", self._logout, free),
                _own("session.subscriptions", self._list, free),
                _own("userDataStream.subscribe", self._subscribe_session, keyed),
                _own("userDataStream.subscribe.signature", self._subscribe_signed, signed),
                _own("userDataStream.unsubscribe", self._unsubscribe, free),
            )
        }

    def end(self) -> None:
        """Nothing is told and nothing is answered any more."""
        self._unsubscribe_from(list(self._subscriptions))
        for task in self._tasks:
            task.cancel()

    def _take(self, text: str | bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(text), name="spot ws-api request")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, text: str | bytes) -> None:
        request = _Request()
        try:
            await self._answer_to(text, request)
        except Exception:
            log.exception("a request failed in a way nobody foresaw", method=request.method)
            self._reply(request, 500, error={"code": UNKNOWN.code, "msg": UNKNOWN.text})

    async def _answer_to(self, text: str | bytes, request: "_Request") -> None:
        try:
            _read(text, request)
            route = self._route(request.method)
            call = self._call(request, route)
        except Refusal as refusal:
            self._reply(request, 400, error={"code": refusal.code, "msg": refusal.text})
            return
        answer = await self._desk.ask(call, route)
        if answer.status == SILENCE:
            return
        if answer.body is None:
            self.close(ABNORMAL)
        elif answer.status == 200:
            self._reply(request, 200, result=orjson.Fragment(answer.body), orders=route.orders > 0)
        else:
            self._reply(request, answer.status, error=self._error(answer), orders=route.orders > 0)
            self._leave_when_revoked(call, route)

    def _route(self, method: str) -> Route:
        own = self._own.get(method)
        if own is not None:
            return own
        route = self._desk.route(*METHODS[method]) if method in METHODS else None
        if route is None:
            raise Refusal(-1020, "This operation is not supported.")
        return route

    def _call(self, request: _Request, route: Route) -> Call:
        params = request.params
        key = params.get("apiKey")
        signed_on = key is None and self._key is not None and route.path != "session.logon"
        if route.security is not Security.NONE and key is None and not signed_on:
            raise refusals.missing("apiKey")
        name = self._key if signed_on else key
        return Call(
            method=route.method,
            path=route.path,
            query="&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature"),
            body="",
            headers={"x-mbx-apikey": name} if name is not None else {},
            params=params,
            address=self.address,
            now_ms=self._floor.now_ms(),
            signed_on=signed_on,
        )

    # --- answers

    def _reply(self, request: _Request, status: int, *, orders: bool = False, **content: Any) -> None:
        answer = {"id": request.id, "status": status, **content}
        asked = request.params.get("returnRateLimits")
        if self._says_limits if asked is None else asked == "true":
            limits = order_limits(self._floor) if orders else []
            answer["rateLimits"] = [*limits, weight_limit(self._floor, self.address)]
        self._leave(orjson.dumps(answer).decode())

    def _error(self, answer: Answer) -> Any:
        """What an error answer of the REST says here; one that is no JSON says only that something failed."""
        if not answer.content_type.startswith(b"application/json"):
            return {"code": UNKNOWN.code, "msg": UNKNOWN.text}
        error = orjson.loads(answer.body or b"{}")
        wait_s = next((int(value) for name, value in answer.headers if name == b"retry-after"), None)
        if wait_s is not None:
            now_ms = self._floor.now_ms()
            error["data"] = {"serverTime": now_ms, "retryAfter": now_ms + wait_s * 1_000}
        return error

    def _leave_when_revoked(self, call: Call, route: Route) -> None:
        """A session whose key is no longer good is over with the first request that needed it."""
        if not call.signed_on or route.security is Security.NONE or self._key is None:
            return
        try:
            self._floor.keys.known(self._key, self.address)
        except Refusal:
            self._forget_key()
            refusal = not_allowed()
            error = {"code": refusal.code, "msg": refusal.text}
            self._leave(orjson.dumps({"id": None, "status": 401, "error": error}).decode())

    # --- the session's own requests

    def _logon(self, call: Call) -> Any:
        name = call.headers["x-mbx-apikey"]
        if not self._floor.keys.known(name, self.address).public_key:
            raise Refusal(-4056, "HMAC_SHA256 API key is not supported.")
        self._key, self._key_since_ms = name, self._floor.now_ms()
        return self._status(call)

    def _status(self, call: Call) -> Any:
        return {
            "apiKey": self._key,
            "authorizedSince": self._key_since_ms,
            "connectedSince": self._connected_at_ms,
            "returnRateLimits": self._says_limits,
            "serverTime": self._floor.now_ms(),
            "userDataStream": bool(self._subscriptions),
        }

    def _logout(self, call: Call) -> Any:
        self._forget_key()
        return self._status(call)

    def _list(self, call: Call) -> Any:
        return [{"subscriptionId": number} for number in self._subscriptions]

    def _subscribe_session(self, call: Call) -> Any:
        if not call.signed_on:
            raise not_allowed()
        return self._subscribe(of_session=True)

    def _subscribe_signed(self, call: Call) -> Any:
        return self._subscribe(of_session=False)

    def _unsubscribe(self, call: Call) -> Any:
        number = call.maybe_whole("subscriptionId")
        if number is not None and number not in self._subscriptions:
            raise Refusal(-2036, "User Data Stream subscription not active.")
        self._unsubscribe_from(list(self._subscriptions) if number is None else [number])
        return {}

    def _subscribe(self, *, of_session: bool) -> Any:
        """Every key is of the one account, and an account has one subscription a connection."""
        if self._subscriptions:
            raise Refusal(-2035, "User Data Stream subscription already active.")
        if self._subscribed >= SUBSCRIPTIONS_MAX:
            raise Refusal(-2042, "Maximum subscription ID reached for this connection.")
        number = self._subscribed
        self._subscribed += 1
        head = f'{{"subscriptionId":{number},"event":'

        def push(event: bytes) -> None:
            self._leave(f"{head}{event.decode()}}}")

        self._subscriptions[number] = _Subscription(self._feed.subscribe(push), of_session)
        return {"subscriptionId": number}

    def _forget_key(self) -> None:
        self._key = self._key_since_ms = None
        self._unsubscribe_from([number for number, each in self._subscriptions.items() if each.of_session])

    def _unsubscribe_from(self, numbers: list[int]) -> None:
        for number in numbers:
            self._subscriptions.pop(number).end()


def _own(method: str, handler: Handler, security: Security) -> Route:
    return Route(
        method="WS",
        path=method,
        handler=handler,
        name=method,
        site=Site.SPOT,
        weight=SESSION_WEIGHT,
        security=security,
    )


def _read(text: str | bytes, request: _Request) -> None:
    """Fill in what the message says, the id first: an answer carries it whatever else is wrong.

    Raises:
        Refusal: -1135, it is no request.
    """
    try:
        orjson.loads(text)  # refuses what could be read but not answered: lone surrogates, thousands of brackets
        # Numbers stay as they were written: they are part of what was signed.
        message = json.loads(text, parse_float=str)
    except ValueError:
        raise Refusal(-1135, "Invalid JSON Request") from None
    request_id = message.get("id") if isinstance(message, dict) else ...
    if not isinstance(request_id, str | int | None) or (isinstance(request_id, int) and abs(request_id) >= 1 << 63):
        raise Refusal(-1135, "Invalid JSON Request")
    request.id = request_id
    method, params = message.get("method"), message.get("params") or {}
    if not isinstance(method, str) or not method:
        raise refusals.missing("method")
    if not isinstance(params, dict):
        raise refusals.missing("params")
    request.method = method.removeprefix("v3/")
    request.params = {name: _written(value) for name, value in params.items() if value is not None}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

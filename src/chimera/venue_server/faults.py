"""Faults on demand as a client of the server meets them: in bytes, in time, and in what does not come.

Owns what each fault is on the wire: the answer instead of the exchange's, the answer after it, events dropped, doubled,
shuffled, spoilt, sockets that end or fall silent. What a fault does to the exchange itself stands in
`adapters/simulated_venue/faults`. Delays of answers and events are real time, like all of a connection.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import orjson

from chimera.adapters.simulated_venue.faults import LOST_ANSWERS, ExchangeFaults, refusal_for
from chimera.adapters.simulated_venue.operator import Operator
from chimera.contracts.enums import Market, Side
from chimera.domain.matching.faults import Asked, Fault, FaultKind, FaultPlan, Reach, Trait, Turn
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.asgi import SITE_HEADERS, STATUS_BY_CODE, SocketHandler
from chimera.venue_server.calls import SILENCE, Answer, Call, Route, Security, Site
from chimera.venue_server.floor import Floor, Receive, Send
from chimera.venue_server.futures.listen_keys import ListenKeys
from chimera.venue_server.streams.connection import ABNORMAL, GOING_AWAY, Connection
from chimera.venue_server.streams.hub import Hub
from chimera.venue_server.streams.names import Group

STALE_MS = 1_000
ACCOUNT_PATHS = ("/private", "/ws-api")
ACCOUNT_GROUPS = (Group.PRIVATE, Group.API)
LAST_EVENTS = 50

MARKETS = {Site.FUTURES: Market.FUT, Site.SPOT: Market.SPOT}
UNKNOWN = "Unknown error, please check your request or try again later."
WAF_PAGE = (
    b'<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN" "http://www.w3.org/TR/html4/loose.dtd">\n'
    b"<HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE></HEAD><BODY>\n"
    b"<H1>403 ERROR</H1>\n<H2>The request could not be satisfied.</H2>\nRequest blocked.\n</BODY></HTML>"
)

PRICE_OF = {"bookTicker": ("b", "a"), "markPrice": ("p",), "aggTrade": ("p",), "trade": ("p",)}
"""Where an event carries its prices."""


class Answering(Protocol):
    """The server's own app, without faults."""

    def answer(self, call: Call, route: Route) -> Answer: ...


class ServerFaults(ExchangeFaults):
    """
    Args:
        app: asked when a request arrives a second time; app and faults are made of each other.
    """

    def __init__(
        self,
        floor: Floor,
        plan: FaultPlan,
        hub: Hub,
        listen_keys: ListenKeys,
        app: Callable[[], Answering],
        operator: Operator | None = None,
    ) -> None:
        self._floor = floor
        self._hub = hub
        self._listen_keys = listen_keys
        self._app = app
        self._bent: dict[int, tuple[Fault, Asked]] = {}
        self._shut: dict[int, str] = {}
        self._stalled: dict[int, list[Connection]] = {}
        self._told: dict[Market, deque[bytes]] = {market: deque(maxlen=LAST_EVENTS) for market in Market}
        self._window_ends_ms = 0
        self._dealt = 0
        super().__init__(floor.host, plan, operator)

    def look(self) -> None:
        super().look()
        self._hub.meddler = None if self.plan.idle and not self._shut else self

    # --- calls

    async def before(self, call: Call, route: Route) -> Answer | None:
        if route.site is Site.ADMIN or self.plan.idle:
            return None
        asked = asked_by(call, route)
        fault = self.ask(asked) if self.plan.under_way(FaultKind.OUTAGE) is None else None
        outage = self.plan.under_way(FaultKind.OUTAGE)
        if outage is not None:
            return _page(502, "Bad Gateway") if outage.word("how") == "gateway" else Answer(502, None)
        if fault is None:
            return None
        self._bent[id(call)] = (fault, asked)
        match fault.kind:
            case FaultKind.REQUEST_LOST:
                return _nothing(fault)
            case FaultKind.REFUSED_503 if fault.word("answer") == "throttled":
                text = "Request throttled by system-level protection. Reduce-only/close-position orders are exempt."
                return self._refused(Refusal(-1008, f"{text} Please try again."), route)
            case FaultKind.REFUSED_503:
                return self._unavailable(call, route, "Service Unavailable.")
            case FaultKind.HTML_BODY:
                return Answer(403, WAF_PAGE, [(b"server", b"CloudFront")], b"text/html")
            case FaultKind.RATE_429:
                text = "Too many requests; current limit is exceeded. Please use the websocket for live updates."
                answer = self._refused(Refusal(-1003, text), route)
                answer.headers.append((b"retry-after", str(fault.whole("retry_after_s")).encode()))
                return answer
            case FaultKind.BAN_418:
                self._floor.limits.ban(call.address, self._floor.real_ms(), fault.whole("ban_s") * 1_000)
            case FaultKind.PARTIAL_BATCH:
                _spoil_batch(call)
            case _:
                refusal = refusal_for(fault, asked.market)
                if refusal is not None:
                    return self._refused(refusal, route)
                self.prepare(fault, asked)
        return None

    async def after(self, call: Call, route: Route, answer: Answer) -> Answer:
        if route.site is Site.ADMIN:
            self.look()
            return answer
        fault, asked = self._bent.pop(id(call), (None, None))
        if fault is None or asked is None:
            return self._lagging(route, answer)
        if not asked.client_order_id:
            asked = replace(asked, client_order_id=_told_id(answer))
        if fault.kind is FaultKind.DUPLICATE_ID and self._order_of(asked) is not None:
            answer = self._app().answer(call, route)
        self.restore(fault, asked)
        if fault.kind is FaultKind.LATE:
            await self._wait(fault.whole("delay_ms"))
        elif fault.kind in LOST_ANSWERS:
            return _nothing(fault)
        elif fault.kind is FaultKind.ANSWER_5XX:
            return self._failed(fault.word("answer"), call, route)
        return answer

    async def _wait(self, real_ms: int) -> None:
        clock = self._floor.clock
        await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(real_ms))

    def _refused(self, refusal: Refusal, route: Route) -> Answer:
        status = STATUS_BY_CODE.get(refusal.code, 400)
        return _json(status, {"code": refusal.code, "msg": refusal.text}, route)

    def _unavailable(self, call: Call, route: Route, text: str) -> Answer:
        """The gateway's own 503 has no code. Source: seen by clients of the futures exchange."""
        return _json(503, {"timestamp": self._floor.now_ms(), "path": call.path, "msg": text}, route)

    def _failed(self, how: str, call: Call, route: Route) -> Answer:
        match how:
            case "502_html":
                return _page(502, "Bad Gateway")
            case "504_html":
                return _page(504, "Gateway Time-out")
            case "408_timeout":
                text = (
                    "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
                )
                return _json(408, {"code": -1007, "msg": text}, route)
            case "500_bus":
                text = "An unexpected response was received from the message bus. Execution status unknown."
                return _json(500, {"code": -1006, "msg": text}, route)
            case _:
                return self._unavailable(call, route, UNKNOWN)

    def _lagging(self, route: Route, answer: Answer) -> Answer:
        """A query of a conditional says what was before."""
        fault = self.plan.under_way(FaultKind.ALGO_LOOKUP_LAG) if route.name == "algo" else None
        if fault is None or answer.status != 200 or answer.body is None:
            return answer
        order = orjson.loads(answer.body)
        clock = self._floor.clock
        now_ms = clock.now_ms()
        if now_ms - int(order["createTime"]) < clock.work_ms(fault.whole("placed_ms")):
            return self._refused(Refusal(-2013, "Order does not exist."), route)
        canceled = order["algoStatus"] == "CANCELED"
        if canceled and now_ms - int(order["updateTime"]) < clock.work_ms(fault.whole("canceled_ms")):
            return replace(answer, body=orjson.dumps({**order, "algoStatus": "NEW"}))
        return answer

    # --- sockets

    def watched(self, sockets: Mapping[str, SocketHandler]) -> dict[str, SocketHandler]:
        """The same sockets, refused while they are shut."""
        return {path: self._guarded(path, serve) for path, serve in sockets.items()}

    def _guarded(self, path: str, serve: SocketHandler) -> SocketHandler:
        streams = "account" if path.startswith(ACCOUNT_PATHS) else "market"

        async def guarded(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            if any(shut in ("all", streams) for shut in self._shut.values()):
                await receive()
                await send({"type": "websocket.close", "code": ABNORMAL})
            else:
                await serve(scope, receive, send)

        return guarded

    def turn(self, turn: Turn) -> None:
        super().turn(turn)
        fault, lasts = turn.fault, turn.begins and turn.fault.lasts_ms > 0
        match fault.kind:
            case FaultKind.CLOCK_OFFSET:
                still = self.plan.under_way(FaultKind.CLOCK_OFFSET)
                self._floor.offset_ms = still.whole("offset_ms") if still is not None else 0
            case FaultKind.LISTEN_KEY_EXPIRED if turn.begins:
                self._listen_keys.expire_all()
            case FaultKind.STREAM_STALLED if turn.begins:
                self._stalled[turn.number] = list(self._connections(fault.word("streams")))
                for connection in self._stalled[turn.number]:
                    connection.stalled = True
            case FaultKind.STREAM_STALLED:
                for connection in self._stalled.pop(turn.number, []):
                    connection.stalled = False
            case FaultKind.STREAM_CLOSED | FaultKind.OUTAGE:
                self._shut.pop(turn.number, None)
                streams = "all" if fault.kind is FaultKind.OUTAGE else fault.word("streams")
                if lasts:
                    self._shut[turn.number] = streams
                if turn.begins:
                    self._cut(streams, abort=fault.kind is FaultKind.OUTAGE or fault.word("how") == "abort")
            case _:
                pass

    def _connections(self, streams: str) -> Iterator[Connection]:
        for connection in self._hub.connections:
            account = connection.group in ACCOUNT_GROUPS
            if streams == "all" or account == (streams == "account"):
                yield connection

    def _cut(self, streams: str, *, abort: bool) -> None:
        for connection in list(self._connections(streams)):
            connection.close(ABNORMAL if abort else GOING_AWAY)

    # --- events

    def market(self, connection: Connection, stream: str, event: str) -> Iterable[tuple[int, str]]:
        symbol, name = _stream(stream, event)
        market = Market.SPOT if connection.group is Group.SPOT else Market.FUT
        fault = self.plan.on_event(Reach.MARKET, name, market, symbol, self._floor.clock.now_ms())
        if fault is None:
            return ((0, event),)
        match fault.kind:
            case FaultKind.BAD_DATA:
                return ((0, spoilt(event, name, fault.word("what"))),)
            case FaultKind.KLINE_LATE:
                return ((fault.whole("delay_ms"), event),) if fault.word("how") == "late" else ()
            case FaultKind.DEPTH_GAP if fault.word("how") == "crossed":
                return ((0, _crossed(event)),)
            case FaultKind.DEPTH_GAP if fault.word("how") == "stale":
                return ((0, event), (STALE_MS, event))
            case _:
                return ()

    def account(self, market: Market, event: bytes) -> Iterable[tuple[int, bytes]]:
        name, symbol = _account_event(event)
        fault = self.plan.on_event(Reach.EVENTS, name, market, symbol, self._floor.clock.now_ms())
        told = self._told[market]
        told.append(event)
        if fault is None:
            return ((self._shuffled(), event),)
        match fault.kind:
            case FaultKind.EVENTS_LOST:
                return ()
            case FaultKind.EVENTS_DOUBLED:
                return tuple((0, each) for each in (event, *list(told)[-fault.whole("last") :]))
            case _:
                now_ms = self._floor.real_ms()
                if now_ms >= self._window_ends_ms:
                    self._window_ends_ms, self._dealt = now_ms + fault.whole("window_ms"), 0
                return ((self._shuffled(), event),)

    def _shuffled(self) -> int:
        """In a window, whatever comes later leaves earlier; all of it has left when the window ends."""
        left_ms = self._window_ends_ms - self._floor.real_ms()
        if left_ms <= 0:
            return 0
        self._dealt += 1
        return max(0, left_ms - self._dealt + 1)


def asked_by(call: Call, route: Route) -> Asked:
    """The call as faults see it."""
    params = call.params
    traits: set[Trait] = set()
    if route.security is not Security.NONE:
        traits.add(Trait.SIGNED)
    if call.method != "GET" and route.security in (Security.SIGNED, Security.TRADE):
        traits.add(Trait.CHANGES)
    if ".cancel" in route.name:
        traits.add(Trait.REDUCES)
    elif route.name.endswith(".place"):
        traits |= _order_traits(params, route.name)
    side = params.get("side")
    return Asked(
        name=route.name,
        market=MARKETS.get(route.site),
        symbol=params.get("symbol", ""),
        traits=frozenset(traits),
        client_order_id=_first(params, "newClientOrderId", "clientAlgoId", "origClientOrderId"),
        venue_order_id=params.get("orderId", ""),
        side=Side(side) if side in list(Side) else None,
        qty=_number(params.get("quantity")),
        price=_number(params.get("price")),
    )


def _order_traits(params: Mapping[str, str], name: str) -> set[Trait]:
    closes = "true" in (params.get("reduceOnly", "").lower(), params.get("closePosition", "").lower())
    traits = {Trait.REDUCES if closes else Trait.OPENS}
    kind, time_in_force = params.get("type", ""), params.get("timeInForce", "")
    if name == "algo.place" or name == "orderList.place" or kind.startswith(("STOP", "TAKE_PROFIT")):
        return traits | {Trait.STOP, Trait.RESTS}
    if kind == "LIMIT_MAKER" or time_in_force == "GTX":
        traits.add(Trait.POST_ONLY)
    return traits | {Trait.IMMEDIATE if kind == "MARKET" or time_in_force in ("IOC", "FOK") else Trait.RESTS}


def _first(params: Mapping[str, str], *names: str) -> str:
    return next((params[name] for name in names if params.get(name)), "")


def _number(text: str | None) -> Decimal | None:
    try:
        number = Decimal(text or "")
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _told_id(answer: Answer) -> str:
    """The client id that the exchange gave an order that came without."""
    if answer.status != 200 or answer.body is None:
        return ""
    told = orjson.loads(answer.body)
    return str(told.get("clientOrderId") or told.get("clientAlgoId") or "") if isinstance(told, dict) else ""


def _spoil_batch(call: Call) -> None:
    """Every second order of the batch asks for nothing, so that the exchange refuses it and takes the others."""
    try:
        orders = orjson.loads(call.params.get("batchOrders", "[]"))
    except orjson.JSONDecodeError:
        return
    for order in orders[1::2]:
        order["quantity"] = "0"
    call.params["batchOrders"] = orjson.dumps(orders).decode()


def _nothing(fault: Fault) -> Answer:
    """The connection is cut at once, or stands until the client gives up."""
    return Answer(SILENCE if fault.word("how") == "silence" else 502, None)


def _json(status: int, value: Any, route: Route) -> Answer:
    return Answer(status, orjson.dumps(value), list(SITE_HEADERS[route.site]))


def _page(status: int, title: str) -> Answer:
    text = f"{status} {title}"
    body = f"<html>\r\n<head><title>{text}</title></head>\r\n<body>\r\n<center><h1>{text}</h1></center>\r\n</body>\r\n"
    return Answer(status, f"{body}</html>\r\n".encode(), content_type=b"text/html")


def _stream(stream: str, event: str) -> tuple[str, str]:
    """Symbol and kind of a market stream; `kline` is a closed bar, one that is still open is `kline.open`."""
    symbol, _, rest = stream.partition("@")
    kind = rest.partition("@")[0].partition("_")[0]
    if stream.startswith("!"):
        symbol, kind = "", stream[1:].partition("@")[0]
    name = re.sub(r"\d+$", "", kind)
    if name == "kline" and '"x":true' not in event:
        name = "kline.open"
    return symbol.upper(), name


def _account_event(event: bytes) -> tuple[str, str]:
    told = orjson.loads(event)
    inner = told.get("o")
    symbol = inner.get("s", "") if isinstance(inner, dict) else told.get("s", "")
    return told["e"], symbol if isinstance(symbol, str) else ""


def spoilt(event: str, name: str, what: str) -> str:
    """The event as it must not be."""
    if what == "broken":
        return event[: len(event) // 2]
    told = orjson.loads(event)
    if what == "extra":
        told["zz"] = {"new": [1, "2", None]}
    elif what == "unknown":
        told["e"] = "somethingNew"
    else:
        holder, keys = _prices(told, name)
        for key in keys:
            _spoil(holder, key, what)
    return orjson.dumps(told).decode()


def _prices(told: Any, name: str) -> tuple[Any, tuple[Any, ...]]:
    """What holds the event's prices, and under which keys."""
    if name.startswith("kline"):
        return told["k"], ("o", "h", "l", "c")
    if name == "depth":
        sides = [told[side] for side in ("b", "a", "bids", "asks") if told.get(side)]
        return (sides[0][0], (0,)) if sides else (told, ())
    return told, tuple(key for key in PRICE_OF.get(name, ("p",)) if key in told)


def _spoil(holder: Any, key: Any, what: str) -> None:
    price = Decimal(holder[key])
    match what:
        case "x10":
            holder[key] = format(price * 10, "f")
        case "nan":
            holder[key] = "NaN"
        case "zero":
            holder[key] = "0.00"
        case "negative":
            holder[key] = format(-price, "f")
        case "scientific":
            holder[key] = format(price, "E")
        case _ if isinstance(holder, list):
            holder.pop()
        case _:
            del holder[key]


def _crossed(event: str) -> str:
    """A bid above the best ask."""
    told = orjson.loads(event)
    bids, asks = ("b", "a") if "b" in told else ("bids", "asks")
    if told.get(asks):
        price = Decimal(told[asks][-1][0])
        told[bids] = [[format(price * 2, "f"), "1"], *told[bids]]
    return orjson.dumps(told).decode()

"""The doors of the stream sockets, and who is told when the market or the account moved.

Owns every open connection. Each event is written once: market events go to a stream's listeners, account events to the
two feeds and to the private sockets whose listen key is alive. On the way out all of them pass the meddler, when there
is one: it drops, doubles, delays, shuffles or corrupts them on purpose.

    /ws  /stream                                         spot
    /public /market /private  with  /ws  or  /stream     futures; a stream asked of the wrong group stays silent
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl

import orjson

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts import ids
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import AccountChange, OrderUpdated
from chimera.venue_server.asgi import SocketHandler
from chimera.venue_server.floor import Floor, Receive, Send
from chimera.venue_server.futures.listen_keys import ListenKeys
from chimera.venue_server.streams.account_feed import AccountFeed
from chimera.venue_server.streams.connection import LIFE_MS, POLICY, Connection, Streams
from chimera.venue_server.streams.futures_account import FuturesWords
from chimera.venue_server.streams.market import MarketStreams
from chimera.venue_server.streams.names import Group
from chimera.venue_server.streams.spot_account import SpotWords

CONNECTIONS_5M = 300
FIVE_MINUTES_MS = 300_000

GROUPS = {"/public": Group.PUBLIC, "/market": Group.MARKET, "/private": Group.PRIVATE}
EVERY: frozenset[str] = frozenset()


class Meddler(Protocol):
    """What goes wrong on purpose with events; delays are real milliseconds, nothing at all drops the event."""

    def market(self, connection: Connection, stream: str, event: str) -> Iterable[tuple[int, str]]: ...

    def account(self, market: Market, event: bytes) -> Iterable[tuple[int, bytes]]: ...


class Hub(Streams):
    def __init__(self, floor: Floor, listen_keys: ListenKeys) -> None:
        self.connections: dict[Connection, None] = {}
        """In the order in which they came."""
        self.spot_account = AccountFeed()
        self.futures_account = AccountFeed()
        self.market = MarketStreams(floor)
        self.meddler: Meddler | None = None
        self.connections_5m = CONNECTIONS_5M * floor.limits.rules.scale
        """How often one address may connect in five minutes."""
        self.life_ms = LIFE_MS
        """How long a connection may last, real time."""
        self._private: dict[Connection, None] = {}
        self._floor = floor
        self._listen_keys = listen_keys
        self._arrivals: dict[str, deque[int]] = defaultdict(deque)
        self._futures_words = FuturesWords(floor)
        self._spot_words = SpotWords(floor)
        floor.host.on_tick.append(self._on_tick)
        floor.host.on_changes.append(self._on_changes)
        listen_keys.on_end.append(self._on_key_ended)

    def sockets(self) -> dict[str, SocketHandler]:
        return dict.fromkeys(("/ws", "/stream", *GROUPS), self.serve)

    async def serve(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        connection = self._connection(scope)
        if connection is None:
            await send({"type": "websocket.close", "code": POLICY})
            return
        self.connections[connection] = None
        if connection.group is Group.PRIVATE:
            self._private[connection] = None
        try:
            await connection.serve(receive, send)
        finally:
            del self.connections[connection]
            self._private.pop(connection, None)

    # --- what a connection asks

    def listen(self, connection: Connection, name: str) -> None:
        if connection.group is Group.PRIVATE:
            connection.keys.setdefault(name, EVERY)
        else:
            self.market.listen(connection.group, name, connection)

    def leave(self, connection: Connection, name: str) -> None:
        if connection.group is Group.PRIVATE:
            connection.keys.pop(name, None)
        else:
            self.market.leave(connection.group, name, connection)

    def meddle(self, connection: Connection, stream: str, event: str) -> None:
        if self.meddler is None:
            connection.tell(stream, event)
            return
        for delay_ms, told in self.meddler.market(connection, stream, event):
            self._later(delay_ms, lambda told=told: connection.tell(stream, told))

    # --- what happens at the exchange

    def _on_tick(self, tick: Tick) -> None:
        self.market.spoilt = self.meddler is not None
        self.market.on_tick(tick)

    def _on_changes(self, changes: Sequence[AccountChange]) -> None:
        for event in self._futures_words.of(changes):
            self._account(Market.FUT, orjson.dumps(event))
        for event in self._spot_words.of(changes):
            self._account(Market.SPOT, orjson.dumps(event))
        fills = [change for change in changes if isinstance(change, OrderUpdated) and change.fill is not None]
        if fills:
            self.market.spoilt = self.meddler is not None
            self.market.traded()
            for change in fills:
                if change.order.client_order_id.startswith(ids.LIQUIDATION_PREFIX):
                    self.market.liquidated(change, self._floor.now_ms())

    def _account(self, market: Market, event: bytes) -> None:
        if self.meddler is None:
            self._tell(market, event)
            return
        for delay_ms, told in self.meddler.account(market, event):
            self._later(delay_ms, lambda told=told: self._tell(market, told))

    def _tell(self, market: Market, event: bytes) -> None:
        if market is Market.SPOT:
            self.spot_account.tell(event)
            return
        self.futures_account.tell(event)
        text = event.decode()
        name = _name_of(text)
        now_ms = self._floor.real_ms()
        for connection in list(self._private):
            for key, wanted in connection.keys.items():
                if (not wanted or name in wanted) and self._listen_keys.alive(key, now_ms):
                    connection.tell(key, text)

    def _on_key_ended(self, key: str) -> None:
        event = {"e": "listenKeyExpired", "E": str(self._floor.now_ms()), "listenKey": key}
        text = orjson.dumps(event).decode()
        for connection in list(self._private):
            wanted = connection.keys.get(key)
            if wanted is not None and (not wanted or "listenKeyExpired" in wanted):
                connection.tell(key, text)

    def _later(self, delay_ms: int, tell: Any) -> None:
        if delay_ms <= 0:
            tell()
        else:
            clock = self._floor.clock
            clock.call_at_ms(clock.now_ms() + clock.work_ms(delay_ms), tell)

    # --- handshakes

    def _connection(self, scope: Mapping[str, Any]) -> Connection | None:
        """None where no socket is served, or the address came too often."""
        path: str = scope["path"]
        group = Group.SPOT
        for prefix, each in GROUPS.items():
            if path.startswith(prefix + "/"):
                group, path = each, path.removeprefix(prefix)
        kind, _, rest = path.lstrip("/").partition("/")
        address = (scope.get("client") or ("", 0))[0]
        if kind not in ("ws", "stream") or not self._admitted(address):
            return None
        streams = [name for name in rest.split("/") if name and not name.isdigit()]
        keys: dict[str, frozenset[str]] = {}
        key, events = "", EVERY
        for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
            if name == "streams":
                streams += [each for each in value.split("/") if each]
            elif name == "listenKey" and group is Group.PRIVATE:
                # Events that stand before every key are those of the first one.
                key, keys[value], events = value, events, EVERY
            elif name == "events" and key:
                keys[key] = frozenset(value.split("/"))
            elif name == "events":
                events = frozenset(value.split("/"))
        return Connection(
            self,
            self._floor.clock,
            group=group,
            combined=kind == "stream",
            address=address,
            streams=list(dict.fromkeys(streams)),
            keys=keys,
            life_ms=self.life_ms,
        )

    def _admitted(self, address: str) -> bool:
        now_ms = self._floor.real_ms()
        arrivals = self._arrivals[address]
        while arrivals and arrivals[0] <= now_ms - FIVE_MINUTES_MS:
            arrivals.popleft()
        if len(arrivals) >= self.connections_5m:
            return False
        arrivals.append(now_ms)
        return True


def _name_of(event: str) -> str:
    """Every account event begins with its name."""
    start = len('{"e":"')
    return event[start : event.find('"', start)]

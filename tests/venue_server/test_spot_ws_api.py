"""Spot's WebSocket API over a real socket: envelopes, keys, sessions, orders, the account's events."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chimera.venue_server.auth import ApiKey
from chimera.venue_server.calls import Answer, Call, Route
from chimera.venue_server.floor import NoFaults
from chimera.venue_server.limits import LimitRules
from tests.venue_server.running import KEY, RunningVenue, running_venue

MARKET_BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}


@dataclass(slots=True)
class ApiSocket:
    """Answers and events apart, in the order in which they came."""

    venue: RunningVenue
    socket: aiohttp.ClientWebSocketResponse
    events: list[Any] = field(default_factory=list)
    asked: int = 0

    async def ask(self, method: str, **params: Any) -> Any:
        self.asked += 1
        await self.socket.send_str(orjson.dumps({"id": self.asked, "method": method, "params": params}).decode())
        return await self.answer()

    async def answer(self) -> Any:
        while True:
            message = orjson.loads(await self.socket.receive_str(timeout=10))
            if "event" not in message:
                return message
            self.events.append(message)

    async def signed(self, method: str, **params: Any) -> Any:
        sent = {"apiKey": self.venue.key, "timestamp": self.venue.now_ms, **params}
        payload = "&".join(f"{name}={sent[name]}" for name in sorted(sent))
        signature = hmac.new(self.venue.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        return await self.ask(method, **sent, signature=signature)

    async def until(self, name: str) -> Any:
        """The next event of this name, of those that have come and those that come."""
        while True:
            for index, event in enumerate(self.events):
                if event["event"]["e"] == name:
                    return self.events.pop(index)
            self.events.append(orjson.loads(await self.socket.receive_str(timeout=10)))


@dataclass(slots=True)
class Afterwards(NoFaults):
    """Every answer of the exchange is replaced by another."""

    instead: Answer

    async def after(self, call: Call, route: Route, answer: Answer) -> Answer:
        return self.instead


@asynccontextmanager
async def api_socket(venue: RunningVenue, query: str = "") -> AsyncIterator[ApiSocket]:
    async with venue.session.ws_connect(f"{venue.ws}/ws-api/v3{query}") as socket:
        yield ApiSocket(venue, socket)


@dataclass(slots=True)
class Ed25519:
    name: str = "ed-key"
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def key(self) -> ApiKey:
        pem = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return ApiKey(key=self.name, public_key=pem.decode())

    async def log_on(self, api: ApiSocket) -> Any:
        sent = {"apiKey": self.name, "timestamp": api.venue.now_ms}
        payload = "&".join(f"{name}={sent[name]}" for name in sorted(sent))
        signature = base64.b64encode(self.private.sign(payload.encode())).decode()
        return await api.ask("session.logon", **sent, signature=signature)


async def test_every_answer_has_the_request_s_id_a_status_and_the_limits() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        await api.socket.send_str('{"id":"a-b","method":"v3/time"}')
        named = await api.answer()
        await api.socket.send_str('{"id":null,"method":"ping"}')
        unnamed = await api.answer()

        assert (named["id"], named["status"]) == ("a-b", 200)
        assert abs(named["result"]["serverTime"] - venue.now_ms) < 5_000
        assert named["rateLimits"] == [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": 6000,
                "count": named["rateLimits"][0]["count"],
            }
        ]
        assert unnamed["id"] is None
        assert unnamed["result"] == {}


async def test_limits_are_left_out_on_request() -> None:
    async with running_venue() as venue:
        async with api_socket(venue, "?returnRateLimits=false") as api:
            silent, asked = await api.ask("ping"), await api.ask("ping", returnRateLimits=True)
        async with api_socket(venue) as api:
            once = await api.ask("ping", returnRateLimits=False)

        assert "rateLimits" not in silent
        assert "rateLimits" in asked
        assert "rateLimits" not in once


@pytest.mark.parametrize(
    ("text", "request_id", "code"),
    [
        pytest.param("hello", None, -1135, id="no JSON"),
        pytest.param('["ping"]', None, -1135, id="no object"),
        pytest.param('{"id":[7],"method":"ping"}', None, -1135, id="no id"),
        pytest.param('{"id":99999999999999999999,"method":"ping"}', None, -1135, id="an endless id"),
        pytest.param('{"id":7,"method":"order.dance"}', 7, -1020, id="no such method"),
        pytest.param('{"id":7}', 7, -1102, id="no method"),
        pytest.param('{"id":7,"method":"order.place","params":{"symbol":"BTCUSDT"}}', 7, -1102, id="no key"),
        pytest.param('{"id":7,"method":"depth","params":{"symbol":"NOPE"}}', 7, -1121, id="no such symbol"),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_the_id_it_had(
    text: str, request_id: int | None, code: int
) -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        await api.socket.send_str(text)
        answer = await api.answer()

        assert (answer["id"], answer["status"], answer["error"]["code"]) == (request_id, 400, code)


async def test_an_order_is_placed_asked_for_and_cancelled() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        bid = float((await api.ask("ticker.book", symbol="BTCUSDT"))["result"]["bidPrice"])
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
        placed = await api.signed("order.place", **order, price=f"{bid * 0.9:.2f}", newClientOrderId="ws-1")
        found = await api.signed("order.status", symbol="BTCUSDT", orderId=placed["result"]["orderId"])
        listed = await api.signed("openOrders.status", symbol="BTCUSDT")
        canceled = await api.signed("order.cancel", symbol="BTCUSDT", origClientOrderId="ws-1")
        again = await api.signed("order.cancel", symbol="BTCUSDT", origClientOrderId="ws-1")
        tried = await api.signed("order.test", **MARKET_BUY)
        account = await api.signed("account.status", omitZeroBalances="true")

        assert placed["status"] == 200
        assert [row["rateLimitType"] for row in placed["rateLimits"]] == ["ORDERS", "ORDERS", "REQUEST_WEIGHT"]
        assert found["result"]["status"] == "NEW"
        assert [row["clientOrderId"] for row in listed["result"]] == ["ws-1"]
        assert canceled["result"]["status"] == "CANCELED"
        assert (again["status"], again["error"]) == (400, {"code": -2011, "msg": "Unknown order sent."})
        assert tried["result"] == {}
        assert [row["asset"] for row in account["result"]["balances"]] == ["USDT"]


async def test_signatures_and_times_are_checked_as_they_are_over_http() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        forged = await api.ask("order.place", **MARKET_BUY, apiKey=KEY, timestamp=venue.now_ms, signature="00" * 32)
        late = await api.signed("order.place", **MARKET_BUY, timestamp=venue.now_ms - 60_000)
        venue.key = "nobody"
        unknown = await api.signed("order.place", **MARKET_BUY)

        assert (forged["status"], forged["error"]["code"]) == (400, -1022)
        assert (late["status"], late["error"]["code"]) == (400, -1021)
        assert (unknown["status"], unknown["error"]["code"]) == (401, -2015)


async def test_http_and_socket_share_one_weight() -> None:
    async with running_venue(limits=LimitRules(spot_weight=30)) as venue, api_socket(venue) as api:
        await venue.get("/api/v3/exchangeInfo")
        answer = await api.ask("exchangeInfo")

        assert answer["status"] == 429
        assert answer["error"]["code"] == -1003
        assert answer["error"]["data"]["retryAfter"] > answer["error"]["data"]["serverTime"]


async def test_events_of_the_account_come_after_a_signed_subscription() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        subscribed = await api.signed("userDataStream.subscribe.signature")
        twice = await api.signed("userDataStream.subscribe.signature")
        placed = await venue.signed("POST", "/api/v3/order", **MARKET_BUY)
        event = await api.until("executionReport")
        position = await api.until("outboundAccountPosition")
        listed = await api.ask("session.subscriptions")
        status = await api.ask("session.status")

        assert subscribed["result"] == {"subscriptionId": 0}
        assert (twice["status"], twice["error"]["code"]) == (400, -2035)
        assert event["subscriptionId"] == 0
        assert event["event"]["i"] == placed.body["orderId"]
        assert {row["a"] for row in position["event"]["B"]} == {"BTC", "USDT"}
        assert listed["result"] == [{"subscriptionId": 0}]
        assert status["result"]["userDataStream"] is True
        assert status["result"]["apiKey"] is None


async def test_an_ended_subscription_is_silent_and_the_next_has_a_number_of_its_own() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        await api.signed("userDataStream.subscribe.signature")
        ended = await api.ask("userDataStream.unsubscribe", subscriptionId=0)
        unknown = await api.ask("userDataStream.unsubscribe", subscriptionId=0)
        await venue.signed("POST", "/api/v3/order", **MARKET_BUY)
        await api.ask("ping")
        silent = list(api.events)
        again = await api.signed("userDataStream.subscribe.signature")

        assert ended["result"] == {}
        assert unknown["error"]["code"] == -2036
        assert silent == []
        assert again["result"] == {"subscriptionId": 1}


async def test_a_cancel_is_told_with_its_own_id_and_the_order_s() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        await api.signed("userDataStream.subscribe.signature")
        bid = float((await api.ask("ticker.book", symbol="BTCUSDT"))["result"]["bidPrice"])
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}
        await api.signed("order.place", **order, price=f"{bid * 0.9:.2f}", newClientOrderId="mine")
        accepted = await api.until("executionReport")
        await api.signed("order.cancel", symbol="BTCUSDT", origClientOrderId="mine", newClientOrderId="bye")
        ended = await api.until("executionReport")

        assert (accepted["event"]["x"], accepted["event"]["c"], accepted["event"]["C"]) == ("NEW", "mine", "")
        assert (ended["event"]["x"], ended["event"]["c"], ended["event"]["C"]) == ("CANCELED", "bye", "mine")


async def test_an_ed25519_session_needs_no_signature_until_it_logs_out() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        ed = Ed25519()
        venue.venue.floor.keys.add(ed.key)
        logged_on = await ed.log_on(api)
        subscribed = await api.ask("userDataStream.subscribe")
        placed = await api.ask("order.place", **MARKET_BUY, timestamp=venue.now_ms)
        untimed = await api.ask("order.place", **MARKET_BUY)
        event = await api.until("executionReport")
        logged_out = await api.ask("session.logout")
        after = await api.ask("order.place", **MARKET_BUY, timestamp=venue.now_ms)

        assert logged_on["result"]["apiKey"] == "ed-key"
        assert logged_on["result"]["authorizedSince"] >= logged_on["result"]["connectedSince"]
        assert subscribed["result"] == {"subscriptionId": 0}
        assert placed["result"]["status"] == "FILLED"
        assert untimed["error"]["code"] == -1102
        assert event["event"]["i"] == placed["result"]["orderId"]
        assert logged_out["result"]["apiKey"] is None
        assert logged_out["result"]["userDataStream"] is False
        assert after["error"]["code"] == -1102


async def test_a_secret_opens_no_session() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        refused = await api.signed("session.logon")
        subscribed = await api.ask("userDataStream.subscribe")

        assert refused["error"] == {"code": -4056, "msg": "HMAC_SHA256 API key is not supported."}
        assert subscribed["status"] == 400


async def test_a_session_ends_when_its_key_is_revoked() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        ed = Ed25519()
        venue.venue.floor.keys.add(ed.key)
        await ed.log_on(api)
        venue.venue.floor.keys.revoke("ed-key")
        refused = await api.ask("openOrders.status", timestamp=venue.now_ms)
        told = await api.answer()
        status = await api.ask("session.status")

        assert (refused["status"], refused["error"]["code"]) == (401, -2015)
        assert (told["id"], told["status"], told["error"]["code"]) == (None, 401, -2015)
        assert status["result"]["apiKey"] is None


async def test_a_list_is_placed_and_cancelled() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        await api.signed("order.place", **MARKET_BUY)
        bid = float((await api.ask("ticker.book", symbol="BTCUSDT"))["result"]["bidPrice"])
        placed = await api.signed(
            "orderList.place.oco",
            symbol="BTCUSDT",
            side="SELL",
            quantity="0.0009",
            aboveType="LIMIT_MAKER",
            abovePrice=f"{bid * 1.1:.2f}",
            belowType="STOP_LOSS",
            belowStopPrice=f"{bid * 0.9:.2f}",
        )
        number = placed["result"]["orderListId"]
        status = await api.signed("orderList.status", orderListId=number)
        canceled = await api.signed("orderList.cancel", symbol="BTCUSDT", orderListId=number)

        assert [report["type"] for report in placed["result"]["orderReports"]] == ["STOP_LOSS", "LIMIT_MAKER"]
        assert status["result"]["listOrderStatus"] == "EXECUTING"
        assert canceled["result"]["listOrderStatus"] == "ALL_DONE"


async def test_an_answer_that_is_lost_cuts_the_connection_and_the_order_stands() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        floor = venue.venue.floor
        floor.faults = Afterwards(Answer(500, None))
        with pytest.raises(TypeError, match="not"):
            await api.signed("order.place", **MARKET_BUY)
        floor.faults = NoFaults()
        orders = (await venue.signed("GET", "/api/v3/allOrders", symbol="BTCUSDT")).body

        assert api.socket.closed
        assert [order["status"] for order in orders] == ["FILLED"]


async def test_an_answer_that_is_no_json_is_an_unknown_error() -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        venue.venue.floor.faults = Afterwards(Answer(502, b"<html></html>", content_type=b"text/html"))
        answer = await api.ask("ping")

        assert (answer["status"], answer["error"]["code"]) == (502, -1000)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param('{"id":1,"method":"ping","params":' + "[" * 100_000, id="brackets without end"),
        pytest.param('{"id":"\\ud800","method":"ping"}', id="half a letter"),
    ],
)
async def test_what_no_answer_could_repeat_is_refused(sent: str) -> None:
    async with running_venue() as venue, api_socket(venue) as api:
        await api.socket.send_str(sent)
        refused = await api.answer()

        assert (refused["id"], refused["status"], refused["error"]["code"]) == (None, 400, -1135)
        assert (await api.ask("ping"))["status"] == 200

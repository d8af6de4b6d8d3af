"""Stream sockets: envelopes, live subscribing, what is refused and what stays silent, and how connections end."""

from typing import Any

import aiohttp
import pytest

from chimera.contracts.enums import Market
from chimera.venue_server.limits import LimitRules
from chimera.venue_server.streams.connection import QUEUE_MAX, STREAMS_MAX, Connection
from tests.venue_server.listening import Listening, listening
from tests.venue_server.running import RunningVenue, running_venue


async def heard(venue: RunningVenue, socket: Listening) -> list[Any]:
    """What came while the market went on for two ticks."""
    async with listening(venue, "/public/ws/btcusdt@bookTicker") as witness:
        await witness.event("bookTicker")
        await witness.event("bookTicker")
    await socket.ask("LIST_SUBSCRIPTIONS", request_id="end")
    return [told for told in socket.said if told.get("id") != "end"]


@pytest.mark.parametrize(
    ("path", "envelope"),
    [
        pytest.param("/ws/btcusdt@bookTicker", False, id="spot raw"),
        pytest.param("/stream?streams=btcusdt@bookTicker", True, id="spot combined"),
        pytest.param("/public/ws/btcusdt@bookTicker", False, id="futures raw"),
        pytest.param("/public/stream?streams=btcusdt@bookTicker", True, id="futures combined"),
    ],
)
async def test_the_path_decides_the_envelope(path: str, envelope: bool) -> None:
    async with running_venue() as venue, listening(venue, path) as socket:
        told = await socket.next()

    if envelope:
        assert told.keys() == {"stream", "data"}
        assert told["stream"] == "btcusdt@bookTicker"
        told = told["data"]
    assert told["s"] == "BTCUSDT"


@pytest.mark.parametrize("path", ["/ws", "/ws/0", "/public/ws/1", "/public/stream", "/public/ws"])
async def test_streams_may_be_asked_for_later(path: str) -> None:
    async with running_venue() as venue, listening(venue, path) as socket:
        assert (await socket.ask("LIST_SUBSCRIPTIONS"))["result"] == []
        answer = await socket.ask("SUBSCRIBE", "btcusdt@bookTicker", request_id="0b9f3f2e-uuid")
        told = await socket.next()
        listed = await socket.ask("LIST_SUBSCRIPTIONS", request_id=7)

    assert answer == {"result": None, "id": "0b9f3f2e-uuid"}
    assert ("stream" in told) is path.endswith("stream")
    assert listed == {"result": ["btcusdt@bookTicker"], "id": 7}


async def test_what_was_unsubscribed_is_silent() -> None:
    async with running_venue() as venue, listening(venue, "/public/ws/btcusdt@bookTicker") as socket:
        await socket.next()
        answer = await socket.ask("UNSUBSCRIBE", "btcusdt@bookTicker")
        socket.said.clear()

        assert answer == {"result": None, "id": 1}
        assert await heard(venue, socket) == []
        assert (await socket.ask("LIST_SUBSCRIPTIONS"))["result"] == []


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/market/ws/btcusdt@bookTicker", id="book ticker of the market group"),
        pytest.param("/market/ws/btcusdt@depth@100ms", id="depth of the market group"),
        pytest.param("/public/ws/btcusdt@aggTrade", id="trades of the public group"),
        pytest.param("/public/ws/btcusdt@kline_1m", id="klines of the public group"),
        pytest.param("/private/ws/btcusdt@markPrice@1s", id="marks of the private group"),
        pytest.param("/private/ws?listenKey=never-given&events=ORDER_TRADE_UPDATE", id="unknown listen key"),
        pytest.param("/ws/btcusdt@markPrice@1s", id="futures on the old path"),
        pytest.param("/public/ws/nobody@bookTicker", id="unknown symbol"),
        pytest.param("/public/ws/BTCUSDT@bookTicker", id="capital letters"),
        pytest.param("/market/ws/btcusdt@kline_7m", id="unknown interval"),
        pytest.param("/ws/!ticker@arr", id="retired"),
    ],
)
async def test_what_does_not_exist_there_connects_and_stays_silent(path: str) -> None:
    async with running_venue() as venue, listening(venue, path) as socket:
        assert await heard(venue, socket) == []


async def test_a_stream_of_the_wrong_group_is_acknowledged_and_listed() -> None:
    async with running_venue() as venue, listening(venue, "/public/ws") as socket:
        answer = await socket.ask("SUBSCRIBE", "btcusdt@kline_1m")
        listed = await socket.ask("LIST_SUBSCRIPTIONS")

        assert answer["result"] is None
        assert listed["result"] == ["btcusdt@kline_1m"]


async def test_the_envelope_is_a_property_that_may_be_changed() -> None:
    async with running_venue() as venue, listening(venue, "/public/ws/btcusdt@bookTicker") as socket:
        before = await socket.ask("GET_PROPERTY", "combined")
        await socket.ask("SET_PROPERTY", "combined", True)
        after = await socket.ask("GET_PROPERTY", "combined")
        told = await socket.next()

    assert (before["result"], after["result"]) == (False, True)
    assert told["stream"] == "btcusdt@bookTicker"


@pytest.mark.parametrize(
    ("sent", "code", "text", "request_id"),
    [
        pytest.param(
            '{"method":"NOT_A_METHOD","id":4}',
            2,
            "Invalid request: unknown variant `NOT_A_METHOD`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`,"
            " `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`",
            4,
            id="unknown method",
        ),
        pytest.param("no json", 3, "Invalid JSON: expected value at line 1 column 1", None, id="no json"),
        pytest.param('{"id":5}', 2, "Invalid request: missing field `method` at line 1 column 8", 5, id="no method"),
        pytest.param(
            '{"method":"SUBSCRIBE","params":["a"],"id":{}}',
            2,
            "Invalid request: request ID must be an unsigned integer",
            None,
            id="strange id",
        ),
        pytest.param('{"method":"GET_PROPERTY","params":["other"],"id":6}', 0, "Unknown property", 6, id="property"),
        pytest.param(
            '{"method":"SET_PROPERTY","params":["combined",1],"id":7}',
            1,
            "Invalid value type: expected Boolean",
            7,
            id="value",
        ),
        pytest.param(
            '{"method":"SET_PROPERTY","params":["combined",true,3],"id":8}',
            2,
            "Invalid request: too many parameters",
            8,
            id="too many parameters",
        ),
        pytest.param(
            '{"method":"GET_PROPERTY","id":9}', 2, "Invalid request: property name must be a string", 9, id="no name"
        ),
    ],
)
async def test_what_cannot_be_read_is_answered_with_the_exchanges_words(
    sent: str, code: int, text: str, request_id: Any
) -> None:
    async with running_venue() as venue, listening(venue, "/market/ws") as socket:
        await socket.socket.send_str(sent)

        assert await socket.next() == {"error": {"code": code, "msg": text}, "id": request_id}


@pytest.mark.parametrize(
    ("path", "allowed"), [pytest.param("/market/ws", 10, id="futures"), pytest.param("/ws", 5, id="spot")]
)
async def test_who_says_too_much_in_a_second_is_cut_off(path: str, allowed: int) -> None:
    async with running_venue() as venue, listening(venue, path) as socket:
        for number in range(2 * allowed + 1):  # a second may end in between
            await socket.socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})

        with pytest.raises(ConnectionError, match="1008"):
            await socket.end()


async def test_a_connection_listens_to_1024_streams_at_most() -> None:
    async with running_venue() as venue, listening(venue, "/market/ws") as socket:
        full = await socket.ask("SUBSCRIBE", *[f"s{number}@kline_1m" for number in range(STREAMS_MAX)])
        more = await socket.ask("SUBSCRIBE", "btcusdt@kline_1m", request_id=2)
        listed = await socket.ask("LIST_SUBSCRIPTIONS", request_id=3)

    assert full["result"] is None
    assert more["error"]["code"] == 2
    assert len(listed["result"]) == STREAMS_MAX


async def test_paths_that_are_no_streams_are_refused() -> None:
    async with running_venue() as venue:
        for path in ("/public/elsewhere", "/wsx", "/streams"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await venue.session.ws_connect(venue.ws + path)


async def test_an_address_that_connects_too_often_is_refused() -> None:
    async with running_venue(limits=LimitRules(scale=1)) as venue:
        venue.venue.hub.connections_5m = 3
        opened = [await venue.session.ws_connect(venue.ws + "/ws") for _ in range(3)]

        with pytest.raises(aiohttp.WSServerHandshakeError):
            await venue.session.ws_connect(venue.ws + "/ws")
        for each in opened:
            await each.close()


async def test_a_connection_may_be_cut_or_stalled_from_outside() -> None:
    async with running_venue() as venue, listening(venue, "/public/ws/btcusdt@bookTicker") as socket:
        await socket.next()
        connection = next(iter(venue.venue.hub.connections))
        connection.stalled = True
        async with listening(venue, "/public/ws/btcusdt@bookTicker") as witness:
            await witness.next()
            await witness.next()
        assert not socket.socket.closed
        connection.close()

        with pytest.raises(ConnectionError, match="1006"):
            await socket.end()
        assert connection not in venue.venue.hub.connections


async def test_who_reads_too_slowly_is_cut_off_and_nobody_waits_for_him() -> None:
    async with running_venue() as venue, listening(venue, "/public/ws/btcusdt@bookTicker") as socket:
        await socket.next()
        connection = next(iter(venue.venue.hub.connections))
        for _ in range(QUEUE_MAX + 1):
            connection.hear("btcusdt@bookTicker", "{}")

        with pytest.raises(ConnectionError, match="1008"):
            await socket.end()


async def test_a_connection_ends_with_its_day() -> None:
    async with running_venue() as venue:
        venue.venue.hub.life_ms = 200
        async with listening(venue, "/public/ws/btcusdt@bookTicker") as socket:
            with pytest.raises(ConnectionError, match="1001"):
                await socket.end()


@pytest.mark.parametrize(
    ("path", "ping_s", "pong_s"),
    [pytest.param("/market/ws", 180.0, 600.0, id="futures"), pytest.param("/ws", 20.0, 60.0, id="spot")],
)
async def test_each_site_pings_at_its_own_pace(path: str, ping_s: float, pong_s: float) -> None:
    class Protocol:
        ping_interval = ping_timeout = 1.0
        transport = None

        async def send(self, message: dict[str, Any]) -> None:
            return None

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.disconnect"}

    async with running_venue(still=True) as venue:
        protocol = Protocol()
        await venue.venue.hub.serve({"path": path, "query_string": b""}, receive, protocol.send)

    assert (protocol.ping_interval, protocol.ping_timeout) == (ping_s, pong_s)


class Meddling:
    """Doubles what the market says, delays one kind of account event, drops another."""

    def market(self, connection: Connection, stream: str, event: str) -> list[tuple[int, str]]:
        return [(0, event), (0, event.replace('"BTCUSDT"', '"SPOILT"'))]

    def account(self, market: Market, event: bytes) -> list[tuple[int, bytes]]:
        if b"TRADE_LITE" in event:
            return []
        return [(50 if b"ACCOUNT_UPDATE" in event else 0, event)]


async def test_events_may_be_spoilt_on_their_way_out() -> None:
    async with running_venue() as venue, listening(venue, "/public/stream?streams=btcusdt@bookTicker") as socket:
        key = (await venue.signed("POST", "/fapi/v1/listenKey")).body["listenKey"]
        async with listening(venue, f"/private/ws/{key}") as private:
            await private.ask("LIST_SUBSCRIPTIONS")
            venue.venue.hub.meddler = Meddling()
            order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
            assert (await venue.signed("POST", "/fapi/v1/order", **order)).status == 200
            await private.event("ACCOUNT_UPDATE")
        socket.said.clear()
        spoilt = await socket.until(lambda told: told["data"]["s"] == "SPOILT")
        before = socket.said[-2]
        venue.venue.hub.meddler = None

    assert [told["e"] for told in private.said if "e" in told] == [
        "ORDER_TRADE_UPDATE",
        "ORDER_TRADE_UPDATE",
        "ACCOUNT_UPDATE",
    ]
    assert spoilt["stream"] == "btcusdt@bookTicker"
    assert before["data"] | {"s": "SPOILT", "ps": "SPOILT"} == spoilt["data"]


async def test_nothing_is_left_of_a_connection_that_has_gone() -> None:
    async with running_venue() as venue:
        for _ in range(3):
            async with listening(venue, "/public/ws/btcusdt@bookTicker/btcusdt@depth@100ms") as socket:
                await socket.next()
        hub = venue.venue.hub
        while hub.connections:
            await venue.venue.floor.clock.sleep_until_ms(venue.now_ms + 10)

        assert hub.market.listened == 0


@pytest.mark.parametrize("events", ["events=ORDER_TRADE_UPDATE&listenKey={}", "listenKey={}&events=ORDER_TRADE_UPDATE"])
async def test_a_private_socket_lists_its_listen_key_and_hears_the_events_named_with_it(events: str) -> None:
    async with running_venue() as venue:
        key = (await venue.signed("POST", "/fapi/v1/listenKey")).body["listenKey"]
        async with listening(venue, f"/private/ws?{events.format(key)}") as socket:
            listed = (await socket.ask("LIST_SUBSCRIPTIONS"))["result"]
            socket.said.clear()
            await venue.signed("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=3)
            order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
            await venue.signed("POST", "/fapi/v1/order", **order)
            told = (await socket.next())["e"]
            await socket.ask("UNSUBSCRIBE", key)
            left = (await socket.ask("LIST_SUBSCRIPTIONS", request_id=2))["result"]

    assert (listed, told, left) == ([key], "ORDER_TRADE_UPDATE", [])

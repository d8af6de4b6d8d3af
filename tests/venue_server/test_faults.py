"""Faults on demand at the server: each kind armed over HTTP, and what a client of HTTP and WebSocket sees."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import aiohttp
import orjson
import pytest

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import Bar
from chimera.domain.matching.faults import FaultKind
from chimera.venue_server.faults import spoilt
from tests.venue_server.listening import Listening, listening
from tests.venue_server.running import Reply, RunningVenue
from tests.venue_server.staging import Stage, order_of, stage

D = Decimal
FAR = "50000.00"
STOP = "59000.00"
FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")

Scene = Callable[[], Awaitable[None]]
SCENES: dict[FaultKind, Scene] = {}


def scene(*kinds: FaultKind) -> Callable[[Scene], Scene]:
    def add(play: Scene) -> Scene:
        for kind in kinds:
            SCENES[kind] = play
        return play

    return add


async def admin(venue: RunningVenue, method: str, path: str, body: Any = None) -> Reply:
    async with venue.session.request(method, f"{venue.url}/admin/{path}", json=body) as response:
        return Reply(response.status, orjson.loads(await response.read()), dict(response.headers))


async def arm(on: Stage, kind: FaultKind, **fields: Any) -> int:
    reply = await admin(on.venue, "POST", "faults", {"kind": kind.value, **fields})
    assert reply.status == 200, reply.body
    return int(reply.body["ids"][0])


async def hits(on: Stage) -> dict[str, int]:
    return dict((await admin(on.venue, "GET", "faults")).body["hits"])


async def lost(work: Awaitable[Any], *, within_s: float = 0.4) -> None:
    """The connection ends without an answer, or the client gives up."""
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        async with asyncio.timeout(within_s):
            await work


def known(on: Stage, client_order_id: str) -> Any:
    return on.venue.venue.floor.exchange.order(Market.FUT, "BTCUSDT", client_order_id)


def price_spot(on: Stage, price: str) -> None:
    host = on.venue.venue.hosted.host
    book = host.books[SPOT]
    at, tick = D(price), D("0.01")
    levels = [(at - tick, D(5)), (at + tick, D(5))]
    moved = type(book)(host.clock.now_ms(), Market.SPOT, "BTCUSDT", (levels[0],), (levels[1],), at)
    host.apply(Tick(host.clock.now_ms(), (moved,), (), ()))


@asynccontextmanager
async def account(on: Stage) -> AsyncIterator[Listening]:
    key = (await on.venue.call("POST", "/fapi/v1/listenKey", signed=True)).body["listenKey"]
    path = f"/private/ws?listenKey={key}&events=ORDER_TRADE_UPDATE/ALGO_UPDATE/ACCOUNT_UPDATE/listenKeyExpired"
    async with listening(on.venue, path) as told:
        await asyncio.sleep(0)
        yield told


async def silent(told: Listening, within_s: float = 0.25) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(within_s):
            await told.next()


def statuses(told: Listening) -> list[str]:
    return [each["o"]["X"] for each in told.said if each.get("e") == "ORDER_TRADE_UPDATE"]


@scene(FaultKind.ANSWER_LOST)
async def answer_lost() -> None:
    async with stage() as on:
        await arm(on, FaultKind.ANSWER_LOST, calls="order.place", nth=2, params={"how": "reset"})
        await on.order(type="MARKET", newClientOrderId="a")
        await lost(on.order(type="MARKET", newClientOrderId="b"))
        assert (await on.done("GET", "v1/order", symbol="BTCUSDT", origClientOrderId="b"))["status"] == "FILLED"
        assert await hits(on) == {"ANSWER_LOST": 1}


@scene(FaultKind.ANSWER_LOST_FILLED)
async def answer_lost_and_filled() -> None:
    async with stage() as on:
        await arm(on, FaultKind.ANSWER_LOST_FILLED, params={"how": "reset"})
        await lost(on.order(price=FAR, newClientOrderId="a"))
        assert (await on.done("GET", "v1/order", symbol="BTCUSDT", origClientOrderId="a"))["status"] == "FILLED"
        again = await on.order(price=FAR, newClientOrderId="a")
        assert again["status"] == "NEW"


@scene(FaultKind.REQUEST_LOST)
async def request_lost() -> None:
    async with stage() as on:
        await arm(on, FaultKind.REQUEST_LOST, calls="order.place", params={"how": "silence"})
        await lost(on.order(price=FAR, newClientOrderId="a"))
        assert known(on, "a") is None
        await on.order(price=FAR, newClientOrderId="a")


@scene(FaultKind.ANSWER_5XX)
async def answer_5xx() -> None:
    expected = {
        "503_unknown": (503, "Unknown error"),
        "502_html": (502, "<html>"),
        "504_html": (504, "<html>"),
        "408_timeout": (408, "-1007"),
        "500_bus": (500, "-1006"),
    }
    async with stage() as on:
        for how, (status, text) in expected.items():
            await arm(on, FaultKind.ANSWER_5XX, params={"answer": how})
            reply = await on.api("POST", "v1/order", **order_of(price=FAR, newClientOrderId=how))
            assert reply.status == status
            assert text in str(reply.body)
            assert known(on, how) is not None


@scene(FaultKind.HTML_BODY)
async def html_body() -> None:
    async with stage() as on:
        await arm(on, FaultKind.HTML_BODY, calls="depth")
        reply = await on.venue.get("/fapi/v1/depth", symbol="BTCUSDT")
        assert reply.status == 403
        assert reply.headers["content-type"].startswith("text/html")
        assert "Request blocked" in reply.body
        assert (await on.venue.get("/fapi/v1/depth", symbol="BTCUSDT")).status == 200


@scene(FaultKind.REFUSED_503)
async def refused_503() -> None:
    async with stage() as on:
        await on.order(type="MARKET", newClientOrderId="a")
        for how, text in (("unavailable", "Service Unavailable."), ("throttled", "-1008")):
            fault = await arm(on, FaultKind.REFUSED_503, count=9, params={"answer": how})
            reply = await on.api("POST", "v1/order", **order_of(price=FAR, newClientOrderId="b"))
            assert (reply.status, known(on, "b")) == (503, None)
            assert text in str(reply.body)
            await on.order(type="MARKET", side="SELL", quantity="0.01", reduceOnly="true")
            await admin(on.venue, "DELETE", f"faults?id={fault}")


@scene(FaultKind.LATE)
async def late() -> None:
    async with stage() as on, account(on) as told:
        await arm(on, FaultKind.LATE, calls="order.place", params={"delay_ms": 400})
        began = time.monotonic()
        sent = asyncio.get_running_loop().create_task(on.order(type="MARKET", newClientOrderId="a"))
        await told.event("ORDER_TRADE_UPDATE")
        assert not sent.done()
        await sent
        assert time.monotonic() - began >= 0.4


@scene(FaultKind.RATE_429)
async def rate_429() -> None:
    async with stage() as on:
        await arm(on, FaultKind.RATE_429, calls="account", params={"retry_after_s": 7})
        reply = await on.api("GET", "v3/account")
        assert (reply.status, reply.body["code"], reply.headers["retry-after"]) == (429, -1003, "7")
        assert (await on.api("GET", "v3/account")).status == 200


@scene(FaultKind.BAN_418)
async def ban_418() -> None:
    async with stage() as on:
        await arm(on, FaultKind.BAN_418, params={"ban_s": 60})
        for path in ("v3/account", "v1/openOrders"):
            reply = await on.api("GET", path)
            assert (reply.status, reply.body["code"]) == (418, -1003)
            assert "banned until" in reply.body["msg"]
            assert 55 <= int(reply.headers["retry-after"]) <= 60


@scene(FaultKind.CLOCK_OFFSET)
async def clock_offset() -> None:
    async with stage() as on:
        for offset_ms, part in ((1_300, "outside"), (-1_300, "ahead"), (3_600_000, "outside")):
            # A client whose own clock is right.
            sent = {"timestamp": on.venue.now_ms, "recvWindow": 1_000}
            fault = await arm(on, FaultKind.CLOCK_OFFSET, params={"offset_ms": offset_ms})
            code, text = await on.refused("GET", "v3/account", **sent)
            assert code == -1021
            assert part in text
            told = (await on.venue.get("/fapi/v1/time")).body["serverTime"]
            assert abs(told - sent["timestamp"] - offset_ms) < 2_000
            await admin(on.venue, "DELETE", f"faults?id={fault}")
            assert (await on.api("GET", "v3/account")).status == 200


@scene(
    FaultKind.ENGINE_TOO_LATE,
    FaultKind.KEY_REVOKED,
    FaultKind.IP_CHANGED,
    FaultKind.BAD_SIGNATURE,
    FaultKind.OPENING_FORBIDDEN,
)
async def plain_refusals() -> None:
    codes = {
        FaultKind.ENGINE_TOO_LATE: (400, -5028),
        FaultKind.KEY_REVOKED: (401, -2015),
        FaultKind.IP_CHANGED: (401, -2015),
        FaultKind.BAD_SIGNATURE: (400, -1022),
        FaultKind.OPENING_FORBIDDEN: (400, -4192),
    }
    async with stage() as on:
        for kind, expected in codes.items():
            await arm(on, kind)
            assert (await on.venue.get("/fapi/v1/time")).status == 200
            reply = await on.api("POST", "v1/order", **order_of(price=FAR, newClientOrderId=kind.value))
            assert (reply.status, reply.body["code"]) == expected
            assert known(on, kind.value) is None


@scene(FaultKind.NO_FUNDS)
async def no_funds() -> None:
    async with stage() as on:
        fault = await arm(on, FaultKind.NO_FUNDS)
        assert (await on.refused("POST", "v1/order", **order_of(price="60000")))[0] == -2019
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        await on.order(price=FAR)


@scene(FaultKind.FILTERS_CHANGED)
async def filters_changed() -> None:
    async with stage() as on:
        await on.order(price=FAR, quantity="0.101")
        fault = await arm(on, FaultKind.FILTERS_CHANGED, params={"step_mult": 10, "tick_mult": 10})
        assert (await on.refused("POST", "v1/order", **order_of(price=FAR, quantity="0.101")))[0] in (-4023, -1111)
        listed = (await on.venue.get("/fapi/v1/exchangeInfo")).body["symbols"][0]["filters"]
        assert D(next(each for each in listed if each["filterType"] == "LOT_SIZE")["stepSize"]) == D("0.01")
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        await on.order(price=FAR, quantity="0.101")


@scene(FaultKind.POST_ONLY_TAKES)
async def post_only_takes() -> None:
    async with stage() as on:
        await arm(on, FaultKind.POST_ONLY_TAKES)
        await on.order(price=FAR)
        asked = order_of(price=FAR, timeInForce="GTX", newClientOrderId="a")
        assert (await on.refused("POST", "v1/order", **asked))[0] == -5022
        assert (await on.refused("GET", "v1/order", symbol="BTCUSDT", origClientOrderId="a"))[0] == -2013
        await on.order(price=FAR, timeInForce="GTX", newClientOrderId="a")


@scene(FaultKind.UNFILLABLE)
async def unfillable() -> None:
    async with stage() as on:
        await arm(on, FaultKind.UNFILLABLE, count=3)
        assert (await on.refused("POST", "v1/order", **order_of(price="60010", timeInForce="FOK")))[0] == -5021
        killed = await on.order(price="60010", timeInForce="IOC", newClientOrderId="b", newOrderRespType="RESULT")
        assert (killed["status"], D(killed["executedQty"])) == ("EXPIRED", 0)
        partly = await on.order(type="MARKET", newClientOrderId="c", newOrderRespType="RESULT")
        assert partly["status"] == "EXPIRED"
        assert 0 < D(partly["executedQty"]) < D("0.1")


@scene(FaultKind.SELF_TRADE)
async def self_trade() -> None:
    async with stage() as on:
        await on.order(price="59500", newClientOrderId="a")
        await arm(on, FaultKind.SELF_TRADE)
        found = await on.done("GET", "v1/order", symbol="BTCUSDT", origClientOrderId="a")
        assert found["status"] == "EXPIRED_IN_MATCH"


@scene(FaultKind.DUPLICATE_ID)
async def duplicate_id() -> None:
    async with stage() as on:
        await arm(on, FaultKind.DUPLICATE_ID)
        assert (await on.refused("POST", "v1/order", **order_of(price=FAR, newClientOrderId="a")))[0] == -4116
        assert len(await on.done("GET", "v1/openOrders")) == 1


@scene(FaultKind.CANCEL_TOO_LATE)
async def cancel_too_late() -> None:
    async with stage() as on:
        await on.order(price=FAR, newClientOrderId="a")
        await arm(on, FaultKind.CANCEL_TOO_LATE)
        assert (await on.refused("DELETE", "v1/order", symbol="BTCUSDT", origClientOrderId="a"))[0] == -2011
        assert (await on.done("GET", "v1/order", symbol="BTCUSDT", origClientOrderId="a"))["status"] == "FILLED"


@scene(FaultKind.CANCEL_ANSWER_LOST)
async def cancel_answer_lost() -> None:
    async with stage() as on:
        await on.order(price=FAR, newClientOrderId="a")
        await arm(on, FaultKind.CANCEL_ANSWER_LOST, params={"how": "silence"})
        await lost(on.done("DELETE", "v1/order", symbol="BTCUSDT", origClientOrderId="a"))
        assert (await on.done("GET", "v1/order", symbol="BTCUSDT", origClientOrderId="a"))["status"] == "CANCELED"


@scene(FaultKind.STOP_TRIGGERING)
async def stop_triggering() -> None:
    async with stage() as on:
        await on.stop(triggerPrice=STOP, clientAlgoId="s")
        await arm(on, FaultKind.STOP_TRIGGERING)
        assert (await on.refused("DELETE", "v1/algoOrder", clientAlgoId="s"))[0] == -4117


@scene(FaultKind.ALGO_LOOKUP_LAG)
async def algo_lookup_lag() -> None:
    async with stage() as on:
        await arm(on, FaultKind.ALGO_LOOKUP_LAG, params={"placed_ms": 400, "canceled_ms": 400})
        await on.stop(triggerPrice=STOP, clientAlgoId="s")
        assert (await on.refused("GET", "v1/algoOrder", clientAlgoId="s"))[0] == -2013
        assert len(await on.done("GET", "v1/openAlgoOrders")) == 1
        await asyncio.sleep(0.45)
        await on.done("GET", "v1/algoOrder", clientAlgoId="s")
        await on.done("DELETE", "v1/algoOrder", clientAlgoId="s")
        assert (await on.done("GET", "v1/algoOrder", clientAlgoId="s"))["algoStatus"] == "NEW"
        await asyncio.sleep(0.45)
        assert (await on.done("GET", "v1/algoOrder", clientAlgoId="s"))["algoStatus"] == "CANCELED"


@scene(FaultKind.STOP_REFUSED)
async def stop_refused() -> None:
    async with stage() as on:
        for reason, code in (("would_trigger", -2021), ("too_many", -4045), ("not_here", -4120)):
            await arm(on, FaultKind.STOP_REFUSED, params={"reason": reason})
            sent = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
            refused = await on.refused("POST", "v1/algoOrder", **sent, quantity="0.1", triggerPrice=STOP)
            assert refused[0] == code
        assert await on.done("GET", "v1/openAlgoOrders") == []


@scene(FaultKind.STOP_CANCELED_BY_HUMAN)
async def stop_canceled_by_human() -> None:
    async with stage() as on, account(on) as told:
        await on.stop(triggerPrice=STOP, clientAlgoId="s")
        await arm(on, FaultKind.STOP_CANCELED_BY_HUMAN)
        await told.until(lambda each: each.get("e") == "ALGO_UPDATE" and each["o"]["X"] == "CANCELED")
        assert await on.done("GET", "v1/openAlgoOrders") == []


@scene(FaultKind.STOP_ORDER_REJECTED)
async def stop_order_rejected() -> None:
    async with stage() as on, account(on) as told:
        await on.order(type="MARKET")
        await on.stop(triggerPrice=STOP, clientAlgoId="s", workingType="MARK_PRICE")
        await arm(on, FaultKind.STOP_ORDER_REJECTED)
        await told.until(lambda each: each.get("e") == "ALGO_UPDATE" and each["o"]["X"] in ("FINISHED", "REJECTED"))
        assert "EXPIRED" in statuses(told)
        assert D((await on.done("GET", "v3/positionRisk"))[0]["positionAmt"]) == D("0.1")


@scene(FaultKind.GAP_OVER_STOP_LIMIT)
async def gap_over_stop_limit() -> None:
    async with stage() as on:
        price_spot(on, "60000")
        await admin(on.venue, "POST", "account", {"deposit": {"market": "SPOT", "asset": "BTC", "amount": "1"}})
        reply = await on.venue.signed(
            "POST",
            "/api/v3/order",
            symbol="BTCUSDT",
            side="SELL",
            type="STOP_LOSS_LIMIT",
            quantity="0.1",
            price="58900",
            stopPrice="59000",
            timeInForce="GTC",
            newClientOrderId="s",
        )
        assert reply.status == 200, reply.body
        fault = await arm(on, FaultKind.GAP_OVER_STOP_LIMIT, params={"past_bps": 100})
        found = (await on.venue.signed("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="s")).body
        assert (found["status"], D(found["executedQty"])) == ("NEW", 0)
        shown = (await on.venue.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")).body
        assert D(shown["bidPrice"]) < D("58900")
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        shown = (await on.venue.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")).body
        assert D(shown["bidPrice"]) > D("59900")


@scene(FaultKind.LEVERAGE_CHANGED)
async def leverage_changed() -> None:
    async with stage() as on:
        await on.done("POST", "v1/leverage", symbol="BTCUSDT", leverage=10)
        await arm(on, FaultKind.LEVERAGE_CHANGED, symbol="BTCUSDT", params={"leverage": 3})
        assert (await on.done("GET", "v1/symbolConfig", symbol="BTCUSDT"))[0]["leverage"] == 3
        await arm(on, FaultKind.LEVERAGE_CHANGED, symbol="BTCUSDT", params={"what": "crossed"})
        assert (await on.done("GET", "v1/symbolConfig", symbol="BTCUSDT"))[0]["marginType"] == "CROSSED"


@scene(FaultKind.PARTIAL_BATCH)
async def partial_batch() -> None:
    async with stage() as on:
        await arm(on, FaultKind.PARTIAL_BATCH)
        orders = [order_of(price=FAR, newClientOrderId=f"b{number}") for number in range(3)]
        told = await on.done("POST", "v1/batchOrders", batchOrders=orjson.dumps(orders).decode())
        assert ["code" in each for each in told] == [False, True, False]
        assert known(on, "b1") is None


@scene(FaultKind.TRANSFER_ANSWER_LOST)
async def transfer_answer_lost() -> None:
    async with stage() as on:
        await arm(on, FaultKind.TRANSFER_ANSWER_LOST, params={"how": "reset"})
        sent = {"type": "MAIN_UMFUTURE", "asset": "USDT", "amount": "10"}
        await lost(on.venue.signed("POST", "/sapi/v1/asset/transfer", **sent))
        rows = (await on.venue.signed("GET", "/sapi/v1/asset/transfer", type="MAIN_UMFUTURE")).body
        assert rows["total"] == 1


@scene(FaultKind.PARTIAL_FILLS)
async def partial_fills() -> None:
    async with stage() as on, account(on) as told:
        await arm(on, FaultKind.PARTIAL_FILLS, params={"pieces": 4})
        await on.order(type="MARKET", newClientOrderId="a")
        await told.until(lambda each: each.get("e") == "ORDER_TRADE_UPDATE" and each["o"]["X"] == "FILLED")
        assert statuses(told) == ["NEW", *["PARTIALLY_FILLED"] * 3, "FILLED"]


@scene(FaultKind.FILL_DURING_CANCEL)
async def fill_during_cancel() -> None:
    async with stage() as on:
        await on.order(price=FAR, newClientOrderId="a")
        await arm(on, FaultKind.FILL_DURING_CANCEL)
        told = await on.done("DELETE", "v1/order", symbol="BTCUSDT", origClientOrderId="a")
        assert told["status"] == "CANCELED"
        assert 0 < D(told["executedQty"]) < D("0.1")


@scene(FaultKind.EVENTS_DOUBLED)
async def events_doubled() -> None:
    async with stage() as on, account(on) as told:
        await arm(on, FaultKind.EVENTS_DOUBLED, calls="ORDER_TRADE_UPDATE", nth=2)
        await on.order(type="MARKET")
        await told.event("ORDER_TRADE_UPDATE")
        first, second = await told.event("ORDER_TRADE_UPDATE"), await told.event("ORDER_TRADE_UPDATE")
        assert first == second
        assert statuses(told) == ["NEW", "FILLED", "FILLED"]


@scene(FaultKind.EVENTS_SHUFFLED)
async def events_shuffled() -> None:
    async with stage() as on, account(on) as told:
        await arm(on, FaultKind.EVENTS_SHUFFLED, params={"window_ms": 200})
        began = time.monotonic()
        await on.order(type="MARKET")
        await told.event("ORDER_TRADE_UPDATE")
        await told.event("ORDER_TRADE_UPDATE")
        assert statuses(told) == ["FILLED", "NEW"]
        assert time.monotonic() - began > 0.1


@scene(FaultKind.EVENTS_LOST)
async def events_lost() -> None:
    async with stage() as on, account(on) as told:
        fault = await arm(on, FaultKind.EVENTS_LOST, duration_ms=60_000)
        await on.order(type="MARKET", newClientOrderId="a")
        await silent(told)
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        await on.order(type="MARKET", newClientOrderId="b")
        assert (await told.event("ORDER_TRADE_UPDATE"))["o"]["c"] == "b"


@scene(FaultKind.LISTEN_KEY_EXPIRED)
async def listen_key_expired() -> None:
    async with stage() as on, account(on) as told:
        await arm(on, FaultKind.LISTEN_KEY_EXPIRED)
        assert (await told.next())["e"] == "listenKeyExpired"
        await on.order(price=FAR)
        await silent(told)


@scene(FaultKind.STREAM_STALLED)
async def stream_stalled() -> None:
    async with stage() as on, listening(on.venue, "/public/ws/btcusdt@bookTicker") as told:
        on.show("60001")
        await told.next()
        fault = await arm(on, FaultKind.STREAM_STALLED)
        on.show("60002")
        await silent(told)
        assert not told.socket.closed
        async with listening(on.venue, "/public/ws/btcusdt@bookTicker") as again:
            on.show("60003")
            await again.next()
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        on.show("60004")
        assert D((await told.next())["b"]) > D("60003")


@scene(FaultKind.STREAM_CLOSED)
async def stream_closed() -> None:
    async with stage() as on:
        for how, code in (("close", 1001), ("abort", 1006)):
            async with listening(on.venue, "/public/ws/btcusdt@bookTicker") as told:
                fault = await arm(on, FaultKind.STREAM_CLOSED, duration_ms=60_000, params={"how": how})
                with pytest.raises(ConnectionError):
                    await told.end()
                assert told.socket.close_code == code
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    async with listening(on.venue, "/public/ws/btcusdt@bookTicker"):
                        pass
                await admin(on.venue, "DELETE", f"faults?id={fault}")
        async with listening(on.venue, "/public/ws/btcusdt@bookTicker") as told:
            on.show("60001")
            await told.next()


@scene(FaultKind.DEPTH_GAP)
async def depth_gap() -> None:
    async with stage() as on, listening(on.venue, "/public/ws/btcusdt@depth@100ms") as told:

        async def show(step: int) -> None:
            await asyncio.sleep(0.11)  # one event in 100 ms
            on.show(f"{60000 + step}")

        async def moved(step: int) -> Any:
            await show(step)
            return await told.event("depthUpdate")

        first = await moved(1)
        before = await moved(2)
        assert before["pu"] == first["u"]

        await arm(on, FaultKind.DEPTH_GAP, params={"how": "gap"})
        await show(10)
        assert (await moved(11))["pu"] > before["u"]

        await arm(on, FaultKind.DEPTH_GAP, params={"how": "crossed"})
        event = await moved(12)
        assert max(D(bid) for bid, _ in event["b"]) > min(D(ask) for ask, _ in event["a"])

        await arm(on, FaultKind.DEPTH_GAP, params={"how": "stale"})
        event, following = await moved(13), await moved(14)
        assert await told.event("depthUpdate") == event
        assert event["u"] < following["u"]


@scene(FaultKind.BAD_DATA)
async def bad_data() -> None:
    async with stage() as on, listening(on.venue, "/public/ws/btcusdt@bookTicker") as told:
        await asyncio.sleep(0.05)
        await arm(on, FaultKind.BAD_DATA, calls="bookTicker", params={"what": "x10"})
        on.show("60000.10")
        assert D((await told.next())["b"]) == 600_000
        on.show("60000.20")
        assert D((await told.next())["b"]) < 60_001
        await arm(on, FaultKind.BAD_DATA, params={"what": "broken"})
        on.show("60000.30")
        with pytest.raises(orjson.JSONDecodeError):
            await told.next()


@scene(FaultKind.MARK_DIVERGES)
async def mark_diverges() -> None:
    async with stage() as on:
        fault = await arm(on, FaultKind.MARK_DIVERGES, symbol="BTCUSDT", params={"bps": -600})
        on.show("60000")
        assert D((await on.venue.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")).body["markPrice"]) == 56_400
        assert D((await on.venue.get("/fapi/v1/ticker/bookTicker", symbol="BTCUSDT")).body["bidPrice"]) > 59_000
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        assert D((await on.venue.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")).body["markPrice"]) == 60_000


@scene(FaultKind.KLINE_LATE)
async def kline_late() -> None:
    async with stage() as on, listening(on.venue, "/market/ws/btcusdt@kline_1m") as told:
        await asyncio.sleep(0.05)
        host = on.venue.venue.hosted.host
        for how in ("late", "lost"):
            await arm(on, FaultKind.KLINE_LATE, params={"delay_ms": 300, "how": how})
            now_ms = host.clock.now_ms()
            bar = Bar(Market.FUT, "BTCUSDT", "1m", now_ms // 60_000 * 60_000 - 60_000, 60e3, 60e3, 60e3, 60e3, 1.0)
            told.said.clear()
            host.apply(Tick(now_ms, (), (), (bar,)))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await told.until(lambda each: each["k"]["x"])
            assert not [each for each in told.said if each["k"]["x"]]
            with suppress(TimeoutError):
                async with asyncio.timeout(0.4):
                    await told.until(lambda each: each["k"]["x"])
            assert bool([each for each in told.said if each["k"]["x"]]) == (how == "late")


@scene(FaultKind.LIQUIDATION)
async def liquidation() -> None:
    async with stage() as on, account(on) as told:
        await on.order(type="MARKET")
        await arm(on, FaultKind.LIQUIDATION)
        await told.until(lambda each: each.get("e") == "ORDER_TRADE_UPDATE" and each["o"]["c"].startswith("autoclose-"))
        assert await on.done("GET", "v3/positionRisk") == []


@scene(FaultKind.FUNDING)
async def funding() -> None:
    async with stage() as on, account(on) as told:
        await on.order(type="MARKET")
        await arm(on, FaultKind.FUNDING, params={"rate_ppm": 1_000, "jitter_ms": 2})
        await told.until(lambda each: each.get("e") == "ACCOUNT_UPDATE" and each["a"]["m"] == "FUNDING_FEE")
        (row,) = await on.done("GET", "v1/income", incomeType="FUNDING_FEE")
        assert D(row["income"]) == D("-6")


@scene(FaultKind.SYMBOL_HALTED)
async def symbol_halted() -> None:
    async with stage() as on:
        await on.order(price=FAR, newClientOrderId="a")
        fault = await arm(on, FaultKind.SYMBOL_HALTED, symbol="BTCUSDT")
        assert (await on.refused("POST", "v1/order", **order_of(price=FAR)))[0] == -4141
        symbols = (await on.venue.get("/fapi/v1/exchangeInfo")).body["symbols"]
        assert {each["symbol"]: each["status"] for each in symbols}["BTCUSDT"] == "BREAK"
        await on.done("DELETE", "v1/order", symbol="BTCUSDT", origClientOrderId="a")
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        await on.order(price=FAR)


@scene(FaultKind.OUTAGE)
async def outage() -> None:
    async with stage() as on, listening(on.venue, "/public/ws/btcusdt@bookTicker") as told:
        await on.order(price="59500", newClientOrderId="a")
        fault = await arm(on, FaultKind.OUTAGE, calls="order.place", nth=2, params={"bps": -200, "how": "gateway"})
        await on.order(price=FAR)
        reply = await on.api("POST", "v1/order", **order_of(price=FAR, newClientOrderId="b"))
        assert (reply.status, known(on, "b")) == (502, None)
        assert (await on.venue.get("/fapi/v1/time")).status == 502
        with pytest.raises(ConnectionError):
            await told.end()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with listening(on.venue, "/public/ws/btcusdt@bookTicker"):
                pass
        on.show("59000")
        assert known(on, "a").status.value == "NEW"
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        assert known(on, "a").status.value == "FILLED"
        assert D((await on.venue.get("/fapi/v1/ticker/price", symbol="BTCUSDT")).body["price"]) == D("57820")

        fault = await arm(on, FaultKind.OUTAGE)
        await lost(on.venue.get("/fapi/v1/time"))
        await admin(on.venue, "DELETE", f"faults?id={fault}")


@scene(FaultKind.HUMAN_ORDER)
async def human_order() -> None:
    async with stage() as on, account(on) as told:
        await arm(on, FaultKind.HUMAN_ORDER, market="FUT", symbol="BTCUSDT", params={"notional_usdt": 600})
        assert (await told.event("ORDER_TRADE_UPDATE"))["o"]["c"].startswith("web_")
        assert D((await on.done("GET", "v3/positionRisk"))[0]["positionAmt"]) > 0


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_what_a_client_sees(kind: FaultKind) -> None:
    async with asyncio.timeout(20):
        await SCENES[kind]()


@pytest.mark.parametrize(
    ("what", "bid"),
    [
        ("x10", "600001"),
        ("nan", "NaN"),
        ("zero", "0.00"),
        ("negative", "-60000.10"),
        ("scientific", "6.000010E+4"),
        ("missing", None),
        ("extra", "60000.10"),
        ("unknown", "60000.10"),
    ],
)
def test_bad_data_of_every_sort(what: str, bid: str | None) -> None:
    event = '{"e":"bookTicker","u":5,"s":"BTCUSDT","b":"60000.10","B":"1","a":"60000.20","A":"1"}'

    told = orjson.loads(spoilt(event, "bookTicker", what))

    if what == "x10":
        assert D(told["b"]) == D(bid or "0")
    else:
        assert told.get("b") == bid
    assert (told["e"] == "bookTicker") == (what != "unknown")
    assert ("zz" in told) == (what == "extra")
    for name, other in (
        ("depth", '{"e":"depthUpdate","b":[["1.5","2"]],"a":[]}'),
        ("kline", '{"k":{"o":"1","c":"2"}}'),
    ):
        if name == "depth" or what in ("extra", "unknown"):
            assert spoilt(other, name, what) != other


async def test_without_faults_nothing_stands_between_exchange_and_client() -> None:
    async with stage() as on:
        venue = on.venue.venue
        assert venue.hub.meddler is None
        fault = await arm(on, FaultKind.LATE)
        assert venue.hub.meddler is not None
        await admin(on.venue, "DELETE", f"faults?id={fault}")
        assert venue.hub.meddler is None


async def test_a_fault_with_nothing_to_do_is_no_failure_of_the_exchange() -> None:
    async with stage() as on:
        for kind in (FaultKind.LIQUIDATION, FaultKind.STOP_CANCELED_BY_HUMAN, FaultKind.SELF_TRADE, FaultKind.FUNDING):
            await arm(on, kind)
        assert (await on.venue.get("/fapi/v1/time")).status == 200


async def test_the_spot_api_over_websocket_meets_the_same_faults() -> None:
    async with stage() as on, listening(on.venue, "/ws-api/v3") as told:
        await arm(on, FaultKind.REQUEST_LOST, calls="time", params={"how": "silence"})
        await told.socket.send_str('{"id":1,"method":"time"}')
        await told.socket.send_str('{"id":2,"method":"time"}')
        assert (await told.next())["id"] == 2
        await arm(on, FaultKind.RATE_429, calls="time", params={"retry_after_s": 9})
        await told.socket.send_str('{"id":3,"method":"time"}')
        answer = await told.next()
        assert (answer["status"], answer["error"]["code"]) == (429, -1003)
        await arm(on, FaultKind.STREAM_CLOSED, params={"streams": "account"})
        with pytest.raises(ConnectionError):
            await told.end()


async def test_one_of_two_that_overlap_ends_and_the_other_goes_on() -> None:
    async with stage() as on:
        for kind in (FaultKind.SYMBOL_HALTED, FaultKind.CLOCK_OFFSET):
            first = await arm(on, kind)
            await arm(on, kind)
            await admin(on.venue, "DELETE", f"faults?id={first}")
        assert (await on.refused("POST", "v1/order", **order_of(price=FAR)))[0] == -4141
        assert on.venue.venue.floor.offset_ms == 1_300
        await admin(on.venue, "DELETE", "faults")
        await on.order(price=FAR)
        assert on.venue.venue.floor.offset_ms == 0

"""What whoever runs the exchange may ask of it, and how nonsense is refused."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.matching.faults import Fault, FaultKind
from chimera.venue_server.calls import Call
from chimera.venue_server.server import VenueServer
from tests.venue_server.running import Reply, running_venue
from tests.venue_server.staging import D, Stage, order_of, stage


async def admin(on: Stage, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    url = f"{on.venue.url}/admin/{path}"
    async with on.venue.session.request(method, url, json=body, headers=headers) as response:
        return Reply(response.status, orjson.loads(await response.read()), dict(response.headers))


async def done(on: Stage, method: str, path: str, body: Any = None) -> Any:
    reply = await admin(on, method, path, body)
    assert reply.status == 200, reply.body
    return reply.body


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("faults", {"kind": "EARTHQUAKE"}, ("kind", "EARTHQUAKE", "ANSWER_LOST")),
        ("faults", {"kind": "LATE", "params": {"delay": 5}}, ("params.delay", "5", "delay_ms")),
        ("faults", {"kind": "LATE", "params": {"delay_ms": -5}}, ("params.delay_ms", "-5", "from 1")),
        ("faults", [{"kind": "LATE"}, {"kind": "LATE", "nth": 0}], ("[1].nth", "0", "from 1")),
        ("faults", {"kind": "LATE", "in_ms": "soon"}, ("in_ms", "soon", "whole number")),
        ("faults", "LATE", ("body", "LATE", "object")),
        ("faults/draw", {"seed": 1, "per_hour": 0, "for_ms": 5}, ("per_hour", "above 0")),
        ("faults/draw", {"seed": 1, "per_hour": 5, "for_ms": 5, "kinds": ["X"]}, ("kinds", "X", "ANSWER_LOST")),
        ("keys", {"action": "forget", "key": "k"}, ("action", "forget", "revoke")),
        ("keys", {"action": "revoke", "key": "k"}, ("key", "k", "test-key")),
        ("keys", {"action": "add", "key": "k"}, ("secret", "public_key")),
        ("keys", {"action": "add", "key": "k", "secret": "s", "public_key": "p"}, ("secret", "public_key")),
        ("keys", {"action": "change", "key": "test-key", "reads": "no"}, ("reads", "no", "true or false")),
        ("keys", {"action": "change", "key": "test-key", "ips": "127.0.0.1"}, ("ips", "127.0.0.1", "list")),
        ("account", {"deposit": {"amount": "NaN"}}, ("deposit.amount", "NaN", "number")),
        ("account", {"deposit": {"amount": "-3"}}, ("deposit.amount", "-3", "above 0")),
        ("account", {"deposit": {"amount": "3", "market": "OPTIONS"}}, ("deposit.market", "OPTIONS", "FUT")),
        ("account", {"dualside": True}, ("dualside", "dual_side")),
        ("account", {"leverage": {"symbol": "BTCUSDT", "leverage": True}}, ("leverage.leverage", "True", "whole")),
        ("market", {"shift": {"bps": 1.5}}, ("shift.bps", "1.5", "whole number")),
        ("market", {"shift": {"bps": -10_000}}, ("shift.bps", "-10000", "above -10000")),
        ("market", {"mark": {"symbol": "NONE"}}, ("symbol", "NONE", "BTCUSDT")),
        ("market", {"status": {"symbol": "BTCUSDT", "status": "OFF"}}, ("status.status", "OFF", "BREAK")),
        ("market", {"filters": {"symbol": "BTCUSDT", "tick_size": "0"}}, ("filters.tick_size", "0", "above 0")),
        ("clock", {}, ("offset_ms", "whole number")),
        ("orders", {"symbol": "BTCUSDT", "side": "UP", "qty": "1"}, ("side", "UP", "BUY")),
        ("orders", {"symbol": "BTCUSDT", "cancel": "nobody"}, ("cancel", "nobody", "open order")),
    ],
)
async def test_nonsense_is_refused_by_field_value_and_remedy(path: str, body: Any, words: tuple[str, ...]) -> None:
    async with stage() as on:
        reply = await admin(on, "POST", path, body)

        assert reply.status == 400
        assert all(word in reply.body["msg"] for word in words), reply.body["msg"]


async def test_nothing_happens_where_a_part_of_the_request_is_nonsense() -> None:
    async with stage() as on:
        before = await done(on, "GET", "ledger")
        await admin(on, "POST", "account", {"deposit": {"amount": "5"}, "multiassets": True})
        await admin(on, "POST", "market", {"shift": {"bps": 500}, "halt": True})
        await admin(on, "POST", "faults", [{"kind": "LATE"}, {"kind": "LATER"}])

        after = await done(on, "GET", "ledger")
        assert after["balances"] == before["balances"]
        assert (await done(on, "POST", "market", {}))["bends"] == []
        assert (await done(on, "GET", "faults"))["faults"] == []


async def test_only_programs_of_this_machine_are_answered() -> None:
    async with stage() as on:
        for origin, status in (("http://elsewhere.example", 403), (on.venue.url, 401)):
            assert (await admin(on, "GET", "ledger", origin=origin)).status == status

        venue: VenueServer = on.venue.venue
        route = venue.app.route("GET", "/admin/ledger")
        assert route is not None
        call = Call("GET", "/admin/ledger", "", "", {}, {}, "203.0.113.9", 0)
        assert venue.app.answer(call, route).status == 401


async def test_no_body_no_harm() -> None:
    async with stage() as on, on.venue.session.post(f"{on.venue.url}/admin/faults", data=b"{") as response:
        assert response.status == 400
        assert "JSON" in await response.text()


async def test_faults_are_listed_counted_and_disarmed() -> None:
    async with stage() as on:
        sent = [{"kind": "LATE", "in_ms": 60_000}, {"kind": "HTML_BODY", "calls": "depth", "count": 2}]
        first, second = (await done(on, "POST", "faults", sent))["ids"]
        await on.venue.get("/fapi/v1/depth", symbol="BTCUSDT")

        told = await done(on, "GET", "faults")
        assert [(each["id"], each["seen"], each["hits"]) for each in told["faults"]] == [(first, 0, 0), (second, 1, 1)]
        assert told["faults"][0]["at_ms"] > told["now_ms"] + 50_000
        assert told["hits"] == {"HTML_BODY": 1}

        assert (await done(on, "DELETE", f"faults?id={first}")) == {"disarmed": 1}
        assert (await admin(on, "DELETE", f"faults?id={first}")).status == 400
        assert (await done(on, "DELETE", "faults")) == {"disarmed": 1}
        assert (await on.venue.get("/fapi/v1/depth", symbol="BTCUSDT")).status == 200


async def test_every_kind_is_described() -> None:
    async with stage() as on:
        kinds = await done(on, "GET", "faults/kinds")

        assert {each["kind"] for each in kinds} == set(FaultKind)
        assert {number for each in kinds for number in each["faults"]} == set(range(1, 42))
        late = next(each for each in kinds if each["kind"] == "LATE")
        assert late["params"]["delay_ms"] == {"default": 1_000, "low": 1, "high": 600_000}


async def test_a_seed_draws_the_same_faults() -> None:
    async with stage() as on:
        drawn = []
        for _ in range(2):
            await done(on, "POST", "faults/draw", {"seed": 4, "per_hour": 200, "for_ms": 3_600_000})
            rows = (await done(on, "GET", "faults"))["faults"]
            drawn.append([(row["kind"], row["params"]) for row in rows])
            await done(on, "DELETE", "faults")

        assert drawn[0] == drawn[1]
        assert len(drawn[0]) > 150

        await done(on, "POST", "faults/draw", {"seed": 4, "per_hour": 200, "for_ms": 3_600_000, "kinds": ["LATE"]})
        assert {row["kind"] for row in (await done(on, "GET", "faults"))["faults"]} == {"LATE"}


async def test_keys_come_change_and_go() -> None:
    async with stage() as on:
        added = await done(on, "POST", "keys", {"action": "add", "key": "k", "secret": "s", "trades_futures": False})
        assert [each["key"] for each in added["keys"]] == ["test-key", "k"]
        assert "secret" not in str(added).replace("secret_key", "")
        on.venue.key, on.venue.secret = "k", "s"
        assert (await on.api("GET", "v3/account")).status == 200
        assert (await on.api("POST", "v1/order", **order_of(price="50000"))).body["code"] == -2015

        await done(on, "POST", "keys", {"action": "change", "key": "k", "trades_futures": True})
        await on.order(price="50000")
        await done(on, "POST", "keys", {"action": "change", "key": "k", "ips": ["203.0.113.1"]})
        assert (await on.api("GET", "v3/account")).body["code"] == -2015
        await done(on, "POST", "keys", {"action": "change", "key": "k", "ips": []})
        assert (await on.api("GET", "v3/account")).status == 200
        await done(on, "POST", "keys", {"action": "revoke", "key": "k"})
        assert (await on.api("GET", "v3/account")).body["code"] == -2015


async def test_an_account_is_set_by_a_human() -> None:
    async with stage() as on:
        told = await done(
            on,
            "POST",
            "account",
            {
                "deposit": {"market": "FUT", "amount": "500"},
                "withdraw": {"market": "SPOT", "amount": 100},
                "leverage": {"symbol": "BTCUSDT", "leverage": 7},
            },
        )
        free = {(each["market"], each["asset"]): D(each["free"]) for each in told["balances"]}
        assert (free["FUT", "USDT"], free["SPOT", "USDT"]) == (10_500, 9_900)
        assert (await on.done("GET", "v1/symbolConfig", symbol="BTCUSDT"))[0]["leverage"] == 7

        await done(on, "POST", "account", {"dual_side": True})
        assert (await on.done("GET", "v1/positionSide/dual"))["dualSidePosition"] is True
        refused = await admin(on, "POST", "account", {"dual_side": True})
        assert refused.body["code"] == -4059

        await done(on, "POST", "account", {"dual_side": False, "margin_type": {"symbol": "BTCUSDT", "isolated": False}})
        assert (await on.done("GET", "v1/symbolConfig", symbol="BTCUSDT"))[0]["marginType"] == "CROSSED"


async def test_a_market_is_moved_for_everybody_until_it_is_cleared() -> None:
    async with stage() as on:
        await on.order(price="59000", newClientOrderId="a")
        told = await done(on, "POST", "market", {"shift": {"bps": -200, "symbol": "BTCUSDT"}})
        assert told["marks"]["BTCUSDT"] == "58800.00"
        assert (await on.done("GET", "v1/order", symbol="BTCUSDT", origClientOrderId="a"))["status"] == "FILLED"
        on.show("60100")
        assert D((await on.venue.get("/fapi/v1/ticker/price", symbol="BTCUSDT")).body["price"]) == D("58898")

        await done(on, "POST", "market", {"mark": {"symbol": "BTCUSDT", "price": "57000"}})
        assert D((await on.venue.get("/fapi/v1/premiumIndex", symbol="BTCUSDT")).body["markPrice"]) == 57_000

        told = await done(on, "POST", "market", {"clear": True})
        assert told["bends"] == []
        assert D((await on.venue.get("/fapi/v1/ticker/price", symbol="BTCUSDT")).body["price"]) == 60_100


async def test_bars_of_a_shifted_market_are_shifted_over_rest_as_well() -> None:
    async with stage() as on:
        minute_ms = 60_000
        start_ms = on.venue.now_ms // minute_ms * minute_ms - 10 * minute_ms
        asked = {"symbol": "BTCUSDT", "interval": "1m", "startTime": start_ms, "limit": 20}
        before = (await on.venue.get("/fapi/v1/klines", **asked)).body
        await done(on, "POST", "market", {"shift": {"bps": 1_000}})
        floor = on.venue.venue.floor
        after_ms = on.venue.now_ms + 2 * minute_ms
        key = floor.instrument(Market.FUT, "BTCUSDT").key
        bars = floor.host.feed.klines(key, "1m", start_ms, after_ms)

        assert [bar.close for bar in bars][:9] == [float(row[4]) for row in before][:9]
        later = floor.tape.candles(
            key,
            "1m",
            start_ms=start_ms,
            end_ms=after_ms,
            limit=20,
            now_ms=after_ms,
        )
        shown = {candle.open_ms: float(candle.close) for candle in later}
        assert shown[bars[-1].open_time] == pytest.approx(bars[-1].close, abs=0.1)
        assert bars[-1].close > 1.05 * bars[0].close


async def test_rules_change_at_run_time_and_funding_is_settled_at_once() -> None:
    async with stage() as on:
        await done(on, "POST", "market", {"filters": {"symbol": "BTCUSDT", "min_notional": "7000"}})
        assert (await on.refused("POST", "v1/order", **order_of(price="60000")))[0] == -4164
        await done(on, "POST", "market", {"filters": {"symbol": "BTCUSDT", "min_notional": "5"}})
        await on.order(type="MARKET")
        await done(on, "POST", "market", {"funding": {"symbol": "BTCUSDT", "rate": "-0.001"}})
        (row,) = await on.done("GET", "v1/income", incomeType="FUNDING_FEE")
        assert D(row["income"]) == 6
        await done(on, "POST", "market", {"status": {"symbol": "BTCUSDT", "status": "BREAK"}})
        assert (await on.refused("POST", "v1/order", **order_of(price="60000")))[0] == -4141
        await done(on, "POST", "market", {"status": {"symbol": "BTCUSDT", "status": "TRADING"}})
        await on.order(price="59000")


async def test_the_clock_is_set_off() -> None:
    async with stage() as on:
        right_ms = on.venue.now_ms
        told = await done(on, "POST", "clock", {"offset_ms": 3_600_000})
        assert told["serverTime"] >= right_ms + 3_600_000
        assert (await on.refused("GET", "v3/account", timestamp=right_ms))[0] == -1021
        await done(on, "POST", "clock", {"offset_ms": 0})
        assert (await on.api("GET", "v3/account")).status == 200


async def test_a_human_trades_and_cancels() -> None:
    async with stage() as on:
        bought = await done(on, "POST", "orders", {"symbol": "BTCUSDT", "side": "BUY", "qty": "0.2"})
        assert bought["client_order_id"].startswith("web_")
        assert bought["status"] == "FILLED"
        await on.order(price="50000", newClientOrderId="a")
        gone = await done(on, "POST", "orders", {"symbol": "BTCUSDT", "cancel": "a"})
        assert gone["status"] == "CANCELED"
        refused = await admin(on, "POST", "orders", {"symbol": "BTCUSDT", "side": "BUY", "qty": "999"})
        assert refused.body["code"] < 0


async def test_the_ledger_holds_everything() -> None:
    async with stage() as on:
        await on.order(type="MARKET", newClientOrderId="a")
        await on.stop(triggerPrice="50000", clientAlgoId="s")
        sent = {"type": "MAIN_UMFUTURE", "asset": "USDT", "amount": "10"}
        await on.venue.signed("POST", "/sapi/v1/asset/transfer", **sent)

        told = await done(on, "GET", "ledger")

        orders = {each["client_order_id"]: each for each in told["orders"]}
        assert set(orders) == {"a", "s"}
        assert orders["a"]["status"] == "FILLED"
        assert sum(D(fill["qty"]) for fill in orders["a"]["fills"]) == D(orders["a"]["filled_qty"]) == D("0.1")
        assert (orders["s"]["conditional"], orders["s"]["fills"]) == (True, [])
        assert [(each["symbol"], D(each["qty"])) for each in told["positions"]] == [("BTCUSDT", D("0.1"))]
        assert {each["kind"] for each in told["income"]} == {"COMMISSION", "TRANSFER"}
        assert [D(each["amount"]) for each in told["transfers"]] == [10]
        assert {each["asset"] for each in told["balances"]} == {"USDT"}


async def test_where_outages_left_prices_is_one_shift_outlives_a_restart_and_is_cleared(tmp_path: Path) -> None:
    shown: list[float] = []

    async def at(steps: Callable[[Stage], Awaitable[None]]) -> None:
        async with running_venue(state=tmp_path, still=True) as venue:
            on = Stage(venue)
            on.show("60000.00")
            await steps(on)
            shown.append(float(venue.venue.hosted.host.books[InstrumentKey(Market.FUT, "BTCUSDT")].last))

    async def outages(on: Stage) -> None:
        for _ in range(5):
            on.venue.venue.plan.disarm(*on.venue.venue.plan.arm(Fault(kind=FaultKind.OUTAGE, params={"bps": 100})))
        assert (await done(on, "POST", "market", {}))["bends"] == ["lasting"]

    async def nothing(on: Stage) -> None:
        pass

    async def clear(on: Stage) -> None:
        assert (await done(on, "POST", "market", {"clear": True}))["bends"] == []

    for steps in (outages, nothing, clear, nothing):
        await at(steps)

    raised = pytest.approx(60_000 * 1.01**5, abs=0.1)
    assert shown == [raised, raised, 60_000, 60_000]

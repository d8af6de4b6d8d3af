"""The futures account: money to the last digit, positions, settings, and the keys of the private streams."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.auth import ApiKey
from chimera.venue_server.futures.listen_keys import LIFE_MS, ListenKeys
from tests.venue_server.running import KEY
from tests.venue_server.staging import Stage, order_of, stage

D = Decimal
BTC = {"symbol": "BTCUSDT"}
BEGAN_WITH = D(10_000)


async def trade_a_little(at: Stage) -> None:
    """Long 0.3 in two parts, 0.1 of it closed with a gain and 0.05 with a loss."""
    await at.order(type="MARKET", quantity="0.2")
    await at.order(price="59500", quantity="0.1")
    at.show("59400.00")
    at.show("60800.00")
    await at.order(type="MARKET", side="SELL", quantity="0.1", reduceOnly="true")
    at.show("59000.00")
    await at.order(type="MARKET", side="SELL", quantity="0.05", reduceOnly="true")


# --- money


async def test_trades_ledger_and_balance_agree_to_the_last_digit() -> None:
    async with stage() as at:
        await trade_a_little(at)
        trades = await at.done("GET", "v1/userTrades", **BTC)
        income = await at.done("GET", "v1/income")
        balance = await at.balance()

    def total(kind: str) -> Decimal:
        return sum((D(line["income"]) for line in income if line["incomeType"] == kind), D(0))

    assert total("COMMISSION") == -sum(D(trade["commission"]) for trade in trades)
    assert total("REALIZED_PNL") == sum(D(trade["realizedPnl"]) for trade in trades)
    assert balance == BEGAN_WITH + total("COMMISSION") + total("REALIZED_PNL")


async def test_each_line_of_the_ledger_names_its_trade() -> None:
    async with stage() as at:
        await trade_a_little(at)
        trades = {str(trade["id"]): trade for trade in await at.done("GET", "v1/userTrades", **BTC)}
        income = await at.done("GET", "v1/income", limit=1_000)

    for line in income:
        trade = trades[line["tradeId"]]
        paid = {"COMMISSION": -D(trade["commission"]), "REALIZED_PNL": D(trade["realizedPnl"])}
        assert D(line["income"]) == paid[line["incomeType"]]
    assert {line["tradeId"] for line in income} == trades.keys()
    assert len({line["tranId"] for line in income}) == len(income)


async def test_free_locked_and_isolated_money_is_all_the_money() -> None:
    async with stage() as at:
        await at.order(type="MARKET", quantity="0.2")
        await at.order(price="58000", quantity="0.1")
        at.show("60500.00")
        account = await at.done("GET", "v2/account")
        asset = account["assets"][0]
        position = next(each for each in account["positions"] if each["symbol"] == "BTCUSDT")

    wallet = D(account["totalWalletBalance"])
    isolated = D(position["isolatedWallet"])
    assert wallet == D(asset["availableBalance"]) + isolated + D(asset["openOrderInitialMargin"])
    assert D(asset["crossWalletBalance"]) == wallet - isolated
    assert D(account["totalMarginBalance"]) == wallet + D(account["totalUnrealizedProfit"])
    assert D(account["totalUnrealizedProfit"]) == (D("60500") - D("60000.10")) * D("0.2")
    assert D(position["initialMargin"]) == D("60500") * D("0.2") / 20 + D("58000") * D("0.1") / 20
    assert position["bidNotional"] == "5800.00000000"
    assert D(account["totalMaintMargin"]) == D("60500") * D("0.2") * D("0.004")


async def test_versions_differ_in_what_they_list() -> None:
    async with stage() as at:
        await at.order(type="MARKET")

        async def symbols(path: str, **params: Any) -> list[str]:
            answer = await at.done("GET", path, **params)
            return [each["symbol"] for each in (answer["positions"] if isinstance(answer, dict) else answer)]

        assert await symbols("v2/account") == await symbols("v2/positionRisk") == ["BTCUSDT", "ETHUSDT"]
        assert await symbols("v3/account") == await symbols("v3/positionRisk") == ["BTCUSDT"]
        assert await symbols("v2/positionRisk", symbol="ETHUSDT") == ["ETHUSDT"]
        assert await symbols("v3/positionRisk", symbol="ETHUSDT") == []
        await at.order(symbol="ETHUSDT", type="LIMIT", price="2500", quantity="0.1")
        assert await symbols("v3/positionRisk") == ["BTCUSDT", "ETHUSDT"]
        assert (await at.refused("GET", "v2/positionRisk", symbol="NOPE"))[0] == -1121


async def test_a_position_is_told_with_its_sign() -> None:
    async with stage() as at:
        await at.order(type="MARKET", side="SELL", quantity="0.1")
        at.show("59000.00")
        position = (await at.done("GET", "v2/positionRisk", **BTC))[0]
        flat = (await at.done("GET", "v2/positionRisk", symbol="ETHUSDT"))[0]

    assert (position["positionAmt"], position["entryPrice"], position["markPrice"]) == (
        "-0.100",
        "59999.9",
        "59000.00000000",
    )
    assert (position["notional"], position["unRealizedProfit"]) == ("-5900.00000000", "99.99000000")
    assert D(position["liquidationPrice"]) > 60_000
    assert D(position["isolatedMargin"]) == D(position["isolatedWallet"]) + D("99.99")
    assert D(position["breakEvenPrice"]) < D(position["entryPrice"])
    assert (flat["positionAmt"], flat["entryPrice"], flat["liquidationPrice"]) == ("0.000", "0.0", "0")


async def test_pages_of_trades_follow_each_other() -> None:
    async with stage() as at:
        for _ in range(5):
            await at.order(type="MARKET", quantity="0.001")

        async def page(**params: Any) -> list[int]:
            return [trade["id"] for trade in await at.done("GET", "v1/userTrades", **BTC, **params)]

        ids = await page()
        assert (ids, await page(limit=2)) == (sorted(ids), ids[3:])
        assert await page(fromId=ids[1], limit=2) == ids[1:3]
        assert await page(fromId=0, limit=3) == ids[:3]
        now_ms = at.venue.now_ms
        assert await page(startTime=now_ms - 60_000, limit=2) == ids[:2]
        assert await page(startTime=now_ms + 60_000) == []
        assert (await at.refused("GET", "v1/userTrades", **BTC, fromId=1, startTime=1))[0] == -1128
        assert (await at.refused("GET", "v1/userTrades", **BTC, startTime=1, endTime=10**12))[0] == -4165


async def test_pages_of_the_ledger_follow_each_other() -> None:
    async with stage() as at:
        await trade_a_little(at)
        whole = await at.done("GET", "v1/income", startTime=0)

        async def page(**params: Any) -> Any:
            return await at.done("GET", "v1/income", **params)

        assert await page(startTime=0, limit=2) == whole[:2]
        assert await page(startTime=0, limit=2, page=2) == whole[2:4]
        assert await page(limit=2) == whole[-2:]
        assert await page(limit=2, page=2) == whole[-4:-2]
        assert [line for number in (3, 2, 1) for line in await page(limit=len(whole) // 2, page=number)] == whole
        assert {line["incomeType"] for line in await page(incomeType="REALIZED_PNL")} == {"REALIZED_PNL"}
        assert await page(symbol="ETHUSDT") == []
        assert (await at.refused("GET", "v1/income", page=0))[0] == -1130


async def test_fees_are_those_that_are_charged() -> None:
    async with stage() as at:
        rate = await at.done("GET", "v1/commissionRate", **BTC)
        await at.order(type="MARKET", quantity="0.1")
        trade = (await at.done("GET", "v1/userTrades", **BTC))[0]

    assert rate["takerCommissionRate"] == "0.000500"
    assert D(trade["commission"]) == D(trade["quoteQty"]) * D(rate["takerCommissionRate"])


async def test_a_liquidation_takes_the_isolated_wallet_and_no_more() -> None:
    async with stage() as at:
        await at.order(type="MARKET")
        wallet = D((await at.done("GET", "v2/positionRisk", **BTC))[0]["isolatedWallet"])
        free = D((await at.done("GET", "v3/balance"))[0]["availableBalance"])
        at.show("50000.00")

        order = (await at.done("GET", "v1/forceOrders", **BTC))[0]
        income = await at.done("GET", "v1/income")
        assert await at.done("GET", "v3/positionRisk") == []
        assert (order["status"], order["side"], order["executedQty"]) == ("FILLED", "SELL", "0.100")
        assert order["clientOrderId"].startswith("autoclose-")
        assert await at.balance() == free == BEGAN_WITH - wallet - D("3.000005")
        assert "INSURANCE_CLEAR" in {line["incomeType"] for line in income}
        assert await at.done("GET", "v1/forceOrders", **BTC, autoCloseType="ADL") == []


async def test_orders_of_an_adl_have_one_name_and_two_numbers() -> None:
    async with stage() as at:
        await at.order(type="MARKET", quantity="0.2")
        closing = {"type": "MARKET", "side": "SELL", "reduceOnly": "true", "newClientOrderId": "adl_autoclose"}
        first, second = [await at.order(**closing) for _ in range(2)]
        listed = await at.done("GET", "v1/allOrders", **BTC)
        forced = await at.done("GET", "v1/forceOrders", **BTC, autoCloseType="ADL")
        newest = await at.done("GET", "v1/order", **BTC, origClientOrderId="adl_autoclose")
        older = await at.done("GET", "v1/order", **BTC, orderId=first["orderId"])
        numbered = f"adl_autoclose-{first['orderId']}"

        assert (await at.refused("GET", "v1/order", **BTC, origClientOrderId=numbered))[0] == -2013
        assert await at.done("GET", "v1/forceOrders", **BTC, autoCloseType="LIQUIDATION") == []
    assert first["orderId"] != second["orderId"]
    assert newest["orderId"] == second["orderId"]
    assert [each["orderId"] for each in forced] == [first["orderId"], second["orderId"]]
    told = [first, second, newest, older, *forced, *listed[1:]]
    assert {each["clientOrderId"] for each in told} == {"adl_autoclose"}


# --- settings


async def test_leverage_is_set_and_told_everywhere() -> None:
    async with stage() as at:
        answer = await at.done("POST", "v1/leverage", **BTC, leverage=50)
        config = (await at.done("GET", "v1/symbolConfig", **BTC))[0]
        risk = (await at.done("GET", "v2/positionRisk", **BTC))[0]

        assert answer == {"symbol": "BTCUSDT", "leverage": 50, "maxNotionalValue": "12000000"}
        assert (config["leverage"], risk["leverage"], risk["maxNotionalValue"]) == (50, "50", "12000000")
        assert (await at.refused("POST", "v1/leverage", **BTC, leverage=200))[0] == -4028
        assert (await at.refused("POST", "v1/leverage", **BTC, leverage="much"))[0] == -1100
        await at.order(type="MARKET")
        assert (await at.refused("POST", "v1/leverage", **BTC, leverage=10))[0] == -4161


async def test_the_margin_type_says_when_nothing_changes() -> None:
    async with stage() as at:
        assert await at.refused("POST", "v1/marginType", **BTC, marginType="ISOLATED") == (
            -4046,
            "No need to change margin type.",
        )
        assert await at.done("POST", "v1/marginType", **BTC, marginType="CROSSED") == {"code": 200, "msg": "success"}
        assert (await at.done("GET", "v1/symbolConfig", **BTC))[0]["marginType"] == "CROSSED"
        assert (await at.done("GET", "v2/positionRisk", **BTC))[0]["marginType"] == "cross"
        await at.done("POST", "v1/marginType", **BTC, marginType="ISOLATED")
        await at.order(price="59000")
        assert (await at.refused("POST", "v1/marginType", **BTC, marginType="CROSSED"))[0] == -4047
        assert (await at.refused("POST", "v1/marginType", **BTC, marginType="BOTH"))[0] == -1130


async def test_a_hedged_account_refuses_orders_as_ours_are_one_way() -> None:
    async with stage() as at:
        await at.done("POST", "v1/positionSide/dual", dualSidePosition="true")

        assert await at.done("GET", "v1/positionSide/dual") == {"dualSidePosition": True}
        assert (await at.done("GET", "v1/accountConfig"))["dualSidePosition"] is True
        assert (await at.refused("POST", "v1/order", **order_of(price="59000")))[0] == -4061
        assert (await at.refused("POST", "v1/positionSide/dual", dualSidePosition="true"))[0] == -4059
        await at.done("POST", "v1/positionSide/dual", dualSidePosition="false")
        await at.order(price="59000")
        assert (await at.refused("POST", "v1/positionSide/dual", dualSidePosition="true"))[0] == -4067


async def test_multi_assets_mode_is_set_and_told() -> None:
    async with stage() as at:
        await at.done("POST", "v1/multiAssetsMargin", multiAssetsMargin="true")

        assert await at.done("GET", "v1/multiAssetsMargin") == {"multiAssetsMargin": True}
        assert (await at.done("GET", "v1/accountConfig"))["multiAssetsMargin"] is True
        assert (await at.refused("POST", "v1/multiAssetsMargin", multiAssetsMargin="true"))[0] == -4171


async def test_margin_is_added_and_taken_back_and_the_history_knows() -> None:
    async with stage() as at:
        assert (await at.refused("POST", "v1/positionMargin", **BTC, amount="10", type=1))[0] == -4054
        await at.order(type="MARKET")
        before = (await at.done("GET", "v2/positionRisk", **BTC))[0]

        await at.done("POST", "v1/positionMargin", **BTC, amount="100", type=1)
        await at.done("POST", "v1/positionMargin", **BTC, amount="40.5", type=2)
        after = (await at.done("GET", "v2/positionRisk", **BTC))[0]
        history = await at.done("GET", "v1/positionMargin/history", **BTC)

        assert D(after["isolatedWallet"]) - D(before["isolatedWallet"]) == D("59.5")
        assert D(after["liquidationPrice"]) < D(before["liquidationPrice"])
        assert [(row["type"], row["amount"]) for row in history] == [(1, "100.00000000"), (2, "40.50000000")]
        assert len(await at.done("GET", "v1/positionMargin/history", **BTC, type=2)) == 1
        assert (await at.refused("POST", "v1/positionMargin", **BTC, amount="-1", type=1))[0] == -4055
        assert (await at.refused("POST", "v1/positionMargin", **BTC, amount="1", type=3))[0] == -1130


async def test_brackets_have_no_gap() -> None:
    async with stage() as at:
        brackets = (await at.done("GET", "v1/leverageBracket", **BTC))[0]["brackets"]

    for lower, upper in pairwise(brackets):
        assert lower["notionalCap"] == upper["notionalFloor"]
        margin = lower["notionalCap"] * lower["maintMarginRatio"] - lower["cum"]
        assert margin == pytest.approx(upper["notionalFloor"] * upper["maintMarginRatio"] - upper["cum"])


# --- keys of the private streams


async def test_a_listen_key_is_given_once_kept_and_closed() -> None:
    async with stage() as at:
        given = await at.done("POST", "v1/listenKey")
        again = await at.done("POST", "v1/listenKey")
        kept = await at.done("PUT", "v1/listenKey")
        closed = await at.done("DELETE", "v1/listenKey")

        assert given == again == kept
        assert len(given["listenKey"]) == 64
        assert closed == {}
        assert (await at.refused("PUT", "v1/listenKey"))[0] == -1125
        assert await at.done("POST", "v1/listenKey") != given


async def test_a_listen_key_needs_the_key_and_no_signature() -> None:
    async with stage() as at:
        without = await at.venue.call("POST", "/fapi/v1/listenKey")
        at.venue.extra_headers["X-MBX-APIKEY"] = KEY
        unsigned = await at.venue.call("POST", "/fapi/v1/listenKey")

    assert (without.status, without.body["code"]) == (401, -2014)
    assert unsigned.status == 200


def test_a_listen_key_ends_after_an_hour_unless_it_is_kept() -> None:
    keys, ended = ListenKeys(), list[str]()
    keys.on_end.append(ended.append)
    listen_key = keys.create("me", "secret", 0)

    keys.keep("me", LIFE_MS - 1)
    keys.expire_due(LIFE_MS)
    assert (ended, keys.alive(listen_key, LIFE_MS)) == ([], True)

    keys.expire_due(2 * LIFE_MS)
    assert (ended, keys.alive(listen_key, 2 * LIFE_MS)) == ([listen_key], False)
    with pytest.raises(Refusal):
        keys.keep("me", 2 * LIFE_MS)


def test_each_api_key_has_a_listen_key_of_its_own() -> None:
    keys = ListenKeys()
    mine, yours = keys.create("me", "secret", 0), keys.create("you", "secret", 0)

    keys.close("me")

    assert (keys.alive(mine, 1), keys.alive(yours, 1)) == (False, True)


async def test_a_key_without_futures_permission_reads_and_does_not_trade() -> None:
    async with stage() as at:
        at.venue.venue.floor.keys.add(ApiKey(key="reader", secret="s", trades_futures=False))
        at.venue.key, at.venue.secret = "reader", "s"

        await at.done("GET", "v3/balance")
        refused = await at.api("POST", "v1/order", **order_of(price="59000"))

    assert (refused.status, refused.body["code"]) == (401, -2015)

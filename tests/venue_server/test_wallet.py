"""The wallet: money moves as often as it is asked to, and a key says what it may do."""

from dataclasses import replace
from decimal import Decimal

from tests.venue_server.running import RunningVenue, running_venue

TRANSFER = "/sapi/v1/asset/transfer"


async def spot_usdt(venue: RunningVenue) -> Decimal:
    rows = (await venue.signed("GET", "/api/v3/account")).body["balances"]
    return next(Decimal(row["free"]) for row in rows if row["asset"] == "USDT")


async def test_the_same_transfer_twice_moves_twice() -> None:
    async with running_venue() as venue:
        asked = {"type": "MAIN_UMFUTURE", "asset": "USDT", "amount": "100.5", "timestamp": venue.now_ms}
        first = await venue.signed("POST", TRANSFER, **asked)
        second = await venue.signed("POST", TRANSFER, **asked)

        assert first.status == second.status == 200
        assert set(first.body) == {"tranId"}
        assert second.body["tranId"] > first.body["tranId"]
        assert await spot_usdt(venue) == Decimal("9799")


async def test_history_tells_one_direction_newest_first_by_pages() -> None:
    async with running_venue() as venue:
        for amount in ("1", "2", "3"):
            await venue.signed("POST", TRANSFER, type="MAIN_UMFUTURE", asset="USDT", amount=amount)
        back = (await venue.signed("POST", TRANSFER, type="UMFUTURE_MAIN", asset="USDT", amount="0.50")).body
        out = (await venue.signed("GET", TRANSFER, type="MAIN_UMFUTURE")).body
        page = (await venue.signed("GET", TRANSFER, type="MAIN_UMFUTURE", current=2, size=2)).body
        other = (await venue.signed("GET", TRANSFER, type="UMFUTURE_MAIN")).body
        none = (await venue.signed("GET", TRANSFER, type="MAIN_UMFUTURE", endTime=1_000_000)).body

        assert out["total"] == page["total"] == 3
        assert [row["amount"] for row in out["rows"]] == ["3", "2", "1"]
        assert [row["amount"] for row in page["rows"]] == ["1"]
        assert [(row["tranId"], row["amount"], row["status"]) for row in other["rows"]] == [
            (back["tranId"], "0.5", "CONFIRMED")
        ]
        assert none == {"total": 0, "rows": []}


async def test_what_is_not_there_does_not_move() -> None:
    async with running_venue() as venue:
        short = await venue.signed("POST", TRANSFER, type="MAIN_UMFUTURE", asset="USDT", amount="10000.01")
        wrong = await venue.signed("POST", TRANSFER, type="MAIN_MARS", asset="USDT", amount="1")

        assert (short.status, short.body["code"]) == (400, -5013)
        assert (wrong.status, wrong.body["code"]) == (400, -1102)
        assert await spot_usdt(venue) == 10_000


async def test_a_key_without_the_permission_moves_nothing() -> None:
    async with running_venue() as venue:
        venue.venue.floor.keys.change(venue.key, transfers=False)

        reply = await venue.signed("POST", TRANSFER, type="MAIN_UMFUTURE", asset="USDT", amount="1")

        assert (reply.status, reply.body["code"]) == (401, -1002)
        assert await spot_usdt(venue) == 10_000


async def test_a_key_tells_what_it_may_do() -> None:
    async with running_venue() as venue:
        usual = (await venue.signed("GET", "/sapi/v1/account/apiRestrictions")).body
        keys = venue.venue.floor.keys
        keys.change(venue.key, trades_futures=False, withdraws=True, ips=("127.0.0.1",))
        changed = (await venue.signed("GET", "/sapi/v1/account/apiRestrictions")).body
        keys.add(replace(keys.all[0], key="elsewhere", ips=("10.0.0.1",)))
        venue.key = "elsewhere"
        refused = await venue.signed("GET", "/sapi/v1/account/apiRestrictions")

        assert usual["enableReading"] is usual["enableFutures"] is usual["enableSpotAndMarginTrading"] is True
        assert usual["ipRestrict"] is usual["enableWithdrawals"] is False
        assert usual["tradingAuthorityExpirationTime"] > venue.now_ms
        assert changed["ipRestrict"] is changed["enableWithdrawals"] is True
        assert changed["enableFutures"] is False
        assert "tradingAuthorityExpirationTime" not in changed
        assert (refused.status, refused.body["code"]) == (401, -2015)


async def test_coins_are_those_that_are_traded() -> None:
    async with running_venue() as venue:
        coins = (await venue.signed("GET", "/sapi/v1/capital/config/getall")).body

        assert {coin["coin"]: coin["free"] for coin in coins} == {"BTC": "0", "USDT": "10000"}
        assert all(type(coin["trading"]) is bool for coin in coins)


async def test_no_more_places_move_than_an_asset_has() -> None:
    async with running_venue() as venue:
        asked = {"type": "MAIN_UMFUTURE", "asset": "USDT"}
        whole = await venue.signed("POST", TRANSFER, **asked, amount="0.1234567800")
        reply = await venue.signed("POST", TRANSFER, **asked, amount="0.123456789")
        async with venue.session.post(
            f"{venue.url}/admin/account", json={"deposit": {"amount": "0.123456789"}}
        ) as response:
            deposit = await response.json()

        assert whole.status == 200
        assert (reply.status, reply.body["code"], deposit["code"]) == (400, -1111, -1111)
        assert await spot_usdt(venue) == Decimal("9999.87654322")

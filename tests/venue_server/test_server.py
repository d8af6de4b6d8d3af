"""The server itself: it answers, signs are checked, limits bite, the account survives a restart."""

from pathlib import Path

from chimera.venue_server.limits import LimitRules
from tests.venue_server.running import BEGINS_MS, running_venue


async def test_both_sites_tell_the_time_of_the_market() -> None:
    async with running_venue() as venue:
        futures = await venue.get("/fapi/v1/time")
        spot = await venue.get("/api/v3/time")

        assert futures.status == spot.status == 200
        assert 0 <= futures.body["serverTime"] - BEGINS_MS < 60_000
        assert futures.headers["server"] == "Tengine"
        assert futures.headers["x-mbx-used-weight-1m"] == "1"
        assert spot.headers["content-type"] == "application/json;charset=UTF-8"


async def test_the_clock_goes_on_where_it_stood(tmp_path: Path) -> None:
    async with running_venue(state=tmp_path, speed=60) as venue:
        first = (await venue.get("/fapi/v1/time")).body["serverTime"]

    async with running_venue(state=tmp_path, speed=60) as venue:
        again = (await venue.get("/fapi/v1/time")).body["serverTime"]

    assert first <= again < first + 600_000


async def test_a_path_that_nobody_serves_is_404_and_a_wrong_method_405() -> None:
    async with running_venue() as venue:
        assert (await venue.get("/fapi/v1/nothing")).status == 404
        assert (await venue.call("POST", "/fapi/v1/time")).status == 405


async def test_too_many_requests_are_429_and_those_who_go_on_are_banned() -> None:
    async with running_venue(limits=LimitRules(futures_weight=5)) as venue:
        statuses = [(await venue.get("/fapi/v1/ping")).status for _ in range(20)]
        banned = await venue.get("/fapi/v1/ping")

    assert statuses[:5] == [200] * 5
    assert statuses[5:15] == [429] * 10
    assert statuses[15:] == [418] * 5
    assert banned.body["code"] == -1003
    assert 100 < int(banned.headers["retry-after"]) <= 120

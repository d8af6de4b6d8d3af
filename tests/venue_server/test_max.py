"""The bars of USDT/TWD as MAX gives them: arrays of numbers, the oldest first, the running one last."""

import pytest

from tests.venue_server.running import running_venue

HOUR_S = 3_600


@pytest.mark.parametrize("path", ["/api/v3/k", "/api/v2/k"])
async def test_bars_are_arrays_of_numbers_oldest_first(path: str) -> None:
    async with running_venue() as venue:
        bars = (await venue.get(path, market="usdttwd", period=60, limit=5)).body
        now_s = venue.now_ms // 1_000

    assert [bar[0] for bar in bars] == [now_s // HOUR_S * HOUR_S - HOUR_S * back for back in (4, 3, 2, 1, 0)]
    for _, open_, high, low, close, volume in bars:
        assert 20 < low <= min(open_, close) <= max(open_, close) <= high < 50
        assert volume >= 0
    assert bars[-1][1:] == [bars[-2][4]] * 4 + [0]


async def test_a_day_is_made_of_its_hours() -> None:
    async with running_venue() as venue:
        since_s = venue.now_ms // 86_400_000 * 86_400 - 86_400
        days = (await venue.get("/api/v3/k", market="usdttwd", period=1440, timestamp=since_s, limit=1)).body
        hours = (await venue.get("/api/v3/k", market="usdttwd", period=60, timestamp=since_s, limit=24)).body

    assert len(hours) == 24
    [[start_s, open_, high, low, close, volume]] = days
    assert (start_s, open_, close) == (since_s, hours[0][1], hours[-1][4])
    assert (high, low) == (max(hour[2] for hour in hours), min(hour[3] for hour in hours))
    assert volume == pytest.approx(sum(hour[5] for hour in hours))


async def test_a_timestamp_asks_for_the_bars_from_then_on() -> None:
    async with running_venue() as venue:
        since_s = venue.now_ms // 1_000 - 10 * HOUR_S
        bars = (await venue.get("/api/v3/k", market="usdttwd", period=60, timestamp=since_s, limit=3)).body

    assert [bar[0] for bar in bars] == [since_s // HOUR_S * HOUR_S + HOUR_S * ahead for ahead in (1, 2, 3)]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        pytest.param({"market": "btctwd", "period": 60}, "market does not have a valid value", id="market"),
        pytest.param({"market": "usdttwd", "period": 7}, "period does not have a valid value", id="period"),
        pytest.param({"market": "usdttwd"}, "keeps bars of 60 minutes and longer", id="a minute, the default"),
        pytest.param({"market": "usdttwd", "period": 60, "limit": 0}, "limit must be between", id="limit"),
    ],
)
async def test_what_is_not_offered_is_refused_in_its_own_words(params: dict[str, str | int], text: str) -> None:
    async with running_venue() as venue:
        reply = await venue.get("/api/v3/k", **params)

    assert reply.status == 400
    assert text in reply.body["error"]["message"]

"""The regime of the day: when it is judged, by what, and that a restart finds the same one."""

import pytest

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.enums import Regime
from chimera.contracts.keys import REGIME_STATE
from chimera.domain.market.quotes import Bar
from chimera.ports.world import World
from chimera.runtime.regime import regime_now
from chimera.services.s02_features.handlers.regime import regime_of
from chimera.services.s02_features.settings import LEAD_KEY
from chimera.simulation.loop import run_virtual
from tests.services.feature_floor import ENV, Floor, file_bars, hours_of, month, moving, standing
from tests.services.venue_script import DAY, HOUR, MINUTE, NOON, SPOT, pass_ms

MIDNIGHT = NOON + 12 * HOUR
KEY = REGIME_STATE.name(ENV)


async def past(world: World) -> None:
    await file_bars(world, month(MIDNIGHT - 2 * MINUTE))


async def past_and_last(world: World) -> None:
    await file_bars(world, month(MIDNIGHT))


async def written(floor: Floor) -> dict[str, str]:
    return dict(await floor.world.snapshots.get_hash(KEY))


@pytest.mark.parametrize(
    ("rv_pctile", "regime"),
    [
        pytest.param(0.0999, Regime.FROZEN, id="below the lower bound"),
        pytest.param(0.10, Regime.NORMAL, id="on the lower bound"),
        pytest.param(0.90, Regime.NORMAL, id="on the upper bound"),
        pytest.param(0.9001, Regime.EXTREME, id="above the upper bound"),
    ],
)
def test_the_percentile_names_the_regime(rv_pctile: float, regime: Regime) -> None:
    assert regime_of(rv_pctile, frozen_below=0.10, extreme_above=0.90) is regime


def test_it_is_judged_with_the_bar_that_ends_the_day_and_once() -> None:
    async def run() -> None:
        async with standing(start_ms=MIDNIGHT - 2 * MINUTE, prepare=past) as floor:
            before = await written(floor)
            await floor.minutes(2)
            after = await written(floor)
            await floor.minutes(3)

            assert int(before["expires_at"]) == MIDNIGHT + 600_000, "yesterday's holds until today's is surely there"
            assert int(after["expires_at"]) == MIDNIGHT + DAY + 600_000
            at_midnight = next(event for event in floor.events() if event.t0 == MIDNIGHT)
            assert float(after["rv_pctile"]) == at_midnight.features["rv_pctile_30d"]
            assert after["state"] == "NORMAL"
            assert after["rev"] == "0"
            assert await written(floor) == after
            assert await regime_now(floor.world.snapshots, floor.world.clock, ENV) is Regime.NORMAL
            rendered = floor.world.metrics.render()
            assert "chimera_s2_regime_latency_ms_count 2" in rendered

    run_virtual(run())


def test_a_restart_in_the_afternoon_finds_the_regime_of_the_morning() -> None:
    documents = SqliteDocuments.in_loop()
    found: list[dict[str, str]] = []

    async def run() -> None:
        async with standing(start_ms=MIDNIGHT - 2 * MINUTE, documents=documents, prepare=past) as floor:
            await floor.minutes(2)
            found.append(await written(floor))
        minutes = moving(MIDNIGHT, MIDNIGHT + 15 * HOUR)
        async with standing(
            start_ms=MIDNIGHT + 15 * HOUR,
            documents=documents,
            prepare=lambda world: file_bars(world, [*minutes, *hours_of(minutes)]),
        ) as floor:
            found.append(await written(floor))
            await floor.minutes(1)
            assert floor.events()[-1].features["rv_pctile_30d"] != float(found[-1]["rv_pctile"])

    run_virtual(run())

    assert found[0] == found[1]


def test_what_is_not_warm_is_not_written_and_counts_as_extreme() -> None:
    async def prepare(world: World) -> None:
        await file_bars(world, month(MIDNIGHT - 2 * MINUTE, days=20))

    async def run() -> None:
        async with standing(start_ms=MIDNIGHT - 2 * MINUTE, prepare=prepare) as floor:
            await floor.minutes(5)
            assert await written(floor) == {}
            assert await regime_now(floor.world.snapshots, floor.world.clock, ENV) is Regime.EXTREME

    run_virtual(run())


def test_a_past_that_comes_to_light_later_warms_it_within_ten_minutes() -> None:
    async def prepare(world: World) -> None:
        await file_bars(world, month(NOON, days=2))

    async def run() -> None:
        async with standing(prepare=lambda world: file_bars(world, month(NOON))) as floor:
            expected = await written(floor)
        async with standing(prepare=prepare) as floor:
            await floor.minutes(2)
            assert await written(floor) == {}
            await file_bars(floor.world, month(NOON)[: 30 * 1_440], NOON)
            await floor.minutes(11)
            judged = await written(floor)
            assert judged["state"] == "NORMAL"
            assert judged["rv_pctile"] == expected["rv_pctile"], "as the day began"
            assert "rv_pctile_30d" in floor.events()[-1].features

    run_virtual(run())


def test_the_bounds_are_configuration() -> None:
    async def run() -> None:
        async with standing(
            prepare=past_and_last, start_ms=MIDNIGHT, regime_frozen_below=0.0, regime_extreme_above=0.01
        ) as floor:
            assert (await written(floor))["state"] == "EXTREME"

    run_virtual(run())


def test_the_lead_is_judged_whether_it_is_traded_or_not() -> None:
    async def run() -> None:
        async with standing(prepare=past, start_ms=MIDNIGHT - MINUTE, keys=(SPOT,)) as floor:
            assert floor.settings.lead_key == LEAD_KEY
            before = await written(floor)
            floor.key = LEAD_KEY
            await floor.close_bar(moving(MIDNIGHT - 2 * MINUTE, MIDNIGHT - MINUTE)[0])
            await pass_ms(floor.world, MINUTE)
            await floor.close_bar(moving(MIDNIGHT - MINUTE, MIDNIGHT)[0])
            await pass_ms(floor.world, 1)
            assert (await written(floor))["expires_at"] > before["expires_at"]

    run_virtual(run())


def test_a_bar_that_comes_a_little_before_our_midnight_is_judged_at_midnight() -> None:
    async def run() -> None:
        async with standing(prepare=past, start_ms=MIDNIGHT - 2 * MINUTE) as floor:
            await floor.minutes(1)
            await floor.world.clock.sleep_until_ms(MIDNIGHT - 80)
            await floor.close_bar(moving(MIDNIGHT - MINUTE, MIDNIGHT)[0])
            await pass_ms(floor.world, 79)
            assert int((await written(floor))["expires_at"]) == MIDNIGHT + 600_000
            await pass_ms(floor.world, 2)
            assert int((await written(floor))["expires_at"]) == MIDNIGHT + DAY + 600_000
            assert floor.events()[-1].t0 == MIDNIGHT

    run_virtual(run())


def test_a_store_that_lost_its_keys_is_told_the_regime_again_and_one_that_has_expired_is_not() -> None:
    async def run() -> None:
        async with standing(start_ms=MIDNIGHT, prepare=past_and_last) as floor:
            before = await written(floor)
            assert before["state"] == "NORMAL"
            await pass_ms(floor.world, HOUR)
            await floor.world.snapshots.delete(KEY)
            assert await regime_now(floor.world.snapshots, floor.world.clock, ENV) is Regime.EXTREME
            await pass_ms(floor.world, 6_000)
            assert await written(floor) == before

            await pass_ms(floor.world, DAY)
            await floor.world.snapshots.delete(KEY)
            await pass_ms(floor.world, HOUR)
            assert await written(floor) == {}

    run_virtual(run())


async def regime_at_midnight(start_ms: int, bars: list[Bar]) -> dict[str, str]:
    async with standing(start_ms=start_ms, prepare=lambda world: file_bars(world, bars)) as floor:
        await floor.world.clock.sleep_until_ms(MIDNIGHT)
        return await written(floor)


def test_a_day_whose_last_bar_was_lost_is_judged_as_it_began_when_the_file_has_it() -> None:
    """The next bar brings it from file, or nothing does until somebody looks back; both judge midnight, not now."""

    async def run() -> None:
        expected = await regime_at_midnight(MIDNIGHT, month(MIDNIGHT))
        lost = moving(MIDNIGHT - MINUTE, MIDNIGHT + HOUR)
        for filed_late in (False, True):
            async with standing(start_ms=MIDNIGHT - 2 * MINUTE, prepare=past) as floor:
                await floor.minutes(1)
                await floor.world.clock.sleep_until_ms(MIDNIGHT)
                if filed_late:
                    await floor.minutes(61)
                    assert int((await written(floor))["expires_at"]) == MIDNIGHT + 600_000
                    await file_bars(floor.world, lost[:1], floor.world.clock.now_ms())
                    await floor.minutes(10)
                else:
                    await floor.world.clock.sleep_until_ms(MIDNIGHT + HOUR)
                    await file_bars(floor.world, lost)
                    await floor.minutes(1)
                assert await written(floor) == expected
                assert floor.events()[-1].features["rv_pctile_30d"] != float(expected["rv_pctile"])

    run_virtual(run())


def test_a_start_that_does_not_have_the_last_bar_of_the_day_yet_waits_for_it() -> None:
    async def run() -> None:
        expected = await regime_at_midnight(MIDNIGHT, month(MIDNIGHT))
        bars = [bar for bar in month(MIDNIGHT) if bar.close_time < MIDNIGHT]
        async with standing(start_ms=MIDNIGHT, prepare=lambda world: file_bars(world, bars)) as floor:
            assert await written(floor) == {}
            await floor.close_bar(moving(MIDNIGHT - MINUTE, MIDNIGHT)[0])
            await pass_ms(floor.world, 1)
            assert await written(floor) == expected

    run_virtual(run())

"""What S2 knows after a start, after a switch of the bundle, and after everything that can be lost, late or down."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import FACTOR_REGISTRY, SIGNALS
from chimera.contracts.enums import DataQuality, EntryStatus
from chimera.contracts.keys import FEAT_LAST
from chimera.contracts.messages import AlertEvent, DepthEvent, FeatureEvent
from chimera.contracts.streams import MKT_DEPTH, MKT_KLINE
from chimera.domain.features.registry import FACTOR_IDS
from chimera.ports.documents import Query
from chimera.ports.world import World
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange.handlers.klines import event_of
from chimera.services.s02_features.handlers.history import PAGE
from chimera.services.s02_features.service import build
from chimera.services.s02_features.settings import Settings
from chimera.simulation.loop import run_virtual
from tests.services.feature_floor import (
    ENV,
    WatchedDocuments,
    activate,
    file_bars,
    file_twd,
    month,
    moving_minute,
    stage,
    standing,
)
from tests.services.venue_script import DAY, FUT, HOUR, MINUTE, NOON, RefusingBus, Told, pass_ms, scripted_world

P_SPREAD = ("p_spread", "pctile(spread_bps,1h)")
P_RET = ("p_ret", "pctile(abs(ret_1h),1d)")


async def three_days(world: World) -> None:
    await file_bars(world, month(NOON, days=3))


def at(events: Sequence[FeatureEvent], t0: int) -> FeatureEvent:
    return next(event for event in events if event.t0 == t0)


# --- the month


def test_after_a_start_over_a_month_every_factor_of_bars_is_warm() -> None:
    async def run() -> None:
        async with standing(prepare=lambda world: file_bars(world, month(NOON))) as floor:
            await floor.tick()
            await pass_ms(floor.world, 1)
            event = floor.events()[0]
            without_twd = {"usdttwd_ret_d1", "usdttwd_ret_d2", "xmkt_signal", "rho_usdttwd_14"}
            assert set(event.stale) == without_twd | {"funding_next"}
            assert event.flags == dict.fromkeys(event.stale, DataQuality.SILENT)

    run_virtual(run())


def test_an_hour_that_is_on_file_by_its_minutes_alone_counts_as_they_make_it() -> None:
    """Its own bar never came; a system that lived through it knew it all the same."""

    async def run(*, whole: bool) -> float:
        bars = month(NOON, days=3)
        kept = [bar for bar in bars if whole or bar.interval != "1h" or bar.open_time != NOON - 5 * 60 * MINUTE]
        assert len(bars) - len(kept) == (not whole)
        async with standing(prepare=lambda world: file_bars(world, kept)) as floor:
            await floor.tick()
            await pass_ms(floor.world, 1)
            return float(floor.events()[0].features["atr_14"])

    assert run_virtual(run(whole=False)) == run_virtual(run(whole=True))


def test_a_start_reads_a_page_at_a_time_and_the_loop_turns_between() -> None:
    turns: list[int] = []

    async def run() -> None:
        documents = WatchedDocuments.in_loop()
        world, _ = scripted_world(Told(), documents=documents)
        await three_days(world)
        documents.pages = []

        async def somebody_else() -> None:
            while True:
                turns.append(len(documents.pages))
                await world.clock.sleep_until_ms(world.clock.now_ms())

        other = asyncio.get_running_loop().create_task(somebody_else())
        runner = Runner(service=build(world, Settings(env=ENV, keys=(FUT,))), world=world, env=ENV)
        await runner.start()
        other.cancel()
        await runner.stop()
        assert max(documents.pages) <= PAGE
        assert sum(documents.pages) >= 3 * 1_440
        full = [number for number, rows in enumerate(documents.pages, start=1) if rows == PAGE]
        assert len(full) >= 7
        assert set(turns) >= set(full), "after each full page somebody else has his turn"

    run_virtual(run())


def test_why_factors_are_stale_travels_with_the_event_the_snapshot_and_the_signal() -> None:
    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            await floor.minutes(1)
            event = floor.events()[-1]
            assert event.flags is not None
            assert tuple(event.flags) == event.stale
            assert event.flags["rv_pctile_30d"] is DataQuality.WARMING
            last = await floor.world.snapshots.get_hash(FEAT_LAST.name(ENV, FUT))
            assert '"rv_pctile_30d": "WARMING"' in last["flags"]
            (signal,) = await floor.world.documents.find(Query(collection=SIGNALS, index="by_t0"))
            assert signal.flags == event.flags

    run_virtual(run())
    fresh = FeatureEvent(ts=1, market=FUT.market, symbol="BTCUSDT", features={"mid": 1.0})
    assert "flags" not in fresh.to_json(), "what is fresh carries nothing"


# --- a bundle's own factors


def test_a_bundles_own_factors_are_computed_from_the_switch_on_and_no_bar_is_lost() -> None:
    async def run() -> tuple[list[FeatureEvent], list[FeatureEvent]]:
        async with standing(prepare=three_days) as floor:
            await floor.minutes(2)
            await activate(floor.world, 2, P_RET)
            await floor.minutes(3)
            switched = floor.events()
            known = await floor.world.documents.get(FACTOR_REGISTRY, "p_ret")
            assert known is not None
            assert (known.definition, known.status) == (P_RET[1], EntryStatus.ENABLED)

        async def from_the_start(world: World) -> None:
            await three_days(world)
            await activate(world, 2, P_RET)

        async with standing(prepare=from_the_start) as floor:
            await floor.minutes(5)
            return switched, floor.events()

    switched, whole = run_virtual(run())

    assert "p_ret" not in {*switched[0].features, *switched[0].stale}
    for minute in (3, 4, 5):
        after = at(switched, NOON + minute * MINUTE)
        assert after.features == at(whole, NOON + minute * MINUTE).features
        assert "p_ret" in after.features
        assert after.config_rev == 2


def test_until_its_book_stands_a_new_factor_is_stale_and_then_it_knows_the_last_prices() -> None:
    documents = WatchedDocuments.in_loop()

    async def run() -> None:
        async with standing(prepare=three_days, documents=documents) as floor:
            await pass_ms(floor.world, 57_000)
            documents.wait_ms, documents.clock = 100, floor.world.clock
            await activate(floor.world, 2, P_RET)
            await pass_ms(floor.world, 500)
            await floor.tick(64_999.0)
            await pass_ms(floor.world, 1)
            during = floor.events()[-1]
            assert during.flags is not None
            assert during.flags["p_ret"] is DataQuality.WARMING
            assert {"mid", "rv_1d"} <= set(during.features), "the old book goes on"
            await floor.world.clock.sleep_until_ms(NOON + MINUTE)
            await floor.close_bar(moving_minute(NOON))
            await pass_ms(floor.world, 1)
            after = floor.events()[-1]
            assert after.t0 == NOON + MINUTE
            assert "p_ret" in after.features
            assert after.features["mid"] == during.features["mid"]
            assert after.features["depth_top1_usdt"] == during.features["depth_top1_usdt"]

    run_virtual(run())


def test_a_bar_that_closes_while_a_new_book_is_made_is_in_both() -> None:
    documents = WatchedDocuments.in_loop()

    async def run() -> list[FeatureEvent]:
        async with standing(prepare=three_days, documents=documents) as floor:
            await floor.world.clock.sleep_until_ms(NOON + MINUTE - 500)
            documents.wait_ms, documents.clock = 100, floor.world.clock
            await activate(floor.world, 2, P_RET)
            await floor.world.clock.sleep_until_ms(NOON + MINUTE)
            await floor.close_bar(moving_minute(NOON))
            await pass_ms(floor.world, 10_000)
            await floor.minutes(1)
            return floor.events()

    events = run_virtual(run())

    told = at(events, NOON + MINUTE)
    assert told.flags is not None
    assert told.flags["p_ret"] is DataQuality.WARMING
    assert "ret_1h" in told.features
    later = at(events, NOON + 2 * MINUTE)
    assert {"ret_1h", "rv_1d", "p_ret"} <= set(later.features), "a bar that was lost would be a gap"


def test_ticks_of_before_are_remembered_by_the_signals_that_told_them() -> None:
    documents = SqliteDocuments.in_loop()

    async def run() -> None:
        async with standing(prepare=three_days, documents=documents) as floor:
            await floor.minutes(62)
            await activate(floor.world, 2, P_SPREAD)
            await floor.minutes(1)
            assert "p_spread" in floor.events()[-1].features
        async with standing(documents=documents, start_ms=NOON + 63 * MINUTE) as floor:
            await floor.minutes(1)
            assert "p_spread" in floor.events()[-1].features

    run_virtual(run())


def test_a_definition_that_cannot_be_computed_is_told_and_the_old_factors_stay() -> None:
    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            await activate(floor.world, 2, P_RET)
            await floor.minutes(1)
            await activate(floor.world, 3, ("p_bad", "pctile(no_such_factor,1d)"))
            await floor.minutes(1)
            (alert,) = floor.told.of(AlertEvent)
            assert alert.code == "FACTOR_MISSING"
            assert "no_such_factor" in alert.message
            assert "p_ret" in floor.events()[-1].features
            assert "p_bad" not in {*floor.events()[-1].features, *floor.events()[-1].stale}

    run_virtual(run())


def test_what_a_canary_reads_is_computed_beside_and_a_name_means_what_the_stable_bundle_says() -> None:
    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            await floor.minutes(1)
            canary = await stage(floor.world, 3, ("p_vol", "pctile(rv_1d,12h)"), ("p_ret", "pctile(ret_1h,6h)"))
            await activate(floor.world, 2, P_RET, canary=canary)
            await floor.minutes(2)
            known = await floor.world.documents.get(FACTOR_REGISTRY, "p_ret")
            assert known is not None
            assert known.definition == P_RET[1]
            assert {"p_ret", "p_vol"} <= set(floor.events()[-1].features)
            (alert,) = floor.told.of(AlertEvent)
            assert "p_ret" in alert.message
            await activate(floor.world, 2, P_RET, seq=4)
            await floor.minutes(2)
            assert "p_vol" not in {*floor.events()[-1].features, *floor.events()[-1].stale}

    run_virtual(run())


def test_what_a_person_disabled_in_the_registry_stays_so_when_a_bundle_brings_it_again() -> None:
    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            await activate(floor.world, 2, P_RET)
            await floor.minutes(1)
            known = await floor.world.documents.get(FACTOR_REGISTRY, "p_ret")
            assert known is not None
            await floor.world.documents.put(FACTOR_REGISTRY, known.but(status=EntryStatus.DISABLED))
            await activate(floor.world, 3)
            await floor.minutes(1)
            assert "p_ret" not in {*floor.events()[-1].features, *floor.events()[-1].stale}
            await activate(floor.world, 4, P_RET)
            await floor.minutes(1)
            known = await floor.world.documents.get(FACTOR_REGISTRY, "p_ret")
            assert known is not None
            assert known.status is EntryStatus.DISABLED
            assert await floor.world.documents.count(FACTOR_REGISTRY) == len(FACTOR_IDS) + 1

    run_virtual(run())


# --- lost, late, twice, down


def test_documents_that_are_down_in_the_middle_of_a_start_are_waited_for() -> None:
    documents = WatchedDocuments.in_loop()

    async def run() -> None:
        told = Told()
        world, _ = scripted_world(told, documents=documents)
        await three_days(world)
        documents.wait_ms, documents.clock = 100, world.clock
        runner = Runner(service=build(world, Settings(env=ENV, keys=(FUT,))), world=world, env=ENV)
        starting = asyncio.get_running_loop().create_task(runner.start())
        await pass_ms(world, 450)
        documents.down = True
        await pass_ms(world, 20_000)
        assert not starting.done()
        documents.down, documents.wait_ms = False, 0
        # S1 went on meanwhile: what it filed is found, though nobody was there to be told.
        await world.clock.sleep_until_ms(NOON + 2 * MINUTE)
        await starting
        await file_bars(world, [moving_minute(NOON), moving_minute(NOON + MINUTE)], world.clock.now_ms())
        bar = moving_minute(NOON + 2 * MINUTE)
        await world.clock.sleep_until_ms(bar.close_time)
        await file_bars(world, [bar], world.clock.now_ms())
        await world.bus.publish(MKT_KLINE.name(ENV, FUT), event_of(bar, world.clock.now_ms()))
        await pass_ms(world, 1)
        await runner.stop()
        (event,) = told.of(FeatureEvent)
        assert {"rv_1d", "atr_14", "ret_24h"} <= set(event.features)

    run_virtual(run())


def test_a_tick_that_the_bus_does_not_take_on_is_told_with_the_next() -> None:
    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            assert isinstance(floor.world.bus, RefusingBus)
            floor.world.bus.refuse = FeatureEvent
            await floor.tick()
            await pass_ms(floor.world, 3_000)
            (event,) = floor.events()
            assert event.features["mid"] == 65_000.05

    run_virtual(run())


def test_bars_out_of_order_and_twice_leave_the_same_features_as_in_order() -> None:
    async def told(order: Sequence[int]) -> FeatureEvent:
        async with standing(prepare=three_days) as floor:
            bars = [moving_minute(NOON + number * MINUTE) for number in range(6)]
            await file_bars(floor.world, bars, NOON)
            await floor.world.clock.sleep_until_ms(NOON + 6 * MINUTE)
            await floor.tick()
            for number in order:
                await floor.close_bar(bars[number], file=False)
            await pass_ms(floor.world, 1)
            return floor.events()[-1]

    async def run() -> None:
        expected = await told((0, 1, 2, 3, 4, 5))
        assert {"rv_1d", "ret_1h"} <= set(expected.features)
        assert await told((1, 0, 3, 2, 2, 5, 4, 5)) == expected
        assert await told((5,)) == expected

    run_virtual(run())


def test_the_same_bar_twice_makes_one_signal() -> None:
    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            await floor.minutes(1)
            for _ in range(3):
                await floor.close_bar(moving_minute(NOON))
            await pass_ms(floor.world, 5_000)
            assert await floor.world.documents.count(SIGNALS) == 1

    run_virtual(run())


def test_a_clock_a_little_behind_the_exchanges_takes_each_bar_at_its_own_close() -> None:
    """The exchange closes the minute 120 ms before ours; nothing of it may be known before, and all of it then."""

    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            await floor.world.clock.sleep_until_ms(NOON + MINUTE - 120)
            await floor.close_bar(moving_minute(NOON))
            await pass_ms(floor.world, 119)
            assert floor.events() == []
            await pass_ms(floor.world, 2)
            (event,) = floor.events()
            assert event.t0 == NOON + MINUTE
            assert "rv_1d" in event.features
            (signal,) = await floor.world.documents.find(Query(collection=SIGNALS, index="by_t0"))
            assert signal.signal_id == event.signal_id

    run_virtual(run())


def test_a_price_of_the_future_is_not_used_before_its_time() -> None:
    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            await floor.tick(65_000.0)
            await pass_ms(floor.world, 1_500)
            ahead = DepthEvent(
                ts=floor.world.clock.now_ms() + 200,
                market=FUT.market,
                symbol=FUT.symbol,
                best_bid=(Decimal(65_100), Decimal(1)),
                best_ask=(Decimal("65100.1"), Decimal(1)),
            )
            await floor.world.bus.publish(MKT_DEPTH.name(ENV, FUT), ahead)
            await pass_ms(floor.world, 1)
            assert floor.events()[-1].features["mid"] == 65_000.05
            await pass_ms(floor.world, 2_000)
            await floor.tick(65_200.0)
            await pass_ms(floor.world, 1)
            assert floor.events()[-1].features["mid"] == 65_200.05

    run_virtual(run())


def test_a_hole_that_is_filled_on_file_is_found_and_the_book_made_anew() -> None:
    lost = NOON + 3 * MINUTE

    async def run() -> None:
        async with standing(prepare=three_days) as floor:
            for opened in range(NOON, NOON + 6 * MINUTE, MINUTE):
                await floor.world.clock.sleep_until_ms(opened + MINUTE)
                if opened != lost:
                    await floor.close_bar(moving_minute(opened))
            await pass_ms(floor.world, 1)
            assert "rv_1d" in floor.events()[-1].stale
            await file_bars(floor.world, [moving_minute(lost)], floor.world.clock.now_ms())
            await floor.minutes(10)
            assert "rv_1d" in floor.events()[-1].features

    run_virtual(run())


# --- the days of the lead


MIDNIGHT = NOON + 12 * HOUR
ALL_DAYS = {"btc_ret_d1", "rho_usdttwd_14", "xmkt_signal"}


async def a_day_before_midnight(world: World) -> None:
    await file_bars(world, month(MIDNIGHT - 2 * MINUTE))
    await file_twd(world, MIDNIGHT - 20 * DAY, MIDNIGHT - HOUR)


def test_a_book_made_between_filing_and_telling_the_bar_that_ends_a_day_keeps_the_day() -> None:
    async def run() -> None:
        async with standing(start_ms=MIDNIGHT - 2 * MINUTE, prepare=a_day_before_midnight) as floor:
            await floor.minutes(1)
            await floor.world.clock.sleep_until_ms(MIDNIGHT)
            last = moving_minute(MIDNIGHT - MINUTE)
            await floor.close_bar(last, tell=False)
            await activate(floor.world, 2, P_RET)
            await pass_ms(floor.world, 100)
            await floor.close_bar(last, file=False)
            await floor.minutes(2)
            event = floor.events()[-1]
            assert "p_ret" in event.features, "the book was made anew"
            assert set(event.features) >= ALL_DAYS

    run_virtual(run())


def test_the_bar_that_ends_a_day_may_come_on_file_later_and_the_day_is_found() -> None:
    async def run() -> None:
        async with standing(start_ms=MIDNIGHT - 2 * MINUTE, prepare=a_day_before_midnight) as floor:
            await floor.minutes(1)
            await floor.world.clock.sleep_until_ms(MIDNIGHT)
            await floor.minutes(2)
            assert "rho_usdttwd_14" in floor.events()[-1].stale
            await file_bars(floor.world, [moving_minute(MIDNIGHT - MINUTE)], floor.world.clock.now_ms())
            await floor.minutes(11)
            assert set(floor.events()[-1].features) >= ALL_DAYS

    run_virtual(run())


def test_a_day_whose_last_hour_is_on_file_by_its_minutes_alone_has_its_close() -> None:
    async def run() -> None:
        async def prepare(world: World) -> None:
            lost = MIDNIGHT - 5 * DAY - HOUR
            await file_bars(world, [bar for bar in month(NOON) if (bar.interval, bar.open_time) != ("1h", lost)])
            await file_twd(world, NOON - 20 * DAY, NOON)

        async with standing(prepare=prepare) as floor:
            await floor.minutes(1)
            assert set(floor.events()[-1].features) >= ALL_DAYS

    run_virtual(run())

"""When S2 tells the features of an instrument, what is on file behind them, and what it makes of lost messages."""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.base import Message
from chimera.contracts.collections import FACTOR_BARS, FACTOR_REGISTRY, KLINES, SIGNALS
from chimera.contracts.documents import FactorBar, Signal
from chimera.contracts.documents.trading import Decision
from chimera.contracts.enums import Action, EntryStatus, FundingKind
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FEAT_LAST, FUNDING_NEXT
from chimera.contracts.messages import AlertEvent, DepthEvent, FeatureEvent, FundingEvent, KlineEvent, TickerEvent
from chimera.contracts.streams import MKT_DEPTH, MKT_FUNDING, MKT_KLINE, MKT_TICKER
from chimera.domain.features.registry import FACTOR_IDS
from chimera.domain.market.quotes import Bar
from chimera.ports.documents import Put, Query
from chimera.ports.world import World
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange.handlers.klines import event_of, kline_of
from chimera.services.s01_exchange.service import build as build_exchange
from chimera.services.s01_exchange.settings import Settings as ExchangeSettings
from chimera.services.s02_features.service import build
from chimera.services.s02_features.settings import USDTTWD_KEY, Settings
from chimera.simulation.loop import run_virtual
from tests.services.venue_script import (
    DAY,
    FUT,
    HOUR,
    MINUTE,
    NOON,
    RefusingBus,
    Told,
    mark,
    minute,
    pass_ms,
    scripted_world,
    top,
)

Scene = Callable[[World, Told], Awaitable[None]]
MIDNIGHT = NOON + 12 * HOUR


def play(
    scene: Scene,
    *,
    documents: SqliteDocuments | None = None,
    start_ms: int = NOON,
    keys: tuple[InstrumentKey, ...] = (FUT,),
    prepare: Callable[[World], Awaitable[None]] | None = None,
) -> list[FeatureEvent]:
    """Run S2 alone in virtual time while `scene` plays; the features it told."""
    told = Told()

    async def run() -> None:
        world, _ = scripted_world(told, start_ms=start_ms, documents=documents)
        if prepare is not None:
            await prepare(world)
        runner = Runner(service=build(world, Settings(env="dev", keys=keys)), world=world, env="dev")
        await runner.start()
        await scene(world, told)
        await runner.stop()

    run_virtual(run())
    return told.of(FeatureEvent)


async def tick(world: World, bid: str = "65000.0", ask: str = "65000.1", *, depth: bool = True) -> None:
    """What S1 sends for one tick, and a moment for it to arrive."""
    ts = world.clock.now_ms()
    last, best_bid, best_ask = Decimal(bid), (Decimal(bid), Decimal(2)), (Decimal(ask), Decimal(3))
    await world.bus.publish(
        MKT_TICKER.name("dev", FUT),
        TickerEvent(ts=ts, market=FUT.market, symbol=FUT.symbol, last=last, bid=best_bid[0], ask=best_ask[0]),
    )
    if depth:
        await world.bus.publish(
            MKT_DEPTH.name("dev", FUT),
            DepthEvent(ts=ts, market=FUT.market, symbol=FUT.symbol, best_bid=best_bid, best_ask=best_ask),
        )


async def close_bar(world: World, bar: Bar, key: InstrumentKey = FUT) -> None:
    await world.bus.publish(MKT_KLINE.name("dev", key), event_of(bar, world.clock.now_ms()))


async def file_bars(world: World, bars: list[Bar]) -> None:
    await world.documents.put_many([Put(KLINES, kline_of(bar, NOON)) for bar in bars])


def wavy_minutes(since_ms: int, until_ms: int) -> list[Bar]:
    return [minute(at, 65_000.0 + at // MINUTE * 37 % 113) for at in range(since_ms, until_ms, MINUTE)]


def wavy_hours(since_ms: int, until_ms: int) -> list[Bar]:
    return [minute(at, 65_000.0 + at // HOUR * 37 % 113, interval="1h") for at in range(since_ms, until_ms, HOUR)]


def test_ticker_and_depth_of_one_tick_make_one_event() -> None:
    async def scene(world: World, told: Told) -> None:
        for _ in range(3):
            await tick(world)
            await pass_ms(world, 15_000)

    events = play(scene)

    assert [event.t0 - NOON for event in events if event.t0 is not None] == [0, 15_000, 30_000]
    assert events[0].features["mid"] == 65_000.05
    assert events[0].features["depth_top1_usdt"] == 130_000.0
    assert events[0].signal_id == f"SIG-{NOON}-FUT-BTCUSDT"
    assert "atr_14" in events[0].stale


def test_quick_ticks_are_told_a_second_apart_and_the_last_is_not_forgotten() -> None:
    async def scene(world: World, told: Told) -> None:
        for step in range(15):
            await tick(world, str(65_000 + step), "65100")
            await pass_ms(world, 100)
        await pass_ms(world, 10_000)

    events = play(scene)

    assert [event.ts - NOON for event in events] == [0, 1_000, 2_000]
    assert events[-1].features["mid"] == (65_014 + 65_100) / 2


def test_a_ticker_alone_is_told_when_depth_has_stopped() -> None:
    async def scene(world: World, told: Told) -> None:
        await tick(world)
        for _ in range(4):
            await pass_ms(world, 3_000)
            await tick(world, depth=False)
        await pass_ms(world, 1)

    assert [event.ts - NOON for event in play(scene)] == [0, 9_000, 12_000]


def test_a_bar_that_closes_with_a_tick_makes_one_event_with_a_signal_on_file() -> None:
    async def prepare(world: World) -> None:
        await file_bars(world, wavy_minutes(NOON - DAY, NOON))

    async def scene(world: World, told: Told) -> None:
        await pass_ms(world, MINUTE)
        await tick(world)
        await close_bar(world, minute(NOON))
        await pass_ms(world, 5_000)
        signal = await world.documents.get(SIGNALS, f"SIG-{NOON + MINUTE}-FUT-BTCUSDT")
        assert signal is not None
        assert (signal.decision.action, signal.decision.reason) == (Action.SKIP, "PENDING")
        assert signal.features == told.of(FeatureEvent)[-1].features
        assert await world.documents.count(SIGNALS) == 1

    events = play(scene, prepare=prepare)

    assert [event.ts - NOON for event in events] == [MINUTE]
    assert "mid" in events[0].features


def test_a_tick_whose_bar_does_not_come_waits_no_longer_than_a_second() -> None:
    async def prepare(world: World) -> None:
        await file_bars(world, wavy_minutes(NOON - HOUR, NOON))

    async def scene(world: World, told: Told) -> None:
        await pass_ms(world, MINUTE + 50)
        await tick(world)
        await pass_ms(world, 5_000)
        await tick(world)
        await pass_ms(world, 1)

    assert [event.ts - NOON for event in play(scene, prepare=prepare)] == [MINUTE + 1_000, MINUTE + 5_050]


def test_a_decision_that_stands_is_not_overwritten() -> None:
    t0 = NOON + MINUTE

    async def prepare(world: World) -> None:
        await file_bars(world, wavy_minutes(NOON - HOUR, NOON))
        await world.documents.put(
            SIGNALS,
            Signal(
                signal_id=f"SIG-{t0}-FUT-BTCUSDT",
                t0=t0,
                market=FUT.market,
                symbol=FUT.symbol,
                features={},
                decision=Decision(action=Action.OPEN, reason="OK"),
                config_rev=1,
            ),
        )

    async def scene(world: World, told: Told) -> None:
        await pass_ms(world, MINUTE)
        await close_bar(world, minute(NOON))
        await pass_ms(world, 1)
        signal = await world.documents.get(SIGNALS, f"SIG-{t0}-FUT-BTCUSDT")
        assert signal is not None
        assert signal.decision.action is Action.OPEN

    assert len(play(scene, prepare=prepare)) == 1


def test_a_close_that_the_bus_refused_is_told_when_it_is_back() -> None:
    async def prepare(world: World) -> None:
        await file_bars(world, wavy_minutes(NOON - HOUR, NOON))

    async def scene(world: World, told: Told) -> None:
        await pass_ms(world, MINUTE)
        assert isinstance(world.bus, RefusingBus)
        world.bus.refuse = FeatureEvent
        await close_bar(world, minute(NOON))
        await pass_ms(world, 5_000)

    events = play(scene, prepare=prepare)

    assert len(events) == 1
    assert NOON + MINUTE < events[0].ts < NOON + MINUTE + 1_000


def test_features_are_warm_after_a_start_from_file_and_the_last_are_in_the_snapshot() -> None:
    async def prepare(world: World) -> None:
        await file_bars(world, wavy_minutes(NOON - 2 * DAY, NOON) + wavy_hours(NOON - 3 * DAY, NOON))
        fields = {"rate": "0.0001", "funding_time": str(NOON + 4 * HOUR), "interval_h": "4", "ts": str(NOON)}
        await world.snapshots.set_hash(FUNDING_NEXT.name("dev", FUT), fields)

    async def scene(world: World, told: Told) -> None:
        await tick(world)
        await pass_ms(world, 1)
        last = await world.snapshots.get_hash(FEAT_LAST.name("dev", FUT))
        assert json.loads(last["features"]) == told.of(FeatureEvent)[0].features
        assert json.loads(last["stale"]) == list(told.of(FeatureEvent)[0].stale)
        assert last["t0"] == str(NOON)

    event = play(scene, prepare=prepare)[0]

    assert {"atr_14", "rv_1d", "mid", "btc_ret_d1"} <= set(event.features)
    assert event.features["funding_next"] == 0.0002
    assert set(event.features) | set(event.stale) == set(FACTOR_IDS)


def test_bars_lost_on_the_bus_are_read_from_file() -> None:
    """The same features come out, whether every bar was told or only the last."""
    first, rest = wavy_minutes(NOON - DAY, NOON), wavy_minutes(NOON, NOON + 90 * MINUTE)

    def run(told_bars: list[Bar]) -> FeatureEvent:
        async def prepare(world: World) -> None:
            await file_bars(world, first + wavy_hours(NOON - 2 * DAY, NOON))

        async def scene(world: World, told: Told) -> None:
            await file_bars(world, rest)
            await pass_ms(world, 90 * MINUTE)
            await tick(world)
            for bar in told_bars:
                await close_bar(world, bar)
            await pass_ms(world, 1)

        return play(scene, prepare=prepare)[-1]

    assert run(rest) == run(rest[-1:])
    assert "rv_1d" in run(rest).features


def test_old_bars_fill_the_book_and_tell_nothing() -> None:
    async def prepare(world: World) -> None:
        await file_bars(world, wavy_minutes(NOON - HOUR, NOON))

    async def scene(world: World, told: Told) -> None:
        await pass_ms(world, 10 * MINUTE)
        for bar in wavy_minutes(NOON, NOON + 10 * MINUTE):
            await close_bar(world, bar)
        await pass_ms(world, 1)
        assert await world.documents.count(SIGNALS) == 1

    assert [event.ts - NOON for event in play(scene, prepare=prepare)] == [10 * MINUTE]


def factor_bars(until_ms: int) -> list[FactorBar]:
    """USDT/TWD rises 1 % a day, in the first hour."""
    bars = []
    for open_time in range(until_ms - 4 * DAY, until_ms, HOUR):
        close = Decimal(str(30 + (open_time // DAY - 20_000) * 0.3))
        bars.append(
            FactorBar(
                source="MAX",
                symbol="USDTTWD",
                interval="1h",
                open_time=open_time,
                open=close,
                high=close,
                low=close,
                close=close,
                volume=Decimal(5),
                ts=open_time + HOUR,
            )
        )
    return bars


def test_a_new_cross_market_signal_at_midnight_is_on_file() -> None:
    """USDT/TWD rises every day; BTC falls on the day that becomes D1 at midnight."""
    closes = {19_997: 65_000.0, 19_998: 65_200.0, 19_999: 64_000.0, 20_000: 64_100.0}

    async def prepare(world: World) -> None:
        hours = [
            minute(at, closes[at // DAY], interval="1h") for at in range(NOON - 3 * DAY - 12 * HOUR, MIDNIGHT, HOUR)
        ]
        await file_bars(world, hours)
        await world.documents.put_many([Put(FACTOR_BARS, bar) for bar in factor_bars(MIDNIGHT - HOUR)])

    async def scene(world: World, told: Told) -> None:
        await tick(world)
        await pass_ms(world, 30 * MINUTE)
        last = factor_bars(MIDNIGHT)[-1]
        await world.bus.publish(
            MKT_KLINE.name("dev", USDTTWD_KEY),
            KlineEvent(
                ts=world.clock.now_ms(),
                market=USDTTWD_KEY.market,
                symbol="USDTTWD",
                interval="1h",
                open_time=last.open_time,
                open=last.open,
                high=last.high,
                low=last.low,
                close=last.close,
                volume=last.volume,
                closed=True,
            ),
        )
        btc = minute(MIDNIGHT - MINUTE, 64_100.0)
        await close_bar(world, btc)
        await pass_ms(world, 10_000)
        await tick(world)
        await pass_ms(world, 1)
        signal = await world.documents.get(SIGNALS, f"SIG-{MIDNIGHT}-FUT-BTCUSDT")
        assert signal is not None
        assert signal.features["xmkt_signal"] == 1.0

    events = play(scene, start_ms=MIDNIGHT - 30 * MINUTE, prepare=prepare)

    assert [event.features.get("xmkt_signal") for event in events] == [0.0, 1.0, 1.0]


def test_a_cross_market_signal_that_changes_between_bars_is_on_file_too() -> None:
    closes = {19_997: 65_000.0, 19_998: 65_200.0, 19_999: 64_000.0, 20_000: 64_100.0}

    async def prepare(world: World) -> None:
        hours = [
            minute(at, closes[at // DAY], interval="1h") for at in range(NOON - 3 * DAY - 12 * HOUR, MIDNIGHT, HOUR)
        ]
        await file_bars(world, hours)
        await world.documents.put_many([Put(FACTOR_BARS, bar) for bar in factor_bars(MIDNIGHT)])

    async def scene(world: World, told: Told) -> None:
        await tick(world)
        await pass_ms(world, 2 * MINUTE)
        await tick(world)
        await pass_ms(world, 5_000)
        signals = await world.documents.find(Query(collection=SIGNALS, index="by_t0"))
        assert [signal.t0 - MIDNIGHT for signal in signals] == [MINUTE]

    events = play(scene, start_ms=MIDNIGHT - MINUTE, prepare=prepare)

    assert [event.features.get("xmkt_signal") for event in events] == [0.0, 1.0]


def test_behind_s1_an_hour_of_quarter_minute_ticks_makes_one_event_a_tick_and_one_signal_a_minute() -> None:
    told = Told()

    async def run() -> None:
        world, venue = scripted_world(told, tick_interval_ms=15_000)
        venue.close_bars(FUT, "1m", NOON - 2 * DAY, NOON)
        venue.close_bars(FUT, "1h", NOON - 2 * DAY, NOON)
        exchange = build_exchange(world, ExchangeSettings(env="dev", keys=(FUT,)))
        features = build(world, Settings(env="dev", keys=(FUT,)))
        runners = [Runner(service=service, world=world, env="dev") for service in (exchange, features)]
        for runner in runners:
            await runner.start()
        await pass_ms(world, 1)
        for step in range(1, 241):
            ts = NOON + step * 15_000
            await world.clock.sleep_until_ms(ts)
            closed = (minute(ts - MINUTE),) if step % 4 == 0 else ()
            venue.market.put(top(ts, str(65_000 + step), "65300"), mark(ts), *closed)
        await pass_ms(world, 5_000)
        assert await world.documents.count(SIGNALS) == 60
        for runner in runners:
            await runner.stop()

    run_virtual(run())
    events = told.of(FeatureEvent)

    assert [event.t0 - NOON for event in events] == [step * 15_000 for step in range(1, 241)]
    assert all(event.features["mid"] == (65_300 + 65_000 + step) / 2 for step, event in enumerate(events, start=1))
    assert {"atr_14", "rv_1d", "funding_next"} <= set(events[-1].features)
    assert told.of(AlertEvent) == []


def test_settled_funding_changes_no_feature() -> None:
    async def scene(world: World, told: Told) -> None:
        for kind, rate in ((FundingKind.NEXT, "0.0003"), (FundingKind.SETTLED, "0.0001")):
            event: Message = FundingEvent(
                ts=world.clock.now_ms(),
                symbol=FUT.symbol,
                rate=Decimal(rate),
                funding_time=NOON + 4 * HOUR,
                kind=kind,
                interval_h=8,
            )
            await world.bus.publish(MKT_FUNDING.name("dev", FUT), event)
        await pass_ms(world, 1)
        await tick(world)
        await pass_ms(world, 1)

    assert play(scene)[0].features["funding_next"] == 0.0003


def test_factors_are_registered_and_one_that_a_person_disabled_stays_so() -> None:
    documents = SqliteDocuments.in_loop()

    async def disable(world: World, told: Told) -> None:
        known = await world.documents.get(FACTOR_REGISTRY, "rv_1d")
        assert known is not None
        await world.documents.put(FACTOR_REGISTRY, known.but(status=EntryStatus.DISABLED))

    async def look(world: World, told: Told) -> None:
        known = await world.documents.get(FACTOR_REGISTRY, "rv_1d")
        assert known is not None
        assert known.status is EntryStatus.DISABLED
        assert await world.documents.count(FACTOR_REGISTRY) == len(FACTOR_IDS)

    play(disable, documents=documents)
    play(look, documents=documents)

"""What S1 tells of the market and the account, and when."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import (
    BALANCES_SNAPSHOTS,
    FACTOR_BARS,
    FUNDING_RECORDS,
    INSTRUMENT_REGISTRY,
    KLINES,
)
from chimera.contracts.enums import FundingKind, Market
from chimera.contracts.keys import CLOCK_OFFSET, FUNDING_NEXT, MKT_SNAP, WALLET_FUT
from chimera.contracts.messages import (
    AccountEvent,
    AlertEvent,
    DepthEvent,
    FundingEvent,
    KlineEvent,
    TickerEvent,
)
from chimera.domain.execution.orders import (
    Balance,
    BalancesChanged,
    FundingSettled,
    Income,
    IncomeKind,
    StreamReset,
)
from chimera.ports.documents import DocumentsUnavailable, Put, Query
from chimera.ports.venue import KeyRefused, RateLimited, VenueUnavailable
from chimera.ports.world import World
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange.handlers.klines import Klines, kline_of
from chimera.services.s01_exchange.service import build
from chimera.services.s01_exchange.settings import Settings
from chimera.simulation.loop import run_virtual
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.services.venue_script import (
    DAY,
    FUT,
    HOUR,
    MINUTE,
    NOON,
    SPOT,
    RefusingBus,
    ScriptedFeed,
    ScriptedVenue,
    Told,
    mark,
    minute,
    pass_ms,
    scripted_world,
    top,
)

Scene = Callable[[World, ScriptedVenue, Told], Awaitable[None]]


def play(
    scene: Scene,
    *,
    documents: SqliteDocuments | None = None,
    start_ms: int = NOON,
    feed: bool = False,
    tick_interval_ms: int = 0,
    speed: float = 1.0,
    prepare: Callable[[World, ScriptedVenue], None] | None = None,
) -> Told:
    """Run S1 alone in virtual time while `scene` plays; what it told."""
    told = Told()

    async def run() -> None:
        world, venue = scripted_world(
            told, start_ms=start_ms, documents=documents, feed=feed, tick_interval_ms=tick_interval_ms, speed=speed
        )
        if prepare is not None:
            prepare(world, venue)
        settings = Settings(env="dev", keys=(FUT, SPOT), minute_days=1, hour_days=2, day_days=3, factor_days=1)
        runner = Runner(service=build(world, settings), world=world, env="dev")
        await runner.start()
        await pass_ms(world, 1)
        await scene(world, venue, told)
        await runner.stop()

    run_virtual(run())
    return told


def test_a_tick_after_a_pause_is_told_at_once_as_ticker_depth_and_snapshot() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        venue.market.put(mark(NOON), top(NOON, "65000.0", "65000.1"))
        await pass_ms(world, 1)
        snap = await world.snapshots.get_hash(MKT_SNAP.name("dev", FUT))
        assert snap["mid"] == "65000.05"
        assert snap["mark"] == "65001"
        assert float(snap["spread_bps"]) == pytest.approx(0.0153846, rel=1e-4)
        assert float(snap["depth_top1_usdt"]) == pytest.approx(130_000)
        assert snap["top3"].startswith('{"bids":[[65000.0,2],[64999.9,2],[64999.8,2]],"asks":[[65000.1,2]')

    told = play(scene)

    assert [event.bid for event in told.of(TickerEvent)] == [Decimal("65000.0")]
    assert told.of(DepthEvent)[0].best_ask == (Decimal("65000.1"), Decimal(2))
    assert len(told.of(DepthEvent)[0].top3.bids) == 3


def test_ticks_within_the_throttle_leave_the_newest_of_them_to_its_end() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        for step in range(10):
            venue.market.put(top(NOON + step, str(65_000 + step), "65100"))
            await pass_ms(world, 20)
        await pass_ms(world, 500)

    told = play(scene)

    # Ticks each 20 ms; told at 0, at 100 (the newest by then is that of 80) and at 200.
    assert [int(event.bid) for event in told.of(TickerEvent)] == [65_000, 65_004, 65_009]


def test_ticks_slower_than_the_throttle_wait_for_nothing() -> None:
    seen: list[tuple[int, int]] = []

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        for _ in range(5):
            venue.market.put(top(world.clock.now_ms()))
            before = len(told.of(DepthEvent))
            await pass_ms(world, 1)
            seen.append((before, len(told.of(DepthEvent))))
            await pass_ms(world, 149)

    play(scene)

    assert seen == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_one_instrument_does_not_hold_up_another() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        venue.market.put(top(NOON), top(NOON, key=SPOT))
        await pass_ms(world, 1)

    assert [event.market for event in play(scene).of(TickerEvent)] == [Market.FUT, Market.SPOT]


def test_a_closed_bar_is_on_file_before_it_is_told_and_told_once() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, MINUTE)
        venue.market.put(minute(NOON, 65_010.5))
        venue.market.put(minute(NOON, 65_010.5))
        await pass_ms(world, 1)
        filed = await world.documents.get(KLINES, f"FUT-BTCUSDT-1m-{NOON}")
        assert filed is not None
        assert filed.close == Decimal("65010.5")

    told = play(scene, prepare=lambda world, venue: venue.close_bars(FUT, "1m", NOON - HOUR, NOON))

    assert [(event.open_time, event.closed) for event in told.of(KlineEvent)] == [(NOON, True)]


def test_bars_that_the_stream_skipped_are_fetched_and_told_before_the_newer_one() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 4 * MINUTE)
        venue.close_bars(FUT, "1m", NOON, NOON + 3 * MINUTE)
        venue.market.put(minute(NOON + 3 * MINUTE))
        await pass_ms(world, 1)

    told = play(scene, prepare=lambda world, venue: venue.close_bars(FUT, "1m", NOON - HOUR, NOON))

    assert [event.open_time for event in told.of(KlineEvent)] == [NOON + i * MINUTE for i in range(4)]


def test_a_bar_that_the_bus_refused_is_told_when_it_is_back() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, MINUTE)
        venue.close_bars(FUT, "1m", NOON, NOON + MINUTE)
        assert isinstance(world.bus, RefusingBus)
        world.bus.refuse = KlineEvent
        venue.market.put(minute(NOON))
        await pass_ms(world, 5_000)

    told = play(scene, prepare=lambda world, venue: venue.close_bars(FUT, "1m", NOON - HOUR, NOON))

    assert [event.open_time for event in told.of(KlineEvent)] == [NOON]


def test_history_is_on_file_after_the_first_start_and_is_not_told() -> None:
    counts: dict[str, int] = {}

    def prepare(world: World, venue: ScriptedVenue) -> None:
        for interval in ("1m", "1h", "1d"):
            venue.close_bars(FUT, interval, NOON - 10 * DAY, NOON)

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        counts["klines"] = await world.documents.count(KLINES)

    told = play(scene, prepare=prepare)

    assert counts["klines"] == 1440 + 48 + 3
    assert told.of(KlineEvent) == []


def test_bars_missed_while_down_are_told_in_order_on_the_next_start() -> None:
    documents = SqliteDocuments.in_loop()

    async def live(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, MINUTE)
        venue.market.put(minute(NOON))
        await pass_ms(world, 1)

    async def rest(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 1)

    play(live, documents=documents, prepare=lambda world, venue: venue.close_bars(FUT, "1m", NOON - DAY, NOON))
    later = NOON + 10 * MINUTE
    told = play(
        rest,
        documents=documents,
        start_ms=later,
        prepare=lambda world, venue: venue.close_bars(FUT, "1m", NOON - DAY, later),
    )

    # The first of them was on file already; whether it had been told, nobody can know.
    assert [event.open_time for event in told.of(KlineEvent)] == [NOON + i * MINUTE for i in range(10)]


async def opens(world: World, interval: str = "1m") -> list[int]:
    found = await world.documents.find(
        Query(
            collection=KLINES,
            index="by_instr_time",
            equal=(("market", "FUT"), ("symbol", "BTCUSDT"), ("interval", interval)),
        )
    )
    return [kline.open_time for kline in found]


class KilledDocuments(SqliteDocuments):
    """Nothing is written any more once so many batches were."""

    batches_left: int | None = None

    async def put_many(self, puts: Sequence[Put[Any]]) -> None:
        if self.batches_left == 0:
            raise DocumentsUnavailable("the process is killed here")
        if self.batches_left is not None:
            self.batches_left -= 1
        await super().put_many(puts)


def keep(
    scene: Scene,
    prepare: Callable[[World, ScriptedVenue], Awaitable[None]],
    documents: SqliteDocuments | None = None,
    start_ms: int = NOON,
    history_pause_ms: int = 0,
    **days: int,
) -> tuple[Told, ScriptedVenue]:
    """S1 alone, of one instrument, with so much history to keep."""
    told = Told()
    venues: list[ScriptedVenue] = []

    async def run() -> None:
        world, venue = scripted_world(told, start_ms=start_ms, documents=documents)
        venues.append(venue)
        await prepare(world, venue)
        settings = Settings(env="dev", keys=(FUT,), hour_days=1, day_days=1, history_pause_ms=history_pause_ms, **days)
        runner = Runner(service=build(world, settings), world=world, env="dev")
        await runner.start()
        await scene(world, venue, told)
        await runner.stop()

    run_virtual(run())
    return told, venues[0]


def test_s1_is_ready_with_the_last_days_and_fetches_the_month_while_it_trades() -> None:
    async def prepare(world: World, venue: ScriptedVenue) -> None:
        venue.close_bars(FUT, "1m", NOON - 20 * DAY, NOON)

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        assert await opens(world) == list(range(NOON - 2 * DAY, NOON, MINUTE)), "what it needs at once"
        await pass_ms(world, 1)
        assert await opens(world) == list(range(NOON - 10 * DAY, NOON, MINUTE))

    told, venue = keep(scene, prepare, minute_days=10, ready_days=2)

    assert told.of(KlineEvent) == [], "history is filed and never told"
    asked = [ask for ask in venue.klines_asked if ask[0] == "1m"]
    assert all(end - start <= 3_000 * MINUTE for _, start, end in asked)
    assert [start for _, start, _ in asked] == sorted((start for _, start, _ in asked), reverse=True), "newest first"


def test_a_fill_that_is_killed_half_way_is_gone_on_with_and_leaves_no_hole() -> None:
    documents = KilledDocuments.in_loop()

    async def prepare(world: World, venue: ScriptedVenue) -> None:
        venue.close_bars(FUT, "1m", NOON - 20 * DAY, NOON)

    async def half(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 1)
        found = await opens(world)
        assert 2 * 1_440 < len(found) < 10 * 1_440
        assert found == list(range(found[0], NOON, MINUTE)), "of one piece"

    async def whole(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 1)
        assert await opens(world) == list(range(NOON - 10 * DAY, NOON, MINUTE))

    documents.batches_left = 20
    keep(half, prepare, documents, minute_days=10, ready_days=2)
    documents.batches_left = None
    keep(whole, prepare, documents, minute_days=10, ready_days=2)


def test_holes_in_the_history_are_found_by_counting_and_filled() -> None:
    lost = [NOON - 4 * DAY + 17 * MINUTE, NOON - DAY - HOUR, NOON - DAY - HOUR + MINUTE, NOON - MINUTE]

    async def prepare(world: World, venue: ScriptedVenue) -> None:
        venue.close_bars(FUT, "1m", NOON - 5 * DAY, NOON)
        kept = [bar for bar in venue.history if bar.open_time not in lost]
        await world.documents.put_many([Put(KLINES, kline_of(bar, NOON)) for bar in kept])

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 1)
        assert await opens(world) == list(range(NOON - 5 * DAY, NOON, MINUTE))

    _, venue = keep(scene, prepare, minute_days=5, ready_days=1)

    asked = sorted(start for interval, start, _ in venue.klines_asked if interval == "1m" and start < NOON - HOUR)
    assert asked == lost[:2], "the holes, and nothing that is there"


def test_the_past_is_asked_for_with_pauses_and_the_days_that_are_needed_at_once_without() -> None:
    async def prepare(world: World, venue: ScriptedVenue) -> None:
        venue.close_bars(FUT, "1m", NOON - 20 * DAY, NOON)

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        def asked() -> int:
            return sum(interval == "1m" for interval, _, _ in venue.klines_asked)

        assert (world.clock.now_ms(), asked()) == (NOON, 2)
        for count in (3, 4, 5):
            await pass_ms(world, 10)
            assert asked() == count
            await pass_ms(world, 1_990)
        await pass_ms(world, 10_000)
        assert await opens(world) == list(range(NOON - 10 * DAY, NOON, MINUTE))

    keep(scene, prepare, history_pause_ms=2_000, minute_days=10, ready_days=4)


def test_of_what_was_found_nothing_is_remembered_however_long_it_runs() -> None:
    async def run() -> None:
        world, venue = scripted_world(Told(), start_ms=NOON)
        klines = Klines(
            env="dev",
            keys=(FUT,),
            windows=(("1h", 2 * DAY),),
            ready_ms=DAY,
            pause_ms=0,
            venue=venue,
            documents=world.documents,
            bus=world.bus,
            clock=world.clock,
        )
        keeping = asyncio.get_running_loop().create_task(klines.keep_history())
        venue.close_bars(FUT, "1h", NOON - 2 * DAY, NOON - DAY)
        venue.close_bars(FUT, "1h", NOON - DAY + HOUR, NOON + 3 * DAY)
        await pass_ms(world, 30 * HOUR + MINUTE)
        keeping.cancel()
        assert await world.documents.count(KLINES) == 47 + 30
        assert klines.remembered == 1, "the one hour that the exchange does not have"

    run_virtual(run())


def test_what_the_exchange_does_not_have_is_asked_for_once() -> None:
    async def prepare(world: World, venue: ScriptedVenue) -> None:
        venue.close_bars(FUT, "1m", NOON - 3 * HOUR, NOON - 2 * HOUR)
        venue.close_bars(FUT, "1m", NOON - HOUR, NOON + 6 * HOUR)

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 1)
        before = len(venue.klines_asked)
        for hour in range(1, 6):
            for opened in range(NOON + (hour - 1) * HOUR, NOON + hour * HOUR, MINUTE):
                await world.clock.sleep_until_ms(opened + MINUTE)
                venue.market.put(next(bar for bar in venue.history if bar.open_time == opened))
        await pass_ms(world, 1)
        again = [ask for ask in venue.klines_asked[before:] if ask[0] == "1m" and ask[1] < NOON]
        assert again == []

    keep(scene, prepare, minute_days=2, ready_days=1)


def test_after_a_week_away_only_the_last_days_are_told_and_all_are_on_file() -> None:
    documents = SqliteDocuments.in_loop()
    later = NOON + 7 * DAY

    async def before(world: World, venue: ScriptedVenue) -> None:
        venue.close_bars(FUT, "1m", NOON - DAY, NOON)

    async def after(world: World, venue: ScriptedVenue) -> None:
        venue.close_bars(FUT, "1m", NOON - DAY, later)

    async def rest(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 1)

    async def look(world: World, venue: ScriptedVenue, told: Told) -> None:
        await pass_ms(world, 1)
        assert (await opens(world))[-7 * 1_440 :] == list(range(NOON, later, MINUTE))

    keep(rest, before, documents, minute_days=10, ready_days=1)
    told, _ = keep(look, after, documents, start_ms=later, minute_days=10, ready_days=1)

    assert [event.open_time for event in told.of(KlineEvent)] == list(range(later - DAY + MINUTE, later, MINUTE))


def test_the_next_funding_is_told_when_it_changes_and_a_moving_rate_once_a_minute() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        for second in range(0, 120, 10):
            venue.market.put(mark(NOON + second * 1_000, rate=0.0001 + second * 1e-7))
        venue.market.put(mark(NOON + 121_000, funding_time=NOON + 12 * HOUR))
        await pass_ms(world, 1)
        fields = await world.snapshots.get_hash(FUNDING_NEXT.name("dev", FUT))
        assert fields["funding_time"] == str(NOON + 12 * HOUR)
        assert fields["interval_h"] == "8"

    told = play(scene)

    assert [(event.ts - NOON, event.kind) for event in told.of(FundingEvent)] == [
        (0, FundingKind.NEXT),
        (60_000, FundingKind.NEXT),
        (121_000, FundingKind.NEXT),
    ]


def test_balances_are_told_when_they_change_and_stamped_when_they_do_not() -> None:
    changed = Balance(market=Market.FUT, asset="USDT", free=Decimal(980), locked=Decimal(20))

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        venue.held = [changed]
        venue.account.put(BalancesChanged(NOON + 5, "ORDER", (changed,)))
        await pass_ms(world, 25_000)
        wallet = await world.snapshots.get_hash(WALLET_FUT.name("dev"))
        assert wallet == {
            "free": "980",
            "cross": "980",
            "isolated": "20",
            "updated_at": str(NOON + 20_000),
        }
        await pass_ms(world, 60_000)
        # At the start, at the change, and the full record a minute after the start's.
        assert await world.documents.count(BALANCES_SNAPSHOTS) == 3

    told = play(scene)

    assert [event.free for event in told.of(AccountEvent)] == [Decimal(1_000), Decimal(980)]


def settled(ts: int, *, tran_id: int = 7, detail: str = "") -> Income:
    return Income(
        tran_id=tran_id,
        symbol="BTCUSDT",
        kind=IncomeKind.FUNDING_FEE,
        asset="USDT",
        amount=Decimal("-0.13"),
        ts=ts,
        detail=detail,
    )


def test_a_settlement_that_stream_and_ledger_both_tell_is_booked_once() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        income = settled(NOON + 3)
        venue.ledger.append(income)
        venue.account.put(FundingSettled(NOON + 3, income, 0.0001))
        venue.account.put(StreamReset(NOON + 4))
        await pass_ms(world, 20 * MINUTE)
        record = await world.documents.get(FUNDING_RECORDS, f"FUT-BTCUSDT-{NOON}")
        assert record is not None
        assert (record.amount_usdt, record.funding_rate) == (Decimal("-0.13"), Decimal("0.0001"))
        assert await world.documents.count(FUNDING_RECORDS) == 1

    told = play(scene)

    assert [(e.kind, e.amount_usdt) for e in told.of(FundingEvent)] == [(FundingKind.SETTLED, Decimal("-0.13"))]


def test_a_settlement_whose_rate_was_not_told_has_the_rate_that_was_announced() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        venue.market.put(mark(NOON - 5, rate=0.0003, funding_time=NOON))
        await pass_ms(world, 100)
        venue.account.put(FundingSettled(NOON + 3, settled(NOON + 3), None))
        await pass_ms(world, 100)
        record = await world.documents.get(FUNDING_RECORDS, f"FUT-BTCUSDT-{NOON}")
        assert record is not None
        assert record.funding_rate == Decimal("0.0003")

    play(scene)


def test_settlements_missed_while_down_are_booked_from_the_ledger() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        assert await world.documents.count(FUNDING_RECORDS) == 2

    def prepare(world: World, venue: ScriptedVenue) -> None:
        venue.ledger += [
            settled(NOON - 4 * HOUR + 250, tran_id=1),
            settled(NOON - 4 * HOUR + 300, tran_id=2, detail=str(NOON - 12 * HOUR)),
        ]

    told = play(scene, prepare=prepare)

    assert [event.funding_time for event in told.of(FundingEvent)] == [NOON - 4 * HOUR, NOON - 12 * HOUR]


def test_rules_of_the_exchange_are_on_file_and_our_own_gates_stay() -> None:
    documents = SqliteDocuments.in_loop()

    async def set_gate(world: World, venue: ScriptedVenue, told: Told) -> None:
        document = await world.documents.get(INSTRUMENT_REGISTRY, "FUT-BTCUSDT")
        assert document is not None
        assert document.leverage_bracket is not None
        await world.documents.put(INSTRUMENT_REGISTRY, document.but(spread_bp_limit=1.5))

    async def look(world: World, venue: ScriptedVenue, told: Told) -> None:
        document = await world.documents.get(INSTRUMENT_REGISTRY, "FUT-BTCUSDT")
        assert document is not None
        assert (document.spread_bp_limit, document.tick_size) == (1.5, Decimal("0.1"))

    play(set_gate, documents=documents)
    play(look, documents=documents)


def test_an_instrument_that_is_listed_no_more_is_not_traded_and_the_others_are_renewed() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        venue.listed = [replace(BTC_SPOT, step_size=Decimal("0.5"))]
        await pass_ms(world, HOUR)
        gone = await world.documents.get(INSTRUMENT_REGISTRY, "FUT-BTCUSDT")
        there = await world.documents.get(INSTRUMENT_REGISTRY, "SPOT-BTCUSDT")
        assert gone is not None
        assert there is not None
        assert (gone.trading, gone.tick_size) == (False, Decimal("0.1"))
        assert (there.trading, there.step_size) == (True, Decimal("0.5"))
        venue.listed = [BTC_FUT, BTC_SPOT]
        await pass_ms(world, HOUR)
        back = await world.documents.get(INSTRUMENT_REGISTRY, "FUT-BTCUSDT")
        assert back is not None
        assert back.trading

    play(scene)


@pytest.mark.parametrize(
    ("offset_ms", "speed", "alerts"),
    [
        pytest.param(1_000, 1.0, 0, id="a second is tolerated"),
        pytest.param(-1_001, 1.0, 1, id="more than a second is told once, not each minute"),
        pytest.param(10_000, 10.0, 0, id="a second of ours in a fast market is tolerated"),
        pytest.param(10_001, 10.0, 1, id="more than a second of ours in a fast market is told"),
    ],
)
def test_a_clock_that_is_off_is_told(offset_ms: int, speed: float, alerts: int) -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        venue.offset_ms = offset_ms
        await pass_ms(world, 3 * MINUTE)
        assert await world.snapshots.get(CLOCK_OFFSET.name("dev")) == str(offset_ms)

    told = play(scene, speed=speed)

    assert [event.code for event in told.of(AlertEvent)].count("CLOCK_SKEW") == alerts


def key_refused() -> VenueUnavailable:
    unavailable = VenueUnavailable("-2015 Invalid API-key, IP, or permissions for action.")
    unavailable.__cause__ = KeyRefused(-2015, "Invalid API-key, IP, or permissions for action.")
    return unavailable


@pytest.mark.parametrize(
    ("fails", "code"),
    [
        pytest.param(RateLimited("banned", 120_000), "RATE_LIMITED", id="limited"),
        pytest.param(key_refused(), "KEY_PERMISSIONS", id="the key is refused"),
    ],
)
def test_whoever_is_limited_or_whose_key_is_refused_is_told_by_name(fails: VenueUnavailable, code: str) -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        venue.fails = fails
        await pass_ms(world, MINUTE)

    assert code in [event.code for event in play(scene).of(AlertEvent)]


def test_a_silent_book_is_told_once_for_each_silence() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        for _ in range(2):
            venue.market.put(top(world.clock.now_ms()))
            await pass_ms(world, 12_000)

    alerts = [event for event in play(scene).of(AlertEvent) if event.tags["stream"] == "book FUT:BTCUSDT"]

    assert [(event.code, event.ts - NOON) for event in alerts] == [
        ("FEED_SILENT", 5_001),
        ("FEED_SILENT", 17_001),
    ]


def test_a_venue_that_ticks_slowly_is_not_called_silent() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        for _ in range(4):
            venue.market.put(mark(world.clock.now_ms()), top(world.clock.now_ms()), top(world.clock.now_ms(), key=SPOT))
            await pass_ms(world, 15_000)

    assert play(scene, tick_interval_ms=15_000).of(AlertEvent) == []


def test_usdttwd_hours_are_on_file_and_told_as_they_close() -> None:
    def prepare(world: World, venue: ScriptedVenue) -> None:
        assert isinstance(world.factor_feed, ScriptedFeed)
        world.factor_feed.closes = {NOON + hour * HOUR: 32.0 + hour / 100 for hour in range(-30, 3)}

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        assert await world.documents.count(FACTOR_BARS) == 24
        await pass_ms(world, 2 * HOUR + 10_000)
        assert await world.documents.count(FACTOR_BARS) == 26

    told = play(scene, feed=True, prepare=prepare)

    assert [(e.symbol, e.interval, e.open_time - NOON) for e in told.of(KlineEvent)] == [
        ("USDTTWD", "1h", -HOUR),
        ("USDTTWD", "1h", 0),
        ("USDTTWD", "1h", HOUR),
    ]


def test_nothing_waits_for_the_factors_exchange() -> None:
    def prepare(world: World, venue: ScriptedVenue) -> None:
        assert isinstance(world.factor_feed, ScriptedFeed)
        world.factor_feed.closes = {NOON + hour * HOUR: 32.0 + hour / 100 for hour in range(-30, 3)}
        world.factor_feed.answers_at_ms = NOON + MINUTE
        world.factor_feed.fails = VenueUnavailable("for the test")

    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        assert isinstance(world.factor_feed, ScriptedFeed)
        assert world.clock.now_ms() < NOON + MINUTE
        await pass_ms(world, 5 * MINUTE)
        assert await world.documents.count(FACTOR_BARS) == 0
        world.factor_feed.fails = None
        await pass_ms(world, MINUTE)
        assert await world.documents.count(FACTOR_BARS) == 24

    assert [event.open_time - NOON for event in play(scene, feed=True, prepare=prepare).of(KlineEvent)] == [-HOUR]


def test_health_says_when_the_exchange_is_down() -> None:
    async def scene(world: World, venue: ScriptedVenue, told: Told) -> None:
        service = build(world, Settings(env="dev", keys=(FUT,)))
        assert service.checks is not None
        assert await service.checks() == {"exch": "OK"}
        venue.down = True
        assert await service.checks() == {"exch": "DOWN"}

    play(scene)

"""The features of stored signals once more: the same to the last bit, and repaired where they were not."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import KLINES, SIGNALS, STRATEGY_EVENTS
from chimera.contracts.documents import Decision, Signal
from chimera.contracts.enums import Action, EventKind
from chimera.contracts.http.features import RecomputeAnswer, RecomputeQuery
from chimera.domain.features.registry import FACTOR_IDS
from chimera.ports.documents import Query
from chimera.ports.world import World
from chimera.runtime.service import Problem, Reply, Request
from chimera.simulation.loop import run_virtual
from tests.services.feature_floor import Floor, activate, file_bars, file_twd, month, moving_minute, standing
from tests.services.venue_script import DAY, FUT, HOUR, MINUTE, NOON, SPOT, pass_ms

MIDNIGHT = NOON + 12 * HOUR
SESSIONS = ((7 * 60 + 13, 0), (4 * 60 + 30, 25), (3 * 60 + 52, 0))
"""Minutes that S2 stands, and then is away."""
OWN = (("rv_pctile_2d", "pctile(rv_1d,2d)"), ("z_ret", "zscore(abs(ret_1h),6h)"), ("p_spread", "pctile(spread_bps,2h)"))


async def recompute(floor: Floor, from_ms: int, to_ms: int, symbol: str = "BTCUSDT") -> RecomputeAnswer:
    route = next(route for route in floor.service.routes if route.path == "/features/recompute")
    query = RecomputeQuery.model_validate({"symbol": symbol, "from": from_ms, "to": to_ms})
    reply: Reply = await route.handle(Request(None, query=query))
    assert isinstance(reply.body, RecomputeAnswer)
    return reply.body


async def signals(world: World) -> list[Signal]:
    return list(await world.documents.find(Query(collection=SIGNALS, index="by_t0")))


async def past(world: World) -> None:
    """A month on file before 10 h to midnight."""
    await file_bars(world, month(MIDNIGHT - 10 * HOUR))
    await file_twd(world, MIDNIGHT - 20 * DAY, MIDNIGHT - 10 * HOUR)
    await activate(world, 2, *OWN)


@pytest.fixture(scope="module")
def lived() -> tuple[SqliteDocuments, list[Signal]]:
    """Twelve hours over midnight, with two restarts, one of them after 25 minutes of standing still."""
    documents = SqliteDocuments.in_loop()
    told: list[Signal] = []

    async def run() -> None:
        at_ms = MIDNIGHT - 10 * HOUR
        prepare: Callable[[World], Awaitable[None]] | None = past
        for count, pause_min in SESSIONS:
            async with standing(start_ms=at_ms, documents=documents, prepare=prepare) as floor:
                await floor.minutes(count)
                at_ms = floor.world.clock.now_ms() // MINUTE * MINUTE
                # What closes while S2 is away is on file when it comes back.
                missed = [moving_minute(at) for at in range(at_ms, at_ms + pause_min * MINUTE, MINUTE)]
                await file_bars(floor.world, missed)
                at_ms += pause_min * MINUTE
                prepare = None
                told[:] = await signals(floor.world)

    run_virtual(run())
    return documents, told


def test_a_day_over_restarts_comes_out_the_same_bit_for_bit(lived: tuple[SqliteDocuments, list[Signal]]) -> None:
    documents, told = lived
    end_ms = told[-1].t0 + MINUTE

    async def run() -> RecomputeAnswer:
        async with standing(start_ms=end_ms, documents=documents) as floor:
            answer = await recompute(floor, told[0].t0, end_ms)
            assert await signals(floor.world) == told, "nothing was written"
            return answer

    answer = run_virtual(run())

    assert len(told) >= sum(count for count, _ in SESSIONS)
    assert (answer.signals, answer.changed) == (len(told), 0)
    warm = set(told[-1].features)
    assert {signal.features.get("xmkt_signal") for signal in told} == {None, 0.0, -1.0}
    assert warm >= set(FACTOR_IDS) - {"funding_next"} | {name for name, _ in OWN}, "the test must see every factor"
    assert len({signal.features["rv_pctile_30d"] for signal in told}) > 3


def test_what_was_wrong_is_repaired_and_nothing_else_is_touched(lived: tuple[SqliteDocuments, list[Signal]]) -> None:
    documents, told = lived
    wrong, blind, decided = told[100], told[101], told[102]
    end_ms = told[-1].t0 + MINUTE

    async def run() -> None:
        async with standing(start_ms=end_ms, documents=documents) as floor:
            put = floor.world.documents.put
            await put(SIGNALS, wrong.but(features={**wrong.features, "rv_1d": 7.5}))
            without = {name: value for name, value in blind.features.items() if name != "atr_14"}
            await put(SIGNALS, blind.but(features=without, stale=(*blind.stale, "atr_14"), flags=None))
            verdict = Decision(action=Action.OPEN, reason="OK")
            await put(SIGNALS, decided.but(decision=verdict, features={**decided.features, "mid": 1.5}))

            answer = await recompute(floor, told[50].t0, told[150].t0)

            assert (answer.signals, answer.changed) == (100, 2)
            after = {signal.signal_id: signal for signal in await signals(floor.world)}
            assert after[wrong.signal_id].but(features_told=None) == wrong
            assert after[blind.signal_id].features == blind.features
            first = after[blind.signal_id].features_told
            assert first is not None
            assert first.features == without
            assert set(after[blind.signal_id].stale) == set(blind.stale)
            assert after[decided.signal_id].decision == verdict
            assert after[decided.signal_id].features["mid"] == 1.5, "what ticks said cannot be computed again"
            events = await floor.world.documents.find(
                Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", EventKind.FEATURE_RECOMPUTE),))
            )
            detail = events[-1].detail
            assert detail is not None
            assert (detail["signals"], detail["changed"]) == (100, 2)
            assert detail["after"]["fresh"] == detail["before"]["fresh"] + 1
            assert detail["factors"] == {"atr_14": 1, "rv_1d": 1}
            for signal in (wrong, blind, decided):
                await put(SIGNALS, signal)

    run_virtual(run())


def test_a_bar_that_was_filled_in_later_puts_right_what_was_blind_without_it() -> None:
    documents = SqliteDocuments.in_loop()
    lost = NOON + 5 * MINUTE

    async def prepare(world: World) -> None:
        await file_bars(world, month(NOON, days=3))

    async def run() -> None:
        async with standing(documents=documents, prepare=prepare) as floor:
            for at in range(NOON, NOON + 12 * MINUTE, MINUTE):
                await floor.world.clock.sleep_until_ms(at + MINUTE)
                if at != lost:
                    await floor.close_bar(moving_minute(at))
            await pass_ms(floor.world, HOUR)
            told = await signals(floor.world)
            assert "rv_1d" in told[-1].stale
            await file_bars(floor.world, [moving_minute(lost)], floor.world.clock.now_ms())

            answer = await recompute(floor, NOON, NOON + 2 * HOUR)

            assert answer.signals == 11
            # Each that came after the hole, and none before it.
            assert answer.changed == 6
            assert all("rv_1d" in signal.features for signal in await signals(floor.world))
            assert (await recompute(floor, NOON, NOON + 2 * HOUR)).changed == 0
            # What decisions were made on stays, through a second repair as well.
            last = (await signals(floor.world))[-1]
            await floor.world.documents.put(SIGNALS, last.but(features={**last.features, "rv_1d": 7.5}))
            assert (await recompute(floor, NOON, NOON + 2 * HOUR)).changed == 1
            after = await signals(floor.world)
            assert after[-1] == last
            assert [signal.features_told is not None for signal in after] == [False] * 5 + [True] * 6
            assert [signal.told for signal in after] == [signal.told for signal in told]

    run_virtual(run())


def test_both_markets_of_a_symbol_are_computed_each_from_its_own_bars() -> None:
    async def prepare(world: World) -> None:
        for key in (FUT, SPOT):
            await file_bars(world, month(NOON, days=2, key=key))

    async def run() -> None:
        async with standing(keys=(FUT, SPOT), prepare=prepare) as floor:
            for at in range(NOON, NOON + 5 * MINUTE, MINUTE):
                await floor.world.clock.sleep_until_ms(at + MINUTE)
                await floor.close_bar(moving_minute(at))
                await floor.close_bar(replace(moving_minute(at, SPOT), close=moving_minute(at).low))
            await pass_ms(floor.world, 1)

            answer = await recompute(floor, NOON, NOON + HOUR)

            assert (answer.signals, answer.changed) == (10, 0)

    run_virtual(run())


@pytest.mark.parametrize(
    ("symbol", "from_ms", "to_ms", "kind", "named"),
    [
        pytest.param("DOGEUSDT", NOON, NOON + HOUR, "unknown-symbol", "symbol 'DOGEUSDT'", id="symbol"),
        pytest.param("BTCUSDT", NOON, NOON, "wrong-window", f"to {NOON}", id="empty"),
        pytest.param("BTCUSDT", NOON, NOON - 1, "wrong-window", "must be later than from", id="backwards"),
        pytest.param("BTCUSDT", NOON, NOON + 3 * DAY + 1, "window-too-long", "more than 3 days", id="long"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_its_remedy(
    symbol: str, from_ms: int, to_ms: int, kind: str, named: str
) -> None:
    async def run() -> None:
        async with standing(recompute_days_max=3) as floor:
            with pytest.raises(Problem) as refused:
                await recompute(floor, from_ms, to_ms, symbol)
            assert (refused.value.status, refused.value.kind) == (400, kind)
            assert named in refused.value.detail
            assert await floor.world.documents.count(KLINES) == 0

    run_virtual(run())

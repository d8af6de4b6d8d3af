"""Sixty-four at once: whatever asks, on one instrument or on many, what is in use never passes the budget and what is
open never passes the limit, on every store of fast state, called directly and over HTTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import aiohttp
import pytest

from chimera.app import serving
from chimera.contracts.base import Message
from chimera.contracts.collections import SIGNALS
from chimera.contracts.enums import Action, Market, Side, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import SignalEvent
from chimera.contracts.settings import S3Settings
from chimera.ports.bus import BusUnavailable
from chimera.ports.state import ReserveOutcome
from chimera.runtime.http import build_app
from chimera.simulation.loop import run_virtual
from tests.loopback import free_ports
from tests.services.meddling import Meddled
from tests.services.state_adapters import STATE_ADAPTERS, StateAdapter
from tests.services.test_s03_strategy import HOUSE, Desk, Silence
from tests.services.wide_desk import PRICES, WideDesk, run_on, timeline, unhurried

D = Decimal
CALLERS = 64
BTC = InstrumentKey(Market.FUT, "BTCUSDT")
BTC_SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
PERPETUALS = tuple(InstrumentKey(Market.FUT, symbol) for symbol in PRICES)
SPOTS = tuple(InstrumentKey(Market.SPOT, symbol) for symbol in PRICES)
on_every_state = pytest.mark.parametrize("adapter", STATE_ADAPTERS)
STALLED_S = 3.0
"""A machine that stood still for so long has passed the 5 s in which an entry may be sent: what was decided then need
not be carried out. What must never happen is asked for all the same."""

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def asked_directly(desk: WideDesk, body: dict[str, Any]) -> dict[str, Any]:
    answer = await desk.call("s3", "POST", "/decide", body)
    assert answer.status == 200, answer.body
    return dict(answer.body)


@asynccontextmanager
async def over_http(desk: WideDesk) -> AsyncIterator[Ask]:
    """S3 behind a socket, asked by a client of its own connections."""
    port = free_ports()
    runner = desk.runners["s3"]
    server = serving.server(build_app(runner.service, runner.all_routes()))
    task = asyncio.ensure_future(server.serve(sockets=[serving.listen("127.0.0.1", port)]))
    connector = aiohttp.TCPConnector(limit=CALLERS)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as session:

        async def ask(body: dict[str, Any]) -> dict[str, Any]:
            async with session.post("/decide", json=body) as response:
                said: dict[str, Any] = await response.json(content_type=None)
                assert response.status == 200, said
                return said

        try:
            yield ask
        finally:
            await serving.stop((server, task))


@asynccontextmanager
async def directly(desk: WideDesk) -> AsyncIterator[Ask]:
    yield partial(asked_directly, desk)


ROADS = [pytest.param(directly, seed, id=f"directly, {seed}") for seed in range(4)]
ROADS += [pytest.param(over_http, seed, id=f"over http, {seed}") for seed in range(2)]
by_every_road = pytest.mark.parametrize(("road", "seed"), ROADS)


async def sixty_four(desk: WideDesk, ask: Ask, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    answers = await asyncio.gather(*(ask(bodies[number % len(bodies)]) for number in range(CALLERS)))
    desk.in_time = loop.time() - began_s < STALLED_S
    return answers


async def flags(desk: WideDesk, **groups: Any) -> None:
    markets: dict[str, list[str]] = {}
    for key in desk.keys:
        markets.setdefault(key.symbol, []).append(key.market.value)
    await desk.promote(flags={"strategy": {"markets": markets, **groups.pop("strategy", {})}, **groups})


async def check(
    desk: WideDesk, answers: list[dict[str, Any]], market: Market, *, usdt_max: Decimal, held_max: int
) -> int:
    """What must hold afterwards, and held at every moment in between. Returns how many were opened."""
    await desk.settle(5_000)
    opened = [answer for answer in answers if answer["decision"] == "open"]
    names = [answer["intent"]["intent_id"] for answer in opened]
    assert desk.watched is not None
    assert desk.watched.most_usdt[market] <= usdt_max
    assert desk.watched.most_held[market] <= held_max
    assert len(set(names)) == len(names), "one intent was answered twice"
    got = [name for name, outcome in desk.watched.outcomes if outcome is ReserveOutcome.RESERVED]
    assert sorted(got) == sorted(names), "a reservation without an open, or the other way round"
    # Every open is one entry at S4, one order filled at the exchange, one trade, and one reservation that stays.
    filled = sorted(record.intent_id for record in await desk.entries() if record.filled_qty)
    assert set(filled) <= set(names)
    assert len(desk.entry_fills()) == len(filled)
    assert sorted(trade.trade_id for trade in await desk.open_trades()) == filled
    assert set(filled) <= set(await desk.reserved()) <= set(names)
    usage = await desk.world.reservations.usage(market)
    assert usage.amount_usdt == sum((await desk.reserved()).values(), D(0)) <= usdt_max
    for answer in answers:
        if answer["decision"] == "skip":
            assert answer["reason"] in ("GATE", "RISK_BUDGET"), answer
    if desk.in_time:
        assert filled == sorted(names) == sorted(await desk.reserved())
        assert usage.concurrency == len({(each["intent"]["market"], each["intent"]["symbol"]) for each in opened})
    return len(opened)


@on_every_state
@by_every_road
def test_sixty_four_on_one_instrument_open_one(adapter: StateAdapter, road: Any, seed: int) -> None:
    async def scenario() -> None:
        async with timeline(adapter.open) as (clock, state):
            desk = await WideDesk.on(state, clock, (BTC, BTC_SPOT), wrap=partial(unhurried, seed=seed))
            await desk.tell_features(BTC, signal=0.0)
            await desk.settle(200)
            asks = [{"symbol": "BTCUSDT", "market": "FUT", "sideHint": side} for side in ("BUY", "SELL", "BUY")]

            async with road(desk) as ask:
                answers = await sixty_four(desk, ask, asks)

            opens = await check(desk, answers, Market.FUT, usdt_max=D(600), held_max=1)
            assert opens == 1 or not desk.in_time
            details = Counter(answer["detail"] for answer in answers)
            assert set(details) <= {"OK", "LOCKED", "OPEN_POSITION", "UNFINISHED_INTENT"}, details
            await desk.stop()

    run_on(adapter, scenario(), sockets=road is over_http)


@on_every_state
@by_every_road
@pytest.mark.parametrize(
    ("usdt_max", "held_max", "wanted", "refused"),
    [
        pytest.param("68", 100, 3, {"OVER_BUDGET", "BUDGET"}, id="the budget of three"),
        pytest.param("600", 2, 2, {"OVER_CONCURRENCY", "CONCURRENCY"}, id="two at a time"),
        pytest.param("600", 100, 8, set(), id="room for all"),
    ],
)
def test_sixty_four_on_eight_instruments_stay_within_budget_and_limit(
    adapter: StateAdapter, road: Any, seed: int, usdt_max: str, held_max: int, wanted: int, refused: set[str]
) -> None:
    async def scenario() -> None:
        async with timeline(adapter.open) as (clock, state):
            desk = await WideDesk.on(state, clock, PERPETUALS, wrap=partial(unhurried, seed=seed))
            limit = {"budget": {"fut_margin_usdt_max": float(usdt_max)}, "concurrent_entries_per_market": held_max}
            await flags(desk, risk=limit)
            for key in PERPETUALS:
                await desk.tell_features(key, signal=0.0)
            await desk.settle(200)
            asks = [{"symbol": key.symbol, "market": "FUT", "sideHint": "BUY"} for key in PERPETUALS]

            async with road(desk) as ask:
                answers = await sixty_four(desk, ask, asks)

            opens = await check(desk, answers, Market.FUT, usdt_max=D(usdt_max), held_max=held_max)
            assert opens == wanted or not desk.in_time
            details = {answer["detail"] for answer in answers}
            assert details <= {"OK", "LOCKED", "OPEN_POSITION", "UNFINISHED_INTENT", *refused}, details
            assert not refused or details & refused
            await desk.stop()

    run_on(adapter, scenario(), sockets=road is over_http)


@on_every_state
@pytest.mark.parametrize("seed", range(4))
def test_sixty_four_spot_buys_stay_within_the_quote_that_may_be_held(adapter: StateAdapter, seed: int) -> None:
    async def scenario() -> None:
        async with timeline(adapter.open) as (clock, state):
            desk = await WideDesk.on(state, clock, SPOTS, wrap=partial(unhurried, seed=seed))
            await flags(desk, risk={"budget": {"spot_quote_usdt_max": 180}, "concurrent_entries_per_market": 100})
            for key in SPOTS:
                await desk.tell_features(key, signal=0.0)
            await desk.settle(200)
            asks = [{"symbol": key.symbol, "market": "SPOT", "sideHint": "BUY"} for key in SPOTS]

            answers = await sixty_four(desk, partial(asked_directly, desk), asks)

            opens = await check(desk, answers, Market.SPOT, usdt_max=D(180), held_max=8)
            assert opens == 3 or not desk.in_time
            await desk.stop()

    run_on(adapter, scenario())


@on_every_state
@by_every_road
@pytest.mark.parametrize("emit", ["rest_then_stream", "both"])
def test_stream_and_requests_on_one_signal_are_executed_once(
    adapter: StateAdapter, road: Any, seed: int, emit: Any
) -> None:
    async def scenario() -> None:
        async with timeline(adapter.open) as (clock, state):
            variables = S3Settings(emit=emit)
            desk = await WideDesk.on(
                state, clock, (BTC, BTC_SPOT), wrap=partial(unhurried, seed=seed), variables=variables
            )
            await desk.tell_features(BTC, signal=0.0)
            await desk.settle(1_200)

            async with road(desk) as ask:
                # The event wakes the reader while the requests are on their way.
                signal_id = await desk.tell_features(BTC, signal=1.0)
                answers = await sixty_four(desk, ask, [{"symbol": "BTCUSDT", "market": "FUT"}])
            await desk.settle(5_000)

            name = f"{signal_id}-ENTRY-1"
            entries = [record for record in await desk.entries() if record.filled_qty]
            assert len(entries) == len(desk.entry_fills()) <= 1
            assert {record.intent_id for record in await desk.entries()} <= {name}
            assert sum(answer["decision"] == "open" for answer in answers) <= 1
            told = [event for event in desk.messages(SignalEvent) if event.decision.action is Action.OPEN]
            assert len(told) <= 1
            if desk.in_time:
                (record,) = entries
                assert (record.intent_id, record.intent.side) == (name, Side.BUY)
                assert desk.position_qty() == record.intent.qty
                (trade,) = await desk.open_trades()
                assert (trade.trade_id, trade.status) == (name, TradeStatus.ACTIVE)
                assert list(await desk.reserved()) == [name]
                assert [event.intent_id for event in told] == [name]
                assert (await desk.signal(signal_id)).decision.intent_id == name
            await desk.stop()

    run_on(adapter, scenario(), sockets=road is over_http)


# --- what two decisions write on one signal


def test_a_refusal_that_was_under_way_leaves_the_open_on_file() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, documents=Meddled)
        signal_id = await desk.see(0.0)
        opened: list[Any] = []

        async def get_stored(call: Any, collection: Any, key: str) -> Any:
            found = await call(collection, key)
            if collection is SIGNALS and not opened:
                # Between the look and the write of the refusal, a person opens on the very same signal.
                opened.append(None)
                opened.append(await desk.decide(sideHint="BUY"))
            return found

        desk.world.documents.instead["get_stored"] = get_stored

        refused = await desk.decide()

        assert (refused.body["decision"], refused.body["detail"]) == ("skip", "NO_SIGNAL")
        assert opened[1].body["decision"] == "open"
        decision = (await desk.signal(signal_id)).decision
        assert (decision.action, decision.intent_id) == (Action.OPEN, opened[1].body["intent"]["intent_id"])
        told = [event.decision.action for event in desk.messages(SignalEvent)]
        assert told[-1] is Action.OPEN, "a refusal was told after the open that it did not replace"
        await desk.stop()

    run_virtual(scenario())


def test_an_entry_is_not_written_off_over_a_newer_one_on_its_signal() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Silence, bus=Meddled, documents=Meddled)
        newer: list[str] = []

        async def publish(call: Any, stream: str, message: Message) -> Any:
            if "ord:cmd" in stream:
                raise BusUnavailable("a failover")
            return await call(stream, message)

        async def get_stored(call: Any, collection: Any, key: str) -> Any:
            found = await call(collection, key)
            if collection is SIGNALS and found is not None and not newer:
                newer.append(f"{key}-ENTRY-2")
                await desk.world.documents.put(
                    SIGNALS, found.doc.but(decision=found.doc.decision.but(intent_id=newer[0]))
                )
            return found

        desk.world.bus.instead["publish"] = publish
        signal_id = await desk.see(settle_ms=3_000)
        desk.world.documents.instead["get_stored"] = get_stored

        await desk.settle(65_000)

        decision = (await desk.signal(signal_id)).decision
        assert newer == [f"{signal_id}-ENTRY-2"]
        assert (decision.action, decision.intent_id) == (Action.OPEN, newer[0])
        await desk.stop()

    run_virtual(scenario())

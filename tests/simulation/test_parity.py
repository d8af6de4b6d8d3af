"""The same klines decide the same wherever they are decided: live in virtual time, and as a table.

Every decision that S3 made while the whole system ran is taken down with its trail, those that it stored as they were
stored. The table is then asked about all of them at once, from their features, the market's prices and what the
account's gates saw.
"""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chimera.adapters.kline_files import load_klines
from chimera.adapters.simulated_venue.ticker import Ticker
from chimera.app.simulated_market import keys_for
from chimera.contracts.base import Message
from chimera.contracts.enums import FundingKind, Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import DepthEvent, FeatureEvent, FundingEvent
from chimera.contracts.settings import S3Settings
from chimera.domain.config.bundle import default_bundle
from chimera.domain.decision.decide import Decision, DecisionConfig, decide
from chimera.domain.decision.facts import Facts
from chimera.domain.decision.plan_of import content_of, plan_of
from chimera.domain.decision.sizing_table import E8
from chimera.domain.decision.table import DecisionTable, SignalTable, decide_table
from chimera.domain.decision.trail import trail_of
from chimera.domain.features.table import FeatureHistory, Fundings, Quotes, feature_table
from chimera.domain.market.bars import BarSeries
from chimera.domain.market.listing import listed
from chimera.domain.market.quotes import Bar
from chimera.domain.market.source import FileSource, MarketSource
from chimera.domain.matching.rules import ExchangeRules
from chimera.services.s03_strategy.handlers import decide as s3_decide
from chimera.simulation.loop import run_virtual
from chimera.simulation.replay import ReplayOptions, replay
from chimera.simulation.simulator import Setup, simulate
from chimera.simulation.trace import Trace
from tests.simulation.kline_files import DAY, HOUR, START, TRADED_DAY, WARM_DAYS, write_files

OF_THE_MARKET = ("STALE", "FACTOR_MISSING", "FUNDING", "SPREAD", "DEPTH", "SLIPPAGE")
AFTERWARDS = ("NOT_TRADED", "LOCKED", "CONCURRENCY_FULL", "BUDGET_FULL")
"""Refusals of S3 after the decision said open."""
SEED = 7


@dataclass(slots=True)
class Recorder(Trace):
    """Every decision as S3 wrote it down, in order, a later one of the same signal beside the earlier; what the market
    said, and the features that S2 told of it."""

    decided: list[dict[str, Any]] = field(default_factory=list)
    depths: dict[InstrumentKey, list[DepthEvent]] = field(default_factory=lambda: defaultdict(list))
    fundings: dict[InstrumentKey, list[FundingEvent]] = field(default_factory=lambda: defaultdict(list))
    features: dict[InstrumentKey, list[FeatureEvent]] = field(default_factory=lambda: defaultdict(list))

    def on_message(self, stream: str, message: Message) -> None:
        Trace.on_message(self, stream, message)
        if isinstance(message, DepthEvent):
            self.depths[InstrumentKey(message.market, message.symbol)].append(message)
        elif isinstance(message, FundingEvent) and message.kind is FundingKind.NEXT:
            self.fundings[InstrumentKey(Market.FUT, message.symbol)].append(message)
        elif isinstance(message, FeatureEvent):
            self.features[InstrumentKey(message.market, message.symbol)].append(message)

    def on_document(self, collection: str, key: str, body: str) -> None:
        Trace.on_document(self, collection, key, body)
        if collection == "signals":
            signal = json.loads(body)
            if signal["decision"].get("trail"):
                self.decided.append(signal)


def setup_of(folder: Path, symbols: tuple[str, ...], start_ms: int, end_ms: int, trace: Trace) -> Setup:
    keys = keys_for(symbols)
    instruments = tuple(listed(key) for key in keys)
    source = FileSource(load_klines(folder, symbols), keys, seed=SEED)
    return Setup(
        feed=Ticker(source, instruments, seed=SEED, ticks_per_minute=4, end_ms=end_ms),
        rules=ExchangeRules(instruments=instruments),
        start_ms=start_ms,
        end_ms=end_ms,
        seed=SEED,
        trace=trace,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What was stored, what was decided at all, and the oldest features that may decide there."""

    stored: list[dict[str, Any]]
    every: list[dict[str, Any]]
    age_ms_max: int


def run_live(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Live:
    recorder = setup.trace
    assert isinstance(recorder, Recorder)
    every: list[dict[str, Any]] = []

    def decide_and_tell(facts: Facts, config: DecisionConfig) -> Decision:
        decision = decide(facts, config)
        every.append(as_stored(facts, decision))
        return decision

    async def run() -> None:
        await (await simulate(setup)).documents.close()

    monkeypatch.setattr(s3_decide, "decide", decide_and_tell)
    run_virtual(run())
    age_ms_max = max(5_000, int(2.5 * setup.feed.tick_interval_ms))
    return Live(stored=recorder.decided, every=every, age_ms_max=age_ms_max)


def as_stored(facts: Facts, decision: Decision) -> dict[str, Any]:
    """A decision that nobody stores, in the words of those that are."""
    return {
        "signal_id": f"{facts.instrument.key} at {facts.t0}",
        "t0": facts.t0,
        "market": facts.instrument.market.value,
        "symbol": facts.instrument.symbol,
        "features": dict(facts.quote.features),
        "decision": {"reason": decision.reason.value, "detail": decision.detail, "trail": trail_of(decision)},
    }


def table_of(signals: Sequence[dict[str, Any]]) -> SignalTable:
    """What these decisions knew, in columns. What only the account knew is told by its gates."""
    n = len(signals)
    names = sorted({name for signal in signals for name in signal["features"]})
    columns = {name: np.full(n, nan) for name in names}
    account: dict[str, Any] = {}
    age, bid, ask, health = np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n)
    p, hint = np.full(n, nan), np.zeros(n, dtype=np.int8)
    for i, signal in enumerate(signals):
        trail = signal["decision"]["trail"]
        for name, value in signal["features"].items():
            if name not in signal.get("stale", ()):
                columns[name][i] = value
        for gate in trail["gates"]:
            # "Never" is infinite, which JSON writes as null, as it does what could not be found out.
            value = gate["value"] if gate["value"] is not None else inf if gate["passed"] else nan
            if gate["code"] == "STALE":
                age[i] = value
            elif gate["code"] not in OF_THE_MARKET:
                account.setdefault(gate["code"], np.full(n, nan))[i] = value
        bid[i], ask[i] = trail["quote"]["bid"], trail["quote"]["ask"]
        multipliers = trail["multipliers"]
        health[i] = 1.0 if multipliers is None else multipliers["size"]["health"]
        p[i] = nan if trail["model"]["p"] is None else trail["model"]["p"]
        if trail["side_from"] == "hint":
            hint[i] = 1 if trail["side"] == "BUY" else -1
    return SignalTable(
        t0=np.array([signal["t0"] for signal in signals], dtype=np.int64),
        columns=columns,
        bid=bid,
        ask=ask,
        account=account,
        health_size_mult=health,
        feature_age_ms=age,
        model_p=p,
        hint=hint,
    )


def config_for(key: InstrumentKey, age_ms_max: int) -> DecisionConfig:
    bundle = default_bundle(0)
    content = content_of(bundle.flags, bundle.rules, bundle.factors, bundle.instruments, rev=1)
    return plan_of(content, listed(key), S3Settings(), feature_age_ms_max=age_ms_max)


def told(signal: dict[str, Any]) -> dict[str, Any]:
    """What live decided, as far as the table says it as well."""
    decision = signal["decision"]
    trail = decision["trail"]
    sizing = {step["step"]: step["value"] for step in trail["sizing"]}
    if decision["detail"] in AFTERWARDS:
        return {"reason": "OK", "detail": "OK"}
    found = {"reason": decision["reason"], "detail": decision["detail"], "side": trail["side"]}
    if trail["multipliers"] is not None:
        found |= {name: trail[name] for name in ("size_mult", "tp_mult", "sl_mult")}
        found["rules_fired"] = trail["rules_fired"]
    if trail["plan"] is not None:
        plan = trail["plan"]
        found |= {name: plan[name] for name in ("qty", "stop_distance", "stop_price", "tp_price")}
        assert sizing["stop_price"] == plan["stop_price"]
    return found


def told_by_table(found: DecisionTable, i: int, key: InstrumentKey, like: dict[str, Any]) -> dict[str, Any]:
    side = {1: "BUY", -1: "SELL", 0: None}[int(found.side[i])]
    said: dict[str, Any] = {"reason": found.reason(i).value, "detail": found.detail(i), "side": side}
    said |= {"size_mult": found.size_mult[i], "tp_mult": found.tp_mult[i], "sl_mult": found.sl_mult[i]}
    said["rules_fired"] = [name for name, fired in found.rule_fired.items() if fired[i]]
    if found.opens[i]:
        assert found.plans is not None
        k = int(np.searchsorted(found.opened_at, i))
        said["qty"] = float(int(found.plans.qty_steps[k]) * listed(key).step_size)
        for name in ("stop_distance", "stop_price", "tp_price"):
            said[name] = float(Decimal(int(getattr(found.plans, name)[k])) / E8)
    return {name: said[name] for name in like}


def assert_parity(decided: list[dict[str, Any]], age_ms_max: int, fees: dict[str, Decimal]) -> dict[str, int]:
    """Every decision, asked of the table. Returns how many there were of each outcome."""

    def instrument_of(signal: dict[str, Any]) -> tuple[str, str]:
        return signal["market"], signal["symbol"]

    counted: dict[str, int] = {}
    for (market, symbol), group in groupby(sorted(decided, key=instrument_of), key=instrument_of):
        signals = list(group)
        key = next(each for each in keys_for((symbol,)) if each.market.value == market)
        found = decide_table(table_of(signals), config_for(key, age_ms_max), listed(key), fees[market])
        for i, signal in enumerate(signals):
            live = told(signal)
            said = told_by_table(found, i, key, live)
            if live != said:
                pytest.fail(f"{signal['signal_id']} is the first that differs:\n live  {live}\n table {said}")
            counted[live["detail"]] = counted.get(live["detail"], 0) + 1
    return counted


FEES = {"FUT": Decimal("0.0005"), "SPOT": Decimal("0.001")}


def test_live_and_the_table_decide_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = START + WARM_DAYS * DAY
    setup = setup_of(write_files(tmp_path), ("BTCUSDT",), start, start + 4 * HOUR, Recorder())
    live = run_live(setup, monkeypatch)

    stored = assert_parity(live.stored, live.age_ms_max, FEES)
    assert stored["OK"] == 2, "one a market"
    every = assert_parity(live.every, live.age_ms_max, FEES)
    assert sum(every.values()) == len(live.every) > 100
    assert {"OK", "OPEN_POSITION", "MAX_ENTRIES"} <= set(every)


def test_a_replay_writes_the_decisions_that_live_made(tmp_path: Path) -> None:
    """Its file holds each answer of S3 once, where it was given first, with the trail that live stored."""
    start = START + WARM_DAYS * DAY
    recorder = Recorder()
    setup = setup_of(write_files(tmp_path), ("BTCUSDT",), start, start + 4 * HOUR, recorder)

    async def run() -> None:
        await (await simulate(setup)).documents.close()

    run_virtual(run())
    written = tmp_path / "decisions.jsonl"
    options = ReplayOptions(folder=tmp_path, symbols=("BTCUSDT",), start=TRADED_DAY, seed=SEED, decisions=written)
    assert replay(options, {}, quiet=True).agrees

    live = {
        (each["signal_id"], each["decision"]["action"], each["decision"]["detail"]): each["decision"]["trail"]
        for each in recorder.decided
    }
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert {line["detail"] for line in lines} >= {"OK", "OPEN_POSITION", "MAX_ENTRIES"}
    for line in lines:
        said = line["signal_id"], line["action"], line["detail"]
        assert line["trail"] == live[said], said


def test_live_and_the_table_decide_the_same_over_real_klines(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = os.environ.get("CHIMERA_SHARED")
    if not shared:
        pytest.skip("CHIMERA_SHARED names no folder of real klines")
    start = int(datetime(2025, 5, 29, tzinfo=UTC).timestamp() * 1_000)
    setup = setup_of(
        Path(shared) / "data" / "typhonun-usdm-2025", ("BTCUSDT", "ETHUSDT"), start, start + DAY, Recorder()
    )
    live = run_live(setup, monkeypatch)

    every = assert_parity([*live.stored, *live.every], live.age_ms_max, FEES)
    print(every)
    assert sum(every.values()) > 300
    assert every["OK"] >= 2


def history_of(recorder: Recorder, source: MarketSource, key: InstrumentKey, end_ms: int) -> FeatureHistory:
    """Everything that S2 could know of `key` by `end_ms`, in columns."""

    def bars(of: InstrumentKey, interval: str) -> BarSeries:
        return series_of(source.klines(of, interval, source.start_ms, end_ms), interval)

    depths, fundings = recorder.depths[key], recorder.fundings[key]
    return FeatureHistory(
        market=key.market,
        minutes=bars(key, "1m"),
        hours=bars(key, "1h"),
        twd=series_of(source.twd_bars(source.start_ms - 45 * DAY, end_ms), "1h"),
        lead=bars(InstrumentKey(Market.FUT, "BTCUSDT"), "1m"),
        quotes=Quotes(
            ts=np.array([each.ts for each in depths], dtype=np.int64),
            bid=np.array([float(each.best_bid[0]) for each in depths]),
            ask=np.array([float(each.best_ask[0]) for each in depths]),
            bid_qty=np.array([float(each.best_bid[1]) for each in depths]),
            ask_qty=np.array([float(each.best_ask[1]) for each in depths]),
        ),
        fundings=Fundings(
            ts=np.array([each.ts for each in fundings], dtype=np.int64),
            rate=np.array([float(each.rate) for each in fundings]),
            interval_h=np.array([each.interval_h or 8 for each in fundings], dtype=np.int64),
            funding_time=np.array([each.funding_time for each in fundings], dtype=np.int64),
        )
        if fundings
        else None,
    )


def series_of(bars: Sequence[Bar], interval: str) -> BarSeries:
    return BarSeries(
        interval=interval,
        open_time=np.array([bar.open_time for bar in bars], dtype=np.int64),
        open=np.array([bar.open for bar in bars]),
        high=np.array([bar.high for bar in bars]),
        low=np.array([bar.low for bar in bars]),
        close=np.array([bar.close for bar in bars]),
        volume=np.array([bar.volume for bar in bars]),
    )


def test_what_s2_told_is_what_the_table_of_features_says(tmp_path: Path) -> None:
    """From ticks and files alone, nothing of S2's taken over."""
    start = START + WARM_DAYS * DAY
    recorder = Recorder()
    setup = setup_of(write_files(tmp_path), ("BTCUSDT",), start, start + 4 * HOUR, recorder)

    async def run() -> None:
        await (await simulate(setup)).documents.close()

    run_virtual(run())
    source = FileSource(load_klines(tmp_path, ("BTCUSDT",)), keys_for(("BTCUSDT",)), seed=SEED)
    age_ms_max = max(5_000, int(2.5 * setup.feed.tick_interval_ms))
    for key in keys_for(("BTCUSDT",)):
        told = recorder.features[key]
        assert len(told) > 900
        table = feature_table(
            history_of(recorder, source, key, setup.end_ms),
            np.array([each.t0 for each in told], dtype=np.int64),
            max_age_ms=age_ms_max,
            min_move=0.0005,
        )
        for i, event in enumerate(told):
            values, flags = table.row(i)
            assert set(event.stale) == set(flags), (
                f"{key} at {event.t0}: stale is {event.stale}, the table says {flags}"
            )
            assert event.features == pytest.approx(values, rel=1e-9, abs=1e-12), f"{key} at {event.t0}"

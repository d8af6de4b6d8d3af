"""How many signals a dry run decides in a second.

columns      one policy, two policies, over signals that are columns already, of three instruments
documents    the whole call: reading, taking apart, deciding twice, adding up; and meanwhile the longest that
             somebody else in the loop had to wait
"""

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from statistics import median

import numpy as np
import uvloop

from chimera.contracts import ids
from chimera.contracts.collections import SIGNALS
from chimera.contracts.documents import Decision, Signal
from chimera.contracts.enums import Action, Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S3Settings
from chimera.domain.config.bundle import default_bundle
from chimera.domain.config.dry_run import Policy, on_tick, replay
from chimera.domain.decision.plan_of import content_of, plan_of
from chimera.domain.decision.table import SignalTable, decide_table
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.listing import listed
from chimera.ports.documents import Put
from chimera.simulation.bench.config_house import ConfigHouse, open_config_house
from chimera.simulation.bench.rows import BenchOptions, BenchRow, row_of_runs

NAME = "dryrun"
KEYS = (
    InstrumentKey(Market.FUT, "BTCUSDT"),
    InstrumentKey(Market.SPOT, "BTCUSDT"),
    InstrumentKey(Market.FUT, "ETHUSDT"),
)
FEE = Decimal("0.0005")
MID = {"BTCUSDT": 65_000.0, "ETHUSDT": 3_200.0}
PUT_AT_ONCE = 5_000
MINUTE_MS = 60_000
LOOK_EVERY_MS = 1
SEED = 7


def bench(options: BenchOptions) -> list[BenchRow]:
    return [*_columns(options), *_documents(options)]


def _columns(options: BenchOptions) -> list[BenchRow]:
    tables = [(listed(key), _table(listed(key), options.signals // len(KEYS))) for key in KEYS]
    n = sum(len(table) for _, table in tables)
    one, two = [], []
    for _ in range(options.runs):
        began_ns = time.perf_counter_ns()
        for instrument, table in tables:
            policy = _policy(instrument)
            assert policy.config is not None
            decide_table(table, policy.config, instrument, policy.taker_fee_ratio)
        one.append(time.perf_counter_ns() - began_ns)
        began_ns = time.perf_counter_ns()
        for instrument, table in tables:
            replay(table, instrument, _policy(instrument), _policy(instrument))
        two.append(time.perf_counter_ns() - began_ns)
    return [
        _rate_row("columns, one policy", n, one),
        _rate_row("columns, dry run: two policies, counted", n, two),
    ]


def _rate_row(case: str, n: int, taken_ns: Sequence[int]) -> BenchRow:
    took_ns = median(taken_ns)
    return BenchRow(bench=NAME, case=case, n=n, p50_ms=took_ns / 1e6, rate_per_s=n / (took_ns / 1e9))


def _policy(instrument: Instrument) -> Policy:
    first = default_bundle(0)
    content = content_of(first.flags, first.rules, first.factors, (), rev=1)
    return Policy(
        config=plan_of(content, instrument, S3Settings(), feature_age_ms_max=5_000),
        windows=(),
        taker_fee_ratio=FEE,
        constant_p=first.flags.model.constant_p,
    )


def _columns_of(instrument: Instrument, n: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """A market that moves a little, with a signal in every second minute and now and then a wide spread."""
    chance = np.random.default_rng(SEED)
    mid = MID[instrument.symbol] * np.exp(np.cumsum(chance.normal(0.0, 1e-5, n)))
    return {
        "mid": mid,
        "spread_bps": np.round(chance.gamma(1.5, 0.5, n), 4),
        "depth_top1_usdt": chance.uniform(1_000.0, 500_000.0, n),
        "atr_14": mid * chance.uniform(0.002, 0.01, n),
        "funding_next": chance.normal(0.0, 2e-4, n),
        "xmkt_signal": chance.integers(-1, 2, n).astype(np.float64),
    }


def _table(instrument: Instrument, n: int) -> SignalTable:
    columns = _columns_of(instrument, n)
    half = columns["spread_bps"] / 20_000.0
    return SignalTable(
        t0=np.arange(n, dtype=np.int64) * MINUTE_MS,
        columns=columns,
        bid=on_tick(columns["mid"] * (1.0 - half), instrument.tick_size),
        ask=on_tick(columns["mid"] * (1.0 + half), instrument.tick_size),
    )


def _documents(options: BenchOptions) -> list[BenchRow]:
    took, waits, n = uvloop.run(_stored(options))
    return [
        _rate_row("documents, the whole call", n, took),
        row_of_runs(NAME, "documents, what others wait meanwhile", waits, asked=max(map(len, waits))),
    ]


async def _stored(options: BenchOptions) -> tuple[list[int], list[list[int]], int]:
    async with open_config_house([listed(key) for key in KEYS]) as house:
        n = await _file(house, options.stored_signals)
        bundle_id = await house.staged(slip_bp_max=7.5)
        took: list[int] = []
        waits: list[list[int]] = []
        for _ in range(options.runs):
            # Others are measured in a run of their own: looking each millisecond costs the call something.
            began_ns = time.perf_counter_ns()
            answer = await house.ask("POST", f"/bundles/{bundle_id}/dry-run", {"days": 365})
            took.append(time.perf_counter_ns() - began_ns)
            assert answer["signals"] == n
            waits.append(await _waits(house, bundle_id))
        return took, waits, n


async def _file(house: ConfigHouse, wanted: int) -> int:
    """Store signals that end now, one a minute and instrument; how many."""
    each = max(1, wanted // len(KEYS))
    now_ms = house.world.clock.now_ms() // MINUTE_MS * MINUTE_MS
    for key in KEYS:
        columns = _columns_of(listed(key), each)
        names, rows = tuple(columns), np.column_stack(tuple(columns.values())).tolist()
        signals = [
            Signal(
                signal_id=ids.signal_id(now_ms - MINUTE_MS * number, key),
                t0=now_ms - MINUTE_MS * number,
                market=key.market,
                symbol=key.symbol,
                features=dict(zip(names, row, strict=True)),
                decision=Decision(action=Action.SKIP, reason="PENDING"),
                config_rev=1,
            )
            for number, row in enumerate(rows, 1)
        ]
        for start in range(0, each, PUT_AT_ONCE):
            await house.world.documents.put_many([Put(SIGNALS, each) for each in signals[start : start + PUT_AT_ONCE]])
    return each * len(KEYS)


async def _waits(house: ConfigHouse, bundle_id: str) -> list[int]:
    """How much later than it wanted somebody had his turn, each time, in ns."""
    run = asyncio.get_running_loop().create_task(
        house.ask("POST", f"/bundles/{bundle_id}/dry-run", {"days": 365}), name="dry run"
    )
    late: list[int] = []
    while not run.done():
        before_ns = time.perf_counter_ns()
        await house.wait_ms(LOOK_EVERY_MS)
        late.append(max(0, time.perf_counter_ns() - before_ns - LOOK_EVERY_MS * 1_000_000))
    await run
    return late or [0]

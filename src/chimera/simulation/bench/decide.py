"""How long a decision takes: the pure function, S3's call in the process, and `POST /decide` over HTTP.

    pure     `domain.decision.decide` alone, on facts that are gathered already, with one rule and with fifty
    trail    telling how it came about, as it is stored
    table    the same decision over a table of moments, a row a decision
    skip     a hint on an instrument that was just stopped out: all gates are evaluated, the refusal is stored
    open     a hint on a flat one: decided twice (the second time on the documents), reserved, stored, accepted by S4;
             then the answer. What follows until the position is closed again is not counted
    batch    a hundred skips in one `POST /decide/batch`, a call a decision

Both calls are persisted in a SQLite file by its writer thread, as in `chimera up`. Over HTTP the caller is a process of
its own and the server is S3's, on loopback.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import count
from statistics import median

import numpy as np
import uvloop

from chimera.app.serving import listen, server, stop
from chimera.contracts.enums import Action, Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.config.bundle import R_001
from chimera.domain.decision.decide import DecisionConfig, decide
from chimera.domain.decision.facts import UNEXPOSED, UNRESTRAINED, Facts, Quote
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.rules import compile_rules, parse_rule
from chimera.domain.decision.table import SignalTable, decide_table
from chimera.domain.decision.trail import trail_of
from chimera.domain.market.listing import listed
from chimera.ports.peers import PeerCall
from chimera.runtime.http import build_app
from chimera.simulation.bench.crowd import Crowd, open_crowd
from chimera.simulation.bench.rows import BenchOptions, BenchRow, row_of_runs

NAME = "decide"
LOOPBACK = "127.0.0.1"
OK = 200
RULES = 50
BATCH = 100
SPEAK_EVERY_MS = 2_000
"""How often each instrument has a tick meanwhile."""

Body = dict[str, object]


def bench(options: BenchOptions) -> list[BenchRow]:
    return [*_pure(options), *uvloop.run(_served(options))]


def _pure(options: BenchOptions) -> list[BenchRow]:
    """One call is timed by itself: its median is what one decision costs."""
    rows = []
    for many in (1, RULES):
        config, words = _config(many), "" if many == 1 else f", {many} rules"
        for action, held in ((Action.SKIP, True), (Action.OPEN, False)):
            facts = _facts(held=held)
            decision = decide(facts, config)
            assert decision.action is action
            runs = [[_time(decide, facts, config) for _ in range(options.calls)] for _ in range(options.runs)]
            rows.append(row_of_runs(NAME, f"pure {action.value}{words}", runs, asked=options.calls))
            if many == RULES:
                runs = [[_time(trail_of, decision) for _ in range(options.calls)] for _ in range(options.runs)]
                rows.append(row_of_runs(NAME, f"trail of {action.value}{words}", runs, asked=options.calls))
        rows.append(_table(options, config, f"table{words}"))
    return rows


def _time(work: Callable[..., object], *asked: object) -> int:
    began_ns = time.perf_counter_ns()
    work(*asked)
    return time.perf_counter_ns() - began_ns


def _table(options: BenchOptions, config: DecisionConfig, case: str) -> BenchRow:
    """Moments that all open: no row ends early."""
    facts, n = _facts(held=False), options.rows
    bid = np.round(65_000.0 + np.arange(n) % 10_000 * 0.1, 1)
    table = SignalTable(
        t0=np.arange(n, dtype=np.int64) * 60_000,
        columns={name: np.full(n, value) for name, value in facts.quote.features.items()},
        bid=bid,
        ask=np.round(bid + 0.1, 1),
        model_p=facts.model_p,
    )
    taken_ns, opened = [], []
    for _ in range(options.runs):
        began_ns = time.perf_counter_ns()
        found = decide_table(table, config, facts.instrument, facts.taker_fee_ratio)
        taken_ns.append(time.perf_counter_ns() - began_ns)
        opened.append(int(found.opens.sum()) / n)
    return BenchRow(bench=NAME, case=case, n=n, rate_per_s=n / (median(taken_ns) / 1e9), success_ratio=median(opened))


def _config(many: int) -> DecisionConfig:
    """`many` rules of two comparisons each, about every second of which fires."""
    bodies = [R_001.to_dict()]
    for i in range(1, many):
        when = {"allOf": [{"f": "spread_bps", "op": "<", "v": i * 0.01}, {"f": "rv_1d", "op": ">", "v": i * 0.02}]}
        action = {"type": "size_mult", "value": 1.05 if i % 2 else 0.95}
        bodies.append({**R_001.to_dict(), "rule_id": f"R-{i + 1:03}", "when": when, "action": action})
    rules = compile_rules([parse_rule(body) for body in bodies], symbol="BTCUSDT")
    return DecisionConfig(limits=Limits(), rules=rules)


def _facts(*, held: bool) -> Facts:
    return Facts(
        instrument=listed(InstrumentKey(Market.FUT, "BTCUSDT")),
        t0=1_000,
        controls=UNRESTRAINED,
        exposure=replace(UNEXPOSED, open_position=held),
        quote=Quote(
            bid=Decimal("65399.9"),
            ask=Decimal("65400.1"),
            features={
                "mid": 65_400.0,
                "spread_bps": 0.03,
                "depth_top1_usdt": 500_000.0,
                "atr_14": 320.0,
                "rv_1d": 0.4,
                "funding_next": 0.0001,
                "xmkt_signal": 1.0,
            },
            feature_age_ms=10,
        ),
        taker_fee_ratio=Decimal("0.0005"),
        model_p=0.65,
    )


async def _served(options: BenchOptions) -> list[BenchRow]:
    rows: list[BenchRow] = []
    async with open_crowd(min(options.instruments, options.calls), durable=True, signal=False) as crowd:
        market = asyncio.get_running_loop().create_task(_go_on(crowd), name="market")
        try:
            # Once unmeasured: margin modes are set, every path was walked.
            await _in_process(crowd, [_body(key) for key in crowd.keys], Action.OPEN)
            for action, keys in ((Action.SKIP, crowd.resting), (Action.OPEN, crowd.keys)):
                bodies = [_body(keys[number % len(keys)]) for number in range(options.calls)]
                in_process = [await _in_process(crowd, bodies, action) for _ in range(options.runs)]
                rows.append(row_of_runs(NAME, f"in process {action.value}", in_process, asked=options.calls))
                over_http = [await _over_http(crowd, "/decide", bodies, action) for _ in range(options.runs)]
                rows.append(row_of_runs(NAME, f"POST /decide {action.value}", over_http, asked=options.calls))
            rows.append(await _batches(options, crowd))
        finally:
            market.cancel()
            await asyncio.gather(market, return_exceptions=True)
    return rows


async def _go_on(crowd: Crowd) -> None:
    """The market speaks of every instrument in turn, or its features would be too old to decide on. For ever."""
    clock = crowd.world.clock
    every = (*crowd.keys, *crowd.resting)
    for number in count():
        await crowd.until(clock.now_ms() + SPEAK_EVERY_MS // len(every))
        crowd.host.apply(crowd.book(every[number % len(every)]))


def _body(key: InstrumentKey) -> Body:
    return {"symbol": key.symbol, "market": key.market.value, "sideHint": Side.BUY.value, "dry_run": False}


async def _in_process(crowd: Crowd, bodies: Sequence[Body], wanted: Action) -> list[int]:
    """The durations of the calls that were answered as wanted."""
    taken_ns = []
    for body in bodies:
        closed = crowd.closed
        began_ns = time.perf_counter_ns()
        answer = await crowd.peers.call(PeerCall("s3", "POST", "/decide", body=body, actor="bench"))
        took_ns = time.perf_counter_ns() - began_ns
        if answer.status == OK and answer.body["decision"] == wanted.value:
            taken_ns.append(took_ns)
            if wanted is Action.OPEN:
                await crowd.until_closed(closed + 1)
    return taken_ns


async def _batches(options: BenchOptions, crowd: Crowd) -> BenchRow:
    """Skips, each with its stored refusal. A row's time is a whole batch's."""
    calls = max(1, options.calls // BATCH)
    bodies: list[Body] = [
        {"requests": [_body(crowd.resting[number % len(crowd.resting)]) for number in range(BATCH)]}
        for _ in range(calls)
    ]
    runs = [await _over_http(crowd, "/decide/batch", bodies, Action.SKIP) for _ in range(options.runs)]
    row = row_of_runs(NAME, f"POST /decide/batch of {BATCH} skips", runs, asked=calls)
    return replace(row, rate_per_s=median(BATCH * len(run) / (sum(run) / 1e9) for run in runs if run))


async def _over_http(crowd: Crowd, path: str, bodies: Sequence[Body], wanted: Action) -> list[int]:
    runner = crowd.runners["s3"]
    sock = listen(LOOPBACK, 0)
    serving = server(build_app(runner.service, runner.all_routes()))
    task = asyncio.get_running_loop().create_task(serving.serve(sockets=[sock]), name="http s3")
    try:
        caller = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chimera.simulation.bench.caller",
            LOOPBACK,
            str(sock.getsockname()[1]),
            path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert caller.stdin is not None
        assert caller.stdout is not None
        taken_ns = []
        for body in bodies:
            closed = crowd.closed
            caller.stdin.write(json.dumps(body).encode() + b"\n")
            status, took_ns, decisions = json.loads(await caller.stdout.readline())
            if status == OK and set(decisions) == {wanted.value}:
                taken_ns.append(took_ns)
                if wanted is Action.OPEN:
                    await crowd.until_closed(closed + 1)
        caller.stdin.close()
        await caller.wait()
    finally:
        await stop((serving, task))
    return taken_ns

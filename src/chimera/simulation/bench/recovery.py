"""From `kill -9` of the running system to trading again, and how long a position had no stop.

The system and the exchange are processes of their own; the market goes on while the system is down. A run enters and
leaves, is killed in the middle of an entry, and is started again at once. `ready` is when S4, S5 and S6 say so, the
account compared; `entering` when the first entry is taken, by a caller who asks again and again. How long a position
was naked is read from the exchange's own ledger: from the fill to the stop that covers it, in venue time; what was
naked across a kill stands by itself, since it waits for the start.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from chimera.adapters.chance import SeededRandomness
from chimera.contracts.enums import Market
from chimera.simulation.bench.ports import free_port
from chimera.simulation.bench.rows import BenchOptions, BenchRow, row_of_runs
from chimera.simulation.bench.venue import pause, served
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.stops_listed import naked_spans

NAME = "recovery"
LOOPBACK = "127.0.0.1"
MARKET_BEGINS_MS = 1_763_546_400_000
"""2025-11-19 10:00 UTC: the market is the same in every run, far from midnight."""

SEED = 3
OK = 200
QTY = "0.001"
STOP_DISTANCE = "400"
READY_WITHIN_S = 60.0
STEP_S = 0.01
ENTER_STEP_S = 0.25
"""An entry that is refused costs of what the exchange lets one address ask, 2,400 a minute."""

BETWEEN_KILLS_S = 30.0
"""So does a start: without a pause one of them would wait until it may ask."""
WAITED_FOR = ("s4", "s5", "s6")


class NotBack(Exception):
    """The system did not come back, or took no order."""


@dataclass(slots=True)
class _System:
    data: Path
    venue: str
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    count: int = 0

    def start(self) -> None:
        """As an installed system starts: it keeps what it compiled."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "chimera", "up", "--data", str(self.data), "--port", str(self.port)),
                    *("--speed", "1", "--venue", self.venue),
                ],
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            )

    @property
    def log(self) -> Path:
        """What it printed, all starts."""
        return self.data.with_suffix(".log")

    def why(self) -> str:
        """What is known of a system that does not do what it should."""
        ended = "" if self.process is None or self.process.poll() is None else f"it ended with {self.process.poll()}; "
        return f"{ended}health {self.call('GET', '/s4/health')}; its log ends: {self.log.read_text()[-1_000:]}"

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """0: nobody answered."""
        connection = self.send(method, path, body)
        if connection is None:
            return 0, None
        try:
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def send(self, method: str, path: str, body: Any = None) -> HTTPConnection | None:
        """Without waiting for the answer."""
        token = self.data / "api-token"
        headers = {"authorization": f"Bearer {token.read_text().strip() if token.exists() else ''}"}
        connection = HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, f"/api{path}", sent, headers | {"content-type": "application/json"})
        except OSError:
            connection.close()
            return None
        return connection

    def is_ready(self) -> bool:
        return all(self.call("GET", f"/{service}/ready")[0] == OK for service in WAITED_FOR)

    def entry(self) -> dict[str, Any]:
        self.count += 1
        return {
            "intent_id": f"BENCH-{self.count:05}",
            "market": Market.FUT.value,
            "symbol": "BTCUSDT",
            "side": "BUY",
            "intent": "ENTRY",
            "qty": QTY,
            "sl": {"type": "STOP_MARKET", "distance": STOP_DISTANCE},
            "leverage": 20,
            "exec_policy": {"routing": "DIRECT_TAKER"},
        }

    def enters(self) -> bool:
        """Whether an entry is taken now; what is open is closed first."""
        status, answer = self.call("POST", "/s4/orders", self.entry())
        if status == OK and answer["result"] == "OK":
            return True
        if status and answer.get("type", "").endswith("position-open"):
            self.leave()
        return False

    def leave(self) -> None:
        status, told = self.call("GET", "/s6/positions")
        for trade in told["positions"] if status == OK else ():
            if trade["market"] != Market.FUT.value or not trade["qty"]:
                continue
            self.count += 1
            self.call(
                "POST",
                "/s4/orders",
                {
                    "intent_id": f"BENCH-{self.count:05}",
                    "parent_id": trade["trade_id"],
                    "market": trade["market"],
                    "symbol": trade["symbol"],
                    "side": "SELL" if trade["side"] == "LONG" else "BUY",
                    "intent": "EXIT",
                    "qty": str(trade["qty"]),
                    "reduce_only": True,
                },
            )


def bench(options: BenchOptions) -> list[BenchRow]:
    chance = SeededRandomness(SEED)
    ready_ns: list[int] = []
    entering_ns: list[int] = []
    down: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        data, exchange = Path(folder) / "data", Path(folder) / "exchange"
        words = ("--state", str(exchange), "--speed", "1", "--seed", str(SEED), "--start-ms", str(MARKET_BEGINS_MS))
        with served(*words) as (port, _):
            system = _System(data, f"http://{LOOPBACK}:{port}")
            try:
                system.start()
                _until(system.is_ready, system)
                for _ in range(options.kills):
                    for _ in range(options.entries):
                        _until(system.enters, system, ENTER_STEP_S)
                        system.leave()
                    cut_off = system.send("POST", "/s4/orders", system.entry())
                    pause(0.05 * chance.uniform())
                    down_ms = _clock_ms(exchange)
                    began_ns = time.perf_counter_ns()
                    system.kill()
                    if cut_off is not None:
                        cut_off.close()
                    system.start()
                    _until(system.is_ready, system)
                    ready_ns.append(time.perf_counter_ns() - began_ns)
                    _until(system.enters, system, ENTER_STEP_S)
                    entering_ns.append(time.perf_counter_ns() - began_ns)
                    down.append((down_ms, _clock_ms(exchange)))
                    system.leave()
                    pause(BETWEEN_KILLS_S if options.kills > 1 else 0.0)
                evidence = Evidence.of_folder(data, exchange)
            finally:
                system.end()
    spans = [(span.from_ms, evidence.now_ms if span.to_ms is None else span.to_ms) for span in naked_spans(evidence)]
    across = [span for span in spans if any(span[0] < up_ms and span[1] > down_ms for down_ms, up_ms in down)]
    alone = [span for span in spans if span not in across]
    kills = options.kills
    rows = [
        row_of_runs(NAME, "kill -9 to ready and reconciled", [ready_ns], asked=kills),
        row_of_runs(NAME, "kill -9 to the first entry taken", [entering_ns], asked=kills),
        row_of_runs(NAME, "a position without a stop, venue time", [_ns(alone)], asked=max(1, len(alone))),
    ]
    if across:
        rows.append(row_of_runs(NAME, "the same across a kill and the start", [_ns(across)], asked=len(across)))
    return rows


def _ns(spans: list[tuple[int, int]]) -> list[int]:
    return [(to_ms - from_ms) * 1_000_000 for from_ms, to_ms in spans]


def _clock_ms(exchange: Path) -> int:
    return int.from_bytes((exchange / "venue.clock").read_bytes()[:8], "big")


def _until(is_so: Callable[[], bool], system: _System, step_s: float = STEP_S) -> None:
    """
    Raises:
        NotBack: not within a minute.
    """
    deadline_s = time.perf_counter() + READY_WITHIN_S
    while not is_so():
        if time.perf_counter() > deadline_s or system.process is None or system.process.poll() is not None:
            raise NotBack(f"not within {READY_WITHIN_S:g} s: {system.why()}")
        pause(step_s)

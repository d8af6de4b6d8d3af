"""`chimera up` as a process of its own, as a person and a program on this machine see it: a port, a token, a folder."""

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from chimera.contracts.base import Document
from chimera.contracts.collections import Collection
from chimera.simulation.checkers.evidence import Evidence
from tests.loopback import free_ports

MARKET_BEGINS_MS = 1_763_546_400_000
"""2025-11-19 10:00 UTC: the market is the same in every run, far from midnight, when the strategy enters by itself."""

READY_WITHIN_S = 60.0
STEP_S = 0.02
GATEWAYS_OWN = ("/auth/", "/treasury/")

D = TypeVar("D", bound=Document)


class NotThere(Exception):
    """Nobody answers on the port."""


def started(words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "chimera", *words],
            stdout=file,
            stderr=file,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "400"},
        )


@dataclass(slots=True)
class VenueProcess:
    """`chimera venue` as a process of its own. `state` holds the exchange's ledger, for whoever wants to compare."""

    state: Path
    speed: int
    seed: int
    words: tuple[str, ...] = ()
    port: int = field(default_factory=free_ports)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.state.parent / "venue.log"

    def start(self) -> None:
        words = ["venue", "--port", str(self.port), "--state", str(self.state), "--speed", str(self.speed)]
        words += ["--seed", str(self.seed), "--start-ms", str(MARKET_BEGINS_MS), *self.words]
        self.process = started(words, self.log)
        deadline_s = time.perf_counter() + READY_WITHIN_S
        while time.perf_counter() < deadline_s:
            assert self.process.poll() is None, f"the exchange ended: {self.log_tail()}"
            try:
                self.call("GET", "/fapi/v1/time")
                return
            except NotThere:
                time.sleep(STEP_S)
        raise AssertionError(f"the exchange does not open: {self.log_tail()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Nothing is said any more, and no connection ends."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Its clock has gone on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        timeout_s: float = 10.0,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """
        Raises:
            NotThere: no connection, or no answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers or {})
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotThere(str(error)) from error
        finally:
            connection.close()
        return answer.status, json.loads(raw) if raw else None

    def told(self, method: str, path: str, body: Any = None) -> Any:
        """The body of an answer that must not be a refusal."""
        status, answer = self.call(method, path, body)
        assert status < 300, answer
        return answer

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3_000:]


@dataclass(slots=True)
class System:
    data: Path
    speed: int
    seed: int
    warmup_days: int = 1
    port: int = field(default_factory=free_ports)
    venue: "VenueProcess | None" = None
    """The exchange's server that it trades on; None: the simulated exchange inside."""
    prices: "VenueProcess | None" = None
    """The exchange's server whose prices it follows on paper."""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.data.parent / "system.log"

    def start(self) -> None:
        words = ["up", "--data", str(self.data), "--port", str(self.port), "--speed", str(self.speed)]
        if self.prices is not None:
            words += ["--venue", "paper", "--market-data", self.prices.url]
        elif self.venue is None:
            words += ["--warmup-days", str(self.warmup_days), "--seed", str(self.seed)]
            words += ["--end-ms", str(MARKET_BEGINS_MS)]
        else:
            words += ["--venue", self.venue.url]
        self.process = started(words, self.log)

    def kill(self) -> None:
        """kill -9: nothing of it runs on."""
        assert self.process is not None
        assert self.process.poll() is None, f"it had ended by itself: {self.log_tail()}"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def call(self, method: str, path: str, body: Any = None, timeout_s: float = 10.0) -> tuple[int, Any]:
        """Status and body behind the gateway.

        Raises:
            NotThere: no connection, or no answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(
                method,
                path if path.startswith(GATEWAYS_OWN) else f"/api{path}",
                None if body is None else json.dumps(body),
                self._headers(),
            )
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotThere(str(error)) from error
        finally:
            connection.close()
        return answer.status, json.loads(raw) if raw else None

    def told(self, method: str, path: str, body: Any = None) -> Any:
        """The body of an answer that must not be a refusal."""
        status, answer = self.call(method, path, body)
        assert status < 300, answer
        return answer

    def promote(self, **flags: dict[str, Any]) -> None:
        """Put a bundle in force that is the active one but for these flags, by group."""
        bundle = self.told("GET", f"/s10/bundles/{self.told('GET', '/s10/active')['bundle_id']}")["bundle"]
        for group, changed in flags.items():
            bundle["flags"][group] |= changed
        draft = {name: bundle[name] for name in ("rules", "factors", "instruments", "flags")}
        made = self.told("POST", "/s10/bundles", draft)["bundle_id"]
        self.told("POST", f"/s10/bundles/{made}/stage")
        self.told("POST", "/s10/promote", {"bundle_id": made, "mode": "FULL"})

    def send(self, method: str, path: str, body: Any) -> http.client.HTTPConnection:
        """Send a request and do not wait for its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, f"/api{path}", json.dumps(body), self._headers())
        return connection

    def wait_reconciled(self) -> float:
        """Seconds until S5 has compared everything, and S3 may decide by what S2 tells."""
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < READY_WITHIN_S:
            assert self.process is not None
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log_tail()}"
            try:
                if all(self.call("GET", f"/{service}/ready")[0] == 200 for service in ("s5", "s2", "s3", "s6")):
                    return time.perf_counter() - began_s
            except NotThere:
                pass
            time.sleep(STEP_S)
        raise AssertionError(f"not reconciled after {READY_WITHIN_S} s: {self.log_tail()}")

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3_000:]

    @property
    def venue_files(self) -> Path:
        return self.data / "venue" if self.venue is None else self.venue.state

    def evidence(self) -> Evidence:
        """The exchange's books and ours."""
        return Evidence.of_folder(self.data, self.venue_files)

    def on_file(self, collection: Collection[D]) -> list[D]:
        """Every document of ours, also of what no checker asks about."""
        connection = sqlite3.connect(f"{(self.data / 'documents.sqlite').as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute(f'SELECT body FROM "{collection.name}" ORDER BY key').fetchall()
        finally:
            connection.close()
        return [collection.document.model_validate_json(body) for (body,) in rows]

    def venue_now_ms(self) -> int:
        """Where the exchange's clock stands, running or not."""
        return int.from_bytes((self.venue_files / "venue.clock").read_bytes()[:8], "big")

    def venue_fills(self) -> int:
        """How many trades the exchange's own file holds."""
        connection = sqlite3.connect(f"{(self.venue_files / 'venue.sqlite').as_uri()}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM rows WHERE tbl='fill'").fetchone()[0])
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        token = self.data / "api-token"
        held = token.read_text().strip() if token.exists() else ""
        return {"authorization": f"Bearer {held}", "content-type": "application/json"}

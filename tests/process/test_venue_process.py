"""`chimera venue` as a process: what was answered survives `kill -9`, klines make its market, and what cannot be traded
on is named by `doctor` and by the start of the system, each with its remedy.
"""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from chimera.app.remote import LOCAL_KEY, LOCAL_SECRET
from tests.loopback import free_ports
from tests.process.system import READY_WITHIN_S, STEP_S, NotThere, System, VenueProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[VenueProcess]:
    venue = VenueProcess(tmp_path / "exchange", speed=1, seed=3)
    yield venue
    venue.end()


def signed(venue: VenueProcess, method: str, path: str, **params: Any) -> tuple[int, Any]:
    now_ms = venue.told("GET", "/fapi/v1/time")["serverTime"]
    query = urlencode({**params, "timestamp": now_ms, "recvWindow": 60_000})
    signature = hmac.new(LOCAL_SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    return venue.call(method, f"{path}?{query}&signature={signature}", headers={"X-MBX-APIKEY": LOCAL_KEY})


def test_what_was_answered_survives_a_kill(venue: VenueProcess) -> None:
    venue.start()
    common = {"symbol": "BTCUSDT", "quantity": "0.010"}
    for params in (
        {**common, "side": "BUY", "type": "MARKET", "newClientOrderId": "open"},
        {**common, "side": "BUY", "type": "LIMIT", "price": "40000", "timeInForce": "GTC", "newClientOrderId": "rest"},
    ):
        status, answer = signed(venue, "POST", "/fapi/v1/order", **params)
        assert status == 200, answer
    status, answer = signed(
        venue,
        "POST",
        "/fapi/v1/algoOrder",
        **common,
        algoType="CONDITIONAL",
        side="SELL",
        type="STOP_MARKET",
        triggerPrice="30000",
        reduceOnly="true",
        clientAlgoId="stop",
    )
    assert status == 200, answer
    before = venue.told("GET", "/admin/ledger")

    venue.kill()
    venue.start()

    after = venue.told("GET", "/admin/ledger")
    assert kept(after) == kept(before)
    assert after["now_ms"] >= before["now_ms"]
    again, answer = signed(venue, "GET", "/fapi/v1/openAlgoOrders")
    assert again == 200
    assert [each["clientAlgoId"] for each in answer] == ["stop"]


def kept(ledger: dict[str, Any]) -> dict[str, Any]:
    """Without what moves with the market."""
    moving = {"mark_price", "unrealized_pnl_usdt"}
    positions = [{name: each[name] for name in each.keys() - moving} for each in ledger["positions"]]
    return {name: ledger[name] for name in ledger.keys() - {"now_ms"}} | {"positions": positions}


def test_another_market_on_a_kept_state_is_refused(venue: VenueProcess) -> None:
    venue.start()
    venue.end()

    told = chimera("venue", "--port", str(free_ports()), "--state", str(venue.state), "--seed", "4")

    assert told.returncode == 2
    assert "seed 3" in told.stderr
    assert "--state" in told.stderr


@pytest.mark.parametrize(
    ("env", "says"),
    [
        pytest.param(
            {"S4_BINANCE_KEY": "nobody", "S4_BINANCE_SECRET": "x"}, ("-2015", "environment"), id="a key of elsewhere"
        ),
        pytest.param(
            {"S4_BINANCE_KEY": LOCAL_KEY, "S4_BINANCE_SECRET": "x"}, ("-1022", "S4_BINANCE_SECRET"), id="a wrong secret"
        ),
        pytest.param(
            {"S4_BINANCE_KEY": "k", "S4_BINANCE_PRIVATE_KEY_PATH": "/nowhere.pem"},
            ("S4_BINANCE_PRIVATE_KEY_PATH", "/nowhere.pem"),
            id="a private key that is not there",
        ),
    ],
)
def test_what_cannot_be_traded_on_is_refused_at_the_start_and_named_by_the_doctor(
    tmp_path: Path, venue: VenueProcess, env: dict[str, str], says: tuple[str, ...]
) -> None:
    venue.start()

    started = chimera("up", "--venue", venue.url, "--data", str(tmp_path / "var"), "--port", str(free_ports()), env=env)
    looked = chimera(
        "doctor", "--venue", venue.url, "--json", "--data", str(tmp_path / "var"), "--port", str(free_ports()), env=env
    )

    assert started.returncode == 2, started.stderr
    assert not (tmp_path / "var").exists(), "a start that was refused claimed the folder"
    assert all(word in started.stderr for word in says), started.stderr
    assert looked.returncode == 1
    bad = [each for each in json.loads(looked.stdout.splitlines()[-1]) if each["level"] == "bad"]
    told = " ".join(f"{each['found']} {each['remedy']}" for each in bad)
    assert all(word in told for word in says), bad


def test_an_account_in_order_passes_the_doctor(tmp_path: Path, venue: VenueProcess) -> None:
    venue.start()

    looked = chimera("doctor", "--venue", venue.url, "--json", "--data", str(tmp_path / "var"), "--port", "9")

    found = {each["what"]: each["level"] for each in json.loads(looked.stdout.splitlines()[-1])}
    assert found["futures key"] == found["spot key"] == found["key permissions"] == "ok"


def chimera(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "chimera", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COLUMNS": "400"} | (env or {}),
        check=False,
    )


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_a_start_that_waits_for_a_limited_address_says_so_and_can_be_stopped(
    tmp_path: Path, venue: VenueProcess, by: signal.Signals
) -> None:
    venue.start()
    venue.told("POST", "/admin/faults", {"kind": "BAN_418", "in_ms": 0, "duration_ms": 600_000})
    system = System(tmp_path / "var", speed=1, seed=1, venue=venue)
    system.start()
    try:
        note = wait_note(system, "asked again at")
        assert system.process is not None
        system.process.send_signal(by)
        code = system.process.wait(timeout=10)
    finally:
        system.end()

    assert "the exchange limits this address" in note
    assert code == 0, system.log_tail()
    assert not (tmp_path / "var" / "documents.sqlite").exists(), "nothing was traded: the folder is nobody's yet"


def wait_note(system: System, word: str) -> str:
    """What the page says of the start, as soon as it says `word`."""
    note, deadline_s = "", time.perf_counter() + READY_WITHIN_S
    while time.perf_counter() < deadline_s:
        try:
            note = str(system.call("GET", "/health")[1]["note"])
        except NotThere:
            pass
        if word in note:
            return note
        time.sleep(STEP_S)
    raise AssertionError(f"{note!r} after {READY_WITHIN_S} s: {system.log_tail()}")

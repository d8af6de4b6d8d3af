"""What a person types: every command helps, refuses with the remedy and exit code 2, and does what it says.

The commands run as processes, as a person runs them; those that ask a system ask one that really runs.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chimera import __version__
from chimera.app.data_folder import DataFolderProblem, open_folder
from chimera.app.flag_page import flag_page
from chimera.app.people import set_password
from chimera.app.stream_map import stream_map
from chimera.cli import VENUES
from chimera.domain.config.schema import draft_schema
from chimera.domain.config.source_lines import read_yaml
from chimera.simulation.bench import BENCHES, BenchVenue
from tests.loopback import free_ports, is_free
from tests.process.system import MARKET_BEGINS_MS

BUNDLE_WORDS = ("new", "lint", "diff", "dry-run", "stage", "activate", "rollback", "list", "show", "schema")
COMMANDS = (
    ("up",),
    ("venue",),
    ("replay",),
    ("download",),
    ("decide",),
    ("status",),
    ("kill-switch",),
    ("password",),
    ("doctor",),
    ("contracts", "export"),
    *(("bundle", word) for word in BUNDLE_WORDS),
    *(("position", word) for word in ("list", "close", "stop")),
    *(("order", word) for word in ("list", "show", "cancel")),
    *(("approval", word) for word in ("list", "ask", "approve", "revoke")),
    ("flatten",),
    ("pause",),
    ("resume",),
    ("flags",),
    ("map",),
    ("bench",),
)
SERVICE_PORTS = 12


def chimera(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chimera", *words],
        env={**os.environ, "COLUMNS": "200", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(told: subprocess.CompletedProcess[str], *words: str) -> None:
    assert told.returncode == 2, told.stderr
    assert "Traceback" not in told.stderr
    for word in words:
        assert word in told.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does(command: tuple[str, ...]) -> None:
    told = chimera(*command, "--help")

    assert told.returncode == 0
    assert "Usage: python -m chimera " + " ".join(command) in told.stdout
    assert "--help" in told.stdout


def test_the_version_is_the_packages() -> None:
    assert chimera("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--symbols", "BTCEUR"), ("BTCEUR", "BTCUSDT"), id="a symbol that cannot be traded"),
        pytest.param(("--symbols", " , "), ("--symbols names nothing", "BTCUSDT"), id="no symbol at all"),
        pytest.param(("--symbols", "btc usdt"), ("--symbols", "'BTC USDT'", "BTCUSDT"), id="a symbol with a space"),
        pytest.param(("--symbols", "BTCUSDT,ÄUSDT"), ("--symbols", "'ÄUSDT'"), id="a letter no exchange has"),
        pytest.param(
            ("--symbols", "BTCUSDT,ETTHUSDT"), ("ETTHUSDT", "BTCUSDT, ETHUSDT"), id="a symbol that is not listed"
        ),
        pytest.param(
            ("--port", "9645", "--service-ports", "9640"), ("--port 9645", "S6", "9640 to 9651"), id="colliding ports"
        ),
        pytest.param(("--port", "0"), ("--port",), id="a port that is none"),
        pytest.param(("--port", "http"), ("--port",), id="a port that is no number"),
        pytest.param(("--speed", "0"), ("--speed",), id="time that stands still"),
        pytest.param(("--venue", "nasdaq"), ("--venue", "sim"), id="an unknown venue"),
        pytest.param(("--venue", "live"), ("--i-understand", "testnet"), id="real money by accident"),
        pytest.param(
            ("--venue", "https://fapi.binance.com", "--i-understand"),
            ("--venue live --i-understand", "--venue testnet"),
            id="real money by its address",
        ),
        pytest.param(
            ("--venue", "http://192.0.2.1:9900", "--i-understand"), ("in clear", "https"), id="a key in clear"
        ),
        pytest.param(
            ("--venue", "https://192.0.2.1"), ("not on this machine", "--i-understand"), id="a server elsewhere"
        ),
        pytest.param(("--venue", "paper", "--speed", "10"), ("--speed 10", "leave --speed out"), id="paper in a hurry"),
    ],
)
def test_a_start_with_bad_words_is_refused_before_anything_is_made(
    tmp_path: Path, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    told = chimera("up", "--data", str(tmp_path / "var"), *words)

    refused(told, *says)
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_forbids_real_money_wins_over_the_command_line(tmp_path: Path) -> None:
    told = chimera("up", "--data", str(tmp_path / "var"), "--venue", "live", "--i-understand", S4_TESTNET="true")

    refused(told, "S4_TESTNET", "--venue testnet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--symbols", "btc usdt"), ("--symbols", "'BTC USDT'"), id="a symbol with a space"),
        pytest.param(("--symbols", "FOOUSDT"), ("no one-minute bars of FOOUSDT",), id="a symbol the files lack"),
    ],
)
def test_a_replay_takes_any_symbol_that_its_files_hold(
    tmp_path: Path, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    refused(chimera("replay", "--klines", str(tmp_path), *words), *says)


def test_a_variable_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    told = chimera("up", "--data", str(tmp_path / "var"), S3_LEVERAGE_DEFAULT="900")

    refused(told, "S3_LEVERAGE_DEFAULT", "900", "Unset it")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("service_ports", [False, True], ids=["of the page", "of a service"])
def test_a_port_in_use_is_refused_and_nothing_was_started(tmp_path: Path, service_ports: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ("--port", str(free_ports()), "--service-ports", str(port)) if service_ports else ("--port", str(port))

        told = chimera("up", "--data", str(tmp_path / "var"), *words)
        (tmp_path / "mine").mkdir()
        again = chimera("up", "--data", str(tmp_path / "mine"), *words)

    for each in (told, again):
        refused(each, f"port {port}", "choose another port")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert not (tmp_path / "mine" / "documents.sqlite").exists()
    assert not (tmp_path / "mine" / "run.json").exists()


def test_a_data_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    refused(chimera("up", "--data", str(tmp_path / "file" / "var")), str(tmp_path / "file" / "var"), "--data")


def test_a_data_folder_of_a_newer_version_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "version.json").write_text('{"version": 99}')

    refused(chimera("up", "--data", str(tmp_path)), "newer version 99", "--data")
    assert (tmp_path / "version.json").read_text() == '{"version": 99}'
    assert not (tmp_path / "documents.sqlite").exists()


@pytest.mark.parametrize(
    ("kept", "lost"),
    [
        pytest.param(("venue/venue.sqlite", "venue/venue.clock"), "documents.sqlite", id="the documents"),
        pytest.param(("documents.sqlite",), "venue/venue.sqlite", id="the exchange"),
    ],
)
def test_a_data_folder_that_lost_half_of_itself_is_refused_and_left_as_it_was(
    tmp_path: Path, kept: tuple[str, ...], lost: str
) -> None:
    (tmp_path / "venue").mkdir()
    for name in kept:
        (tmp_path / name).write_bytes(b"positions")

    refused(chimera("up", "--data", str(tmp_path), "--port", str(free_ports())), lost, "restore a copy", "--data")
    assert all((tmp_path / name).read_bytes() == b"positions" for name in kept)
    assert not (tmp_path / lost).exists()


def test_a_data_folder_whose_exchange_is_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "venue").mkdir()
    for name in ("documents.sqlite", "venue/venue.sqlite", "venue/venue.clock"):
        (tmp_path / name).touch()

    told = chimera("up", "--data", str(tmp_path), "--port", str(free_ports()))

    refused(told, str(tmp_path / "venue"), "which market", "Restore a copy", "--data")


def test_a_data_folder_in_use_is_refused(tmp_path: Path) -> None:
    other = open_folder(tmp_path)

    refused(chimera("up", "--data", str(tmp_path), "--port", str(free_ports())), "in use", "--data")

    other.close()


def test_beyond_this_machine_a_password_comes_first(tmp_path: Path) -> None:
    told = chimera("up", "--data", str(tmp_path), "--host", "0.0.0.0", "--port", str(free_ports()))

    refused(told, "no password is set", "chimera password")
    assert not (tmp_path / "documents.sqlite").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("decide", "BTCUSDT"),
        ("kill-switch", "status"),
        ("kill-switch", "off"),
        ("bundle", "list"),
        ("bundle", "rollback", "--yes"),
        ("position", "list"),
        ("order", "show", "x"),
        ("approval", "list"),
        ("flatten", "--yes"),
        ("pause",),
    ],
    ids=" ".join,
)
def test_who_asks_a_system_that_does_not_run_is_told_how_to_start_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    refused(chimera(*words, "--data", str(tmp_path)), "no system runs", f"chimera up --data {tmp_path}")


def test_the_switch_can_be_pulled_while_the_system_is_down(tmp_path: Path) -> None:
    told = chimera("kill-switch", "on", "--reason", "holiday", "--data", str(tmp_path))

    assert told.returncode == 0
    assert "not running" in told.stdout
    assert (tmp_path / "KILL").read_text() == "holiday\n"


def test_the_doctor_of_a_healthy_folder_ends_with_0_and_of_a_broken_one_with_1(tmp_path: Path) -> None:
    port = str(free_ports())
    healthy = chimera("doctor", "--data", str(tmp_path), "--port", port)
    (tmp_path / "version.json").write_text('{"version": 99}')
    broken = chimera("doctor", "--data", str(tmp_path), "--port", port, "--json", S3_MAX_LOSS_USD="5")

    assert healthy.returncode == 0, healthy.stdout
    assert broken.returncode == 1
    bad = [finding for finding in json.loads(broken.stdout) if finding["level"] == "bad"]
    assert [finding["what"] for finding in bad] == ["data folder", "environment"]
    assert all(finding["remedy"] for finding in bad)


DRAFT = """\
note: from a file
flags:
  risk:
    concurrent_entries_per_market: 1
rules:
  - rule_id: R-1
    priority: 1
    applies: {symbols: [], services: [s3-strategy]}
    when: {f: spread_bps, op: ">", v: 2000}
    action: {type: size_mult, value: 0.8}
    status: ENABLED
"""


@pytest.mark.parametrize(
    ("text", "status", "level", "line"),
    [
        pytest.param(DRAFT, 0, "warning", 9, id="a rule that never holds"),
        pytest.param(DRAFT.replace("spread_bps", "moon_phase"), 1, "error", 9, id="a factor nobody computes"),
        pytest.param(DRAFT.replace("priority: 1", "prio: 1"), 1, "error", 6, id="half a rule"),
        pytest.param(DRAFT.replace("v: 2000", "v: 010"), 1, "error", 9, id="eight or ten"),
        pytest.param("flags: [", 1, "error", 1, id="no yaml"),
    ],
)
def test_a_file_is_linted_without_a_running_system(
    tmp_path: Path, text: str, status: int, level: str, line: int
) -> None:
    file = tmp_path / "draft.yaml"
    file.write_text(text)

    told = chimera("bundle", "lint", str(file), "--json")
    shown = chimera("bundle", "lint", str(file))

    assert (told.returncode, shown.returncode) == (status, status), told.stderr
    first = json.loads(told.stdout)["findings"][0]
    assert (first["level"], first["line"]) == (level, line)
    assert level in shown.stdout


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused(chimera("bundle", "lint", str(tmp_path / "no.yaml")), "no.yaml")
    refused(chimera("bundle", "new", str(tmp_path / "no.yaml"), "--data", str(tmp_path)), "no.yaml", "cannot be read")


def test_the_schema_of_bundles_is_printed_without_a_running_system() -> None:
    assert json.loads(chimera("bundle", "schema").stdout) == draft_schema()


def test_the_page_of_flags_is_the_present_one() -> None:
    page = (Path(__file__).parent.parent / "docs" / "flags.md").read_text()

    assert page == flag_page(), "make it again: make flags"


def exported(folder: Path, hash_seed: str) -> dict[str, bytes]:
    told = chimera("contracts", "export", str(folder), PYTHONHASHSEED=hash_seed)
    assert told.returncode == 0, told.stderr
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_exports_are_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    first = exported(tmp_path / "a", "0")

    assert exported(tmp_path / "b", "4242") == first
    assert {"asyncapi.json", "openapi/s3.json", "documents/orders.json", "events/OrderCmd.json"} <= set(first)


def test_an_export_to_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    refused(chimera("contracts", "export", str(tmp_path / "file")), "cannot be written", "another folder")


def test_the_map_is_the_one_that_the_services_declare() -> None:
    assert chimera("map").stdout.strip() == stream_map().strip()


def test_the_benches_and_venues_that_there_are_stand_in_the_help() -> None:
    bench, up = chimera("bench", "--help").stdout, chimera("up", "--help").stdout

    assert all(name in bench for name in (*BENCHES, *BenchVenue))
    assert all(name in up for name in (*VENUES, "URL", "--i-understand"))


def test_a_bench_that_is_none_is_refused() -> None:
    refused(chimera("bench", "coffee"), "coffee", "sim", "decide", "tick-to-order", "venue", "connector")
    refused(chimera("bench", "tick-to-order", "--venue", "coffee"), "--venue 'coffee'", "sim", "http")


@dataclass(frozen=True)
class Running:
    """A system that a person started, with its page and its service ports."""

    process: "subprocess.Popen[str]"
    data: Path
    port: int
    service_ports: int
    said: str

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return chimera(*words, "--data", str(self.data))

    def ask_json(self, *words: str) -> Any:
        told = self.ask(*words, "--json")
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout.splitlines()[-1])


@contextmanager
def started(folder: Path, *, warmup_days: int) -> Iterator[Running]:
    """A system from its first word to its last; it trades when this begins."""
    data = folder / "var"
    ports = free_ports(SERVICE_PORTS + 1)
    words = ("--warmup-days", str(warmup_days), "--speed", "60")
    words += ("--end-ms", str(MARKET_BEGINS_MS), "--port", str(ports), "--service-ports", str(ports + 1))
    with (folder / "stderr").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "chimera", "up", "--data", str(data), *words],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        said = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith("Trading."):
                break
        if not said or not said[-1].startswith("Trading."):
            process.wait()
            log.seek(0)
            raise AssertionError(f"it ended with {process.returncode}: {''.join(said)}{log.read()}")
        try:
            yield Running(process, data, ports, ports + 1, "".join(said))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("running"), warmup_days=1) as system:
        yield system


@pytest.mark.process
def test_a_start_prints_one_link_with_a_token(running: Running) -> None:
    assert running.said.count("http://") == 1
    assert f"http://127.0.0.1:{running.port}/login?token=" in running.said


@pytest.mark.process
def test_status_says_how_the_system_is(running: Running) -> None:
    status = running.ask_json("status")

    assert status["venue"] == "sim"
    assert status["speed"] == 60
    assert status["reconciled"] is True
    assert status["equity_usdt"] > 0
    assert status["config_rev"] >= 1
    assert status["kill_switch"] == "OFF"
    assert status["trades"] >= status["open_trades"] >= len(status["positions"])
    assert all(each.get("stop_price") for each in status["positions"])
    shown = running.ask("status")
    assert shown.returncode == 0
    assert "equity" in shown.stdout
    assert "config rev" in shown.stdout


@pytest.mark.process
def test_a_dry_decision_is_told_with_its_whole_trail(running: Running) -> None:
    before = running.ask_json("status")["trades"]

    decision = running.ask_json("decide", "btcusdt", "--dry-run", "--side", "buy")

    assert decision["decision"] in ("open", "skip")
    assert decision["trail"]["gates"]
    assert running.ask("decide", "BTCUSDT").returncode == 0
    assert running.ask_json("status")["trades"] == before


@pytest.mark.process
def test_a_decision_on_an_unknown_symbol_is_refused(running: Running) -> None:
    refused(running.ask("decide", "NOPEUSDT"), "NOPEUSDT")
    refused(running.ask("decide", "BTCUSDT", "--side", "UP"), "sideHint", "BUY")


@pytest.mark.process
def test_the_kill_switch_stops_decisions_until_it_is_released(running: Running) -> None:
    pulled = running.ask("kill-switch", "on", "--reason", "test")
    status = running.ask_json("status")
    decision = running.ask_json("decide", "BTCUSDT")
    asked = running.ask("kill-switch", "status")
    released = running.ask("kill-switch", "off")

    assert (pulled.returncode, asked.returncode, released.returncode) == (0, 0, 0)
    assert "kill switch ON" in pulled.stdout
    assert "kill switch ON" in asked.stdout
    assert "kill switch OFF" in released.stdout
    assert status["kill_switch"] == "ON"
    assert (decision["decision"], decision["detail"]) == ("skip", "KILL_SWITCH")
    assert not (running.data / "KILL").exists()
    assert running.ask_json("status")["kill_switch"] == "OFF"


def until_something_is_open(running: Running) -> list[dict[str, Any]]:
    """A hint is refused while figures are too old, as on a busy machine; what is open already will do as well."""
    for _ in range(30):
        if held := running.ask_json("position", "list")["positions"]:
            return list(held)
        told = running.ask_json("decide", "BTCUSDT", "--open", "--market", "FUT", "--side", "buy")
        time.sleep(1)
    raise AssertionError(f"nothing opens: {told}")


def first_that_succeeds(attempt: Callable[[], Any]) -> Any:
    """The market runs on between a look and the command that follows from it."""
    for _ in range(20):
        if (answer := attempt()) is not None:
            return answer
    raise AssertionError("the market was always faster")


def accepted(done: "subprocess.CompletedProcess[str]") -> Any:
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


@pytest.mark.process
def test_a_person_moves_a_stop_and_takes_a_target_back(running: Running) -> None:
    def tighter() -> Any:
        held = [each for each in until_something_is_open(running) if each["market"] == "FUT" and "mark_price" in each]
        if not held:
            return None
        stop, mark = Decimal(str(held[0]["stop_price"])), Decimal(str(held[0]["mark_price"]))
        wanted = (stop + (mark - stop) / 10).quantize(stop)
        moved = accepted(running.ask("position", "stop", f"FUT:{held[0]['symbol']}", str(wanted), "--json"))
        return None if moved is None else (stop, wanted, mark, moved)

    def target_gone() -> Any:
        resting = running.ask_json("order", "list", "--open")["orders"]
        target = next((each["order_id"] for each in resting if each.get("purpose") == "TP"), None)
        if target is None:
            until_something_is_open(running)
            return None
        gone = accepted(running.ask("order", "cancel", target, "--confirm", "--json"))
        return None if gone is None else (target, gone)

    stop, wanted, mark, moved = first_that_succeeds(tighter)
    target, gone = first_that_succeeds(target_gone)

    assert Decimal(str(moved["stop_price"])) == wanted
    assert abs(mark - wanted) < abs(mark - stop)
    assert (gone["status"], gone["canceled_ids"]) == ("CANCELED", [target])


@pytest.mark.process
def test_a_person_follows_closes_and_flattens(running: Running) -> None:
    held = until_something_is_open(running)
    name = f"{held[0]['market']}:{held[0]['symbol']}"
    shown = running.ask("position", "list")
    orders = running.ask_json("order", "list", "--limit", "10")["orders"]
    life = running.ask_json("order", "show", orders[0]["intent_id"])
    by_order = running.ask_json("order", "show", orders[0]["order_id"])
    wrong_word = running.ask("flatten")
    paused = running.ask("pause", "btcusdt", "--reason", "a look")
    resumed = running.ask("resume", "btcusdt")

    assert "at the stop" in shown.stdout or "No open position" in shown.stdout
    assert life["intent_id"] == by_order["intent_id"] == orders[0]["intent_id"]
    refused(wrong_word, "nothing was changed", "--yes")
    assert "paused: FUT:BTCUSDT" in paused.stdout
    assert "paused: nothing" in resumed.stdout
    refused(running.ask("resume", "FUT"), "FUT is not paused")
    refused(running.ask("position", "close", "NOPEUSDT"), "NOPEUSDT")
    refused(running.ask("position", "stop", name, "1", "--json"))
    refused(running.ask("order", "cancel", "s3-none"), "s3-none")

    # Looked at anew: minutes of the market have passed.
    held = until_something_is_open(running)
    closed = running.ask_json("position", "close", f"{held[0]['market']}:{held[0]['symbol']}")
    flat = running.ask_json("flatten", "--yes", "--reason", "test")

    assert closed["trade_id"] == held[0]["trade_id"]
    assert flat["flat"] is True
    assert running.ask_json("status")["kill_switch"] == "ON"
    told = running.ask("status").stdout
    assert "no new entries: KILL_SWITCH" in told
    assert "chimera kill-switch off" in told
    assert running.ask("kill-switch", "off").returncode == 0


@pytest.mark.process
def test_an_approval_is_refused_where_none_is_needed(running: Running) -> None:
    asked = running.ask("approval", "ask", "BTCUSDT", "BUY", "9000", "--reason", "a dip")

    refused(asked, "compliance.enabled is off")
    assert "not needed" in running.ask("approval", "list").stdout


@pytest.mark.process
def test_a_bundle_goes_from_a_file_into_force_and_back(running: Running, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    draft.write_text(DRAFT.replace("2000", "2"))

    made = running.ask_json("bundle", "new", str(draft))
    bundle_id = made["bundle_id"]
    changes = running.ask_json("bundle", "diff", bundle_id)["differences"]
    too_early = running.ask("bundle", "activate", bundle_id, "--yes")
    staged = running.ask_json("bundle", "stage", bundle_id)
    unanswered = running.ask("bundle", "activate", bundle_id)
    tried = running.ask("bundle", "dry-run", bundle_id, "--days", "1", "--symbols", "btcusdt", "--json")
    active = running.ask_json("bundle", "activate", str(staged["rev"]), "--yes", "--reason", "a try")
    listed = running.ask("bundle", "list").stdout
    shown = running.ask("bundle", "show")
    back = running.ask_json("bundle", "rollback", "--yes")
    again = running.ask("bundle", "rollback", "--yes")

    assert (made["status"], "flags.risk.concurrent_entries_per_market" in [each["path"] for each in changes]) == (
        "DRAFT",
        True,
    )
    refused(too_early, f"chimera bundle stage {bundle_id}")
    refused(unanswered, "nothing was changed", "--yes")
    body = json.loads(tried.stdout.splitlines()[-1])
    assert {each["symbol"] for each in body["instruments"]} == {"BTCUSDT"}
    assert tried.returncode == (0 if body["passed"] else 1)
    assert (active["to_rev"], active["mode"], back["to_rev"], back["mode"]) == (staged["rev"], "FULL", 1, "ROLLBACK")
    assert "from a file" in listed
    assert read_yaml(shown.stdout)["flags"]["risk"]["concurrent_entries_per_market"] == 1
    refused(again, "nothing was in force before")


@pytest.mark.process
def test_a_draft_with_faults_is_told_and_ends_with_1(running: Running, tmp_path: Path) -> None:
    draft = tmp_path / "draft.json"
    draft.write_text('{"rules": [],\n "rules": []}')
    twice = running.ask("bundle", "new", str(draft))
    draft.write_text(json.dumps({"factors": [], "note": "none"}))
    unstageable = running.ask("bundle", "new", str(draft), "--json")

    assert (twice.returncode, unstageable.returncode) == (1, 1)
    assert "stands twice" in twice.stderr
    assert json.loads(unstageable.stdout)["findings"][0]["level"] == "error"


@pytest.mark.process
def test_a_second_start_on_the_same_folder_is_refused(running: Running) -> None:
    refused(running.ask("up", "--port", str(free_ports())), "in use", "--data")


@pytest.mark.process
async def test_a_password_waits_until_the_system_is_stopped(running: Running) -> None:
    with pytest.raises(DataFolderProblem, match="while the system does not run"):
        await set_password(running.data, "admin", "heron glacier muffin seven")


@pytest.mark.process
def test_the_doctor_knows_the_running_system(running: Running) -> None:
    told = running.ask("doctor", "--port", str(running.port), "--json")

    findings = {finding["what"]: finding for finding in json.loads(told.stdout)}
    assert told.returncode == 0
    assert str(running.process.pid) in findings[f"port {running.port}"]["found"]
    assert "in use by the running system" in findings["data folder"]["found"]


def http(url: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.process
def test_service_ports_answer_programs_and_no_page_of_another_site(running: Running) -> None:
    s3 = f"http://127.0.0.1:{running.service_ports + 2}"
    wanted = {"symbol": "BTCUSDT"}

    status, health = http(f"{s3}/health")
    asked, decision = http(f"{s3}/dryrun", wanted)
    foreign, problem = http(f"{s3}/dryrun", wanted, Origin="https://evil.example")
    renamed, _ = http(f"{s3}/health", Host="evil.example")

    assert (status, health["service"], health["status"]) == (200, "s3", "OK")
    assert (asked, decision["decision"] in ("open", "skip")) == (200, True)
    assert (foreign, problem["type"]) == (403, "urn:chimera:problem:foreign-origin")
    assert renamed == 403
    assert is_free(running.service_ports + 6), "S7 does not run, so nothing may listen for it"


@pytest.mark.process
def test_the_gateway_s_own_service_port_asks_for_the_token_as_the_gateway_does(running: Running) -> None:
    s12 = f"http://127.0.0.1:{running.service_ports + 11}"
    token = (running.data / "api-token").read_text().strip()
    release = {"state": "OFF"}

    nobody = [
        http(f"{s12}{path}", body)[0]
        for path, body in (
            ("/kill-switch", release),
            ("/resume", {"scope": "ALL"}),
            ("/halts/DAILY_LOSS/release", {"reason": "x"}),
            ("/status", None),
        )
    ]
    known, switch = http(f"{s12}/kill-switch", release, Authorization=f"Bearer {token}")
    _, health = http(f"{s12}/health")

    assert nobody == [401] * 4
    assert (known, switch["state"]) == (200, "OFF")
    assert (health["service"], health["status"]) == ("s12", "OK")


@pytest.mark.process
def test_stopped_by_ctrl_c_it_ends_well_and_says_so_to_who_asks(tmp_path: Path) -> None:
    with started(tmp_path, warmup_days=0) as system:
        system.process.send_signal(signal.SIGINT)

        assert system.process.wait(timeout=30) == 0
        refused(system.ask("status"), "has ended", f"chimera up --data {system.data}")

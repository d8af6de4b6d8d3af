"""The doctor finds what is wrong, names the command that mends it, and changes nothing."""

import json
import os
import re
import socket
from pathlib import Path

import pytest

import chimera
from chimera.app.data_folder import open_folder
from chimera.app.doctor import HEEDED, examine
from chimera.app.findings import Finding, Level
from chimera.contracts.settings import SETTINGS
from tests.loopback import free_ports

PACKAGE = Path(chimera.__file__).parent


def healthy(data: Path) -> Path:
    open_folder(data).close()
    return data


def found(findings: list[Finding], what: str) -> list[Finding]:
    return [finding for finding in findings if finding.what.startswith(what)]


def wrong(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level in (Level.WARN, Level.BAD)]


def test_a_healthy_installation_has_nothing_wrong(tmp_path: Path) -> None:
    findings = examine(healthy(tmp_path), free_ports(), {})

    # Disk and memory are the machine's own affair.
    assert wrong([each for each in findings if each.what not in ("disk", "memory")]) == []
    assert {"python", "libraries", "disk", "memory", "data folder", "clock"} <= {each.what for each in findings}


def test_a_folder_that_is_not_there_yet_is_no_illness_and_is_not_made(tmp_path: Path) -> None:
    findings = examine(tmp_path / "new" / "var", free_ports(), {})

    assert found(findings, "data folder")[0].level is Level.INFO
    assert list(tmp_path.iterdir()) == []


def newer(data: Path) -> None:
    (data / "version.json").write_text('{"version": 99}')


def damaged_version(data: Path) -> None:
    (data / "version.json").write_text("99")


def damaged_documents(data: Path) -> None:
    (data / "documents.sqlite").write_bytes(b"no database")


def open_token(data: Path) -> None:
    (data / "api-token").write_text("secret")
    (data / "api-token").chmod(0o644)


def killed(data: Path) -> None:
    (data / "KILL").write_text("by hand")


def from_the_future(data: Path) -> None:
    os.utime(data / "lock", (4_000_000_000, 4_000_000_000))


@pytest.mark.parametrize(
    ("break_it", "what", "level", "says", "remedy"),
    [
        pytest.param(newer, "data folder", Level.BAD, "newer version 99", "--data", id="from a newer version"),
        pytest.param(damaged_version, "data folder", Level.BAD, "not readable", "--data", id="a damaged version"),
        pytest.param(damaged_documents, "documents", Level.BAD, "no database", "restore", id="damaged documents"),
        pytest.param(open_token, "token", Level.WARN, "others can read", "chmod 600", id="a token for everybody"),
        pytest.param(killed, "kill switch", Level.WARN, "stops all", "kill-switch off", id="a kill file"),
        pytest.param(
            from_the_future, "clock", Level.WARN, "later than now", "timedatectl", id="the clock was set back"
        ),
    ],
)
def test_a_broken_folder_is_named_with_its_remedy(
    tmp_path: Path, break_it: object, what: str, level: Level, says: str, remedy: str
) -> None:
    healthy(tmp_path)
    assert callable(break_it)
    break_it(tmp_path)

    [finding] = wrong(found(examine(tmp_path, free_ports(), {}), what))

    assert finding.level is level
    assert says in finding.found
    assert remedy in finding.remedy


def test_a_folder_that_is_a_file_is_bad(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    [finding] = found(examine(tmp_path / "file" / "var", free_ports(), {}), "data folder")

    assert finding.bad


def test_a_folder_in_use_by_a_process_that_left_no_word_is_told(tmp_path: Path) -> None:
    other = open_folder(tmp_path)

    [finding] = found(examine(tmp_path, free_ports(), {}), "data folder")

    other.close()
    assert finding.level is Level.WARN
    assert "in use by another process" in finding.found


def test_a_port_in_use_names_who_has_it_and_one_that_is_free(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        [finding] = found(examine(tmp_path, port, {}), "port")

    assert finding.bad
    assert str(os.getpid()) in finding.found
    assert "chimera up --port" in finding.remedy


def test_our_own_running_system_may_have_the_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "run.json").write_text(json.dumps({"pid": os.getpid(), "host": "127.0.0.1", "port": port}))

        [finding] = found(examine(tmp_path, port, {}), "port")

    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ("env", "level", "remedy"),
    [
        pytest.param({"S3_MAX_LOSS_USD": "5"}, Level.BAD, "export S3_MAX_LOSS_USDT=", id="a misspelt cap"),
        pytest.param({"S3_BUCKET": "b"}, Level.WARN, "unset S3_BUCKET", id="somebody else's variable"),
        pytest.param({"S3_LEVERAGE_DEFAULT": "900"}, Level.BAD, "unset S3_LEVERAGE", id="a value out of range"),
        pytest.param(
            {"S11_NOTIFY_URLS": "http://a", "S3_SYMBOLS": "BTCUSDT", "S4_EXCHANGE": "binance", "S6_TICK_MS": ""},
            Level.WARN,
            "unset S4_EXCHANGE S11_NOTIFY_URLS",
            id="what nothing acts on yet",
        ),
    ],
)
def test_a_variable_that_would_do_nothing_is_told(
    tmp_path: Path, env: dict[str, str], level: Level, remedy: str
) -> None:
    [finding] = found(examine(tmp_path, free_ports(), env), "environment")

    assert finding.level is level
    assert remedy in finding.remedy


def test_heeded_variables_are_ok(tmp_path: Path) -> None:
    env = {"S3_SYMBOLS": "BTCUSDT", "S4_WORKING_TYPE": "MARK_PRICE"}

    [finding] = found(examine(tmp_path, free_ports(), env), "environment")

    assert finding == Finding("environment", "2 variables of ours, all of them heeded")


@pytest.mark.parametrize("service", sorted(SETTINGS))
def test_a_variable_counts_as_heeded_where_some_code_reads_it(service: str) -> None:
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    readers = {
        "chimera": "shared",
        "s1": "(?:s1|variables)",
        "s3": "(?:s3|own|variables)",
        "s4": "(?:s4|variables)",
    }.get(service, service)

    read = {field for field in SETTINGS[service].model_fields if re.search(rf"\b{readers}\.{field}\b", source)}

    assert read == HEEDED.get(service, frozenset())


def test_a_secret_is_not_repeated(tmp_path: Path) -> None:
    findings = examine(tmp_path, free_ports(), {"S4_BINANCE_SECRET": "hunter2hunter2", "S4_BINANCE_SECRETS": "hunter3"})

    assert "hunter" not in json.dumps([finding.to_json() for finding in findings])

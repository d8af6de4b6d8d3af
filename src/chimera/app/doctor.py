"""What is wrong with this machine, this installation and this data folder, and the command that mends it.

Owns the list of things to look at. Looks only: nothing is changed, nothing is asked over the network.
"""

import difflib
import fcntl
import importlib.metadata
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from chimera import __version__
from chimera.adapters.clocks import steady_ms, wall_ms
from chimera.app.client import NotRunning, Running, running_on
from chimera.app.data_folder import (
    API_TOKEN_NAME,
    DOCUMENTS_NAME,
    KILL_NAME,
    LOCK_NAME,
    VERSION,
    DataFolderProblem,
    refuse_newer,
    version_of,
)
from chimera.app.findings import Finding, Level
from chimera.app.serving import PortProblem, listen
from chimera.contracts.settings import OTHER_VARIABLES, SETTINGS, SettingsError, unknown_variables

PYTHON_MIN = (3, 11)
MIB = 1 << 20
DISK_BAD_BYTES = 200 * MIB
DISK_WARN_BYTES = 2_048 * MIB
"""A year of two symbols takes about this much."""
MEMORY_BAD_BYTES = 256 * MIB
MEMORY_WARN_BYTES = 768 * MIB
"""The warm-up's process and the system beside it."""
CLOCK_STEP_MS = 500
"""Both clocks of a machine drift apart by far less while the doctor looks."""
FUTURE_MS = 5_000
"""File systems round their stamps; more than this is a clock that was set back."""
EARLIEST_MS = 1_750_000_000_000
"""June 2025: the program is younger than that, so a clock that says earlier is wrong."""
PORTS_TRIED = 50
SQLITE_HEADER = b"SQLite format 3\x00"
HEEDED: Mapping[str, frozenset[str]] = {
    "chimera": frozenset({"env", "id_prefix"}),
    "s1": frozenset(
        {
            "minute_days",
            "ready_days",
            "factor_days",
            "history_pause_ms",
            "transfer_usdt_max",
            "transfer_day_usdt_max",
            "transfer_directions",
            "transfer_settle_ms",
            "transfer_repeats",
            "transfer_repeat_within_ms",
        }
    ),
    "s2": frozenset(
        {
            "emit_ms",
            "warmup_days",
            "minute_days",
            "outlier_sigma",
            "regime_frozen_below",
            "regime_extreme_above",
            "regime_grace_ms",
            "recompute_days_max",
        }
    ),
    "s3": frozenset(
        {
            "symbols",
            "max_funding_abs",
            "spread_bp_limit_default",
            "depth_top1_usdt_min_default",
            "leverage_default",
            "margin_base_usdt",
            "max_loss_usdt",
            "atr_mult",
            "concurrent_entries_per_market",
            "config_poll_sec",
            "emit",
            "max_feature_age_ms",
            "heartbeat_ms",
            "decide_lock_ms",
        }
    ),
    "s4": frozenset(
        {
            "binance_key",
            "binance_secret",
            "binance_private_key_path",
            "withdrawing_key_allowed",
            "testnet",
            "route_table_path",
            "route_poll_ms",
            "snap_age_ms_max",
            "cb_error_rate_window",
            "cb_error_rate_thresh",
            "cb_calls_min",
            "cb_open_ms",
            "cb_probes",
            "maker_max_wait_ms",
            "twap_max_slices",
            "oco_guardian",
            "working_type",
            "sync_wait_ms",
            "gate_orders_per_s_max",
            "dead_man_ms",
            "gate_notional_usdt_max",
            "gate_day_notional_usdt_max",
            "gate_mid_distance_max",
            "stop_tries_max",
            "funds_tries_max",
            "funds_retry_ms",
            "limit_rest_ms",
            "measures_window_ms",
            "measures_samples_min",
            "maker_fill_ratio_min",
            "ib_rate_max",
            "oco_fallback_ratio_max",
        }
    ),
    "s5": frozenset(
        {
            "in_flight_ms",
            "orders_ms",
            "positions_ms",
            "balances_ms",
            "lookup_lag_ms",
            "lookups_max",
            "lookup_pause_ms",
            "retry_ms_max",
            "entry_patience_ms",
            "balance_diff_min",
            "adopt_unknown_position",
        }
    ),
}
"""Settings that something here acts on, by service. The others are for adapters and services that do not run in one
process, or for what every bundle names itself."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SETUP = "make setup"


def examine(data: Path, port: int, env: Mapping[str, str] | None = None) -> list[Finding]:
    """Everything, in a stable order. A thing that cannot be looked at is a finding as well."""
    env = os.environ if env is None else env
    wall, steady = wall_ms(), steady_ms()
    running = _running(data)
    looks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("python", lambda: [_python()]),
        ("libraries", lambda: [_libraries()]),
        ("port", lambda: [_port(port, running)]),
        ("disk", lambda: [_disk(data)]),
        ("memory", lambda: [_memory()]),
        ("data folder", lambda: _data_folder(data, running)),
        ("clock", lambda: _clock(data, wall, steady)),
        ("environment", lambda: _environment(env)),
        ("browser tests", lambda: [_browser()]),
    )
    findings: list[Finding] = []
    for what, look in looks:
        try:
            findings += look()
        except (OSError, psutil.Error) as error:
            findings.append(Finding(what, f"cannot be looked at: {error}", "run as the user of the system", Level.WARN))
    return findings


def _running(data: Path) -> Running | None:
    try:
        return running_on(data)
    except NotRunning:
        return None


def _python() -> Finding:
    found = f"chimera {__version__} on Python {'.'.join(map(str, sys.version_info[:3]))}"
    if sys.version_info[:2] < PYTHON_MIN:
        return Finding("python", found, f"install Python 3.11 or newer, then {SETUP}", Level.BAD)
    return Finding("python", found)


def _libraries() -> Finding:
    try:
        required = importlib.metadata.requires("chimera") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("libraries", "chimera itself is not installed, so what it needs is not known", SETUP, Level.WARN)
    wrong, good = [], []
    for line in required:
        if "extra ==" in line:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        least = re.search(r">=\s*([0-9.]+)", line)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if least and _numbers(version) < _numbers(least[1]):
            wrong.append(f"{name} {version} is older than {least[1]}")
        good.append(f"{name} {version}")
    if wrong:
        return Finding("libraries", "; ".join(wrong), SETUP, Level.BAD)
    return Finding("libraries", ", ".join(good))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _port(port: int, running: Running | None) -> Finding:
    what = f"port {port}"
    if _is_free(port):
        return Finding(what, "free")
    if running is not None and running.port == port:
        return Finding(what, f"our own running system, process {running.pid}")
    free = next((other for other in range(port + 1, min(port + PORTS_TRIED, 65_535)) if _is_free(other)), None)
    other_port = "" if free is None else f"chimera up --port {free}"
    return Finding(what, f"in use by {_listener(port)}", other_port or "stop what listens there", Level.BAD)


def _is_free(port: int) -> bool:
    try:
        listen("127.0.0.1", port).close()
    except PortProblem:
        return False
    return True


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            at = connection.laddr
            if connection.status == psutil.CONN_LISTEN and at and at.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    except psutil.Error:
        pass
    return "another program"


def _disk(data: Path) -> Finding:
    free = psutil.disk_usage(str(_nearest(data))).free
    found = f"{free / MIB / 1_024:.1f} GiB free for {data}"
    remedy = "free some space, or take another disk: chimera up --data DIR"
    if free < DISK_BAD_BYTES:
        return Finding("disk", found, remedy, Level.BAD)
    return Finding("disk", found, remedy, Level.WARN) if free < DISK_WARN_BYTES else Finding("disk", found)


def _memory() -> Finding:
    free = psutil.virtual_memory().available
    found = f"{free / MIB / 1_024:.1f} GiB available"
    remedy = "end other programs; the warm-up and the system need about 0.7 GiB together"
    if free < MEMORY_BAD_BYTES:
        return Finding("memory", found, remedy, Level.BAD)
    return Finding("memory", found, remedy, Level.WARN) if free < MEMORY_WARN_BYTES else Finding("memory", found)


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _data_folder(data: Path, running: Running | None) -> list[Finding]:
    what = "data folder"
    near = _nearest(data)
    if not near.is_dir():
        return [Finding(what, f"{near} is no folder", "take another: --data DIR", Level.BAD)]
    if not os.access(near, os.W_OK | os.X_OK):
        mend = f'sudo chown -R "$(id -un)" {near}' if near == data.absolute() else "take another: --data DIR"
        return [Finding(what, f"{near} cannot be written", mend, Level.BAD)]
    if near != data.absolute():
        return [Finding(what, f"{data} is not there yet; the first start makes it", "", Level.INFO)]
    try:
        refuse_newer(data)
    except DataFolderProblem as problem:
        return [Finding(what, str(problem), "chimera up --data DIR", Level.BAD)]
    return [_use(data, running), *_contents(data)]


def _use(data: Path, running: Running | None) -> Finding:
    what = "data folder"
    version = version_of(data)
    kept = f"{data} is empty" if version is None else f"{data}, version {version} of {VERSION}"
    if running is not None:
        return Finding(what, f"{kept}, in use by the running system at {running.address}, process {running.pid}")
    if _is_locked(data):
        return Finding(what, f"{kept}, in use by another process", f"fuser {data / LOCK_NAME}; end it", Level.WARN)
    return Finding(what, f"{kept}, writable, not in use")


def _is_locked(data: Path) -> bool:
    try:
        with (data / LOCK_NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _contents(data: Path) -> list[Finding]:
    findings = []
    documents = data / DOCUMENTS_NAME
    if documents.exists():
        with documents.open("rb") as file:
            if file.read(len(SQLITE_HEADER)) != SQLITE_HEADER:
                findings.append(
                    Finding("documents", f"{documents} is no database", "restore it from a copy", Level.BAD)
                )
    token = data / API_TOKEN_NAME
    if token.exists() and stat.S_IMODE(token.stat().st_mode) & 0o077:
        findings.append(Finding("token", f"others can read {token}", f"chmod 600 {token}", Level.WARN))
    kill = data / KILL_NAME
    if kill.exists():
        findings.append(
            Finding(
                "kill switch", f"{kill} stops all new entries", f"chimera kill-switch off --data {data}", Level.WARN
            )
        )
    return findings


def _clock(data: Path, wall_before_ms: int, steady_before_ms: int) -> list[Finding]:
    """An exchange refuses orders whose time is a second off. Whether a time server is followed is the system's own."""
    now_ms = wall_ms()
    remedy = "sudo timedatectl set-ntp true"
    step_ms = (now_ms - wall_before_ms) - (steady_ms() - steady_before_ms)
    if abs(step_ms) > CLOCK_STEP_MS:
        return [Finding("clock", f"the wall clock jumped by {step_ms} ms while we looked", remedy, Level.WARN)]
    if now_ms < EARLIEST_MS:
        return [Finding("clock", "the wall clock is years behind", remedy, Level.BAD)]
    ahead = [
        path.name
        for path in (sorted(data.iterdir()) if data.is_dir() else ())
        if path.stat().st_mtime * 1_000 > now_ms + FUTURE_MS
    ]
    if ahead:
        found = f"{', '.join(ahead)} in {data} were written later than now: the clock was set back"
        return [Finding("clock", found, remedy, Level.WARN)]
    return [Finding("clock", "steady; no file of the data folder is from the future")]


def _environment(env: Mapping[str, str]) -> list[Finding]:
    what = "environment"
    names = [variable.name for settings in SETTINGS.values() for variable in settings.variables()]
    findings = []
    for name in unknown_variables(env):
        near = difflib.get_close_matches(name, [*names, *OTHER_VARIABLES], n=1, cutoff=0.8)
        if near:
            mend = f'export {near[0]}="${name}"; unset {name}'
            findings.append(Finding(what, f"{name} is read by nothing; {near[0]} is", mend, Level.BAD))
        else:
            findings.append(Finding(what, f"{name} is read by nothing", f"unset {name}", Level.WARN))
    for settings in SETTINGS.values():
        try:
            settings.from_env(env)
        except SettingsError as error:
            findings.append(Finding(what, str(error), f"unset {error.variable}", Level.BAD))
    told = [name for name in names if env.get(name, "").strip()]
    idle = [name for name in told if name in _idle_variables()]
    if idle:
        found = f"nothing acts on {', '.join(idle)} yet: without effect, whatever the value"
        findings.append(Finding(what, found, f"unset {' '.join(idle)}", Level.WARN))
    return findings or [Finding(what, f"{len(told)} variables of ours, all of them heeded")]


def _idle_variables() -> frozenset[str]:
    return frozenset(
        variable.name
        for service, settings in SETTINGS.items()
        for variable in settings.variables()
        if variable.field not in HEEDED.get(service, ())
    )


def _browser() -> Finding:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        return Finding("browser tests", "no Chromium; only the browser tests need one", "", Level.INFO)
    return Finding("browser tests", path, "", Level.INFO)

"""The workshop: what a person types, what is installed, and what a test that cannot run counts for."""

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chimera.cli import app
from chimera.contracts.metrics import ALERTS, AlertCode
from chimera.simulation.bench import BENCHES

ROOT = Path(__file__).parent.parent
RUNBOOK = ROOT / "docs" / "runbook"
LOCK_FILES = sorted((ROOT / "requirements").glob("*.lock"))
TARGETS = ("help", "setup", "up", "test", "check", "bench", "clean", "lock")
SCRIPTS = (".ci/run", "tools/make-venv", "tools/apt-install", "tools/system-packages")


def by_name(path: Path) -> str:
    return path.name


def by_place(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run_make(*args: str) -> str:
    # A make that runs these tests passes its own flags on in the environment.
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", *args], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


@pytest.mark.parametrize("place", ["src", "tests", "tools"])
def test_no_checker_is_told_to_look_away(place: str) -> None:
    told = re.compile(r"#\s*(type:\s*ignore|noqa|pragma:\s*no cover)")
    found = [
        f"{by_place(path)}:{number}"
        for path in sorted((ROOT / place).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if told.search(line)
    ]

    assert found == [], "CONTRIBUTING: what a checker says is mended"


def test_make_alone_lists_what_can_be_typed() -> None:
    listed = [line.split()[1] for line in run_make().splitlines()]

    assert set(TARGETS) <= set(listed)


def test_arguments_of_make_up_reach_the_command() -> None:
    typed = run_make("--dry-run", "up", "ARGS=--port 9000")

    assert "chimera up --port 9000" in typed


def test_make_bench_measures_everything() -> None:
    loop = run_make("--dry-run", "bench").partition("for name in ")[2].partition(";")[0]

    assert set(shlex.split(loop.replace("\\\n", " "))) == {*BENCHES, "tick-to-order --venue http"}


@pytest.mark.parametrize("path", LOCK_FILES, ids=by_name)
def test_a_lock_file_pins_every_package_by_hash(path: Path) -> None:
    packages = re.split(r"\n(?=\S)", path.read_text().strip())

    assert packages
    for package in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,._-]+\])?==\S+", package), package
        assert "--hash=sha256:" in package, package


@pytest.mark.parametrize("path", LOCK_FILES, ids=by_name)
def test_a_lock_file_names_no_address_of_an_index(path: Path) -> None:
    assert not re.search(r"://|^-|index-url|find-links", path.read_text(), re.MULTILINE)


def test_what_an_optional_world_needs_agrees_with_the_base() -> None:
    base = pins(ROOT / "requirements" / "base.lock")

    for path in LOCK_FILES:
        others = pins(path)
        assert {name: others[name] for name in base.keys() & others.keys()} == {
            name: base[name] for name in base.keys() & others.keys()
        }, path.name


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==(\S+)", path.read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_can_be_executed(name: str) -> None:
    assert (ROOT / name).stat().st_mode & stat.S_IXUSR


def test_the_readme_names_every_command_and_no_other() -> None:
    words = {each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands if not each.hidden}
    words |= {group.name or "" for group in app.registered_groups}
    table = (ROOT / "README.md").read_text().split("\n## Commands\n")[1].split("\n## ")[0]

    assert set(re.findall(r"^\| `chimera ([a-z-]+)", table, re.MULTILINE)) == words


@pytest.mark.parametrize("code", AlertCode)
def test_an_alert_has_a_page_in_the_runbook_that_says_what_the_contract_says(code: AlertCode) -> None:
    page = (RUNBOOK / f"{code.slug}.md").read_text()

    assert page.startswith(f"# {code}\n\n**{ALERTS[code].severity}** · {ALERTS[code].meaning}\n")
    assert f"]({code.slug}.md)" in (RUNBOOK / "README.md").read_text()


TRADING_ALERTS = (
    AlertCode.CB_OPEN,
    AlertCode.MAKER_FILL_RATIO_LOW,
    AlertCode.INSUFFICIENT_BALANCE_RATE_HIGH,
    AlertCode.OCO_FALLBACK_RATE_HIGH,
    AlertCode.GUARD_ANOMALY,
    AlertCode.ORDER_RETRY_EXHAUSTED,
    AlertCode.STOP_NOT_PLACED,
    AlertCode.CLOCK_SKEW,
    AlertCode.RATE_LIMITED,
    AlertCode.RECON_FIXED,
    AlertCode.RECON_FAILED,
    AlertCode.LIQUIDATION,
)
"""What S4, S5 and S6 can raise or are held back by."""


@pytest.mark.parametrize("code", TRADING_ALERTS)
def test_an_alert_about_orders_says_what_was_done_already_and_what_is_left_to_do(code: AlertCode) -> None:
    page = (RUNBOOK / f"{code.slug}.md").read_text()
    titles = re.findall(r"^## (.+)$", page, re.MULTILINE)

    assert titles[0].startswith("What it means")
    assert re.search(r"what the system already did|\| what was done \|", page, re.IGNORECASE)
    assert titles[-1] == "What to do"
    assert "Nothing raises it yet" not in page


def test_the_page_of_what_a_person_may_do_names_every_command_and_call() -> None:
    page = (RUNBOOK / "by-hand.md").read_text()

    for command in ("position close", "position stop", "flatten", "order cancel", "order show", "pause", "resume"):
        assert f"`chimera {command}" in page
    for call in (
        "/positions/FUT:BTCUSDT/close",
        "/positions/FUT:BTCUSDT/stop",
        "/flatten",
        "/approvals",
        "/restraints",
    ):
        assert call in page


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=by_place)
def test_a_link_in_a_document_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())

    lost = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert lost == []


@pytest.mark.parametrize(
    ("reason", "require_all", "outcome"),
    [
        pytest.param("needs chromium: not found", "1", "1 failed", id="what cannot run fails when all is required"),
        pytest.param("needs chromium: not found", "", "1 skipped", id="what cannot run is skipped otherwise"),
        pytest.param("CHIMERA_SHARED is not set: no data", "1", "1 skipped", id="data of others may be missing"),
    ],
)
def test_a_test_that_could_not_run(reason: str, require_all: str, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n")
    env = {**os.environ, "CHIMERA_REQUIRE_ALL": require_all, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert outcome in done.stdout
    assert done.returncode == (1 if "failed" in outcome else 0)


def test_tests_that_share_a_system_stay_on_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.xdist_group('one')\n@pytest.mark.parametrize('n', range(8))\ndef test(n): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}

    said = subprocess.run(
        [*command, str(tmp_path)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
    ).stdout

    workers = re.findall(r"\[(gw\d+)\].*PASSED", said)
    assert len(workers) == 8, said
    assert len(set(workers)) == 1, "this pytest does not let pytest-xdist group: see the dev dependencies"

"""A replay runs files end to end: the same digest twice, a ledger that agrees, and refusals that name the remedy."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from chimera.app.simulated_market import Market, MarketPlan
from chimera.domain.decision.telling import sentence
from chimera.simulation.loop import run_virtual
from chimera.simulation.replay import ReplayOptions, ReplayProblem, replay
from chimera.simulation.replay_figures import CENT, Check, Figures, max_drawdown
from chimera.simulation.replay_report import ReplayReport, render
from chimera.simulation.simulator import Setup, simulate
from chimera.simulation.trace import Trace
from tests.simulation.kline_files import (
    DAY,
    MINUTE,
    PRICES,
    START,
    TRADED_DAY,
    TRADED_HOURS,
    WARM_DAYS,
    btc_minutes,
    rising_twd,
    write_files,
)


@pytest.fixture(scope="module")
def klines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("klines"))


def run_command(folder: Path, hash_seed: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chimera", "replay", "--klines", str(folder), *options]
    return subprocess.run(
        command, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=False
    )


def answer_of(folder: Path, hash_seed: str, *options: str) -> dict[str, Any]:
    ran = run_command(folder, hash_seed, "--json", *options)
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def answer(klines: Path) -> dict[str, Any]:
    return answer_of(klines, "1", "--symbols", "BTCUSDT", "--from", TRADED_DAY)


def test_the_whole_answer_is_the_same_under_another_hash_seed(klines: Path, answer: dict[str, Any]) -> None:
    assert answer_of(klines, "2", "--symbols", "BTCUSDT", "--from", TRADED_DAY) == answer


def test_history_before_the_first_day_warms_the_features(answer: dict[str, Any]) -> None:
    """The signal of the traded day reads three days before it, the stop's distance fourteen hours and more."""
    first = answer["trades"][0]

    assert first["side"] == "BUY"
    assert first["opened_at"] - (START + WARM_DAYS * DAY) < 5 * MINUTE


def test_both_markets_trade_when_both_have_files(answer: dict[str, Any]) -> None:
    assert {trade["market"] for trade in answer["trades"]} == {"FUT", "SPOT"}
    assert answer["markets"] == ["FUT", "SPOT"]
    assert not any("derived" in note or "USDT/TWD has no file" in note for note in answer["notes"])


def test_ledger_documents_and_report_agree(answer: dict[str, Any]) -> None:
    assert answer["agree"]
    assert [check["name"] for check in answer["checks"] if not check["agree"]] == []
    assert answer["net_pnl_usdt"] == pytest.approx(answer["equity_end_usdt"] - answer["equity_start_usdt"], abs=1e-6)
    parts = answer["realized_pnl_usdt"] - answer["fees_usdt"] + answer["funding_usdt"] + answer["open_pnl_usdt"]
    assert answer["net_pnl_usdt"] == pytest.approx(parts, abs=1e-6)
    assert answer["fees_usdt"] == pytest.approx(sum(trade["fees_usdt"] for trade in answer["trades"]), abs=1e-6)


def test_every_open_is_a_decision_with_its_reason(answer: dict[str, Any]) -> None:
    assert answer["decisions"]["OK"] == len(answer["trades"])
    assert sum(answer["decisions"].values()) == sum(answer["decision_details"].values())


# --- every decision with its trail


@pytest.fixture(scope="module")
def told(klines: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The lines that a replay of the traded day writes."""
    file = tmp_path_factory.mktemp("decisions") / "told.jsonl"
    answer_of(klines, "1", "--symbols", "BTCUSDT", "--from", TRADED_DAY, "--decisions", str(file))
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_each_decision_is_a_line_with_its_whole_trail(answer: dict[str, Any], told: list[dict[str, Any]]) -> None:
    assert Counter(f"{line['reason']} {line['detail']}" for line in told) == answer["decision_details"]
    for line in told:
        trail = line["trail"]
        assert {gate["code"] for gate in trail["gates"]} >= {"KILL_SWITCH", "SPREAD", "DRAWDOWN"}, line["detail"]
        assert trail["rules"], line["detail"]
        assert line["features"], line["detail"]
        assert line["sentence"] == sentence(line["action"], line["reason"], line["detail"], trail)
        if line["action"] == "open":
            assert trail["sizing"]
            assert line["intent_id"]


def test_a_skipped_signal_tells_reason_and_values(told: list[dict[str, Any]]) -> None:
    (refused,) = [line for line in told if line["detail"] == "MAX_ENTRIES" and line["market"] == "SPOT"]

    (gate,) = [gate for gate in refused["trail"]["gates"] if not gate["passed"]]
    assert (gate["code"], gate["value"], gate["limit"]) == ("MAX_ENTRIES", 1.0, 1.0)
    assert refused["sentence"] == "entries of the signal's day: 1, the limit 1 is reached"


def test_every_minute_of_the_day_falls_under_one_line(told: list[dict[str, Any]]) -> None:
    """What is told is what changed; each line says how many signals it answers, and until when."""
    for market in ("FUT", "SPOT"):
        lines = sorted((line for line in told if line["market"] == market), key=lambda line: line["t0"])

        assert [line["until"] for line in lines[:-1]] == [line["t0"] for line in lines[1:]]
        assert lines[-1]["until"] is None
        assert TRADED_HOURS * 60 <= sum(line["signals"] for line in lines) <= TRADED_HOURS * 60 + 2 * len(lines)


def test_the_report_shows_the_first_of_each_kind_with_its_figures(answer: dict[str, Any]) -> None:
    examples = {f"{each['reason']} {each['detail']}": each for each in answer["decision_examples"]}

    assert examples.keys() == answer["decision_details"].keys()
    assert examples["GATE MAX_ENTRIES"]["sentence"].endswith("1, the limit 1 is reached")


def test_the_lines_may_go_where_the_report_would(ten_minutes: Path) -> None:
    ran = run_command(ten_minutes, "0", "--symbols", "BTCUSDT", "--from", TRADED_DAY, "--decisions", "-")

    assert ran.returncode == 0, ran.stderr
    assert [json.loads(line)["market"] for line in ran.stdout.splitlines()]
    assert "Decisions" in ran.stderr


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(klines: Path, tmp_path: Path) -> None:
    ran = run_command(klines, "0", "--symbols", "BTCUSDT", "--decisions", str(tmp_path / "none" / "told.jsonl"))

    assert ran.returncode == 2
    assert "told.jsonl" in ran.stderr


def test_a_rise_takes_profit_and_the_period_is_what_the_files_hold(answer: dict[str, Any]) -> None:
    assert answer["from"] == f"{TRADED_DAY} 00:00"
    assert answer["to"] == f"{TRADED_DAY} 04:00"
    assert all(trade["realized_pnl_usdt"] > 0 for trade in answer["trades"])


# --- what is not there


@pytest.fixture
def ten_minutes(tmp_path: Path) -> Path:
    """Perpetual bars only, which end ten minutes into the traded day."""
    btc_minutes().head(WARM_DAYS * 1_440 + 10).write_ipc(tmp_path / "BTC_USDT_USDT-1m-futures.feather")
    return tmp_path


def shown(report: ReplayReport, width: int = 200) -> str:
    text = io.StringIO()
    render(report, Console(file=text, width=width))
    return text.getvalue()


def test_what_files_do_not_say_is_said_with_the_result(ten_minutes: Path) -> None:
    report = replay(ReplayOptions(folder=ten_minutes, symbols=("BTCUSDT",), start=TRADED_DAY), {}, quiet=True)

    assert report.agrees
    for said in (
        "SPOT:BTCUSDT is derived from FUT:BTCUSDT with zero basis",
        "USDT/TWD has no file: it is the series of seed 7",
        "FUT:BTCUSDT has no funding file",
        "net PnL",
        "max drawdown",
        report.digest,
    ):
        assert said in shown(report)


def test_what_is_open_at_the_end_is_marked_and_said(ten_minutes: Path) -> None:
    rising_twd().write_csv(ten_minutes / "USDT_TWD-60m.csv")

    report = replay(ReplayOptions(folder=ten_minutes, symbols=("BTCUSDT",), start=TRADED_DAY), {}, quiet=True)

    found = report.figures
    assert report.agrees
    assert {position.key.market.value for position in found.open_positions} == {"FUT", "SPOT"}
    assert found.open_pnl_usdt == sum(position.pnl_usdt for position in found.open_positions)
    assert found.net_pnl_usdt == found.realized_pnl_usdt + found.open_pnl_usdt - found.fees_usdt
    assert shown(report).count("still open at the end") == 2
    # In the order in which they were opened, which a quote that rests a little decides.
    assert sorted(row["market"] for row in report.to_json()["open_positions"]) == ["FUT", "SPOT"]


def test_no_column_of_the_trades_is_cut_on_a_narrow_terminal(ten_minutes: Path) -> None:
    rising_twd().write_csv(ten_minutes / "USDT_TWD-60m.csv")

    report = replay(ReplayOptions(folder=ten_minutes, symbols=("BTCUSDT",), start=TRADED_DAY), {}, quiet=True)

    for width in (80, 125):
        table = shown(report, width).partition("2 trades")[2].partition("still open")[0]
        assert "…" not in table
        assert "SPOT:BTCUSDT" in table


@pytest.mark.parametrize(("market", "other"), [("FUT", "SPOT"), ("SPOT", "FUT")])
def test_a_market_may_be_left_out(ten_minutes: Path, market: str, other: str) -> None:
    rising_twd().write_csv(ten_minutes / "USDT_TWD-60m.csv")
    options = ReplayOptions(folder=ten_minutes, symbols=("BTCUSDT",), markets=(market,), start=TRADED_DAY)

    report = replay(options, {}, quiet=True)

    assert report.markets == (market,)
    assert f"{other} is left out by --markets" in report.notes
    assert [trade.market.value for trade in report.figures.trades] == [market]
    assert report.figures.equity_start_usdt == 1_000
    assert report.figures.max_drawdown < 0.01


def test_a_limit_that_stopped_all_entries_is_said(ten_minutes: Path) -> None:
    """A fall of 3 % within a minute goes through the stop: more than a day may lose."""
    rising_twd().write_csv(ten_minutes / "USDT_TWD-60m.csv")
    fallen = pl.col("date").dt.epoch("ms") >= START + WARM_DAYS * DAY + 5 * MINUTE
    prices = [pl.when(fallen).then(pl.col(name) * 0.97).otherwise(pl.col(name)).round(1) for name in PRICES]
    btc = btc_minutes().head(WARM_DAYS * 1_440 + 10)
    btc.with_columns(prices).write_ipc(ten_minutes / "BTC_USDT_USDT-1m-futures.feather")

    report = replay(ReplayOptions(folder=ten_minutes, symbols=("BTCUSDT",), start=TRADED_DAY), {}, quiet=True)

    assert report.agrees
    assert report.figures.net_pnl_usdt < -6
    assert report.figures.max_drawdown_usdt > 6
    (said,) = report.figures.halted
    assert said.startswith("no entry after 2025-03-04 00:0")
    assert said in report.notes


def test_a_ledger_that_differs_is_said_loudly() -> None:
    same = Check(name="fees_usdt", documents=Decimal("1.001"), venue=Decimal("1.004"), apart_max=CENT / 2)
    wrong = Check(name="funding_usdt", documents=Decimal("0.10"), venue=Decimal("0.11"), apart_max=CENT / 2)
    report = ReplayReport(
        from_ms=START,
        to_ms=START + DAY,
        symbols=("BTCUSDT",),
        markets=("FUT",),
        seed=7,
        notes=(),
        figures=Figures(
            trades=(),
            open_positions=(),
            net_pnl_usdt=Decimal(0),
            realized_pnl_usdt=Decimal(0),
            open_pnl_usdt=Decimal(0),
            fees_usdt=Decimal(0),
            funding_usdt=Decimal(0),
            equity_start_usdt=Decimal(2_000),
            equity_end_usdt=Decimal(2_000),
            max_drawdown=0.0,
            max_drawdown_usdt=0.0,
            decided={},
            checks=(same, wrong),
        ),
        digest="none",
        events=0,
    )

    text = shown(report)

    assert not report.agrees
    assert "DO NOT AGREE" in text
    assert "funding_usdt" in text
    assert "fees_usdt" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"start": "4.5.2025"}, "--from '4.5.2025' is no day; write it as 2025-05-04", id="no ISO day"),
        pytest.param({"end": "2025-3-4"}, "--to '2025-3-4' is no day", id="without zeros"),
        pytest.param({"end": "2025-02-30"}, "--to '2025-02-30' is no day", id="not in the calendar"),
        pytest.param({"start": "2025-03-04", "end": "2025-03-04"}, "is not before --to", id="empty"),
        pytest.param({"start": "2025-02-28"}, "the files hold 2025-03-01 00:00 UTC to", id="before the files"),
        pytest.param({"start": "2025-03-05"}, "--from 2025-03-05 lies outside the data", id="from after the files"),
        pytest.param({"end": "2025-03-06"}, "--to 2025-03-06 lies outside the data", id="to after the files"),
        pytest.param({"markets": ("FUTURES",)}, "'FUTURES' is no market; write FUT, SPOT or FUT,SPOT", id="market"),
        pytest.param({"markets": ()}, "--markets names nothing", id="no market"),
        pytest.param(
            {"symbols": ("ETHUSDT",), "markets": ("SPOT",)}, "ETHUSDT is not traded in SPOT", id="symbol and market"
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_the_remedy(klines: Path, options: dict[str, Any], said: str) -> None:
    asked = replace(ReplayOptions(folder=klines, symbols=("BTCUSDT",)), **options)

    with pytest.raises(ReplayProblem) as refused:
        replay(asked, {}, quiet=True)

    assert said in str(refused.value)


def test_a_refusal_on_the_command_line_ends_with_2(klines: Path) -> None:
    ran = run_command(klines, "0", "--symbols", "BTCUSDT", "--from", "yesterday")

    assert ran.returncode == 2
    assert "is no day" in ran.stderr
    assert ran.stdout == ""


# --- drawdown


@pytest.mark.parametrize(
    ("equity", "ratio", "usdt"),
    [
        pytest.param([100.0, 110.0, 110.0, 99.0, 99.0, 120.0], 0.1, 11.0, id="from the peak before it"),
        pytest.param([90.0, 90.0, 200.0, 200.0], 0.1, 10.0, id="from the start"),
        pytest.param([100.0, 50.0, 100.0, 100.0], 0.0, 0.0, id="one torn reading is no fall"),
        pytest.param([100.0, 150.0, 100.0, 100.0], 0.0, 0.0, id="one torn reading is no peak"),
        pytest.param([], 0.0, 0.0, id="nothing"),
    ],
)
def test_drawdown_is_the_deepest_fall_that_two_readings_show(equity: list[float], ratio: float, usdt: float) -> None:
    assert max_drawdown(100.0, equity) == pytest.approx((ratio, usdt))


# --- the generated market, and real data


def digest_of_generated_day() -> tuple[str, int]:
    end_ms = START + DAY
    plan = MarketPlan.ending_at(("BTCUSDT",), seed=3, start_ms=START, end_ms=end_ms, targets={"BTCUSDT": 65_400.0})
    market = Market.build(plan, None, ticks_per_minute=4, end_ms=end_ms)
    trace = Trace()
    setup = Setup(feed=market.ticker, rules=market.rules, start_ms=START, end_ms=end_ms, seed=3, trace=trace)
    run_virtual(simulate(setup))
    return trace.digest(), trace.events


def test_a_generated_day_leaves_the_same_trace_twice() -> None:
    first = digest_of_generated_day()

    assert first[1] > 10_000
    assert digest_of_generated_day() == first


def test_real_klines_run_and_agree() -> None:
    shared = os.environ.get("CHIMERA_SHARED")
    if not shared:
        pytest.skip("CHIMERA_SHARED is not set: real klines cannot be replayed")
    folder = Path(shared) / "data" / "typhonun-usdm-2025"

    answer = answer_of(folder, "4", "--from", "2025-05-06", "--to", "2025-05-09")

    assert answer["agree"], answer["checks"]
    assert answer["trades"]
    assert any("USDT/TWD has no file" in note for note in answer["notes"])

"""Every layout reads to the same bars; a broken file is refused: which file, which bar, which value, what to do."""

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from chimera.adapters.kline_files import GapPolicy, KlineFileError, load_klines
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.source import FileSource

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
ETH = InstrumentKey(Market.FUT, "ETHUSDT")
START = int(datetime(2025, 5, 4, 15, 33, tzinfo=UTC).timestamp() * 1_000)
MINUTE = 60_000
HOUR = 3_600_000
FREQTRADE = "BTC_USDT_USDT-1m-futures"


def bars(count: int = 6, start_ms: int = START, step_ms: int = MINUTE) -> pl.DataFrame:
    """Small whole bars: close = 100.5, 101.5, …"""
    k = np.arange(count, dtype=np.float64)
    return pl.DataFrame(
        {
            "date": pl.Series(start_ms + step_ms * np.arange(count)).cast(pl.Datetime("ms", "UTC")),
            "open": 100.0 + k,
            "high": 102.0 + k,
            "low": 99.0 + k,
            "close": 100.5 + k,
            "volume": 1.0 + k,
        }
    )


def exchange_csv(table: pl.DataFrame, *, header: bool, micros: bool = False) -> bytes:
    """The exchange's twelve columns."""
    times = table["date"].dt.epoch("ms") * (1_000 if micros else 1)
    zero = pl.lit(0)
    text = table.select(
        times.alias("open_time"),
        "open",
        "high",
        "low",
        "close",
        "volume",
        (times + 59_999).alias("close_time"),
        zero.alias("quote_volume"),
        zero.alias("count"),
        zero.alias("taker_buy_volume"),
        zero.alias("taker_buy_quote_volume"),
        zero.alias("ignore"),
    ).write_csv(include_header=header)
    return text.encode()


def zipped(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}.csv", content)


def with_text_times(table: pl.DataFrame, form: str) -> pl.DataFrame:
    return table.with_columns(pl.col("date").dt.strftime(form))


def epoch(table: pl.DataFrame, unit: Literal["s", "ms", "us", "ns"], name: str) -> pl.DataFrame:
    column = table["date"].dt.epoch("s") if unit == "s" else table["date"].cast(pl.Datetime("ns")).dt.epoch(unit)
    return table.with_columns(column.alias("date")).rename({"date": name})


def rows(folder: Path, key: InstrumentKey = BTC) -> list[tuple[float, ...]]:
    series = load_klines(folder, [key.symbol]).bars[key]
    columns = (series.open_time, series.open, series.high, series.low, series.close, series.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def expected(count: int = 6, start_ms: int = START) -> list[tuple[float, ...]]:
    return [(start_ms + MINUTE * k, 100.0 + k, 102.0 + k, 99.0 + k, 100.5 + k, 1.0 + k) for k in range(count)]


def refusal(folder: Path, *symbols: str) -> str:
    with pytest.raises(KlineFileError) as caught:
        load_klines(folder, symbols or ["BTCUSDT"])
    return str(caught.value)


# --- every layout


@pytest.mark.parametrize(
    ("key", "name", "write"),
    [
        pytest.param(BTC, f"{FREQTRADE}.feather", lambda p: bars().write_ipc(p), id="freqtrade feather"),
        pytest.param(
            BTC, f"{FREQTRADE}.feather", lambda p: bars().write_ipc(p, compression="lz4"), id="freqtrade feather, lz4"
        ),
        pytest.param(SPOT, "BTC_USDT-1m.feather", lambda p: bars().write_ipc(p), id="freqtrade spot"),
        pytest.param(BTC, f"{FREQTRADE}.parquet", lambda p: bars().write_parquet(p), id="freqtrade parquet"),
        pytest.param(
            BTC, "futures/BTCUSDT-1m.parquet", lambda p: epoch(bars(), "ns", "timestamp").write_parquet(p), id="ns"
        ),
        pytest.param(BTC, "BTCUSDT_1m_futures.csv", lambda p: epoch(bars(), "s", "Time").write_csv(p), id="seconds"),
        pytest.param(BTC, "btcusdt-1m.csv", lambda p: epoch(bars(), "ms", "open_time").write_csv(p), id="csv of ms"),
        pytest.param(
            SPOT, "BTCUSDT-1m-spot.csv", lambda p: epoch(bars(), "us", "open_time").write_csv(p), id="spot csv of us"
        ),
        pytest.param(
            BTC,
            "BTCUSDT-1m-futures.csv",
            lambda p: with_text_times(bars(), "%Y-%m-%d %H:%M:%S").write_csv(p),
            id="csv of text times",
        ),
        pytest.param(
            BTC,
            "BTCUSDT-1m-futures.csv",
            lambda p: with_text_times(bars(), "%Y-%m-%dT%H:%M:%S%.3f+00:00").write_csv(p),
            id="csv of iso times with offset",
        ),
        pytest.param(
            BTC,
            "BTCUSDT-1m.csv.gz",
            lambda p: p.write_bytes(gzip.compress(exchange_csv(bars(), header=False))),
            id="gzip without header",
        ),
        pytest.param(
            BTC,
            "BTCUSDT-1m-2025-05.zip",
            lambda p: zipped(p, exchange_csv(bars(), header=True)),
            id="exchange zip with header",
        ),
        pytest.param(
            BTC,
            "BTCUSDT-1m-2025-05-04.zip",
            lambda p: zipped(p, exchange_csv(bars(), header=False)),
            id="exchange zip of a day without header",
        ),
        pytest.param(
            SPOT,
            "BTCUSDT-1m-2025-05.zip",
            lambda p: zipped(p, exchange_csv(bars(), header=False, micros=True)),
            id="exchange zip of microseconds is spot",
        ),
        pytest.param(
            SPOT,
            "data/spot/monthly/BTCUSDT-1m-2024-05.zip",
            lambda p: zipped(p, exchange_csv(bars(), header=False)),
            id="exchange zip below a folder spot",
        ),
    ],
)
def test_a_layout_is_read(tmp_path: Path, key: InstrumentKey, name: str, write: Callable[[Path], object]) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)

    write(path)

    assert rows(tmp_path, key) == expected()


def test_months_are_joined_in_order_of_time(tmp_path: Path) -> None:
    zipped(tmp_path / "um" / "BTCUSDT-1m-2025-06.zip", exchange_csv(bars(3, START + 6 * MINUTE), header=True))
    zipped(tmp_path / "um" / "BTCUSDT-1m-2025-05.zip", exchange_csv(bars(6), header=False))

    loaded = load_klines(tmp_path, ["BTCUSDT"])

    assert loaded.bars[BTC].open_time.tolist() == [START + MINUTE * k for k in range(9)]
    assert loaded.notes == ()


def test_a_guess_of_the_market_is_noted(tmp_path: Path) -> None:
    zipped(tmp_path / "BTCUSDT-1m-2025-05.zip", exchange_csv(bars(), header=True))

    assert load_klines(tmp_path, ["BTCUSDT"]).notes == (
        "BTCUSDT-1m-2025-05.zip is taken for FUT because it counts milliseconds; a folder spot or futures would say it",
    )


def test_both_markets_and_two_symbols_stand_side_by_side(tmp_path: Path) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")
    bars().write_ipc(tmp_path / "BTC_USDT-1m.feather")
    bars().write_ipc(tmp_path / "ETH_USDT_USDT-1m-futures.feather")

    assert list(load_klines(tmp_path, ["BTCUSDT", "ETHUSDT"]).bars) == [BTC, SPOT, ETH]


# --- funding, mark, USDT/TWD


def test_freqtrades_funding_rate_stands_in_column_open(tmp_path: Path) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")
    times = [START, START + 8 * HOUR + 3, START + 16 * HOUR]
    rates = pl.DataFrame({"date": pl.Series(times).cast(pl.Datetime("ms", "UTC")), "open": [0.0001, -0.00002, 0.0]})
    rates.write_ipc(tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather")

    assert load_klines(tmp_path, ["BTCUSDT"]).fundings["BTCUSDT"] == (
        FundingRate(times[0], "BTCUSDT", 0.0001, 8),
        FundingRate(times[1], "BTCUSDT", -0.00002, 8),
        FundingRate(times[2], "BTCUSDT", 0.0, 8),
    )


def test_the_exchanges_funding_zip_is_read_with_its_change_of_interval(tmp_path: Path) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")
    lines = [f"{START + hours * HOUR},8,0.0001" for hours in (0, 8, 12, 16)]
    zipped(
        tmp_path / "BTCUSDT-fundingRate-2025-05.zip",
        "\n".join(["calc_time,funding_interval_hours,last_funding_rate", *lines]).encode(),
    )

    found = load_klines(tmp_path, ["BTCUSDT"]).fundings["BTCUSDT"]

    assert [rate.interval_h for rate in found] == [8, 8, 4, 4]


def test_a_missing_settlement_is_refused(tmp_path: Path) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")
    rates = pl.DataFrame({"date": [START, START + 24 * HOUR], "open": [0.0001, 0.0001]})
    rates.write_ipc(tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather")

    message = refusal(tmp_path)

    assert "8h-funding_rate.feather: 24 hours between the settlements 2025-05-04 15:33 UTC and 2025-05-05" in message


@pytest.mark.parametrize(
    "name", ["USDT_TWD-60m.feather", "usdttwd.feather", "usdttwd-1h.feather", "USDTTWD_60m.feather"]
)
def test_usdttwd_is_recognised(tmp_path: Path, name: str) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")
    flat = bars(4, START - START % HOUR, HOUR).with_columns(volume=pl.lit(0.0))
    flat.write_ipc(tmp_path / name)

    twd = load_klines(tmp_path, ["BTCUSDT"]).twd

    assert twd is not None
    assert (twd.interval, len(twd)) == ("1h", 4)


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")
    for name in ("BTC_USDT_USDT-8h-mark.feather", "BTC_USDT_USDT-1h-futures.feather", "holiday.csv"):
        bars().write_ipc(tmp_path / name)

    assert load_klines(tmp_path, ["BTCUSDT"]).notes == (
        "not read, because bars are made of minutes and the mark follows the book: "
        "BTC_USDT_USDT-1h-futures.feather, BTC_USDT_USDT-8h-mark.feather",
    )


# --- what must not get through


def change(column: str, row: int, value: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def changed(table: pl.DataFrame) -> pl.DataFrame:
        values = table[column].to_list()
        values[row] = value
        return table.with_columns(pl.Series(column, values))

    return changed


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            change("close", 2, float("nan")), "row 2 (2025-05-04 15:35 UTC): close is not a number: nan", id="nan"
        ),
        pytest.param(change("open", 0, 0.0), "row 0 (2025-05-04 15:33 UTC): open is not above zero: 0.0", id="zero"),
        pytest.param(
            change("low", 3, -1.0), "row 3 (2025-05-04 15:36 UTC): low is not above zero: -1.0", id="negative"
        ),
        pytest.param(change("volume", 1, -2.0), "volume is negative: -2.0", id="negative volume"),
        pytest.param(change("high", 1, 50.0), "high is below low: (50.0, 100.0)", id="high below low"),
        pytest.param(change("close", 1, 200.0), "close lies outside low to high: (200.0, 100.0, 103.0)", id="close"),
        pytest.param(lambda t: t[[0, 1, 1, 2]], "row 2 (2025-05-04 15:34 UTC) repeats the row before", id="repeated"),
        pytest.param(
            lambda t: t[[0, 2, 1, 3]], "row 2 (2025-05-04 15:34 UTC) comes after 2025-05-04 15:35 UTC", id="unsorted"
        ),
        pytest.param(
            lambda t: t[[0, 1, 4, 5]],
            "2 minutes missing after the bar of 2025-05-04 15:34 UTC (the next is of 2025-05-04 15:37 UTC); "
            "gaps in all: 1, bars: 2. Download the missing part",
            id="gap",
        ),
        pytest.param(
            lambda t: t.drop("high", "volume"), "columns high, volume are missing; it has date, open", id="columns"
        ),
        pytest.param(lambda t: t.rename({"date": "when"}), "no time column; it has when, open", id="time column"),
        pytest.param(lambda t: t.clear(), "holds no rows", id="empty"),
        pytest.param(
            lambda t: bars(6, step_ms=5 * MINUTE), "the bars are 5 minutes apart, the name says 1m", id="interval"
        ),
        pytest.param(
            lambda t: bars(6, START + 500),
            "row 0 (2025-05-04 15:33 UTC): does not open on a full 1m",
            id="off the grid",
        ),
        pytest.param(
            lambda t: epoch(t, "ms", "date").with_columns(pl.col("date") % 1_000_000),
            "lies outside 2000 to 2100",
            id="time of day",
        ),
        pytest.param(
            lambda t: t.with_columns(pl.lit(-(2**62)).cast(pl.Datetime("ms", "UTC")).alias("date")),
            "row 0: date -4611686018427387904 lies outside 2000 to 2100",
            id="beyond the calendar",
        ),
    ],
)
def test_a_spoilt_file_is_refused_by_name_bar_and_value(
    tmp_path: Path, spoil: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    spoil(bars()).write_ipc(tmp_path / f"{FREQTRADE}.feather")

    told = refusal(tmp_path)

    assert f"{tmp_path / FREQTRADE}.feather: " in told
    assert message in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("1746372780000,1,2,x,1,1", "row 0 (2025-05-04 15:33 UTC): low is not a number: 'x'", id="a word"),
        pytest.param("soon,1,2,1,1,1", "row 0: date 'soon' is no time", id="no time"),
        pytest.param("2025-05-04 15:33:00+08:00,1,2,1,1,1", "is no time. Write the opening time as", id="other zone"),
        pytest.param(",1,2,1,1,1", "row 0: date None is no time", id="no time at all"),
    ],
)
def test_a_spoilt_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "BTCUSDT-1m-futures.csv").write_text(f"date,open,high,low,close,volume\n{text}\n")

    assert message in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["feather", "parquet", "csv.gz", "zip", "csv"])
@pytest.mark.parametrize("content", [b"", b"ARROW1 but no more", bytes(range(128, 256))], ids=["empty", "cut", "noise"])
def test_an_unreadable_file_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"BTCUSDT-1m-futures.{suffix}").write_bytes(content)

    assert f"BTCUSDT-1m-futures.{suffix}: " in refusal(tmp_path)


def test_a_cut_download_is_refused_by_name(tmp_path: Path) -> None:
    whole = io.BytesIO()
    bars(1_000).write_ipc(whole)
    (tmp_path / f"{FREQTRADE}.feather").write_bytes(whole.getvalue()[:-200])
    with_zip = tmp_path / "zip"
    zipped(with_zip / "BTCUSDT-1m-2025-05.zip", exchange_csv(bars(1_000), header=True))
    path = with_zip / "BTCUSDT-1m-2025-05.zip"
    path.write_bytes(path.read_bytes()[:-100])

    assert "cannot be read" in refusal(with_zip)
    path.unlink()
    assert "cannot be read" in refusal(tmp_path)


def test_two_files_with_the_same_bars_are_refused(tmp_path: Path) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")
    bars(3, START + 3 * MINUTE).write_parquet(tmp_path / f"{FREQTRADE}.parquet")

    message = refusal(tmp_path)

    assert f"{FREQTRADE}.parquet: begins at 2025-05-04 15:36 UTC, while {FREQTRADE}.feather ends at" in message
    assert "Remove one of the two files" in message


def test_a_gap_between_two_files_names_both(tmp_path: Path) -> None:
    zipped(tmp_path / "um" / "BTCUSDT-1m-2025-05.zip", exchange_csv(bars(6), header=True))
    zipped(tmp_path / "um" / "BTCUSDT-1m-2025-07.zip", exchange_csv(bars(3, START + 7 * MINUTE), header=True))

    message = refusal(tmp_path)

    assert "BTCUSDT-1m-2025-05.zip and BTCUSDT-1m-2025-07.zip: 1 minute missing" in message


def test_a_symbol_without_a_file_is_refused_with_what_was_found(tmp_path: Path) -> None:
    bars().write_ipc(tmp_path / f"{FREQTRADE}.feather")

    message = refusal(tmp_path, "BTCUSDT", "SOLUSDT")

    assert (
        f"no one-minute bars of SOLUSDT; found {FREQTRADE}.feather. Put SOL_USDT_USDT-1m-futures.feather or" in message
    )
    assert "there is no such folder" in refusal(tmp_path / "nowhere")
    assert f"it is a file, not a folder. Name the folder that holds it: {tmp_path}" in refusal(
        tmp_path / f"{FREQTRADE}.feather"
    )
    (tmp_path / "bare").mkdir()
    assert "found no kline file" in refusal(tmp_path / "bare")


def test_gaps_can_be_filled_flat_and_are_noted(tmp_path: Path) -> None:
    bars()[[0, 1, 4, 5]].write_ipc(tmp_path / f"{FREQTRADE}.feather")

    loaded = load_klines(tmp_path, ["BTCUSDT"], gaps=GapPolicy.FLAT)

    series = loaded.bars[BTC]
    assert series.open_time.tolist() == [START + MINUTE * k for k in range(6)]
    assert series.close.tolist() == [100.5, 101.5, 101.5, 101.5, 104.5, 105.5]
    assert series.high.tolist() == [102.0, 103.0, 101.5, 101.5, 106.0, 107.0]
    assert series.volume.tolist() == [1.0, 2.0, 0.0, 0.0, 5.0, 6.0]
    assert "2 minutes missing after the bar of 2025-05-04 15:34 UTC" in loaded.notes[0]


# --- the real ones


def real_folder(name: str) -> Path:
    shared = os.environ.get("CHIMERA_SHARED")
    if not shared:
        pytest.skip("CHIMERA_SHARED is not set: the real klines cannot be read")
    return Path(shared) / "data" / name


def test_the_real_minutes_of_btc_and_eth_are_whole() -> None:
    loaded = load_klines(real_folder("typhonun-usdm-2025"), ["BTCUSDT", "ETHUSDT"])

    assert {str(key): len(series) for key, series in loaded.bars.items()} == {
        "FUT:BTCUSDT": 43_199,
        "FUT:ETHUSDT": 60_191,
    }
    assert {series.start_ms for series in loaded.bars.values()} == {START}
    assert {symbol: len(rates) for symbol, rates in loaded.fundings.items()} == {"BTCUSDT": 266, "ETHUSDT": 302}
    assert all(abs(rate.rate) < 0.0005 for rates in loaded.fundings.values() for rate in rates)
    assert loaded.twd is None

    source = FileSource(loaded, (BTC, SPOT, ETH), seed=7)
    assert source.end_ms == START + 43_199 * MINUTE
    assert len(source.klines(BTC, "1d", START, source.end_ms)) == 29
    assert len(source.notes) == 3


def test_a_folder_of_funding_alone_is_no_market() -> None:
    message = refusal(real_folder("murphyhoops-funding-2023-2025"))

    assert "no one-minute bars of BTCUSDT; found BTC_USDT_USDT-8h-funding_rate.feather" in message

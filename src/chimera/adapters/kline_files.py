"""Real klines from a folder: freqtrade's feather, parquet, CSV with a header, and the exchange's own zip.

Owns what a file's name says, what its columns mean, and what a series must satisfy before anybody trades on it. Decides
nothing about what is missing: that is `domain.market.source.FileSource`. Layouts (any case, `-` or `_` before the
interval; feather, parquet, csv, csv.gz and zip alike):

    BTC_USDT_USDT-1m-futures   freqtrade perpetual        BTC_USDT_USDT-8h-funding_rate   the rate is in column `open`
    BTC_USDT-1m                freqtrade spot             BTC_USDT_USDT-8h-mark           known, not read
    BTCUSDT-1m-2025-05[-04]    data.binance.vision        BTCUSDT-fundingRate-2025-05     data.binance.vision
    BTCUSDT-1m[-futures|-spot] anybody's                  USDT_TWD-60m, usdttwd-1h, …     MAX
    BTCUSDT-aggTrades-2025-05  known, not read            what `market_files` writes      the exchange's own names

The exchange names futures and spot alike. A folder `spot` or `futures` (or `um`) above the file tells them apart;
without one, microseconds mean spot (it has them since 2025, futures never) and milliseconds mean futures.
Sources: freqtrade docs "Data downloading", https://github.com/binance/binance-public-data#klines.
"""

import gzip
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.bars import BarSeries, Floats, Times
from chimera.domain.market.generator import HOUR_MS, FundingRate
from chimera.domain.market.quotes import INTERVAL_MS
from chimera.domain.market.source import LoadedMarket

_SUFFIXES = (".feather", ".parquet", ".csv", ".csv.gz", ".zip")
_TIME_NAMES = ("open_time", "date", "datetime", "timestamp", "time", "ts", "calc_time")
_PRICES = ("open", "high", "low", "close")
_EXCHANGE_COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
_NAME = re.compile(
    r"(?P<symbol>[a-z0-9]+(?:_[a-z0-9]+){0,2}?)[-_]"
    r"(?:(?P<interval>\d+[mhd])|(?P<rates>fundingrate|funding_rate|funding)|aggtrades)"
    r"(?:[-_](?P<kind>futures|fut|spot|mark|index|premiumindex|funding_rate|funding))?"
    r"(?:[-_](?P<date>\d{4}-\d{2}(?:-\d{2})?))?"
)
_INTERVALS = {name: name for name in INTERVAL_MS} | {"60m": "1h"}
_TWD = "USDTTWD"
_FUNDING_ABS_MAX = 0.1
_EARLIEST_MS = 946_684_800_000  # 2000-01-01: before it a number is seconds, or no time at all
_LATEST_MS = 4_102_444_800_000  # 2100-01-01
_DAY_MS = 86_400_000
_UNIT_OF_DATES = {"ms": 1, "us": 1_000, "ns": 1_000_000}
_UNITS = ((10**17, 1, 1_000_000), (10**14, 1, 1_000), (10**11, 1, 1), (0, 1_000, 1))
"""(at or above, times, divided by): ns, us, ms and s of this century are a factor of a thousand apart."""
_AGAIN = "Download the file again"
_TIME_REMEDY = "Write the opening time as epoch ms or as 2025-05-04 15:33:00 in UTC"


_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,  # a zip with a password
    zipfile.BadZipFile,
    zlib.error,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,  # no Exception: what polars raises on some damaged headers
)


class KlineFileError(Exception):
    """A file that must not be traded on. Says the file, the place, the value and what to do; exit code 2 at the CLI."""

    def __init__(self, file: Path | str, what: str, remedy: str) -> None:
        super().__init__(f"{file}: {what}. {remedy}.")
        self.file = str(file)
        self.what = what
        self.remedy = remedy


class GapPolicy(StrEnum):
    """What to do about missing bars. FLAT repeats the last close with volume 0, and every gap is noted."""

    ERROR = "ERROR"
    FLAT = "FLAT"


class _Kind(StrEnum):
    BARS = "bars"
    FUNDING = "funding rates"
    TWD = "USDT/TWD"
    UNREAD = "not read"


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What a name and a folder say. `market` None: the content must say."""

    path: Path
    kind: _Kind
    symbol: str
    interval: str
    market: Market | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """One file's rows, ascending and checked one by one, not yet joined with those of other files."""

    file: _File
    market: Market
    bars: BarSeries


def load_klines(folder: Path, symbols: Sequence[str], *, gaps: GapPolicy = GapPolicy.ERROR) -> LoadedMarket:
    """Everything the folder and its subfolders hold of `symbols`: minutes of both markets, funding, USDT/TWD.

    Raises:
        KlineFileError: a file that cannot be read or trusted, or a symbol without one-minute bars in either market.
    """
    files = _files(folder)
    notes: list[str] = []
    bars: dict[InstrumentKey, BarSeries] = {}
    fundings: dict[str, tuple[FundingRate, ...]] = {}
    for symbol in symbols:
        minutes = [f for f in files if (f.kind, f.symbol, f.interval) == (_Kind.BARS, symbol, "1m")]
        if not minutes:
            raise KlineFileError(
                folder, f"no one-minute bars of {symbol}; found {_found(files)}", f"Put {_wanted(symbol)} there"
            )
        parts = [_read_bars(file, notes) for file in minutes]
        for market in Market:
            chosen = [part for part in parts if part.market is market]
            if chosen:
                bars[InstrumentKey(market, symbol)] = _join(chosen, gaps, notes)
        rates = [f for f in files if (f.kind, f.symbol) == (_Kind.FUNDING, symbol)]
        if rates:
            fundings[symbol] = _read_fundings(rates)
    twd_parts = [_read_bars(file, notes) for file in files if file.kind is _Kind.TWD]
    unread = [f.path.name for f in files if f.kind is _Kind.UNREAD or (f.kind is _Kind.BARS and f.interval != "1m")]
    if unread:
        notes.append(f"not read, because bars are made of minutes and the mark follows the book: {_some(unread)}")
    twd = _join(twd_parts, gaps, notes) if twd_parts else None
    return LoadedMarket(bars=bars, fundings=fundings, twd=twd, notes=tuple(notes))


# --- what the names say


def _files(folder: Path) -> list[_File]:
    try:
        paths = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(_SUFFIXES) and path.is_file())
    except OSError as error:
        raise KlineFileError(folder, f"the folder cannot be read: {error.strerror}", "Check its permissions") from error
    if folder.is_file():
        raise KlineFileError(folder, "it is a file, not a folder", f"Name the folder that holds it: {folder.parent}")
    if not folder.is_dir():
        raise KlineFileError(folder, "there is no such folder", "Name the folder that holds the kline files")
    return [found for path in paths if (found := _named(folder, path)) is not None]


def _named(folder: Path, path: Path) -> _File | None:
    """None: a file of somebody else's."""
    name = path.name.lower()
    stem = name[: -len(next(suffix for suffix in sorted(_SUFFIXES, key=len, reverse=True) if name.endswith(suffix)))]
    symbol_only = stem.replace("_", "")
    match = _NAME.fullmatch(stem)
    if match is None:
        if symbol_only == _TWD.lower():
            return _File(path=path, kind=_Kind.TWD, symbol=_TWD, interval="1h", market=Market.SPOT)
        return None
    pieces = match["symbol"].upper().split("_")
    symbol = "".join(pieces[:2])
    kind_said = match["kind"] or ""
    interval = _INTERVALS.get(match["interval"] or "")
    kind = _Kind.BARS
    if match["rates"] or kind_said.startswith("funding"):
        kind = _Kind.FUNDING
    elif kind_said in ("mark", "index", "premiumindex") or interval is None:
        kind = _Kind.UNREAD
    elif symbol == _TWD:
        kind = _Kind.TWD if INTERVAL_MS[interval] <= HOUR_MS else _Kind.UNREAD
    market: Market | None = None
    above = {part.lower() for part in path.relative_to(folder).parts[:-1]} | {folder.name.lower()}
    if kind is _Kind.TWD or kind_said == "spot":
        market = Market.SPOT
    elif kind_said in ("futures", "fut") or len(pieces) == 3:
        market = Market.FUT
    elif len(pieces) == 2:
        market = Market.SPOT  # freqtrade's way: a perpetual names what it settles in
    elif "spot" in above:
        market = Market.SPOT
    elif above & {"futures", "um", "fut"}:
        market = Market.FUT
    return _File(path=path, kind=kind, symbol=symbol, interval=interval or "", market=market)


def _found(files: Sequence[_File]) -> str:
    return _some([f.path.name for f in files]) if files else "no kline file"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def _wanted(symbol: str) -> str:
    base = symbol.removesuffix("USDT")
    return f"{base}_USDT_USDT-1m-futures.feather or {symbol}-1m-2025-05.zip (or another month)"


# --- what the files hold


def _table(path: Path) -> pl.DataFrame:
    """The file as it is, with lower-case column names. A CSV without header gets the exchange's names."""
    name = path.name.lower()
    try:
        if name.endswith(".feather"):
            table = pl.read_ipc(path)
        elif name.endswith(".parquet"):
            table = pl.read_parquet(path)
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                inner = [member for member in archive.namelist() if member.lower().endswith(".csv")]
                if len(inner) != 1:
                    raise KlineFileError(path, f"the zip holds {len(inner)} CSV files, not one", _AGAIN)
                table = _csv(archive.read(inner[0]))
        else:
            raw = path.read_bytes()
            table = _csv(gzip.decompress(raw) if name.endswith(".gz") else raw)
    except KlineFileError:
        raise
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise KlineFileError(path, f"cannot be read: {reason}", _AGAIN) from error
    if table.is_empty():
        raise KlineFileError(path, "holds no rows", _AGAIN)
    return table.rename({column: column.strip().lower() for column in table.columns})


def _csv(raw: bytes) -> pl.DataFrame:
    if not raw[:1].isdigit():
        return pl.read_csv(raw, infer_schema_length=None)
    table = pl.read_csv(raw, has_header=False, infer_schema_length=None)
    names = _EXCHANGE_COLUMNS[: table.width]
    return table.rename(dict(zip(table.columns, names, strict=False)))


def _column(table: pl.DataFrame, name: str, file: _File, times: Times) -> Floats:
    """A column of finite numbers."""
    values = table[name].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    _refuse(file, times, ~np.isfinite(values), f"{name} is not a number", table[name].to_list())
    return np.array(values, dtype=np.float64)


def _need(table: pl.DataFrame, names: Sequence[str], file: _File) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise KlineFileError(
            file.path,
            f"columns {', '.join(missing)} are missing; it has {', '.join(table.columns)}",
            "Name the columns date (or open_time), open, high, low, close, volume",
        )


def _times(table: pl.DataFrame, file: _File) -> tuple[Times, bool]:
    """Epoch ms of every row, ascending, and whether the file counts microseconds."""
    name = next((name for name in _TIME_NAMES if name in table.columns), None)
    if name is None:
        raise KlineFileError(
            file.path,
            f"no time column; it has {', '.join(table.columns)}",
            f"Name the opening time one of {', '.join(_TIME_NAMES)}",
        )
    column = table[name]
    if column.dtype == pl.String:
        column = _parsed(column)
    micros = False
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        # By their numbers: polars panics on a date beyond its calendar, which a damaged file may hold.
        divisor = _UNIT_OF_DATES[column.dtype.time_unit or "us"] if isinstance(column.dtype, pl.Datetime) else 0
        times = column.to_physical().cast(pl.Int64)
        times = times // divisor if divisor else times * _DAY_MS
    else:
        times = column.cast(pl.Int64, strict=False)
        first = times[0] if times[0] is not None else 0
        _, mult, divisor = next(unit for unit in _UNITS if first >= unit[0] or unit[0] == 0)
        micros = divisor == 1_000
        times = times * mult // divisor
    if times.null_count():
        row = times.is_null().to_list().index(True)
        raise KlineFileError(file.path, f"row {row}: {name} {_shown(table[name], row)} is no time", _TIME_REMEDY)
    values: Times = times.to_numpy().astype(np.int64)
    outside = (values < _EARLIEST_MS) | (values > _LATEST_MS)
    if outside.any():
        row = int(np.argmax(outside))
        raise KlineFileError(
            file.path,
            f"row {row}: {name} {_shown(table[name], row)} lies outside 2000 to 2100",
            _TIME_REMEDY,
        )
    steps = np.diff(values)
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0)) + 1
        how = "repeats the row before" if steps[row - 1] == 0 else f"comes after {_utc(int(values[row - 1]))}"
        raise KlineFileError(
            file.path, f"row {row} ({_utc(int(values[row]))}) {how}", "Sort the file by time and drop repeated rows"
        )
    return values, micros


def _shown(column: pl.Series, row: int) -> str:
    """A value as it stands; of a time its number, for one beyond the calendar cannot be turned into a date."""
    return repr(column.to_physical()[row] if column.dtype.is_temporal() else column[row])


def _parsed(column: pl.Series) -> pl.Series:
    """Text as numbers if it is that, else as times; what is neither becomes null."""
    numbers = column.cast(pl.Int64, strict=False)
    if numbers.null_count() == 0:
        return numbers
    # Offsets and a Z are cut: replaced by nothing they mean UTC, any other offset fails to parse and is refused.
    text = column.str.strip_chars().str.replace(r"(Z|\+00:?00)$", "").str.replace("T", " ")
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="ms")


def _read_bars(file: _File, notes: list[str]) -> _Part:
    table = _table(file.path)
    times, micros = _times(table, file)
    _need(table, (*_PRICES, "volume"), file)
    step_ms = INTERVAL_MS[file.interval]
    steps = np.diff(times)
    if len(steps) and int(steps.min()) != step_ms:
        raise KlineFileError(
            file.path,
            f"the bars are {_minutes(int(steps.min()))} apart, the name says {file.interval}",
            f"Rename the file, or give {file.interval} bars",
        )
    off = times % step_ms != 0
    _refuse(file, times, off, f"does not open on a full {file.interval}", times.tolist())
    columns = {name: _column(table, name, file, times) for name in (*_PRICES, "volume")}
    for name in _PRICES:
        _refuse(file, times, columns[name] <= 0.0, f"{name} is not above zero", columns[name].tolist())
    _refuse(file, times, columns["volume"] < 0.0, "volume is negative", columns["volume"].tolist())
    high, low = columns["high"], columns["low"]
    _refuse(file, times, high < low, "high is below low", list(zip(high.tolist(), low.tolist(), strict=True)))
    for name in ("open", "close"):
        outside = (columns[name] > high) | (columns[name] < low)
        shown = list(zip(columns[name].tolist(), low.tolist(), high.tolist(), strict=True))
        _refuse(file, times, outside, f"{name} lies outside low to high", shown)
    market = file.market
    if market is None:
        market = Market.SPOT if micros else Market.FUT
        why = "it counts microseconds" if micros else "it counts milliseconds"
        notes.append(f"{file.path.name} is taken for {market} because {why}; a folder spot or futures would say it")
    return _Part(file=file, market=market, bars=BarSeries(interval=file.interval, open_time=times, **columns))


def _refuse(file: _File, times: Times, bad: NDArray[np.bool_], what: str, values: Sequence[object]) -> None:
    """Name the first bad row, its time and value."""
    if bad.any():
        row, count = int(np.argmax(bad)), int(bad.sum())
        more = f" (and {count - 1} more rows)" if count > 1 else ""
        raise KlineFileError(
            file.path,
            f"row {row} ({_utc(int(times[row]))}): {what}: {values[row]!r}{more}",
            f"{_AGAIN}, or correct the row",
        )


def _join(parts: Sequence[_Part], gaps: GapPolicy, notes: list[str]) -> BarSeries:
    """Files of one series, in order of time, without overlap and without gaps."""
    parts = sorted(parts, key=lambda part: part.bars.start_ms)
    for before, after in pairwise(parts):
        if after.bars.interval != before.bars.interval:
            raise KlineFileError(
                after.file.path,
                f"{after.bars.interval} bars beside {before.bars.interval} bars of {before.file.path.name}",
                "Keep the files of one interval",
            )
        if after.bars.start_ms < before.bars.end_ms:
            raise KlineFileError(
                after.file.path,
                f"begins at {_utc(after.bars.start_ms)}, while {before.file.path.name} ends at "
                f"{_utc(before.bars.end_ms)}: both hold the same bars",
                "Remove one of the two files, or move it to another folder",
            )
    times = np.concatenate([part.bars.open_time for part in parts])
    step_ms = parts[0].bars.interval_ms
    at = np.flatnonzero(np.diff(times) != step_ms)
    if len(at):
        missing = [int(times[k + 1] - times[k]) // step_ms - 1 for k in at]
        files = _file_of(parts, int(at[0]))
        told = (
            f"{_minutes(missing[0] * step_ms)} missing after the bar of {_utc(int(times[at[0]]))}"
            f" (the next is of {_utc(int(times[at[0] + 1]))}); gaps in all: {len(at)}, bars: {sum(missing)}"
        )
        if gaps is GapPolicy.ERROR:
            raise KlineFileError(
                files, told, "Download the missing part, or take files that begin after or end before the gap"
            )
        notes.append(f"{files}: {told}: filled with flat bars without volume")
    columns = {name: np.concatenate([getattr(part.bars, name) for part in parts]) for name in (*_PRICES, "volume")}
    if len(at):
        whole = np.arange(times[0], times[-1] + step_ms, step_ms, dtype=np.int64)
        row = np.searchsorted(times, whole, "right") - 1
        absent = times[row] != whole
        close = columns["close"][row]
        columns = {name: np.where(absent, close, columns[name][row]) for name in _PRICES} | {
            "volume": np.where(absent, 0.0, columns["volume"][row])
        }
        times = whole
    return BarSeries(interval=parts[0].bars.interval, open_time=times, **columns)


def _file_of(parts: Sequence[_Part], row: int) -> str:
    """The file, or the two files, between this row of the joined series and the next."""
    for k, part in enumerate(parts):
        if row < len(part.bars) - 1 or k == len(parts) - 1:
            return str(part.file.path)
        if row == len(part.bars) - 1:
            return f"{part.file.path} and {parts[k + 1].file.path.name}"
        row -= len(part.bars)
    raise AssertionError("the row lies behind the last file")


def _read_fundings(files: Sequence[_File]) -> tuple[FundingRate, ...]:
    """Settlements of one symbol. Their times carry some ms, as at the exchange; the interval is what lies between."""
    rows: list[tuple[int, float, _File]] = []
    for file in files:
        table = _table(file.path)
        times, _ = _times(table, file)
        name = next(
            (n for n in ("last_funding_rate", "funding_rate", "fundingrate", "rate") if n in table.columns), "open"
        )
        _need(table, (name,), file)
        rates = _column(table, name, file, times)
        _refuse(file, times, np.abs(rates) > _FUNDING_ABS_MAX, "the rate is above 10 %", rates.tolist())
        rows += [(ts, rate, file) for ts, rate in zip(times.tolist(), rates.tolist(), strict=True)]
    rows.sort(key=lambda row: row[0])
    hours: list[int] = []
    for (before, _, _), (ts, _, file) in pairwise(rows):
        length = round((ts - before) / HOUR_MS)
        if length not in (1, 2, 4, 8):
            raise KlineFileError(
                file.path,
                f"{(ts - before) / HOUR_MS:g} hours between the settlements {_utc(before)} and {_utc(ts)}",
                "Funding is paid each 1, 2, 4 or 8 hours: add the missing settlements, drop repeated ones",
            )
        hours.append(length)
    hours.insert(0, hours[0] if hours else INTERVAL_MS.get(files[0].interval, 8 * HOUR_MS) // HOUR_MS)
    return tuple(
        FundingRate(ts, files[0].symbol, rate, length) for (ts, rate, _), length in zip(rows, hours, strict=True)
    )


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M") + " UTC"


def _minutes(ms: int) -> str:
    count = ms / 60_000
    return "1 minute" if count == 1 else f"{count:g} minutes"

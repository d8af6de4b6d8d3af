"""Market data that was downloaded, in files that `kline_files` reads: whole, or not there.

Owns their names, their columns and how far each reaches. A part is written beside its place, reaches the disk, and is
renamed, so that a file that can be seen can be trusted; its metadata say until when it holds what there was.

    futures/BTCUSDT-1m-2025-05-04         a UTC day of minutes; `spot/` alike
    futures/BTCUSDT-aggTrades-2025-05-04  a day of trades as the exchange joins them
    futures/BTCUSDT-fundingRate-2025-05   a month of settlements
    max/USDTTWD-1h-2025-05                a month of hours

Columns are those of the exchange's own archive. Source: https://github.com/binance/binance-public-data.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl

from chimera.contracts.enums import Market
from chimera.domain.market.quotes import Bar

DAY_MS = 86_400_000
UNTIL = "chimera.until_ms"
FOR_EVER_MS = 1 << 62
"""How far a file reaches that is not ours: it is left as it is."""

_FOLDERS = {Market.FUT: "futures", Market.SPOT: "spot"}
_NUMBER, _WHOLE = pl.Float64, pl.Int64


class Kind(StrEnum):
    KLINES = "klines"
    FUNDING = "funding"
    TRADES = "trades"
    TWD = "twd"


_NAMES = {Kind.KLINES: "1m", Kind.FUNDING: "fundingRate", Kind.TRADES: "aggTrades", Kind.TWD: "1h"}
_MONTHLY = (Kind.FUNDING, Kind.TWD)

SCHEMAS: Mapping[Kind, pl.Schema] = {
    Kind.KLINES: pl.Schema(
        {
            "open_time": _WHOLE,
            "open": _NUMBER,
            "high": _NUMBER,
            "low": _NUMBER,
            "close": _NUMBER,
            "volume": _NUMBER,
            "close_time": _WHOLE,
            "quote_volume": _NUMBER,
            "count": _WHOLE,
            "taker_buy_volume": _NUMBER,
            "taker_buy_quote_volume": _NUMBER,
        }
    ),
    Kind.FUNDING: pl.Schema({"calc_time": _WHOLE, "last_funding_rate": _NUMBER, "mark_price": _NUMBER}),
    Kind.TRADES: pl.Schema(
        {
            "agg_trade_id": _WHOLE,
            "price": _NUMBER,
            "quantity": _NUMBER,
            "first_trade_id": _WHOLE,
            "last_trade_id": _WHOLE,
            "transact_time": _WHOLE,
            "is_buyer_maker": pl.Boolean,
        }
    ),
    Kind.TWD: pl.Schema(
        {
            "open_time": _WHOLE,
            "open": _NUMBER,
            "high": _NUMBER,
            "low": _NUMBER,
            "close": _NUMBER,
            "volume": _NUMBER,
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One file: what it holds of [start_ms, end_ms)."""

    path: Path
    start_ms: int
    end_ms: int


def parts(folder: Path, kind: Kind, market: Market, symbol: str, start_ms: int, end_ms: int) -> Iterator[Part]:
    """The files that [start_ms, end_ms) lies in, oldest first. Months are whole, however little of one is asked for."""
    at_ms = start_ms
    while at_ms < end_ms:
        day = datetime.fromtimestamp(at_ms / 1_000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if kind in _MONTHLY:
            begins = day.replace(day=1)
            ends_ms = _ms(begins.replace(year=begins.year + begins.month // 12, month=begins.month % 12 + 1))
            when = f"{begins:%Y-%m}"
        else:
            begins, ends_ms, when = day, _ms(day) + DAY_MS, f"{day:%Y-%m-%d}"
        below = "max" if kind is Kind.TWD else _FOLDERS[market]
        yield Part(folder / below / f"{symbol}-{_NAMES[kind]}-{when}.parquet", _ms(begins), ends_ms)
        at_ms = ends_ms


def reaches_ms(path: Path) -> int:
    """Until when the file holds what there was; 0 where there is none, or one that cannot be read."""
    try:
        told = pl.read_parquet_metadata(path)
    except (OSError, pl.exceptions.PolarsError):
        return 0
    until = told.get(UNTIL, "")
    return int(until) if until.isdecimal() else FOR_EVER_MS


def kline_rows(rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Rows of the exchange's `klines`; the last of their twelve fields is unused."""
    names = list(SCHEMAS[Kind.KLINES])
    return _table(Kind.KLINES, {name: [row[at] for row in rows] for at, name in enumerate(names)})


def funding_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of `fundingRate`, oldest first. Those of long ago have no mark price."""
    rows = sorted(rows, key=lambda row: int(row["fundingTime"]))
    return _table(
        Kind.FUNDING,
        {
            "calc_time": [row["fundingTime"] for row in rows],
            "last_funding_rate": [row["fundingRate"] for row in rows],
            "mark_price": [row.get("markPrice") or None for row in rows],
        },
    )


def trade_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of `aggTrades`."""
    letters = ("a", "p", "q", "f", "l", "T", "m")
    names = list(SCHEMAS[Kind.TRADES])
    return _table(
        Kind.TRADES, {name: [row[letter] for row in rows] for name, letter in zip(names, letters, strict=True)}
    )


def twd_rows(bars: Sequence[Bar]) -> pl.DataFrame:
    return _table(Kind.TWD, {name: [getattr(bar, name) for bar in bars] for name in SCHEMAS[Kind.TWD]})


def _table(kind: Kind, columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    """Prices come as texts; each becomes the float that is nearest to it, as everywhere in market data."""
    table = pl.DataFrame({name: pl.Series(name, values, strict=False) for name, values in columns.items()})
    return table.cast(SCHEMAS[kind])


def write(part: Part, table: pl.DataFrame, until_ms: int) -> None:
    """
    Args:
        until_ms: what there is after it is not in the table.

    Raises:
        OSError: nothing was changed.
    """
    part.path.parent.mkdir(parents=True, exist_ok=True)
    beside = part.path.with_name(f"{part.path.name}.part")
    try:
        with beside.open("wb") as file:
            table.write_parquet(file, metadata={UNTIL: str(min(until_ms, part.end_ms))})
            file.flush()
            os.fsync(file.fileno())
        beside.replace(part.path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def _ms(when: datetime) -> int:
    return int(when.timestamp()) * 1_000

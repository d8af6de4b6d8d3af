"""Kline files that a replay can read, made up: three days before the first trade, and four hours of it."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

START = int(datetime(2025, 3, 1, tzinfo=UTC).timestamp() * 1_000)
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WARM_DAYS = 3
TRADED_HOURS = 4
TRADED_DAY = "2025-03-04"
PRICES = ("open", "high", "low", "close")


def btc_minutes() -> pl.DataFrame:
    """Three days before the first trade, BTC falling on the second; then it rises by 4 % in four hours."""
    count = WARM_DAYS * 1_440 + TRADED_HOURS * 60
    minute = np.arange(count)
    drift = np.where(minute // 1_440 == 1, -0.02 / 1_440, 0.0) + np.where(minute >= WARM_DAYS * 1_440, 0.04 / 240, 0.0)
    noise = np.random.default_rng(5).normal(0.0, 0.0002, count)
    close = np.round(90_000.0 * np.exp(np.cumsum(drift + noise)), 1)
    open_ = np.concatenate([[90_000.0], close[:-1]])
    return pl.DataFrame(
        {
            "date": pl.Series(START + MINUTE * minute).cast(pl.Datetime("ms", "UTC")),
            "open": open_,
            "high": np.round(np.maximum(open_, close) * 1.0002, 1),
            "low": np.round(np.minimum(open_, close) * 0.9998, 1),
            "close": close,
            "volume": np.full(count, 12.5),
        }
    )


def rising_twd() -> pl.DataFrame:
    """USDT/TWD up on every day: with BTC down on the second the signal of the fourth is to buy."""
    hours = np.arange(WARM_DAYS * 24 + TRADED_HOURS)
    price = 32.0 + 0.005 * hours
    return pl.DataFrame(
        {"ts": START + HOUR * hours, "open": price, "high": price + 0.01, "low": price - 0.01, "close": price + 0.005}
    ).with_columns(volume=pl.lit(1_000.0))


def write_spot_zip(folder: Path, table: pl.DataFrame) -> None:
    """As the exchange publishes it: twelve columns, microseconds, no header."""
    rows = table.select(
        (pl.col("date").dt.epoch("ms") * 1_000).alias("open_time"),
        *PRICES,
        "volume",
        (pl.col("date").dt.epoch("ms") * 1_000 + 59_999_999).alias("close_time"),
        *(pl.lit(0).alias(name) for name in ("quote_volume", "count", "taker_base", "taker_quote", "ignore")),
    )
    with zipfile.ZipFile(folder / "BTCUSDT-1m-2025-03.zip", "w") as archive:
        archive.writestr("BTCUSDT-1m-2025-03.csv", rows.write_csv(include_header=False))


def write_files(folder: Path) -> Path:
    """BTCUSDT in both markets, and USDT/TWD."""
    table = btc_minutes()
    table.write_ipc(folder / "BTC_USDT_USDT-1m-futures.feather")
    write_spot_zip(folder, table)
    rising_twd().write_csv(folder / "USDT_TWD-60m.csv")
    return folder

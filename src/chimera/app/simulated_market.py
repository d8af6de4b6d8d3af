"""The market of the embedded simulated exchange: which instruments, which seed, from where; and made again from that.

Owns the plan that lies beside the exchange's journal: with it a restart finds the same market, to the tick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chimera.adapters.kline_files import load_klines
from chimera.adapters.simulated_venue.ticker import Ticker
from chimera.contracts.enums import Market as MarketKind
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.generator import MarketGenerator, MarketState, start_prices_for
from chimera.domain.market.listing import listed
from chimera.domain.market.market_config import MarketConfig, symbols_for
from chimera.domain.market.source import FileSource, GeneratedSource, MarketSource
from chimera.domain.matching.rules import ExchangeRules

DAY_MS = 86_400_000
HISTORY_DAYS = 46
"""Bars before the start, so that daily features and the average range are warm: 45 closed days and the running one."""

SPOT_SYMBOLS = ("BTCUSDT",)
"""Where the strategy trades spot too. Source: SERVICES, `strategy.markets`."""


def keys_for(symbols: Sequence[str]) -> tuple[InstrumentKey, ...]:
    """Futures of every symbol and spot where it is traded, in a stable order."""
    futures = [InstrumentKey(MarketKind.FUT, symbol) for symbol in symbols]
    return tuple(futures + [InstrumentKey(MarketKind.SPOT, symbol) for symbol in symbols if symbol in SPOT_SYMBOLS])


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlan:
    """Everything that the market follows from. `prices` are those at the first day's beginning."""

    seed: int
    symbols: tuple[str, ...]
    first_day: int
    prices: dict[str, float]

    @classmethod
    def ending_at(
        cls, symbols: tuple[str, ...], *, seed: int, start_ms: int, end_ms: int, targets: Mapping[str, float]
    ) -> "MarketPlan":
        """A market whose perpetuals stand at `targets` at `end_ms`, with enough history before `start_ms`."""
        first_day = start_ms // DAY_MS - HISTORY_DAYS
        config = config_for(symbols)
        wanted = {symbol: price for symbol, price in targets.items() if symbol in {s.symbol for s in config.symbols}}
        prices = start_prices_for(seed, config, first_day=first_day, end_ms=end_ms, targets=wanted)
        return cls(seed=seed, symbols=symbols, first_day=first_day, prices=prices)

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "symbols": list(self.symbols),
            "first_day": self.first_day,
            "prices": self.prices,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "MarketPlan":
        return cls(
            seed=row["seed"], symbols=tuple(row["symbols"]), first_day=row["first_day"], prices=dict(row["prices"])
        )


LEADER = InstrumentKey(MarketKind.FUT, "BTCUSDT")
"""Its days stand against USDT/TWD in the signal of every symbol, so it is listed and watched, traded or not."""


def listed_keys(symbols: Sequence[str]) -> tuple[InstrumentKey, ...]:
    keys = keys_for(symbols)
    return keys if LEADER in keys else (*keys, LEADER)


def config_for(symbols: Sequence[str]) -> MarketConfig:
    """The demonstration's market: USDT/TWD moves so that the strategy's pattern comes every second or third day instead
    of every fourth, and who opens the page for the first time sees it at work."""
    return MarketConfig(
        symbols=symbols_for([listed(key) for key in listed_keys(symbols)]), twd_momentum=0.75, twd_corr=-0.9
    )


@dataclass(frozen=True, slots=True)
class Market:
    source: MarketSource
    rules: ExchangeRules
    ticker: Ticker

    @classmethod
    def build(
        cls,
        plan: MarketPlan,
        checkpoint: Mapping[str, Any] | None,
        *,
        ticks_per_minute: int,
        end_ms: int | None = None,
    ) -> "Market":
        """`checkpoint` is a later day's state of the same market: what lies long before it need not be made again."""
        generator = MarketGenerator(plan.seed, config_for(plan.symbols))
        first = generator.start(plan.first_day, plan.prices)
        source = GeneratedSource(generator, first if checkpoint is None else MarketState.from_json(checkpoint))
        instruments = tuple(listed(key) for key in listed_keys(plan.symbols))
        ticker = Ticker(source, instruments, seed=plan.seed, ticks_per_minute=ticks_per_minute, end_ms=end_ms)
        return cls(source, ExchangeRules(instruments=instruments), ticker)

    @classmethod
    def from_files(cls, folder: Path, symbols: Sequence[str], *, seed: int, ticks_per_minute: int) -> "Market":
        """A market that goes as the klines in `folder` went, and ends where they end.

        Raises:
            KlineFileError: a file that must not be traded on.
            ValueError: the files have no time in common.
        """
        keys = listed_keys(symbols)
        source = FileSource(load_klines(folder, tuple(dict.fromkeys(key.symbol for key in keys))), keys, seed=seed)
        instruments = tuple(listed(key) for key in keys)
        ticker = Ticker(source, instruments, seed=seed, ticks_per_minute=ticks_per_minute, end_ms=source.end_ms)
        return cls(source, ExchangeRules(instruments=instruments), ticker)

    def checkpoint(self, now_ms: int) -> dict[str, Any] | None:
        """A state from which a restart can go on, with the history that it needs still after it; None for files."""
        if not isinstance(self.source, GeneratedSource):
            return None
        state = self.source.state_before(now_ms // DAY_MS - HISTORY_DAYS)
        return None if state is None else state.to_json()

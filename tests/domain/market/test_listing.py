"""The demonstration's symbols are all listed, on ticks that a market can be made on; a bare name is no symbol."""

import re

import pytest

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.listing import listed
from chimera.domain.market.market_config import KNOWN, MarketConfig, symbols_for


@pytest.mark.parametrize("symbol", KNOWN)
def test_a_known_symbol_has_the_same_tick_where_it_is_listed_and_where_it_is_made(symbol: str) -> None:
    instrument = listed(InstrumentKey(Market.FUT, symbol))

    assert symbols_for([instrument])[-1].tick == KNOWN[symbol].tick == float(instrument.tick_size)
    assert instrument.min_notional < 100


def test_the_default_market_is_btc_and_eth() -> None:
    assert [config.symbol for config in MarketConfig().symbols] == ["BTCUSDT", "ETHUSDT"]


@pytest.mark.parametrize(
    "symbol", ["BTC USDT", "BTC/USDT", "btcusdt", "ÄUSDT", "BTC-USDT", "BTC\nUSDT", "USDT", "BTCEUR"]
)
def test_what_is_no_usdt_symbol_is_refused_by_name(symbol: str) -> None:
    with pytest.raises(ValueError, match=f"symbol {re.escape(repr(symbol))}.* like BTCUSDT"):
        listed(InstrumentKey(Market.FUT, symbol))

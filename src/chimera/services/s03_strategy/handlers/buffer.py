"""How far open positions are from their liquidation, while no feature comes in.

S6 keeps positions by the market's events and halves one that comes near. Where those have stopped, the last price seen
is all there is: S3 looks with its heartbeat, and tells a person. It orders nothing.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.collections import TRADES
from chimera.contracts.documents import Trade
from chimera.contracts.enums import Market, Severity, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.exact import exact
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.liquidation import inside_buffer, isolated_liquidation_price
from chimera.ports.documents import Documents, Query
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.telling import Teller


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    instruments: dict[InstrumentKey, Instrument]
    watch: ConfigWatch
    documents: Documents
    teller: Teller
    _told: set[str] = field(default_factory=set)

    async def look(self, key: InstrumentKey, last_price: float | None) -> None:
        """Tell of each position on `key` for which less than `position.liquidation_buffer_min` of the way from its
        liquidation to its entry is left: once, until it has been out of that range.

        Args:
            last_price: None where the last features had none.
        """
        if key.market is not Market.FUT or last_price is None:
            return
        price = exact(last_price)
        for trade in await self.documents.find(
            Query(
                collection=TRADES,
                index="by_instr",
                equal=(("market", key.market.value), ("symbol", key.symbol), ("status", TradeStatus.ACTIVE.value)),
            )
        ):
            if trade.qty_open > 0:
                await self._look_at(self.instruments[key], trade, price)

    async def _look_at(self, instrument: Instrument, trade: Trade, price: Decimal) -> None:
        entry = trade.entry_price_avg
        liquidation = isolated_liquidation_price(
            instrument, side=trade.side, qty=trade.qty_open, entry_price=entry, leverage=trade.leverage
        )
        ratio = Decimal(self.watch.current().flags.position.liquidation_buffer_min)
        if not inside_buffer(price=price, entry_price=entry, liquidation=liquidation, ratio=ratio):
            self._told.discard(trade.trade_id)
            return
        if trade.trade_id in self._told:
            return
        await self.teller.alert(
            AlertCode.LIQUIDATION,
            Severity.FATAL,
            f"no features of {instrument.key} come in, and by the last price of {price} the position {trade.trade_id}"
            f" is near its liquidation at {instrument.round_price(liquidation)}",
            trade_id=trade.trade_id,
            symbol=trade.symbol,
        )
        self._told.add(trade.trade_id)

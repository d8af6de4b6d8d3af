"""What a move of a symbol's price would move: what futures and spot hold of it, together."""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import SPOT_WAC
from chimera.domain.positions.adds import exposure, net_delta
from chimera.ports.state import Snapshots
from chimera.services.s06_positions.memory import Memory
from chimera.services.s06_positions.trade import is_held


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Of one symbol, in base asset. `fut_qty` is signed and in contracts."""

    symbol: str
    fut_qty: Decimal
    spot_qty: Decimal
    contract_size: Decimal = Decimal(1)

    @property
    def qty(self) -> Decimal:
        return exposure(fut_qty=self.fut_qty, contract_size=self.contract_size, spot_qty=self.spot_qty)

    @property
    def net_delta(self) -> Decimal:
        return net_delta(fut_qty=self.fut_qty, contract_size=self.contract_size, spot_qty=self.spot_qty)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposures:
    env: str
    keys: tuple[InstrumentKey, ...]
    snapshots: Snapshots
    memory: Memory

    async def of(self, symbol: str) -> Exposure:
        held = self.memory.of(InstrumentKey(Market.FUT, symbol))
        fut_qty, contract_size = Decimal(0), Decimal(1)
        if held is not None:
            contract_size = held.facts.instrument.contract_size
            fut_qty = held.trade.side.sign * held.trade.qty_open if is_held(held.trade) else fut_qty
        return Exposure(
            symbol=symbol, fut_qty=fut_qty, spot_qty=await self._spot_qty(symbol), contract_size=contract_size
        )

    async def all(self) -> tuple[Exposure, ...]:
        """Of every symbol that is held, by name."""
        found = [await self.of(symbol) for symbol in sorted({key.symbol for key in self.keys})]
        return tuple(each for each in found if each.fut_qty or each.spot_qty)

    async def _spot_qty(self, symbol: str) -> Decimal:
        """As S4 accounts for it, dust included: it is held."""
        key = InstrumentKey(Market.SPOT, symbol)
        if key not in self.keys:
            return Decimal(0)
        return Decimal((await self.snapshots.get_hash(SPOT_WAC.name(self.env, key))).get("qty", "0"))

"""An instrument is a market and a symbol; this is how the pair is written in keys, ids and documents."""

from dataclasses import dataclass

from chimera.contracts.enums import Market


@dataclass(frozen=True, slots=True, order=True)
class InstrumentKey:
    market: Market
    symbol: str

    def __hash__(self) -> int:
        # Keys are looked up at every tick; a string remembers its hash, an enum and a tuple compute theirs each time.
        return hash(self.symbol)

    @property
    def tag(self) -> str:
        """Redis Cluster's hash tag, braces included: `{FUT:BTCUSDT}`. One instrument's keys share a slot."""
        return f"{{{self.market.value}:{self.symbol}}}"

    @property
    def doc_key(self) -> str:
        """`FUT-BTCUSDT`: the form inside document keys and ids, where colons and braces are not welcome."""
        return f"{self.market.value}-{self.symbol}"

    def __str__(self) -> str:
        return f"{self.market.value}:{self.symbol}"

    @classmethod
    def parse(cls, text: str) -> "InstrumentKey":
        """Read `FUT:BTCUSDT`, `FUT-BTCUSDT` or `{FUT:BTCUSDT}`.

        Raises:
            ValueError: naming the text and the form that is wanted.
        """
        market, _, symbol = text.strip("{}").replace("-", ":").partition(":")
        if market not in Market.__members__ or not symbol.isalnum():
            raise ValueError(f"instrument {text!r} is not of the form FUT:BTCUSDT or SPOT:BTCUSDT")
        return cls(Market(market), symbol)

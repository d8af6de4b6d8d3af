"""Where the exchange is: one value per environment, nothing else knows an address.

Source: the general-information pages of the three products; demo hosts by the spot document `demo-mode` and the futures
change log. Futures streams are split by group (`/public`, `/market`, `/private` below `futures_ws`) since 2026-04-23.
"""

from dataclasses import dataclass
from enum import StrEnum


class Site(StrEnum):
    """What has an address, a clock and limits of its own."""

    FUTURES = "futures"
    SPOT = "spot"
    WALLET = "wallet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Roots without a trailing slash; paths begin at `/fapi`, `/api`, `/sapi`, `/ws`, `/stream`.

    `wallet_rest` is None where there is no wallet to ask: transfers and key permissions cannot be had there.
    """

    futures_rest: str
    futures_ws: str
    spot_rest: str
    spot_ws: str
    spot_ws_api: str
    wallet_rest: str | None
    max_rest: str

    def rest(self, site: Site) -> str | None:
        match site:
            case Site.FUTURES:
                return self.futures_rest
            case Site.SPOT:
                return self.spot_rest
            case Site.WALLET:
                return self.wallet_rest


PRODUCTION = Hosts(
    futures_rest="https://fapi.binance.com",
    futures_ws="wss://fstream.binance.com",
    spot_rest="https://api.binance.com",
    spot_ws="wss://stream.binance.com:9443",
    spot_ws_api="wss://ws-api.binance.com:443/ws-api/v3",
    wallet_rest="https://api.binance.com",
    max_rest="https://max-api.maicoin.com",
)
TESTNET = Hosts(
    futures_rest="https://demo-fapi.binance.com",
    futures_ws="wss://demo-fstream.binance.com",
    spot_rest="https://demo-api.binance.com",
    spot_ws="wss://demo-stream.binance.com:9443",
    spot_ws_api="wss://demo-ws-api.binance.com/ws-api/v3",
    wallet_rest=None,
    max_rest="https://max-api.maicoin.com",
)
"""Binance's demo trading: one key pair serves both markets. The wallet answers 403 there."""


def local(root: str) -> Hosts:
    """Everything at one root, e.g. `http://127.0.0.1:9900`: an exchange whose paths tell the hosts apart.

    Raises:
        ValueError: not an http address.
    """
    root = root.rstrip("/")
    scheme, separator, rest = root.partition("://")
    if not separator or scheme not in ("http", "https") or not rest:
        raise ValueError(f"{root!r} is no address of an exchange; write it like http://127.0.0.1:9900")
    ws = f"{'wss' if scheme == 'https' else 'ws'}://{rest}"
    return Hosts(
        futures_rest=root,
        futures_ws=ws,
        spot_rest=root,
        spot_ws=ws,
        spot_ws_api=f"{ws}/ws-api/v3",
        wallet_rest=root,
        max_rest=root,
    )

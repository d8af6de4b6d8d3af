"""The wallet's side of the account: moving money between spot and futures, and what a key may do.

A transfer has no id of the caller's: asking twice moves twice, and only its history tells whether a lost answer was a
move. Source: the exchange's wallet pages.
"""

from collections.abc import Mapping
from typing import Any

from chimera.contracts.enums import Market
from chimera.domain.execution.orders import Transfer
from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.auth import ApiKey
from chimera.venue_server.calls import Call, Route, Security, Site
from chimera.venue_server.floor import Floor
from chimera.venue_server.numbers import short

DAY_MS = 86_400_000
HISTORY_MS = 7 * DAY_MS
"""What is told when no span is asked for."""
AUTHORITY_MS = 90 * DAY_MS
"""So long may a key without fixed addresses trade."""
SIZE_DEFAULT = 10
SIZE_MAX = 100
DIRECTIONS: Mapping[str, tuple[Market, Market]] = {
    "MAIN_UMFUTURE": (Market.SPOT, Market.FUT),
    "UMFUTURE_MAIN": (Market.FUT, Market.SPOT),
}
COIN_NAMES = {"BTC": "Bitcoin", "ETH": "Ethereum", "USDT": "TetherUS"}


def wallet_routes(floor: Floor) -> list[Route]:
    wallet = Wallet(floor)
    site, signed = Site.WALLET, Security.SIGNED
    return [
        Route(
            method="POST",
            path="/sapi/v1/asset/transfer",
            handler=wallet.transfer,
            name="transfer",
            site=site,
            security=signed,
        ),
        Route(
            method="GET",
            path="/sapi/v1/asset/transfer",
            handler=wallet.history,
            name="transfer.get",
            site=site,
            security=signed,
        ),
        Route(
            method="GET",
            path="/sapi/v1/account/apiRestrictions",
            handler=wallet.restrictions,
            name="apiRestrictions",
            site=site,
            security=signed,
        ),
        Route(
            method="GET",
            path="/sapi/v1/capital/config/getall",
            handler=wallet.coins,
            name="coins",
            site=site,
            security=signed,
            weight=10,
        ),
        *(
            Route(
                method="GET",
                path=f"/sapi/v1/margin/{pairs}",
                handler=wallet.nothing_on_margin,
                name="margin",
                site=site,
                security=Security.KEY,
            )
            for pairs in ("allPairs", "isolated/allPairs")
        ),
    ]


class Wallet:
    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._opened_at_ms = floor.clock.now_ms()

    def transfer(self, call: Call) -> Any:
        source, target = _direction(call)
        asset, amount = call.text("asset"), call.amount("amount")
        if not self._key(call).transfers:
            raise Refusal(-1002, "You are not authorized to execute this request.")
        transfer, changes = self._floor.exchange.transfer(source, target, asset, amount, self._floor.clock.now_ms())
        self._floor.settle(changes)
        return {"tranId": transfer.tran_id}

    def history(self, call: Call) -> Any:
        """The newest first."""
        source, target = _direction(call)
        end_ms = call.whole("endTime", call.now_ms)
        start_ms = call.whole("startTime", end_ms - HISTORY_MS)
        current, size = call.whole("current", 1), min(call.whole("size", SIZE_DEFAULT), SIZE_MAX)
        if current < 1 or size < 1:
            raise refusals.bad_parameter("current" if current < 1 else "size")
        found = [
            transfer
            for transfer in reversed(self._floor.exchange.transfers(start_ms))
            if (transfer.source, transfer.target) == (source, target) and transfer.ts <= end_ms
        ]
        first = (current - 1) * size
        return {"total": len(found), "rows": [_row(transfer, call) for transfer in found[first : first + size]]}

    def restrictions(self, call: Call) -> Any:
        key = self._key(call)
        answer = {
            "ipRestrict": bool(key.ips),
            "createTime": self._opened_at_ms,
            "enableReading": key.reads,
            "enableWithdrawals": key.withdraws,
            "enableInternalTransfer": key.transfers,
            "enableMargin": False,
            "enableFutures": key.trades_futures,
            "permitsUniversalTransfer": key.transfers,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": key.trades_spot,
            "enablePortfolioMarginTrading": False,
        }
        if not key.ips:
            answer["tradingAuthorityExpirationTime"] = call.now_ms + AUTHORITY_MS
        return answer

    def coins(self, call: Call) -> Any:
        """The assets that are traded here. There is no chain behind them: nothing can be paid in or out."""
        held = {balance.asset: balance for balance in self._floor.exchange.balances(Market.SPOT)}
        assets = set(held)
        for instrument in self._floor.instruments(Market.SPOT):
            assets |= {instrument.base_asset, instrument.quote_asset}
        return [
            {
                "coin": asset,
                "depositAllEnable": False,
                "free": short(held[asset].free) if asset in held else "0",
                "freeze": "0",
                "ipoable": "0",
                "ipoing": "0",
                "isLegalMoney": False,
                "locked": short(held[asset].locked) if asset in held else "0",
                "name": COIN_NAMES.get(asset, asset),
                "networkList": [],
                "storage": "0",
                "trading": True,
                "withdrawAllEnable": False,
                "withdrawing": "0",
            }
            for asset in sorted(assets)
        ]

    def nothing_on_margin(self, call: Call) -> Any:
        """Nothing is lent here; clients ask when they load the markets."""
        return []

    def _key(self, call: Call) -> ApiKey:
        return self._floor.keys.known(call.headers.get("x-mbx-apikey"), call.address)


def _direction(call: Call) -> tuple[Market, Market]:
    """
    Raises:
        Refusal: -1102, a type that is not one of the two.
    """
    direction = DIRECTIONS.get(call.text("type"))
    if direction is None:
        raise refusals.missing("type")
    return direction


def _row(transfer: Transfer, call: Call) -> dict[str, Any]:
    return {
        "asset": transfer.asset,
        "amount": short(transfer.amount),
        "type": call.text("type"),
        "status": "CONFIRMED",
        "tranId": transfer.tran_id,
        "timestamp": transfer.ts,
    }

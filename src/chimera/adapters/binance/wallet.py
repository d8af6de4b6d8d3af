"""Calls of the wallet: moving USDT between the two markets, and what a key may do.

A transfer has no id of ours at the exchange and is NOT idempotent: it is sent once, and a lost answer is an unknown
outcome. Whoever wants to repeat one asks `transfers` first.

Source: wallet REST documents (asset/transfer, account/apiRestrictions). The test environments have no wallet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chimera.adapters.binance import parse_spot as parse
from chimera.adapters.binance import words
from chimera.adapters.binance.budget import Priority
from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.rest import Rest, Security, understood
from chimera.adapters.binance.signing import Param
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import Transfer
from chimera.ports.venue import Refused

PAGE = 100
HISTORY_MS = 179 * 86_400_000
"""Of its six months of transfers; asking for more may be refused."""
TRANSFER_WEIGHT = 900
"""Counted by account (900 of 180000 a minute), and written here against the address: it errs on the quiet side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrictions:
    """What the key may do, for the start-up gate: a key that trades needs no withdrawals, and one address."""

    ip_restricted: bool
    reading: bool
    withdrawals: bool
    internal_transfer: bool
    universal_transfer: bool
    margin: bool
    futures: bool
    spot_trading: bool
    expires_at_ms: int | None
    """When it stops trading by itself; None: never."""


class Wallet:
    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def restrictions(self) -> Restrictions:
        """
        Raises:
            Refused: 403, the environment has no wallet.
        """
        answer = await self._call("GET", "/sapi/v1/account/apiRestrictions", {}, weight=1)
        return understood(restrictions_of, answer)

    async def transfer(self, source: Market, target: Market, asset: str, amount: Decimal) -> int:
        kind = words.TRANSFER_WORDS.get((source, target))
        if kind is None:
            raise Refused(-1102, f"there is no transfer from {source} to {target}")
        answer = await self._call(
            "POST",
            "/sapi/v1/asset/transfer",
            {"type": kind, "asset": asset, "amount": amount},
            weight=TRANSFER_WEIGHT,
            changes=True,
        )
        return understood(lambda answer: int(answer["tranId"]), answer, changes=True)

    async def transfers(self, since_ms: int) -> Sequence[Transfer]:
        """Both directions, oldest first; those that failed are left out, those on their way are in."""
        found: dict[int, Transfer] = {}
        since_ms = max(since_ms, self._now_ms() - HISTORY_MS)
        for kind in words.TRANSFER_WORDS.values():
            page = 1
            while True:
                answer = await self._call(
                    "GET",
                    "/sapi/v1/asset/transfer",
                    {"type": kind, "startTime": since_ms, "endTime": self._now_ms() + 1, "current": page, "size": PAGE},
                    weight=1,
                )
                # Without any, the rows are missing altogether.
                rows = understood(lambda answer: list(answer.get("rows") or ()), answer)
                for moved in understood(lambda rows: [parse.transfer_of(row) for row in rows], rows):
                    if moved is not None and moved.ts >= since_ms:
                        found[moved.tran_id] = moved
                if len(rows) < PAGE:
                    break
                page += 1
        return sorted(found.values(), key=lambda moved: (moved.ts, moved.tran_id))

    async def _call(
        self, method: str, path: str, params: Mapping[str, Param], *, weight: int, changes: bool = False
    ) -> Any:
        return await self._rest.call(
            Site.WALLET,
            method,
            path,
            params,
            security=Security.SIGNED,
            weight=weight,
            priority=Priority.ENTRY,
            changes=changes,
        )

    def _now_ms(self) -> int:
        return self._rest.clocks[Site.WALLET].now_ms()


def restrictions_of(answer: Mapping[str, Any]) -> Restrictions:
    """A permission that the answer does not name is not given; the IP restriction likewise."""
    expires_at_ms = answer.get("tradingAuthorityExpirationTime")
    return Restrictions(
        ip_restricted=bool(answer.get("ipRestrict", False)),
        reading=bool(answer.get("enableReading", False)),
        withdrawals=bool(answer["enableWithdrawals"]),
        internal_transfer=bool(answer.get("enableInternalTransfer", False)),
        universal_transfer=bool(answer.get("permitsUniversalTransfer", False)),
        margin=bool(answer.get("enableMargin", False)),
        futures=bool(answer.get("enableFutures", False)),
        spot_trading=bool(answer.get("enableSpotAndMarginTrading", False)),
        expires_at_ms=None if expires_at_ms is None else int(expires_at_ms),
    )

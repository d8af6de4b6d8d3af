"""Fetching money for a wallet that runs short: proposed on file once, moved when a person, or the bundle, allows it.

The name of a proposal is derived from the transfer before it in the same direction, so that whoever proposes after a
crash, or beside us, proposes the same one. S1 carries it out, once by its name; S12 lets a person decide.

    PENDING    waits for a person, or with `treasury.auto_transfer` is approved here
    APPROVED   told to S1, again after a crash, until the exchange has been asked
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import TREASURY_TRANSFERS
from chimera.contracts.documents import TreasuryTransfer
from chimera.contracts.enums import Market, TransferResult
from chimera.contracts.flags import TreasuryFlags
from chimera.contracts.http import TransferRequest
from chimera.contracts.keys import LOCK_TREASURY, TREASURY_QUOTA, wallet
from chimera.contracts.messages import TransferEvent
from chimera.domain.positions.treasury import need_usdt
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query, RevisionConflict
from chimera.ports.peers import PeerCall, Peers, PeerUnavailable
from chimera.ports.state import Locks, Reservations, Snapshots
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.telling import Teller
from chimera.services.s06_positions.settings import Settings

WAYS = ((Market.SPOT, Market.FUT), (Market.FUT, Market.SPOT))
"""From, to."""
UNDER_WAY = (TransferResult.PENDING, TransferResult.APPROVED)
US = "s6"

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Treasury:
    """`owner` names this process among those that lock; no other has the same."""

    settings: Settings
    owner: str
    documents: Documents
    snapshots: Snapshots
    reservations: Reservations
    locks: Locks
    peers: Peers
    watch: ConfigWatch
    clock: Clock
    teller: Teller
    _quota: dict[str, str] = field(default_factory=dict)
    _holders: "count[int]" = field(default_factory=count)

    async def on_transfer(self, event: TransferEvent) -> None:
        """`treasury:transfers`: what moved makes room for the next look at once."""
        await self.check()

    async def check(self) -> None:
        if not self.watch.loaded:
            return
        await self._tell_quota()
        purses = {market: await self.snapshots.get_hash(wallet(market).name(self.settings.env)) for market in Market}
        if any("free" not in purse for purse in purses.values()):
            # Only one market is traded, or S1 has not told yet.
            return
        for source, target in WAYS:
            await self._look(source, target, purses)

    async def _tell_quota(self) -> None:
        budget = self.watch.current().flags.risk.budget
        quota = {
            "spot_quote_usdt_max": str(budget.spot_quote_usdt_max),
            "fut_margin_usdt_max": str(budget.fut_margin_usdt_max),
            "used_spot": str((await self.reservations.usage(Market.SPOT)).amount_usdt),
            "used_fut": str((await self.reservations.usage(Market.FUT)).amount_usdt),
        }
        if quota != self._quota:
            await self.snapshots.set_hash(TREASURY_QUOTA.name(self.settings.env), quota)
            self._quota = quota

    async def _look(self, source: Market, target: Market, purses: Mapping[Market, Mapping[str, str]]) -> None:
        flags = self.watch.current().flags.treasury
        ours = await self._under_way(source, target)
        if ours is None and self._need(source, target, purses, flags):
            ours = await self._propose(source, target, purses, flags)
        if ours is not None and flags.auto_transfer:
            await self._carry_out(ours)

    def _need(
        self, source: Market, target: Market, purses: Mapping[Market, Mapping[str, str]], flags: TreasuryFlags
    ) -> Decimal:
        least = {Market.SPOT: flags.min_free_usdt_spot, Market.FUT: flags.min_free_usdt_fut}
        return need_usdt(
            free=Decimal(purses[target]["free"]),
            min_free=least[target],
            source_free=Decimal(purses[source]["free"]),
            source_min_free=least[source],
        )

    async def _under_way(self, source: Market, target: Market) -> TreasuryTransfer | None:
        """What we proposed and the exchange has not been asked for yet."""
        for result in UNDER_WAY:
            for row in await self.documents.find(
                Query(collection=TREASURY_TRANSFERS, index="by_result", equal=(("result", result.value),))
            ):
                if row.requested_by == US and (row.from_market, row.to_market) == (source, target):
                    return row
        return None

    async def _newest(self, source: Market, target: Market) -> TreasuryTransfer | None:
        found = await self.documents.find(
            Query(
                collection=TREASURY_TRANSFERS,
                index="by_dir",
                equal=(("from", source.value), ("to", target.value)),
                descending=True,
                limit=1,
            )
        )
        return found[0] if found else None

    async def _may_propose(self, source: Market, target: Market, purses: Mapping[Market, Mapping[str, str]]) -> bool:
        """Not beside another of this direction, not before its money shows in both wallets, and not at once where it
        was refused."""
        last = await self._newest(source, target)
        if last is None:
            return True
        if last.result in UNDER_WAY:
            return False
        ended_at = last.updated_at or last.created_at
        if last.result is TransferResult.OK:
            return all(int(purse.get("updated_at", "0")) > ended_at for purse in purses.values())
        return self.clock.now_ms() - ended_at >= self.clock.work_ms(self.settings.treasury_again_ms)

    async def _propose(
        self,
        source: Market,
        target: Market,
        purses: Mapping[Market, Mapping[str, str]],
        flags: TreasuryFlags,
    ) -> TreasuryTransfer | None:
        """None: it is not the time, or somebody else works on this direction; the next look sees what came of it."""
        if not await self._may_propose(source, target, purses):
            return None
        lock, holder = LOCK_TREASURY.name(self.settings.env, source.value, target.value), self._holder()
        if await self.locks.acquire(lock, holder, ttl_ms=(LOCK_TREASURY.ttl_s or 0) * 1_000) is None:
            return None
        try:
            # Asked again under the lock: another may have proposed in between.
            if await self._under_way(source, target) or not await self._may_propose(source, target, purses):
                return None
            before = await self._newest(source, target)
            now_ms = self.clock.now_ms()
            after = ("", 0) if before is None else (before.transfer_id, before.created_at)
            row = TreasuryTransfer(
                transfer_id=ids.transfer_id(after[1], US, source.value, target.value, after[0]),
                from_market=source,
                to_market=target,
                amount_usdt=self._need(source, target, purses, flags),
                reason=f"AUTO_TOPUP_{target.value}",
                result=TransferResult.PENDING,
                created_at=now_ms,
                updated_at=now_ms,
                requested_by=US,
            )
            await self.teller.audit(US, "TRANSFER_PROPOSE", row.transfer_id, None, row.to_dict())
            try:
                await self.documents.insert(TREASURY_TRANSFERS, row)
            except DuplicateKey:
                return None
        finally:
            await self.locks.release(lock, holder)
        log.info("a transfer is proposed", transfer=row.transfer_id, amount_usdt=str(row.amount_usdt))
        return row

    async def _carry_out(self, row: TreasuryTransfer) -> None:
        """Approve it by the bundle's word, then ask S1; S1 asks the exchange once however often it is asked."""
        if row.sent_at is not None:
            return
        stored = await self.documents.get_stored(TREASURY_TRANSFERS, row.transfer_id)
        if stored is None or stored.doc.sent_at is not None or stored.doc.result not in UNDER_WAY:
            return
        if stored.doc.result is TransferResult.PENDING:
            approved = stored.doc.but(
                result=TransferResult.APPROVED, approved_by="auto_transfer", updated_at=self.clock.now_ms()
            )
            try:
                await self.documents.replace(TREASURY_TRANSFERS, approved, rev=stored.rev)
            except RevisionConflict:
                return
            await self.teller.audit(US, "TRANSFER_APPROVE", row.transfer_id, stored.doc.to_dict(), approved.to_dict())
        wanted = TransferRequest(
            transfer_id=row.transfer_id,
            from_market=row.from_market,
            to_market=row.to_market,
            amount_usdt=row.amount_usdt,
            reason=row.reason,
        )
        try:
            answer = await self.peers.call(
                PeerCall("s1", "POST", "/xchg/treasury/transfer", wanted.to_dict(), actor=US)
            )
        except PeerUnavailable as down:
            log.warning("a transfer is not told to S1 yet", transfer=row.transfer_id, why=str(down))
            return
        if not answer.ok:
            log.warning("S1 did not take a transfer yet", transfer=row.transfer_id, why=answer.body)

    def _holder(self) -> str:
        return f"{self.owner}-{next(self._holders)}"

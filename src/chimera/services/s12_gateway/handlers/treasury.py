"""Money between our wallets, asked for or allowed by a person.

Who asks here by name has approved it; a transfer that the house asks for waits on file until somebody does. S1 carries
it out, once by each id.
"""

from dataclasses import dataclass

from chimera.contracts.collections import TREASURY_TRANSFERS
from chimera.contracts.documents import TreasuryTransfer
from chimera.contracts.enums import TransferResult
from chimera.contracts.http.exchange import TransferAnswer, TransferRequest
from chimera.contracts.http.gateway import TransferDecision
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, RevisionConflict
from chimera.ports.peers import PeerCall, Peers
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveMoney:
    documents: Documents
    peers: Peers
    clock: Clock
    teller: Teller

    async def transfer(self, request: Request) -> Reply:
        """POST /treasury/transfer."""
        return await self._carry_out(request.body, request)

    async def decide(self, request: Request) -> Reply:
        """POST /treasury/transfers/{id}/approve. Approving again asks S1 again, which moves nothing twice."""
        name = request.path["id"]
        wanted: TransferDecision = request.body
        stored = await self.documents.get_stored(TREASURY_TRANSFERS, name)
        if stored is None:
            raise Problem(404, "no-such-transfer", f"there is no transfer {name}")
        row = stored.doc
        if row.result is TransferResult.PENDING and row.sent_at is None:
            decided = row.but(
                result=TransferResult.APPROVED if wanted.approve else TransferResult.REJECTED,
                approved_by=request.actor or "s12",
                message=wanted.reason,
                updated_at=self.clock.now_ms(),
            )
            try:
                await self.documents.replace(TREASURY_TRANSFERS, decided, rev=stored.rev)
            except RevisionConflict as changed:
                raise Problem(409, "changed-meanwhile", f"somebody else decides about {name}; look again") from changed
            action = "TRANSFER_APPROVE" if wanted.approve else "TRANSFER_REJECT"
            await self.teller.audit(request.actor or "s12", action, name, row.to_dict(), decided.to_dict())
            row = decided
        elif wanted.approve is (row.result is TransferResult.REJECTED):
            raise Problem(409, "decided", f"transfer {name} is {row.result.value} already; ask for another one")
        if row.result is TransferResult.REJECTED:
            return Reply(TransferAnswer(transfer_id=name, result=row.result, message=row.message))
        return await self._carry_out(_request_of(row), request)

    async def _carry_out(self, wanted: TransferRequest, request: Request) -> Reply:
        told = await self.peers.call(
            PeerCall(
                "s1",
                "POST",
                "/xchg/treasury/transfer",
                wanted.to_dict(),
                actor=request.actor or "s12",
                idempotency_key=request.idempotency_key,
            )
        )
        return Reply(told.body, told.status, told.content_type)


def _request_of(row: TreasuryTransfer) -> TransferRequest:
    return TransferRequest(
        transfer_id=row.transfer_id,
        from_market=row.from_market,
        to_market=row.to_market,
        amount_usdt=row.amount_usdt,
        reason=row.reason,
    )

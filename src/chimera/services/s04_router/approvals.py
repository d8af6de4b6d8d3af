"""Whether a large entry may pass: a token that a second person allowed, used once.

Owns the mark CONSUMED in `approvals`. S12 issues the token, S4 asks here as the last of all checks, right before the
intent is filed, so that an entry which is refused for another reason costs nobody an approval.

The document decides, by compare and set: it is one intent's or nobody's. The key `approvals:<token>` is taken first
(read and deleted in one step), which ends most races early, and its loss alone refuses nothing. So of a crash

    between the key and the document    the approval is still APPROVED, and good for the same or another entry;
    between the document and the intent the approval is CONSUMED by that intent's id: telling the same intent again
                                        passes, another one is refused by the name of the first, and people see an
                                        approval whose intent was never filed.
"""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.collections import APPROVALS, CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import Approval, ApprovalSubject
from chimera.contracts.enums import ApprovalStatus
from chimera.contracts.flags import ComplianceFlags
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.keys import APPROVAL
from chimera.contracts.order_intent import OrderIntent
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query, RevisionConflict, Stored
from chimera.ports.state import Snapshots
from chimera.runtime.service import Problem

TRIES = 5
REMEDY = "Ask for an approval (POST /approvals, or chimera approval ask), have it allowed, and send its token."


@dataclass(slots=True, kw_only=True)
class Approvals:
    documents: Documents
    snapshots: Snapshots
    clock: Clock
    env: str
    _last: tuple[str, ComplianceFlags] | None = None
    """Of the bundle that was in force last; a bundle never changes."""

    async def check(self, intent: OrderIntent, price: Decimal | None) -> None:
        """By the configuration in force. The last of all checks: it may use a token up.

        Args:
            price: at which the entry is worth what it is; None: nobody knows.

        Raises:
            Problem: 403, it needs a token; 409, look again; 503, nobody can say what it is worth.
            DependencyDown: the documents or the state store do not answer.
        """
        if not intent.purpose.is_new_entry:
            return
        flags = await self._flags()
        if not flags.enabled:
            return
        if price is None and not (intent.quote_qty is not None and not intent.qty):
            raise Problem(
                503, "no-price", f"there is no price of {intent.instrument} now to say whether it needs an approval"
            )
        problem = await self.refusal(intent, notional_of(intent, price or Decimal(0)), flags)
        if problem is not None:
            raise problem

    async def _flags(self) -> ComplianceFlags:
        active = await self.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        if active is None:
            return ComplianceFlags()
        if self._last is None or self._last[0] != active.bundle_id:
            bundle = await self.documents.get(CONFIG_BUNDLES, active.bundle_id)
            self._last = active.bundle_id, ComplianceFlags() if bundle is None else bundle.flags.compliance
        return self._last[1]

    async def refusal(self, intent: OrderIntent, notional_usdt: Decimal, flags: ComplianceFlags) -> Problem | None:
        """Why the entry may not pass; None: it may, and its token, where it needs one, is used up by it.

        Args:
            notional_usdt: what the entry is worth at the price it is expected at, or the quote it spends.
            flags: of the active bundle.

        Raises:
            DependencyDown: the documents or the state store do not answer. Nothing may pass then.
        """
        if not intent.purpose.is_new_entry or not flags.enabled or notional_usdt <= flags.large_order_usdt_threshold:
            return None
        needs = (
            f"the entry is worth {notional_usdt:.2f} USDT, above compliance.large_order_usdt_threshold of"
            f" {flags.large_order_usdt_threshold} USDT"
        )
        token = intent.risk.approval_token
        if not token:
            return _refused(f"{needs}, and risk.approval_token is missing. {REMEDY}", flags)
        taken = await self.snapshots.take(APPROVAL.name(self.env, token))
        for _ in range(TRIES):
            stored = await self._find(token, taken)
            why = self._unfit(stored, intent, notional_usdt)
            if why is not None:
                return _refused(f"{needs}, and {why}. {REMEDY}", flags)
            if stored is None or await self._consume(stored, intent):
                return None
        return Problem(409, "changed-meanwhile", "its approval changed at the same time; send the entry again")

    async def _find(self, token: str, approval_id: str | None) -> Stored[Approval] | None:
        """By the id that the key held, else by the token itself: a store that forgot the key refuses nobody."""
        if approval_id is None:
            found = await self.documents.find(Query(collection=APPROVALS, index="by_token", equal=(("token", token),)))
            if not found:
                return None
            approval_id = found[0].approval_id
        return await self.documents.get_stored(APPROVALS, approval_id)

    def _unfit(self, stored: Stored[Approval] | None, intent: OrderIntent, notional_usdt: Decimal) -> str | None:
        """Why this approval does not allow this entry."""
        if stored is None:
            return "nobody ever gave out its risk.approval_token"
        approval = stored.doc
        name = f"its approval {approval.approval_id}"
        if approval.status is ApprovalStatus.CONSUMED:
            return None if approval.consumed_by == intent.intent_id else f"{name} was used by {approval.consumed_by}"
        if approval.status not in (ApprovalStatus.PENDING, ApprovalStatus.APPROVED):
            return f"{name} is {approval.status.value}"
        if approval.expires_at <= self.clock.now_ms():
            return f"{name} is EXPIRED"
        if approval.status is ApprovalStatus.PENDING:
            return f"{name} waits for an admin to allow it"
        return _beyond(ApprovalSubject.model_validate(approval.subject or {}), name, intent, notional_usdt)

    async def _consume(self, stored: Stored[Approval], intent: OrderIntent) -> bool:
        """False: somebody changed it meanwhile; look again."""
        if stored.doc.status is ApprovalStatus.CONSUMED:
            return True
        now_ms = self.clock.now_ms()
        used = stored.doc.but(
            status=ApprovalStatus.CONSUMED, consumed_by=intent.intent_id, consumed_at=now_ms, updated_at=now_ms
        )
        try:
            await self.documents.replace(APPROVALS, used, rev=stored.rev)
        except RevisionConflict:
            return False
        return True


def notional_of(intent: OrderIntent, price: Decimal) -> Decimal:
    """USDT that an entry is worth at `price`; of one that is sized by its quote, the quote."""
    return intent.quote_qty if intent.quote_qty is not None and not intent.qty else intent.qty * price


def _beyond(subject: ApprovalSubject, name: str, intent: OrderIntent, notional_usdt: Decimal) -> str | None:
    said = (
        ("market", subject.market, intent.market),
        ("symbol", subject.symbol, intent.symbol),
        ("side", subject.side, intent.side),
    )
    for what, allowed, asked in said:
        if allowed is not None and allowed != asked:
            return f"{name} is for {what} {allowed}, not {asked}"
    if subject.qty_max is not None and intent.qty > subject.qty_max:
        return f"{name} allows a quantity of at most {subject.qty_max}, not {intent.qty}"
    if subject.notional_usdt_max is not None and notional_usdt > subject.notional_usdt_max:
        return f"{name} allows at most {subject.notional_usdt_max:.2f} USDT"
    return None


def _refused(detail: str, flags: ComplianceFlags) -> Problem:
    return Problem(
        403,
        "approval-required",
        detail,
        limit_usdt=float(flags.large_order_usdt_threshold),
        remedy=REMEDY,
    )

"""One-time tokens for large entries: asked for by one person, allowed by another, used once by the router.

Owns `approvals` and their keys until an entry uses one: that is S4's mark. The document is written first and is the
truth; the key is its fast copy, and S4 asks the document where the key is missing. What is over its time is marked so.
"""

from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import APPROVALS, CONFIG_ACTIVE, USERS
from chimera.contracts.documents import Approval, ApprovalSubject
from chimera.contracts.enums import ApprovalStatus
from chimera.contracts.flags import ComplianceFlags
from chimera.contracts.http.gateway import ApprovalDecision, ApprovalRequest, ApprovalsAnswer, ApprovalView
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.keys import APPROVAL
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query, RevisionConflict, Stored
from chimera.ports.errors import DependencyDown
from chimera.ports.randomness import Randomness
from chimera.ports.state import Snapshots
from chimera.runtime.config_watch import bundle_of
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller

TOKEN_BYTES = 16
SHOWN_MAX = 100
EXPIRE_AT_ONCE_MAX = 500
SELF = "s12"
LIVING = (ApprovalStatus.PENDING, ApprovalStatus.APPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    documents: Documents
    snapshots: Snapshots
    clock: Clock
    randomness: Randomness
    teller: Teller
    env: str

    async def show(self, request: Request) -> Reply:
        """GET /approvals."""
        flags = await self._flags()
        found = await self.documents.find(
            Query(collection=APPROVALS, index="by_time", descending=True, limit=SHOWN_MAX)
        )
        now_ms = self.clock.now_ms()
        return Reply(
            ApprovalsAnswer(
                enabled=flags.enabled,
                large_order_usdt_threshold=flags.large_order_usdt_threshold,
                ttl_sec=flags.approval_ttl_sec,
                approvals=tuple(view_of(each, request.actor, now_ms) for each in found),
            )
        )

    async def ask(self, request: Request) -> Reply:
        """POST /approvals. The answer carries no token: nothing is allowed yet."""
        wanted: ApprovalRequest = request.body
        flags = await self._flags()
        _refuse_needless(flags, wanted.notional_usdt_max)
        actor = request.actor or SELF
        now_ms = self.clock.now_ms()
        token = self.randomness.token_hex(TOKEN_BYTES)
        subject = ApprovalSubject(
            market=wanted.market,
            symbol=wanted.symbol,
            side=wanted.side,
            notional_usdt_max=wanted.notional_usdt_max,
            qty_max=wanted.qty_max,
        )
        approval = Approval(
            approval_id=ids.approval_id(now_ms, token),
            subject=subject.to_dict(),
            token=token,
            expires_at=now_ms + self._life_ms(flags),
            status=ApprovalStatus.PENDING,
            created_at=now_ms,
            updated_at=now_ms,
            requested_by=actor,
            reason=wanted.reason,
        )
        await self.documents.insert(APPROVALS, approval)
        await self.teller.audit(actor, "APPROVAL_ASK", approval.approval_id, None, _audited(approval))
        return Reply(view_of(approval, actor, now_ms))

    async def approve(self, request: Request) -> Reply:
        """POST /approvals/{id}/approve. Approving again what is approved changes nothing."""
        decision: ApprovalDecision = request.body
        stored = await self._stored(request.path["id"])
        now_ms = self.clock.now_ms()
        if stored.doc.status is ApprovalStatus.APPROVED and now_ms < stored.doc.expires_at:
            return Reply(view_of(stored.doc, request.actor, now_ms))
        self._check_living(stored.doc, now_ms)
        actor = request.actor or SELF
        await self._check_other_person(stored.doc, actor)
        flags = await self._flags()
        life_ms = self._life_ms(flags)
        allowed = stored.doc.but(
            status=ApprovalStatus.APPROVED,
            decided_by=actor,
            reason=_reasons(stored.doc.reason, decision.reason),
            expires_at=now_ms + life_ms,
            updated_at=now_ms,
        )
        await self._replace(stored, allowed)
        try:
            await self.snapshots.set(
                APPROVAL.name(self.env, allowed.token),
                allowed.approval_id,
                ttl_ms=flags.approval_ttl_sec * 1_000,
            )
        except DependencyDown:
            # S4 asks the document where the key is missing, so the approval holds without it.
            pass
        await self.teller.audit(actor, "APPROVAL_APPROVE", allowed.approval_id, _audited(stored.doc), _audited(allowed))
        return Reply(view_of(allowed, actor, now_ms))

    async def revoke(self, request: Request) -> Reply:
        """POST /approvals/{id}/revoke: asked for or allowed, it is good for nothing any more."""
        decision: ApprovalDecision = request.body
        stored = await self._stored(request.path["id"])
        now_ms = self.clock.now_ms()
        actor = request.actor or SELF
        if stored.doc.status is not ApprovalStatus.REVOKED:
            self._check_living(stored.doc, now_ms)
            revoked = stored.doc.but(
                status=ApprovalStatus.REVOKED,
                decided_by=actor,
                reason=_reasons(stored.doc.reason, decision.reason),
                updated_at=now_ms,
            )
            await self._replace(stored, revoked)
            await self.teller.audit(
                actor, "APPROVAL_REVOKE", revoked.approval_id, _audited(stored.doc), _audited(revoked)
            )
            stored = Stored(revoked, "")
        # After the document, which alone decides: a key that stays allows nothing.
        await self.snapshots.delete(APPROVAL.name(self.env, stored.doc.token))
        return Reply(view_of(stored.doc, actor, now_ms))

    async def expire(self) -> None:
        """Each few seconds: mark what nobody allowed, or nobody used, in time."""
        now_ms = self.clock.now_ms()
        for status in LIVING:
            over = await self.documents.find(
                Query(
                    collection=APPROVALS,
                    index="by_status_exp",
                    equal=(("status", status.value),),
                    below=now_ms + 1,
                    limit=EXPIRE_AT_ONCE_MAX,
                )
            )
            for each in over:
                stored = await self.documents.get_stored(APPROVALS, each.approval_id)
                if stored is None or stored.doc.status is not status or now_ms < stored.doc.expires_at:
                    continue
                try:
                    ended = stored.doc.but(status=ApprovalStatus.EXPIRED, updated_at=now_ms)
                    await self.documents.replace(APPROVALS, ended, rev=stored.rev)
                except RevisionConflict:
                    continue
                await self.teller.audit(SELF, "APPROVAL_EXPIRE", each.approval_id, _audited(each), _audited(ended))

    async def _flags(self) -> ComplianceFlags:
        active = await self.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        bundle = await bundle_of(self.documents, active.rev) if active is not None else None
        return bundle.flags.compliance if bundle is not None else ComplianceFlags()

    def _life_ms(self, flags: ComplianceFlags) -> int:
        """Market time: people read as fast as ever, however fast the market runs."""
        return self.clock.work_ms(flags.approval_ttl_sec * 1_000)

    async def _stored(self, name: str) -> Stored[Approval]:
        stored = await self.documents.get_stored(APPROVALS, name)
        if stored is None:
            raise Problem(404, "no-such-approval", f"there is no approval {name!r}; GET /approvals lists them")
        return stored

    def _check_living(self, approval: Approval, now_ms: int) -> None:
        status = status_of(approval, now_ms)
        if status not in LIVING:
            used = f" by {approval.consumed_by}" if approval.consumed_by else ""
            raise Problem(
                409, "approval-decided", f"{approval.approval_id} is {status.value}{used}; ask for another approval"
            )

    async def _check_other_person(self, approval: Approval, actor: str) -> None:
        """One person alone may allow what they asked for: there is nobody else. From two on, somebody else by name."""
        if await self.documents.count(USERS) < 2:
            return
        if actor == approval.requested_by:
            raise Problem(
                403,
                "own-approval",
                f"{actor} asked for {approval.approval_id}: another admin must allow it. Where there is no other, let"
                " somebody else ask.",
            )
        if await self.documents.get(USERS, actor) is None:
            raise Problem(
                403,
                "approval-needs-a-name",
                f"{actor!r} is no person: who allows must be logged in by name, for there are several people here",
            )

    async def _replace(self, stored: Stored[Approval], changed: Approval) -> None:
        try:
            await self.documents.replace(APPROVALS, changed, rev=stored.rev)
        except RevisionConflict as conflict:
            raise Problem(
                409, "changed-meanwhile", f"{changed.approval_id} changed at the same time; look again"
            ) from conflict


def status_of(approval: Approval, now_ms: int) -> ApprovalStatus:
    """As it is now: one whose time is over is EXPIRED before anybody marked it."""
    is_over = approval.status in LIVING and approval.expires_at <= now_ms
    return ApprovalStatus.EXPIRED if is_over else approval.status


def view_of(approval: Approval, actor: str, now_ms: int) -> ApprovalView:
    subject = ApprovalSubject.model_validate(approval.subject or {})
    status = status_of(approval, now_ms)
    is_theirs = bool(actor) and actor == approval.requested_by and status is ApprovalStatus.APPROVED
    return ApprovalView(
        approval_id=approval.approval_id,
        status=status,
        market=subject.market,
        symbol=subject.symbol,
        side=subject.side,
        notional_usdt_max=subject.notional_usdt_max,
        qty_max=subject.qty_max,
        reason=approval.reason,
        requested_by=approval.requested_by,
        decided_by=approval.decided_by,
        created_at=approval.created_at,
        expires_at=approval.expires_at,
        consumed_by=approval.consumed_by,
        consumed_at=approval.consumed_at,
        token=approval.token if is_theirs else None,
    )


def _refuse_needless(flags: ComplianceFlags, notional_usdt: Decimal) -> None:
    if not flags.enabled:
        raise Problem(
            409, "approval-not-needed", "compliance.enabled is off in the active bundle: no entry needs an approval"
        )
    if notional_usdt <= flags.large_order_usdt_threshold:
        raise Problem(
            409,
            "approval-not-needed",
            f"an entry of {notional_usdt} USDT needs none: compliance.large_order_usdt_threshold is"
            f" {flags.large_order_usdt_threshold}",
        )


def _reasons(asked: str | None, decided: str | None) -> str | None:
    return f"{asked} / {decided}" if asked and decided else asked or decided


def _audited(approval: Approval) -> dict[str, object]:
    """Without the token: the audit trail is kept for ever and read by many."""
    told = approval.to_dict()
    told.pop("token")
    return told

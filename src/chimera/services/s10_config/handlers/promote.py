"""Which bundle is in force: one document, changed by compare and set, told afterwards.

The switch is the write of `config_active`. Everything after it (the promotion's record, the bundles' states, the keys,
the event) follows from that document and is repeated until it is done, so that no crash leaves a switch half told.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES, PROMOTIONS
from chimera.contracts.documents import ConfigActive, ConfigBundle, Promotion
from chimera.contracts.enums import BundleStatus, CfgEventKind, EventKind, PromotionMode, PromotionStatus
from chimera.contracts.http.config import ActiveAnswer, PromoteAnswer, PromoteRequest
from chimera.contracts.keys import CFG_ACTIVE_REV, CFG_BUNDLE
from chimera.contracts.messages import CfgEvent
from chimera.contracts.streams import CFG_EVENTS
from chimera.domain.config.bundle import FIRST_REV, default_bundle, flags_digest
from chimera.domain.config.history import Unfinished, unfinished
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query, RevisionConflict
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller
from chimera.services.s10_config.handlers.bundles import contended, refused
from chimera.services.s10_config.handlers.judging import Judge
from chimera.services.s10_config.handlers.lookup import nothing_active
from chimera.services.s10_config.handlers.past import past_of, promotion_id

TRIES = 10
OFFERED = (PromotionMode.FULL,)
"""A canary and a ramp come with the figures that judge them."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A switch that somebody asks for."""

    mode: PromotionMode
    actor: str
    expected_seq: int | None = None
    reason: str | None = None
    undoes: str | None = None
    """The promotion that a rollback takes back."""


@dataclass(slots=True)
class Told:
    """The newest switch that this process knows to be settled and told."""

    seq: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    documents: Documents
    snapshots: Snapshots
    bus: Bus
    clock: Clock
    teller: Teller
    env: str
    judge: Judge
    told: Told = field(default_factory=Told)
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Two that settle at once would each make their bundle ACTIVE, and audit twice."""

    async def start(self) -> None:
        """Make revision 1 where nothing is in force yet, and settle what an earlier life left undone."""
        if await self.documents.get(CONFIG_ACTIVE, ids.CONFIG_ACTIVE_KEY) is None:
            bundle = await self._first_bundle()
            active = self._switch_to(bundle, seq=1)
            first = Wish(mode=PromotionMode.FULL, actor="s10", reason="first start")
            await self._open_promotion(active, first, from_rev=0)
            try:
                await self.documents.insert(CONFIG_ACTIVE, active)
            except DuplicateKey:
                await self._abort(active)
        await self.keep_in_step()

    async def promote(self, request: Request) -> Reply:
        """POST /promote."""
        wanted: PromoteRequest = request.body
        if wanted.mode not in OFFERED:
            raise Problem(
                422,
                "mode-not-offered",
                f"mode {wanted.mode.value} is not offered; this version promotes {', '.join(OFFERED)} only",
            )
        bundle = await self.documents.get(CONFIG_BUNDLES, wanted.bundle_id)
        if bundle is None:
            raise Problem(404, "no-such-bundle", f"there is no bundle {wanted.bundle_id!r}; GET /bundles lists them")
        if bundle.rev is None:
            raise Problem(
                409, "not-staged", f"bundle {bundle.bundle_id} has no revision; POST /bundles/{bundle.bundle_id}/stage"
            )
        faults = await self.judge.faults(bundle)
        if faults:
            raise refused(422, "bundle-not-clean", faults)
        wish = Wish(
            mode=PromotionMode.FULL,
            actor=request.actor or "s10",
            expected_seq=wanted.expected_seq,
            reason=wanted.reason,
        )
        return Reply(await self.put_in_force(bundle, wish))

    async def put_in_force(self, bundle: ConfigBundle, wish: Wish) -> PromoteAnswer:
        """Switch to a staged bundle that is fit for it, and tell.

        Raises:
            Problem: 409, it is in force already, or somebody else switched meanwhile.
            DependencyDown: nothing was switched; or the write's outcome is unknown, and GET /active tells it.
        """
        await self._settle_before(wish)
        active, before = await self._switch(bundle, wish)
        status = PromotionStatus.DONE
        try:
            async with self.settling:
                await self._settle_newest()
        except DependencyDown as down:
            # The switch is written: saying 503 now would be a lie. `keep_in_step` tells it within seconds.
            log.warning("a switch is in force and told later", seq=active.seq, why=str(down))
            status = PromotionStatus.PENDING
        return PromoteAnswer(
            promotion_id=promotion_id(active),
            bundle_id=active.bundle_id,
            from_rev=before.rev,
            to_rev=active.rev,
            mode=wish.mode,
            status=status,
            seq=active.seq,
        )

    async def active(self, request: Request) -> Reply:
        """GET /active."""
        active = await self.documents.get(CONFIG_ACTIVE, ids.CONFIG_ACTIVE_KEY)
        if active is None:
            raise nothing_active()
        past = await past_of(self.documents, active)
        return Reply(
            ActiveAnswer(
                bundle_id=active.bundle_id,
                rev=active.rev,
                seq=active.seq,
                hash=active.hash or "",
                activated_at=active.activated_at,
                way_back=past.way_back,
            )
        )

    async def keep_in_step(self) -> None:
        """Settle the switches whose process died in between, mend a lost key, tell a lost event again."""
        async with self.settling:
            active = await self._settle_newest()
            if active is not None and await self.snapshots.get(CFG_ACTIVE_REV.name(self.env)) != str(active.rev):
                await self._write_keys(active)

    async def _settle_newest(self) -> ConfigActive | None:
        """Under the lock. Returns: what is in force."""
        # Read under the lock: what was newest before it was waited for may be newest no more.
        active = await self.documents.get(CONFIG_ACTIVE, ids.CONFIG_ACTIVE_KEY)
        if active is not None:
            left = await self._unfinished(active)
            if active.seq > self.told.seq or left:
                await self._settle(active, left)
        return active

    async def _settle_before(self, wish: Wish) -> None:
        """What is in force is told before the next switch, so that the audit trail has no gap.

        A rollback does not wait for that: in the hour in which the bus is down the way back must be open.
        """
        try:
            async with self.settling:
                await self._settle_newest()
        except DependencyDown as down:
            if wish.mode is not PromotionMode.ROLLBACK:
                raise
            log.warning("a rollback goes before what is still to be told", why=str(down))

    async def _switch(self, bundle: ConfigBundle, wish: Wish) -> tuple[ConfigActive, ConfigActive]:
        """The compare and set. Returns: what is in force now, and what was before.

        Raises:
            Problem: 409, it is in force already, or somebody else switched meanwhile.
        """
        stored = await self.documents.get_stored(CONFIG_ACTIVE, ids.CONFIG_ACTIVE_KEY)
        if stored is None:
            raise nothing_active()
        before = stored.doc
        if before.bundle_id == bundle.bundle_id:
            raise Problem(409, "already-active", f"bundle {bundle.bundle_id} is in force since seq {before.seq}")
        if wish.expected_seq is not None and wish.expected_seq != before.seq:
            raise switched_meanwhile(before.seq)
        active = self._switch_to(bundle, seq=before.seq + 1)
        await self._open_promotion(active, wish, from_rev=before.rev)
        try:
            await self.documents.replace(CONFIG_ACTIVE, active, rev=stored.rev)
        except RevisionConflict:
            await self._abort(active)
            raise switched_meanwhile(None) from None
        return active, before

    def _switch_to(self, bundle: ConfigBundle, *, seq: int) -> ConfigActive:
        assert bundle.rev is not None
        return ConfigActive(
            key="active",
            rev=bundle.rev,
            bundle_id=bundle.bundle_id,
            activated_at=self.clock.now_ms(),
            seq=seq,
            hash=bundle.hash,
        )

    async def _first_bundle(self) -> ConfigBundle:
        """Revision 1, which a start that died in between may have written already."""
        bundle = default_bundle(self.clock.now_ms())
        try:
            await self.documents.insert(CONFIG_BUNDLES, bundle)
        except DuplicateKey:
            known = await self.documents.find(
                Query(collection=CONFIG_BUNDLES, index="by_rev", equal=(("rev", FIRST_REV),))
            )
            return known[0]
        return bundle

    async def _open_promotion(self, active: ConfigActive, wish: Wish, *, from_rev: int) -> None:
        """On file before the switch, so that who asked for it survives a crash right after."""
        promotion = Promotion(
            promotion_id=promotion_id(active),
            bundle_id=active.bundle_id,
            from_rev=from_rev,
            to_rev=active.rev,
            mode=wish.mode,
            status=PromotionStatus.PENDING,
            guardrail=None if wish.reason is None else {"reason": wish.reason},
            requested_by=wish.actor,
            updated_at=active.activated_at,
            seq=active.seq,
            undoes=wish.undoes,
        )
        try:
            await self.documents.insert(PROMOTIONS, promotion)
        except DuplicateKey:
            # The same wish in the same millisecond: one record stands for both.
            return

    async def _abort(self, lost: ConfigActive) -> None:
        """The switch was not ours. The record stays where the winner asked for the same in the same millisecond."""
        winner = await self.documents.get(CONFIG_ACTIVE, ids.CONFIG_ACTIVE_KEY)
        if winner is not None and promotion_id(winner) == promotion_id(lost):
            return
        pending = await self.documents.get(PROMOTIONS, promotion_id(lost))
        if pending is not None and pending.status is PromotionStatus.PENDING:
            await self._set_aborted(pending)

    async def _set_aborted(self, pending: Promotion) -> None:
        await self.documents.put(
            PROMOTIONS, pending.but(status=PromotionStatus.ABORTED, updated_at=self.clock.now_ms())
        )

    async def _unfinished(self, active: ConfigActive) -> Unfinished:
        """The records up to the present switch that are still PENDING."""
        pending = await self.documents.find(
            Query(collection=PROMOTIONS, index="by_status", equal=(("status", PromotionStatus.PENDING.value),))
        )
        if all(record.seq is None or record.seq > active.seq for record in pending):
            return Unfinished()
        past = await past_of(self.documents, active)
        if past.present is None or past.present.promotion_id != promotion_id(active):
            # Without the record of the present switch nobody can tell which of the others came into force.
            return Unfinished()
        return unfinished(past.present, past.records)

    async def _settle(self, active: ConfigActive, left: Unfinished) -> None:
        """Everything that follows from the switches, in an order that may stop anywhere and begin again."""
        for record in left.in_force:
            is_present = record.promotion_id == promotion_id(active)
            await self._finish(record, active if is_present else await self._once_active(record))
            if record.bundle_id != active.bundle_id:
                await self._set_state(record.bundle_id, BundleStatus.RETIRED)
        for record in left.lost:
            await self._set_aborted(record)
        present = await self.documents.get(PROMOTIONS, promotion_id(active))
        await self._set_states(active)
        await self._write_keys(active)
        await self._tell(active, _kind(present), reason=_reason(present))
        self.told.seq = max(self.told.seq, active.seq)

    async def _once_active(self, record: Promotion) -> ConfigActive:
        """What `config_active` said when this switch was the newest."""
        bundle = await self.documents.get(CONFIG_BUNDLES, record.bundle_id)
        assert record.seq is not None
        return ConfigActive(
            key="active",
            rev=record.to_rev,
            bundle_id=record.bundle_id,
            # A record that is PENDING was last written when it was opened, with the switch's own time.
            activated_at=record.updated_at or 0,
            seq=record.seq,
            hash=None if bundle is None else bundle.hash,
        )

    async def _finish(self, record: Promotion, active: ConfigActive) -> None:
        """Tell of one switch, and note that it is told. `active` is what it wrote."""
        kind = _kind(record)
        done = record.but(status=PromotionStatus.DONE, activated_at=active.activated_at, updated_at=self.clock.now_ms())
        # Told before it is noted as told: after a crash in between it is told twice rather than never.
        await self.teller.audit(
            done.requested_by or "s10", kind.value, active.bundle_id, {"rev": done.from_rev}, active.to_dict()
        )
        await self.teller.event(
            EventKind(kind.value),
            None,
            done.promotion_id,
            bundle_id=active.bundle_id,
            from_rev=done.from_rev,
            to_rev=active.rev,
            seq=active.seq,
            actor=done.requested_by,
        )
        if done.undoes is not None:
            await self._set_undone(done.undoes)
        await self.documents.put(PROMOTIONS, done)

    async def _set_undone(self, undone: str) -> None:
        record = await self.documents.get(PROMOTIONS, undone)
        if record is not None and record.status is not PromotionStatus.ROLLED_BACK:
            await self.documents.put(
                PROMOTIONS, record.but(status=PromotionStatus.ROLLED_BACK, updated_at=self.clock.now_ms())
            )

    async def _set_states(self, active: ConfigActive) -> None:
        """ACTIVE is one bundle; the ones before it are RETIRED."""
        former = await self.documents.find(
            Query(collection=CONFIG_BUNDLES, index="by_status", equal=(("status", BundleStatus.ACTIVE.value),))
        )
        for bundle in former:
            if bundle.bundle_id != active.bundle_id:
                await self._set_state(bundle.bundle_id, BundleStatus.RETIRED)
        await self._set_state(active.bundle_id, BundleStatus.ACTIVE)

    async def _set_state(self, bundle_id: str, status: BundleStatus) -> None:
        for _ in range(TRIES):
            stored = await self.documents.get_stored(CONFIG_BUNDLES, bundle_id)
            if stored is None or stored.doc.status is status:
                return
            try:
                await self.documents.replace(CONFIG_BUNDLES, stored.doc.but(status=status), rev=stored.rev)
            except RevisionConflict:
                continue
            return
        raise contended(bundle_id)

    async def _write_keys(self, active: ConfigActive) -> None:
        bundle = await self.documents.get(CONFIG_BUNDLES, active.bundle_id)
        if bundle is not None:
            await self.snapshots.set_hash(
                CFG_BUNDLE.name(self.env, active.rev),
                {
                    "hash": bundle.hash,
                    "flags_digest": flags_digest(bundle.flags),
                    "created_at": str(bundle.created_at),
                },
            )
        await self.snapshots.set(CFG_ACTIVE_REV.name(self.env), str(active.rev))

    async def _tell(self, active: ConfigActive, kind: CfgEventKind, *, reason: str | None) -> None:
        """Unless the newest entry of the stream says it, or something later, already."""
        stream = CFG_EVENTS.name(self.env)
        for delivery in await self.bus.recent(stream, 1):
            said = delivery.message
            if isinstance(said, CfgEvent) and said.seq is not None and said.seq >= active.seq:
                return
        await self.bus.publish(
            stream,
            CfgEvent(
                rev=active.rev,
                bundle_id=active.bundle_id,
                event=kind,
                activated_at=active.activated_at,
                hash=active.hash or "",
                seq=active.seq,
                reason=reason,
            ),
        )


def _kind(record: Promotion | None) -> CfgEventKind:
    rolled_back = record is not None and record.mode is PromotionMode.ROLLBACK
    return CfgEventKind.ROLLBACK if rolled_back else CfgEventKind.PROMOTE


def _reason(record: Promotion | None) -> str | None:
    said = (record.guardrail or {}).get("reason") if record is not None else None
    return said if isinstance(said, str) else None


def switched_meanwhile(seq: int | None) -> Problem:
    now = "" if seq is None else f" (seq is {seq} now)"
    return Problem(
        409, "switched-meanwhile", f"somebody else switched the configuration first{now}; look at GET /active"
    )

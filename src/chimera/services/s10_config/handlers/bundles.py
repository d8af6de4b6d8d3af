"""A bundle before it is in force: drafted, linted, staged.

A draft is stored whole or not at all. What is wrong with it is told completely: every finding with its path, the value
that stands there, and what to write instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_BUNDLES
from chimera.contracts.documents import ConfigBundle
from chimera.contracts.enums import BundleStatus
from chimera.contracts.http.config import BundleAnswer, BundleBody, BundleDraft, BundlesAnswer, LintFinding
from chimera.domain.config.bundle import content_hash, default_bundle
from chimera.domain.config.lint import lint
from chimera.domain.decision.rules import Finding
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query, RevisionConflict, Stored
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller

LISTED_MAX = 200
TRIES = 10
DRAFT_FIELDS = tuple(BundleDraft.model_fields)


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody sent, completed; nothing of it was lost in reading. `findings` do not keep it from being stored."""

    body: BundleDraft
    findings: tuple[Finding, ...]


def parse_draft(raw: Any) -> Draft:
    """Read a draft. A part that is not told (rules, factors, instruments, flags) is the default bundle's.

    Raises:
        Problem: 400 with every finding: it has not the shape of a bundle, or a name in it means nothing.
    """
    if not isinstance(raw, dict):
        raise Problem(400, "malformed-bundle", f"send a JSON object with {', '.join(DRAFT_FIELDS)}, not {raw!r:.60}")
    foreign = tuple(
        Finding(str(name), value, f"leave it out, or use one of {', '.join(DRAFT_FIELDS)}")
        for name, value in raw.items()
        if name not in DRAFT_FIELDS
    )
    first = default_bundle(0).to_dict()
    whole = {name: raw.get(name, first.get(name)) for name in DRAFT_FIELDS if name in raw or name != "note"}
    as_sent = lint(whole)
    try:
        body = BundleDraft.model_validate(whole)
    except ValidationError as error:
        shape = tuple(
            Finding(".".join(map(str, item["loc"])), item["input"], item["msg"])
            for item in error.errors(include_url=False, include_context=False)
        )
        raise refused(400, "malformed-bundle", foreign + (as_sent or shape)) from None
    found = lint(body.to_dict())
    # What lint says of the text and no longer of what was read from it is about names that reading dropped.
    dropped = tuple(finding for finding in as_sent if finding not in found)
    if foreign or dropped:
        raise refused(400, "malformed-bundle", foreign + as_sent)
    return Draft(body, found)


def refused(status: int, kind: str, found: Sequence[Finding]) -> Problem:
    """All findings at once, in words and as fields."""
    return Problem(
        status,
        kind,
        f"{len(found)} finding(s): " + "; ".join(map(str, found)),
        errors=[{"field": finding.path, "value": finding.value, "remedy": finding.remedy} for finding in found],
    )


def as_answer(bundle: ConfigBundle, found: Sequence[Finding] = ()) -> BundleAnswer:
    return BundleAnswer(
        bundle_id=bundle.bundle_id,
        status=bundle.status,
        hash=bundle.hash,
        rev=bundle.rev,
        findings=tuple(
            LintFinding(level="error", path=finding.path, message=f"{finding.value!r:.200}", remedy=finding.remedy)
            for finding in found
        ),
        created_at=bundle.created_at,
        created_by=bundle.created_by,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepBundles:
    documents: Documents
    clock: Clock
    teller: Teller

    async def create(self, request: Request) -> Reply:
        """POST /bundles. Faults that a person can mend later are kept with the draft, and keep it from being staged."""
        draft: Draft = request.body
        body, found, now_ms = draft.body, draft.findings, self.clock.now_ms()
        digest = content_hash(body.flags, body.rules, body.factors, body.instruments)
        bundle = ConfigBundle(
            bundle_id=ids.bundle_id(now_ms, digest),
            status=BundleStatus.DRAFT,
            flags=body.flags,
            rules=body.rules,
            factors=body.factors,
            instruments=body.instruments,
            hash=digest,
            lint=_lint_record(found, now_ms),
            created_at=now_ms,
            created_by=request.actor or "s10",
            note=body.note,
        )
        try:
            await self.documents.insert(CONFIG_BUNDLES, bundle)
        except DuplicateKey:
            # The same content in the same millisecond: it stands there already.
            return Reply(as_answer((await self._get(bundle.bundle_id)).doc, found))
        await self.teller.audit(bundle.created_by, "BUNDLE_CREATE", bundle.bundle_id, after={"hash": digest})
        return Reply(as_answer(bundle, found), 201)

    async def list_all(self, request: Request) -> Reply:
        """GET /bundles: newest first."""
        bundles: list[ConfigBundle] = []
        for status in BundleStatus:
            bundles += await self.documents.find(
                Query(
                    collection=CONFIG_BUNDLES,
                    index="by_status",
                    equal=(("status", status.value),),
                    descending=True,
                    limit=LISTED_MAX,
                )
            )
        bundles.sort(key=lambda bundle: (bundle.created_at, bundle.bundle_id), reverse=True)
        return Reply(BundlesAnswer(bundles=tuple(as_answer(bundle) for bundle in bundles[:LISTED_MAX])))

    async def show(self, request: Request) -> Reply:
        """GET /bundles/{id}: the whole of it."""
        return Reply(BundleBody(bundle=(await self._get(request.path["id"])).doc))

    async def lint_one(self, request: Request) -> Reply:
        """POST /bundles/{id}/lint: what is wrong with it, which is then noted in it."""
        for _ in range(TRIES):
            stored = await self._get(request.path["id"])
            found = lint(stored.doc.to_dict())
            status = stored.doc.status
            if status in (BundleStatus.DRAFT, BundleStatus.LINTED):
                status = BundleStatus.DRAFT if found else BundleStatus.LINTED
            bundle = stored.doc.but(status=status, lint=_lint_record(found, self.clock.now_ms()))
            if await self._replaced(bundle, stored.rev):
                return Reply(as_answer(bundle, found))
        raise contended(request.path["id"])

    async def stage(self, request: Request) -> Reply:
        """POST /bundles/{id}/stage: a revision of its own, once; a bundle with findings gets none."""
        for _ in range(TRIES):
            stored = await self._get(request.path["id"])
            if stored.doc.rev is not None:
                return Reply(as_answer(stored.doc))
            found = lint(stored.doc.to_dict())
            if found:
                raise refused(422, "bundle-not-clean", found)
            bundle = stored.doc.but(
                status=BundleStatus.STAGED, rev=await self._next_rev(), lint=_lint_record((), self.clock.now_ms())
            )
            if await self._replaced(bundle, stored.rev):
                actor = request.actor or "s10"
                await self.teller.audit(actor, "BUNDLE_STAGE", bundle.bundle_id, after={"rev": bundle.rev})
                return Reply(as_answer(bundle))
        raise contended(request.path["id"])

    async def _get(self, bundle_id: str) -> Stored[ConfigBundle]:
        stored = await self.documents.get_stored(CONFIG_BUNDLES, bundle_id)
        if stored is None:
            raise Problem(404, "no-such-bundle", f"there is no bundle {bundle_id!r}; GET /bundles lists them")
        return stored

    async def _replaced(self, bundle: ConfigBundle, rev: str) -> bool:
        """False: somebody changed it, or took the revision number; look again."""
        try:
            await self.documents.replace(CONFIG_BUNDLES, bundle, rev=rev)
        except (RevisionConflict, DuplicateKey):
            return False
        return True

    async def _next_rev(self) -> int:
        newest = await self.documents.find(Query(collection=CONFIG_BUNDLES, index="by_rev", descending=True, limit=1))
        return max((bundle.rev or 0 for bundle in newest), default=0) + 1


def contended(bundle_id: str) -> Problem:
    return Problem(409, "changed-meanwhile", f"others change bundle {bundle_id} at the same time; try again")


def _lint_record(found: Sequence[Finding], now_ms: int) -> dict[str, Any]:
    return {"at": now_ms, "findings": [str(finding) for finding in found]}

"""A bundle before it is in force: drafted, linted, compared, staged.

A draft is stored whole or not at all. What is wrong with it is told completely: every finding with its path, the value
that stands there, what to write instead, and the line where it came as text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_BUNDLES, INSTRUMENT_REGISTRY
from chimera.contracts.documents import ConfigBundle
from chimera.contracts.enums import BundleStatus
from chimera.contracts.http.config import (
    BundleAnswer,
    BundleBody,
    BundleDiff,
    BundleDraft,
    BundlesAnswer,
    Difference,
    DiffQuery,
    LintAnswer,
    LintFinding,
)
from chimera.domain.config.bundle import content_hash, default_bundle
from chimera.domain.config.diff import GONE, differences
from chimera.domain.config.lint import cautions, lint
from chimera.domain.config.schema import draft_schema
from chimera.domain.config.source_lines import SourceError, line_of, lines_of, read_json, read_yaml
from chimera.domain.config.words import sentence
from chimera.domain.decision.condition import Finding
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query, RevisionConflict
from chimera.ports.peers import BodyText
from chimera.runtime.http import YAML
from chimera.runtime.model_files import ModelFiles
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller
from chimera.services.s10_config.handlers.lookup import stored_bundle

LISTED_MAX = 200
TRIES = 10
DRAFT_FIELDS = tuple(BundleDraft.model_fields)
SCHEMA_FIELD = "$schema"
"""Where a JSON file tells its editor what may stand in it: nothing of the bundle."""


def read_draft(text: BodyText) -> BundleDraft:
    """Read a draft from YAML or JSON text.

    Raises:
        Problem: 400, with the line of whatever cannot be read.
    """
    try:
        raw = read_yaml(text.text) if text.media_type == YAML else read_json(text.text)
    except SourceError as error:
        told = {"field": "", "value": None, "remedy": error.why, "line": error.line}
        raise Problem(400, "malformed-body", str(error), errors=[told]) from error
    return parse_draft(raw, lines_of(text.text))


def parse_draft(raw: Any, lines: Mapping[str, int] | None = None) -> BundleDraft:
    """Read a draft, losing nothing of it. A part that is not told (rules, factors, instruments, flags) is the default
    bundle's.

    Args:
        lines: where each path stands in the text that it was.

    Raises:
        Problem: 400 with every finding: it has not the shape of a bundle, or a name in it means nothing.
    """
    if not isinstance(raw, dict):
        raise Problem(400, "malformed-bundle", f"send a JSON object with {', '.join(DRAFT_FIELDS)}, not {raw!r:.60}")
    raw = {name: value for name, value in raw.items() if name != SCHEMA_FIELD}
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
        raise refused(400, "malformed-bundle", foreign + (as_sent or shape), lines) from None
    as_read = lint(body.to_dict())
    # What lint says of the text and no longer of what was read from it is about names that reading dropped.
    dropped = tuple(finding for finding in as_sent if finding not in as_read)
    if foreign or dropped:
        raise refused(400, "malformed-bundle", foreign + as_sent, lines)
    return body


def refused(status: int, kind: str, found: Sequence[Finding], lines: Mapping[str, int] | None = None) -> Problem:
    """All findings at once, in words and as fields."""
    at = [None if lines is None else line_of(lines, finding.path) for finding in found]
    said = [
        str(finding) if line is None else f"line {line}: {finding}" for finding, line in zip(found, at, strict=True)
    ]
    return Problem(
        status,
        kind,
        f"{len(found)} finding(s): " + "; ".join(said),
        errors=[
            {"field": finding.path, "value": finding.value, "remedy": finding.remedy}
            | ({} if line is None else {"line": line})
            for finding, line in zip(found, at, strict=True)
        ],
    )


def as_answer(bundle: ConfigBundle) -> BundleAnswer:
    """With what was found when somebody last looked for faults in it."""
    return BundleAnswer(
        bundle_id=bundle.bundle_id,
        status=bundle.status,
        hash=bundle.hash,
        rev=bundle.rev,
        # Drafts of an earlier version noted their findings as text.
        findings=tuple(
            LintFinding.model_validate(each)
            for each in (bundle.lint or {}).get("findings", ())
            if isinstance(each, dict)
        ),
        created_at=bundle.created_at,
        created_by=bundle.created_by,
        note=bundle.note,
    )


def with_lines(answer: BundleAnswer, lines: Mapping[str, int] | None) -> BundleAnswer:
    """The same, each finding with its line in the text that was sent."""
    if not lines or not answer.findings:
        return answer
    return answer.but(findings=tuple(each.but(line=line_of(lines, each.path)) for each in answer.findings))


@dataclass(frozen=True, slots=True)
class Judgement:
    """`faults` keep a bundle from coming into force; `cautions` are only told."""

    faults: tuple[Finding, ...]
    cautions: tuple[Finding, ...]

    def record(self, now_ms: int) -> dict[str, Any]:
        """How a bundle remembers it."""
        told = [_told("error", each) for each in self.faults] + [_told("warning", each) for each in self.cautions]
        return {"at": now_ms, "findings": [finding.to_dict() for finding in told]}


async def judge(documents: Documents, models: ModelFiles, bundle: ConfigBundle) -> Judgement:
    """Against itself, against the instruments that S1 found at the exchange, and against the model that it names."""
    listed = [each.doc_key() for each in await documents.find(Query(collection=INSTRUMENT_REGISTRY, index="by_instr"))]
    faults = lint(bundle.to_dict(), listed) + await models.lint(bundle)
    # Rules that are wrong say nothing about what they do.
    return Judgement(faults, () if faults else cautions(bundle.flags, bundle.rules, bundle.factors, listed))


def _lines_sent(request: Request) -> Mapping[str, int] | None:
    return None if request.text is None else lines_of(request.text.text)


def _told(level: Literal["error", "warning"], finding: Finding) -> LintFinding:
    return LintFinding(level=level, path=finding.path, message=f"{finding.value!r:.200}", remedy=finding.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepBundles:
    documents: Documents
    models: ModelFiles
    clock: Clock
    teller: Teller

    async def create(self, request: Request) -> Reply:
        """POST /bundles. Faults that a person can mend later are kept with the draft, and keep it from being staged."""
        lines = _lines_sent(request)
        bundle = await self._draft(request)
        try:
            await self.documents.insert(CONFIG_BUNDLES, bundle)
        except DuplicateKey:
            # The same content in the same millisecond: it stands there already.
            stored = await stored_bundle(self.documents, bundle.bundle_id)
            return Reply(with_lines(as_answer(stored.doc), lines))
        await self.teller.audit(bundle.created_by, "BUNDLE_CREATE", bundle.bundle_id, after={"hash": bundle.hash})
        return Reply(with_lines(as_answer(bundle), lines), 201)

    async def check(self, request: Request) -> Reply:
        """POST /lint: what `create` would find, with nothing stored and nobody told."""
        bundle = await self._draft(request)
        found = with_lines(as_answer(bundle), _lines_sent(request))
        return Reply(LintAnswer(hash=found.hash, findings=found.findings))

    async def _draft(self, request: Request) -> ConfigBundle:
        body: BundleDraft = request.body
        now_ms = self.clock.now_ms()
        digest = content_hash(body.flags, body.rules, body.factors, body.instruments)
        bundle = ConfigBundle(
            bundle_id=ids.bundle_id(now_ms, digest),
            status=BundleStatus.DRAFT,
            flags=body.flags,
            rules=body.rules,
            factors=body.factors,
            instruments=body.instruments,
            hash=digest,
            created_at=now_ms,
            created_by=request.actor or "s10",
            note=body.note,
        )
        return bundle.but(lint=(await judge(self.documents, self.models, bundle)).record(now_ms))

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
        return Reply(BundleBody(bundle=(await stored_bundle(self.documents, request.path["id"])).doc))

    async def schema(self, request: Request) -> Reply:
        """GET /schema: what editors complete and check a bundle by."""
        return Reply(draft_schema(), content_type="application/schema+json")

    async def diff(self, request: Request) -> Reply:
        """GET /bundles/{id}/diff: what the bundle changes of the other."""
        wanted: DiffQuery = request.query
        after = (await stored_bundle(self.documents, request.path["id"])).doc
        before = (await stored_bundle(self.documents, wanted.against)).doc
        return Reply(
            BundleDiff(
                bundle_id=after.bundle_id,
                against=before.bundle_id,
                rev=after.rev,
                against_rev=before.rev,
                differences=tuple(
                    Difference(
                        path=each.path,
                        kind="ADDED" if each.before is GONE else "REMOVED" if each.after is GONE else "CHANGED",
                        before=None if each.before is GONE else each.before,
                        after=None if each.after is GONE else each.after,
                        words=sentence(each),
                    )
                    for each in differences(before.to_dict(), after.to_dict())
                ),
            )
        )

    async def lint_one(self, request: Request) -> Reply:
        """POST /bundles/{id}/lint: what is wrong with it, which is then noted in it."""
        for _ in range(TRIES):
            stored = await stored_bundle(self.documents, request.path["id"])
            judged = await judge(self.documents, self.models, stored.doc)
            status = stored.doc.status
            if status in (BundleStatus.DRAFT, BundleStatus.LINTED):
                status = BundleStatus.DRAFT if judged.faults else BundleStatus.LINTED
            bundle = stored.doc.but(status=status, lint=judged.record(self.clock.now_ms()))
            if await self._replaced(bundle, stored.rev):
                return Reply(as_answer(bundle))
        raise contended(request.path["id"])

    async def stage(self, request: Request) -> Reply:
        """POST /bundles/{id}/stage: a revision of its own, once; a bundle with findings gets none."""
        for _ in range(TRIES):
            stored = await stored_bundle(self.documents, request.path["id"])
            if stored.doc.rev is not None:
                return Reply(as_answer(stored.doc))
            judged = await judge(self.documents, self.models, stored.doc)
            if judged.faults:
                raise refused(422, "bundle-not-clean", judged.faults)
            bundle = stored.doc.but(
                status=BundleStatus.STAGED, rev=await self._next_rev(), lint=judged.record(self.clock.now_ms())
            )
            if await self._replaced(bundle, stored.rev):
                actor = request.actor or "s10"
                await self.teller.audit(actor, "BUNDLE_STAGE", bundle.bundle_id, after={"rev": bundle.rev})
                return Reply(as_answer(bundle))
        raise contended(request.path["id"])

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

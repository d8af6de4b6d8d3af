"""What the configuration page asks of S10, and what S10 says: every look and every change is one of its calls.

Owns the spelling of those calls and how an answer is read. Nothing here writes a document, and who may ask is for the
caller to check. A refusal is a value: a person is to read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from chimera.contracts.base import Contract
from chimera.contracts.documents import ConfigBundle
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.contracts.http.config import (
    ActiveAnswer,
    BundleAnswer,
    BundleBody,
    BundleDiff,
    BundlesAnswer,
    DryRunAnswer,
    LintAnswer,
    LintFinding,
    PromoteAnswer,
)
from chimera.domain.config.writing import write_yaml
from chimera.ports.peers import BodyText, PeerAnswer, PeerCall, Peers, PeerUnavailable

S10 = "s10"
ME = "s12"
YAML = "application/yaml"
WRITTEN = ("note", "flags", "rules", "factors", "instruments")
"""Of a bundle, what a person writes."""
SWITCHED = PROBLEM_TYPE_BASE + "switched-meanwhile"

C = TypeVar("C", bound=Contract)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, in words for a person; `findings` where S10 names parts of the bundle."""

    why: str
    findings: tuple[LintFinding, ...] = ()
    is_switched: bool = False
    """Somebody else changed what is in force in the meantime."""


@dataclass(frozen=True, slots=True)
class Configuration:
    peers: Peers

    async def active(self) -> ActiveAnswer | Refusal:
        return await self._ask(ActiveAnswer, "GET", "/active")

    async def bundles(self) -> BundlesAnswer | Refusal:
        return await self._ask(BundlesAnswer, "GET", "/bundles")

    async def bundle(self, bundle_id: str) -> ConfigBundle | Refusal:
        told = await self._ask(BundleBody, "GET", f"/bundles/{bundle_id}")
        return told if isinstance(told, Refusal) else told.bundle

    async def diff(self, bundle_id: str, against: str) -> BundleDiff | Refusal:
        """From `against` to `bundle_id`."""
        return await self._ask(BundleDiff, "GET", f"/bundles/{bundle_id}/diff", query={"against": against})

    async def check(self, text: str, actor: str) -> LintAnswer | Refusal:
        """What is wrong with a text, line by line. Nothing is stored."""
        return await self._ask(LintAnswer, "POST", "/lint", actor=actor, text=text)

    async def save(self, text: str, actor: str) -> BundleAnswer | Refusal:
        """A draft of it."""
        return await self._ask(BundleAnswer, "POST", "/bundles", actor=actor, text=text)

    async def stage(self, bundle_id: str, actor: str) -> BundleAnswer | Refusal:
        return await self._ask(BundleAnswer, "POST", f"/bundles/{bundle_id}/stage", actor=actor)

    async def dry_run(self, bundle_id: str, actor: str) -> DryRunAnswer | Refusal:
        return await self._ask(DryRunAnswer, "POST", f"/bundles/{bundle_id}/dry-run", actor=actor)

    async def promote(self, bundle_id: str, expected_seq: int, reason: str, actor: str) -> PromoteAnswer | Refusal:
        body = {"bundle_id": bundle_id, "mode": "FULL", "expected_seq": expected_seq, "reason": reason or None}
        return await self._ask(PromoteAnswer, "POST", "/promote", body=body, actor=actor)

    async def roll_back(self, to_rev: int, expected_seq: int, reason: str, actor: str) -> PromoteAnswer | Refusal:
        body = {"to_rev": to_rev, "expected_seq": expected_seq, "reason": reason or None}
        return await self._ask(PromoteAnswer, "POST", "/rollback", body=body, actor=actor)

    async def _ask(
        self,
        answer: type[C],
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        text: str | None = None,
        actor: str = ME,
    ) -> C | Refusal:
        sent = None if text is None else BodyText(YAML, text)
        try:
            told = await self.peers.call(PeerCall(S10, method, path, body, query or {}, actor=actor, text=sent))
        except PeerUnavailable as down:
            return Refusal(f"{down}. Look whether it happened before you ask again.")
        if not told.ok:
            return refusal(told)
        try:
            return answer.model_validate(told.body)
        except ValidationError as error:
            return Refusal(f"S10 answered something that this page cannot read: {error.error_count()} fields differ")


def refusal(told: PeerAnswer) -> Refusal:
    """S10's problem in words. Faults that it names by field become findings."""
    body = told.body if isinstance(told.body, Mapping) else {}
    is_switched = body.get("type") == SWITCHED
    errors = body.get("errors")
    findings = tuple(_finding(each) for each in errors or () if isinstance(each, Mapping))
    if findings:
        # The detail repeats every finding; a person reads them one by one.
        return Refusal(str(body.get("title") or "it was refused").capitalize(), findings, is_switched)
    return Refusal(str(body.get("detail") or f"S10 refused it ({told.status})"), (), is_switched)


def _finding(error: Mapping[str, Any]) -> LintFinding:
    line = error.get("line")
    value = error.get("value")
    return LintFinding(
        level="error",
        path=str(error.get("field") or ""),
        message="" if value is None else f"{value!r:.200}",
        remedy=str(error.get("remedy") or ""),
        line=line if isinstance(line, int) else None,
    )


def text_of(bundle: ConfigBundle) -> str:
    """What a person would write to get this bundle."""
    body = bundle.to_dict()
    return write_yaml({name: body[name] for name in WRITTEN if name in body})

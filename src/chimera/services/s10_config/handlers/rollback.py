"""Back to what was in force before: the same switch as a promotion's, to a bundle that was in force once.

The way back is for a bad hour, so it asks for less than the way in: what an exchange lists by now does not matter. But
a bundle that no reader would take is refused, because a switch that nobody follows only looks like one; the answer
names the revisions that would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import ConfigActive, ConfigBundle
from chimera.contracts.enums import PromotionMode
from chimera.contracts.http.config import RollbackRequest
from chimera.domain.config.lint import lint
from chimera.ports.documents import Documents, Query
from chimera.runtime.service import Problem, Reply, Request
from chimera.services.s10_config.handlers.bundles import refused
from chimera.services.s10_config.handlers.lookup import nothing_active
from chimera.services.s10_config.handlers.past import Past, past_of
from chimera.services.s10_config.handlers.promote import Promote, Wish, switched_meanwhile

NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    documents: Documents
    promote: Promote

    async def roll_back(self, request: Request) -> Reply:
        """POST /rollback."""
        wanted: RollbackRequest = request.body
        active = await self.documents.get(CONFIG_ACTIVE, ids.CONFIG_ACTIVE_KEY)
        if active is None:
            raise nothing_active()
        if wanted.expected_seq is not None and wanted.expected_seq != active.seq:
            raise switched_meanwhile(active.seq)
        past = await past_of(self.documents, active)
        if past.present is None:
            raise Problem(
                409, "no-record", f"the switch to rev {active.rev} left no record; promote the bundle that you want"
            )
        bundle = await self._target(wanted.to_rev, active, past)
        faults = lint(bundle.to_dict())
        if faults:
            usable = [rev for rev in past.way_back if rev != bundle.rev and await self._is_usable(rev)][:NAMED_MAX]
            others = f"; to_rev may be {', '.join(map(str, usable))}" if usable else ""
            problem = refused(422, "bundle-not-clean", faults)
            raise Problem(
                422, problem.kind, f"nobody would follow to rev {bundle.rev}: {problem}{others}", **problem.more
            )
        wish = Wish(
            mode=PromotionMode.ROLLBACK,
            actor=request.actor or "s10",
            # What was looked at is what is taken back: whoever switched in between is not undone unseen.
            expected_seq=active.seq,
            reason=wanted.reason,
            undoes=past.present.promotion_id,
        )
        return Reply(await self.promote.put_in_force(bundle, wish))

    async def _target(self, to_rev: int | None, active: ConfigActive, past: Past) -> ConfigBundle:
        if to_rev is None:
            if not past.way_back:
                raise Problem(409, "nothing-before", f"nothing was in force before rev {active.rev}; promote a bundle")
            to_rev = past.way_back[0]
        elif to_rev == active.rev:
            raise Problem(409, "already-active", f"rev {to_rev} is in force since seq {active.seq}")
        bundle = await self._bundle(to_rev)
        if bundle is None:
            raise Problem(404, "no-such-revision", f"there is no rev {to_rev}; {_choice(past.way_back)}")
        if not past.was_in_force(to_rev):
            raise Problem(
                409, "never-in-force", f"rev {to_rev} never was in force: promote it; or {_choice(past.way_back)}"
            )
        return bundle

    async def _bundle(self, rev: int) -> ConfigBundle | None:
        found = await self.documents.find(Query(collection=CONFIG_BUNDLES, index="by_rev", equal=(("rev", rev),)))
        return found[0] if found else None

    async def _is_usable(self, rev: int) -> bool:
        bundle = await self._bundle(rev)
        return bundle is not None and not lint(bundle.to_dict())


def _choice(way_back: Sequence[int]) -> str:
    if not way_back:
        return "nothing was in force before"
    return f"in force before: {', '.join(map(str, way_back[:NAMED_MAX]))}"

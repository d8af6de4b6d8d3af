"""Which bundle somebody means: by its id, by its revision, or the one in force."""

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import ConfigBundle
from chimera.ports.documents import Documents, Query, Stored
from chimera.runtime.service import Problem

ACTIVE = "active"


async def stored_bundle(documents: Documents, reference: str) -> Stored[ConfigBundle]:
    """
    Args:
        reference: `BND-…`, a revision such as `7`, or `active`.

    Raises:
        Problem: 404, there is none; 503, nothing is in force yet.
    """
    bundle_id = await _id_of(documents, reference)
    stored = None if bundle_id is None else await documents.get_stored(CONFIG_BUNDLES, bundle_id)
    if stored is None:
        raise Problem(404, "no-such-bundle", f"there is no bundle {reference!r}; GET /bundles lists them")
    return stored


def nothing_active() -> Problem:
    return Problem(503, "nothing-active", "S10 has not made the first bundle yet; try again")


async def _id_of(documents: Documents, reference: str) -> str | None:
    if reference == ACTIVE:
        active = await documents.get(CONFIG_ACTIVE, ids.CONFIG_ACTIVE_KEY)
        if active is None:
            raise nothing_active()
        return active.bundle_id
    # Nobody has made a revision that no integer of a store could hold.
    if reference.isascii() and reference.isdecimal() and len(reference) < 16:
        found = await documents.find(Query(collection=CONFIG_BUNDLES, index="by_rev", equal=(("rev", int(reference)),)))
        return found[0].bundle_id if found else None
    return reference

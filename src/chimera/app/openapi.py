"""Everything that the system says to others, as files: the contracts' own, and what each running service answers.

Owns `openapi/<service>.json`. Only services that run have one: what is not there yet is not offered, though its bodies
stand in `contracts.http`.
"""

import asyncio

from chimera.app.blueprint import drawn_house
from chimera.contracts.export import as_text, export
from chimera.contracts.services import IDS
from chimera.runtime.openapi import openapi_of


def everything() -> dict[str, str]:
    """Path to text of every file, sorted by path; the same bytes each time. Must not be called in a running loop."""
    files = export() | asyncio.run(_openapi())
    return {path: files[path] for path in sorted(files)}


async def _openapi() -> dict[str, str]:
    runners = (await drawn_house()).runners
    return {
        f"openapi/{service_id}.json": as_text(openapi_of(runners[service_id].service, runners[service_id].all_routes()))
        for service_id in IDS
        if service_id in runners
    }

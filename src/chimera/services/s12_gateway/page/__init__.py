"""The page: what a trader leaves open all day.

    data      figures for one refresh, shared by everybody who looks
    history   bars, equity and trades kept in memory and read on, never read twice
    rows      figures as table rows, in words and signs
    acts      what a person does: each dialog says what will happen before it does
    charts    figures as chart options
    view      the page itself, per browser

One page library can run once in a process, and reads where its files go when it is first imported: so `mount_page`
imports it, and nothing else may.
"""

import os

from chimera.ports.world import World
from chimera.services.s12_gateway.page.settings import PageSettings
from chimera.services.s12_gateway.web import Web

__all__ = ["PageSettings", "mount_page"]

STORAGE_VARIABLE = "NICEGUI_STORAGE_PATH"


def mount_page(web: Web, world: World, settings: PageSettings) -> None:
    """Put the page under /ui. Call it once a process, before the server starts."""
    os.environ[STORAGE_VARIABLE] = str(settings.storage)
    from chimera.services.s12_gateway.page.view import mount

    mount(web, world, settings)

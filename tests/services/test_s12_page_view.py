"""A page whose browser is gone ends quietly."""

import asyncio
from pathlib import Path

from nicegui import Client
from nicegui.page import page

from chimera.contracts.enums import Market, Role
from chimera.contracts.instrument_key import InstrumentKey
from chimera.runtime.runner import Runner
from chimera.services.s12_gateway.page.data import PageData
from chimera.services.s12_gateway.page.frame import Here
from chimera.services.s12_gateway.page.overview_view import OverviewPage
from chimera.services.s12_gateway.page.settings import PageSettings
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.services.s12_gateway.web import build_web
from tests.services.small_world import ENV, small_world


async def test_a_tab_that_is_closed_while_it_asks_has_agreed_to_nothing(tmp_path: Path) -> None:
    here = small_world()
    gateway = GatewaySettings(env=ENV)
    web = build_web(here.world, gateway, Runner(build(here.world, gateway), here.world, ENV).all_routes())
    settings = PageSettings(env=ENV, keys=(InstrumentKey(Market.FUT, "BTCUSDT"),), storage=tmp_path, venue="sim")
    _, identity = await web.access.open("ada", Role.ADMIN)
    shown = OverviewPage(Here(web, PageData(here.world, settings), settings), identity)
    client = Client(page("/"), request=None)

    async def ask() -> str | None:
        with client:
            return await shown.ask("Stop?", "Nothing new is opened.", "Stop")

    asked = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    client.delete()

    assert await asked is None

"""Which pages there are, and how they are put under the gateway."""

from pathlib import Path

from fastapi import Request
from nicegui import ui

from chimera.ports.world import World
from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page.config_view import ConfigPage
from chimera.services.s12_gateway.page.data import PageData
from chimera.services.s12_gateway.page.decisions_view import DecisionsPage
from chimera.services.s12_gateway.page.frame import Here
from chimera.services.s12_gateway.page.orders_view import OrdersPage
from chimera.services.s12_gateway.page.overview_view import OverviewPage
from chimera.services.s12_gateway.page.settings import PageSettings
from chimera.services.s12_gateway.web import UI, Web

HERE = Path(__file__).parent
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#12181f"/>'
    '<path d="M6 21l6-8 5 5 9-11" fill="none" stroke="#5aa7f5" stroke-width="3.4" stroke-linecap="round" '
    'stroke-linejoin="round"/></svg>'
)


def mount(web: Web, world: World, settings: PageSettings) -> None:
    here = Here(web, PageData(world, settings), settings)

    @ui.page("/", title="Chimera")
    async def overview(request: Request) -> None:
        await OverviewPage(here, _who(request)).open()

    @ui.page("/orders", title="Orders · Chimera")
    async def orders(request: Request, intent: str | None = None) -> None:
        await OrdersPage(here, _who(request), intent).open()

    @ui.page("/decisions", title="Decisions · Chimera")
    async def decisions(request: Request, signal: str | None = None) -> None:
        await DecisionsPage(here, _who(request), signal).open()

    @ui.page("/config", title="Configuration · Chimera")
    async def config(request: Request, rev: int | None = None) -> None:
        await ConfigPage(here, _who(request), rev).open()

    ui.add_head_html((HERE / "head.html").read_text(encoding="utf-8"), shared=True)
    for style in ("style.css", "sheets.css"):
        ui.add_css((HERE / style).read_text(encoding="utf-8"), shared=True)
    ui.run_with(
        web.app,
        mount_path=UI,
        title="Chimera",
        favicon=FAVICON,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )


def _who(request: Request) -> Identity:
    identity: Identity = request.state.identity
    return identity

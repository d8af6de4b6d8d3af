"""The configuration in one browser."""

from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page.data import Overview
from chimera.services.s12_gateway.page.frame import Frame, Here


class ConfigPage(Frame):
    name = "Configuration"

    def __init__(self, here: Here, identity: Identity, rev: int | None = None) -> None:
        super().__init__(here, identity)

    async def build(self) -> None:
        pass

    async def show(self, seen: Overview) -> None:
        pass

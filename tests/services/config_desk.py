"""S10 with somebody who asks it: drafts, stages, promotes, rolls back."""

from decimal import Decimal
from typing import Any

from chimera.contracts.collections import CONFIG_BUNDLES, INSTRUMENT_REGISTRY, PROMOTIONS
from chimera.contracts.documents.config import Instrument, LeverageBracket
from chimera.contracts.enums import BundleStatus, CfgEventKind, EntryStatus, Market, PromotionStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import CFG_ACTIVE_REV
from chimera.contracts.messages import AuditEvent, CfgEvent
from chimera.contracts.streams import CFG_EVENTS, OPS_EVENTS
from chimera.ports.documents import Query
from chimera.ports.peers import BodyText, PeerAnswer, PeerCall
from chimera.runtime.http import YAML
from chimera.services.s10_config.service import build
from chimera.services.s10_config.settings import ConfigSettings
from tests.services.small_world import ENV, SmallWorld, small_world

BRACKET = LeverageBracket(
    bracket=1,
    notional_floor_usdt=Decimal(0),
    notional_cap_usdt=Decimal(1_000_000),
    leverage_max=125,
    maint_margin_ratio=Decimal("0.004"),
    cum_usdt=Decimal(0),
)


class Config:
    """S10 in a world of its own, or in one that another S10 shares."""

    def __init__(self, here: SmallWorld | None = None) -> None:
        self.here = here or small_world()
        self.service = build(self.here.world, ConfigSettings(env=ENV))
        self.here.peers.add("s10", self.service.routes)

    async def start(self) -> "Config":
        await self.service.start()
        return self

    async def lists(self, *keys: str) -> "Config":
        """S1 has found these at the exchange."""
        for key in map(InstrumentKey.parse, keys):
            rules = {"tick_size": Decimal("0.1"), "step_size": Decimal("0.0001"), "min_notional": Decimal(5)}
            if key.market is Market.FUT:
                rules |= {"leverage_bracket": (BRACKET,), "max_leverage": 125}
            instrument = Instrument(market=key.market, symbol=key.symbol, status=EntryStatus.ENABLED, **rules)
            await self.here.documents.put(INSTRUMENT_REGISTRY, instrument)
        return self

    async def listed_findings(self, bundle_id: str) -> Any:
        """What `GET /bundles` says of one."""
        bundles = (await self.ask("GET", "/bundles")).body["bundles"]
        return next(bundle.get("findings") for bundle in bundles if bundle["bundle_id"] == bundle_id)

    async def tick(self) -> None:
        await self.service.timers[0].run()

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> PeerAnswer:
        return await self.here.peers.call(PeerCall("s10", method, path, body, query, actor="ada"))

    async def send(self, text: str, media_type: str = YAML) -> PeerAnswer:
        """POST /bundles with a text, as the gateway hands it on."""
        return await self.here.peers.call(
            PeerCall("s10", "POST", "/bundles", actor="ada", text=BodyText(media_type, text))
        )

    async def staged(self, concurrency: int) -> str:
        made = await self.ask("POST", "/bundles", {"flags": {"risk": {"concurrent_entries_per_market": concurrency}}})
        bundle_id: str = made.body["bundle_id"]
        assert (await self.ask("POST", f"/bundles/{bundle_id}/stage")).status == 200
        return bundle_id

    async def promote(self, bundle_id: str, **more: Any) -> PeerAnswer:
        return await self.ask("POST", "/promote", {"bundle_id": bundle_id, "mode": "FULL", **more})

    async def in_force(self, concurrency: int) -> int:
        """Draft, stage and promote a bundle; its revision."""
        answer = await self.promote(await self.staged(concurrency))
        assert answer.status == 200, answer.body
        rev: int = answer.body["to_rev"]
        return rev

    async def roll_back(self, **wish: Any) -> PeerAnswer:
        return await self.ask("POST", "/rollback", wish)

    async def rev(self) -> int:
        rev: int = (await self.ask("GET", "/active")).body["rev"]
        return rev

    async def events(self) -> list[CfgEvent]:
        return [message for message in await self.here.told(CFG_EVENTS.name(ENV)) if isinstance(message, CfgEvent)]

    async def key(self) -> str | None:
        return await self.here.snapshots.inner.get(CFG_ACTIVE_REV.name(ENV))

    async def record(self) -> list[tuple[int | None, int, str]]:
        """Of every promotion its number, the revision it wanted and its status."""
        found: list[tuple[int | None, int, str]] = []
        for status in PromotionStatus:
            query = Query(collection=PROMOTIONS, index="by_status", equal=(("status", status.value),))
            found += [(each.seq, each.to_rev, status.value) for each in await self.here.documents.find(query)]
        return sorted(found, key=str)

    async def audits(self) -> list[tuple[str, str]]:
        """Of every switch that the audit trail knows its kind and its bundle."""
        told = await self.here.told(OPS_EVENTS.name(ENV))
        switches = {CfgEventKind.PROMOTE.value, CfgEventKind.ROLLBACK.value}
        return [
            (each.action, each.subject) for each in told if isinstance(each, AuditEvent) and each.action in switches
        ]

    async def states(self) -> dict[int | None, str]:
        found: dict[int | None, str] = {}
        for status in BundleStatus:
            query = Query(collection=CONFIG_BUNDLES, index="by_status", equal=(("status", status.value),))
            found |= {bundle.rev: status.value for bundle in await self.here.documents.find(query)}
        return found

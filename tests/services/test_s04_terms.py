"""What an entry is executed by, and that a source which cannot be used changes nothing but tells a person."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chimera.app.route_file import BYTES_MAX, route_file
from chimera.contracts.collections import COST_CURVES, INSTRUMENT_REGISTRY
from chimera.contracts.documents import CostCurve
from chimera.contracts.documents.config import Instrument as Listed
from chimera.contracts.enums import CostCurveKind, EntryStatus, HealthLevel, Market, Regime, Routing
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import HEALTH_ROLLING, MKT_SNAP, REGIME_STATE, ROUTER_CURVES
from chimera.contracts.messages import AlertEvent
from chimera.contracts.messages.orders import ExecPolicy, Twap
from chimera.contracts.settings import S3Settings
from chimera.contracts.streams import ALERTS
from chimera.domain.config.lint import lint
from chimera.domain.execution.choice import Style
from chimera.domain.execution.machine.flow import Touch
from chimera.domain.execution.maker_wait import WaitSource
from chimera.ports.state import StateUnavailable
from chimera.runtime.config_watch import ConfigUnavailable, ConfigWatch
from chimera.runtime.telling import Teller
from chimera.services.s04_router.market import Market as MarketView
from chimera.services.s04_router.terms import Terms, TermsKeeper
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.services.config_desk import Config
from tests.services.small_world import ENV

D = Decimal
FUT, SPOT = BTC_FUT.key, BTC_SPOT.key
SEED_G = (Path(__file__).parents[1] / "data" / "seed_000_g" / "route_table.json").read_text()
DAY_MS = 86_400_000


@dataclass
class Desk:
    config: Config = field(default_factory=Config)
    file: Callable[[], str | None] = lambda: None
    keeper: TermsKeeper = field(init=False)

    async def start(self, **flags: Any) -> "Desk":
        await self.config.start()
        if flags:
            await self.in_force(**flags)
        here = self.config.here
        watch = ConfigWatch(here.world, ENV, service="s4", check=lint)
        await watch.start()
        self.keeper = TermsKeeper(
            env=ENV,
            keys=(FUT, SPOT),
            watch=watch,
            instruments={FUT: BTC_FUT, SPOT: BTC_SPOT},
            documents=here.world.documents,
            snapshots=here.world.snapshots,
            clock=here.clock,
            teller=Teller(source="s4", env=ENV, bus=here.world.bus, documents=here.world.documents, clock=here.clock),
            s3=S3Settings(),
            maker_max_wait_ms=3_000,
            route_file=lambda: self.file(),
        )
        await self.keeper.start()
        return self

    async def in_force(self, **flags: Any) -> None:
        made = await self.config.ask("POST", "/bundles", {"flags": flags})
        bundle_id = made.body["bundle_id"]
        assert (await self.config.ask("POST", f"/bundles/{bundle_id}/stage")).status == 200
        assert (await self.config.promote(bundle_id)).status == 200

    async def says(self, key: str, **fields: str) -> None:
        await self.config.here.snapshots.inner.set_hash(key, fields)

    async def regime(self, state: str, rv_pctile: str = "0.5") -> None:
        expires_at = str(self.config.here.clock.now_ms() + DAY_MS)
        await self.says(REGIME_STATE.name(ENV), state=state, rv_pctile=rv_pctile, expires_at=expires_at)

    async def graded(self, **grades: str) -> None:
        await self.says(HEALTH_ROLLING.name(ENV), grades=json.dumps(grades))

    async def measured(self, kind: CostCurveKind, version: str, at: int, **params: Any) -> None:
        await self.config.here.documents.put(
            COST_CURVES,
            CostCurve(curve_id=f"{kind}-{version}", kind=kind, version=version, params=params, fitted_at=at),
        )

    async def later(self, ms: int = 60_000) -> None:
        await self.config.here.clock.advance(ms)
        await self.keeper.refresh()

    async def terms(self, key: InstrumentKey = FUT, level: HealthLevel | None = HealthLevel.GREEN) -> Terms:
        return await self.keeper.of(key, signal_id=None, level=level)

    async def alerts(self) -> list[str]:
        told = await self.config.here.told(ALERTS.name(ENV))
        return [each.message for each in told if isinstance(each, AlertEvent) and each.code == "ROUTE_TABLE"]


def wait_of(terms: Terms, notional: str = "120", asked: ExecPolicy | None = None) -> tuple[int, WaitSource]:
    found = terms.wait(terms.book(D(notional), 0.5, 50_000.0), asked or ExecPolicy())
    return found.wait_ms, found.source


async def test_where_nothing_is_told_the_bundle_holds() -> None:
    desk = await Desk().start()
    await desk.regime("NORMAL")

    terms = await desk.terms()

    assert wait_of(terms) == (1_200, WaitSource.FLAGS)
    assert (terms.parts(D(2_000), Market.FUT, None).slices, terms.conservative) == (5, False)
    assert (terms.spread_bp_limit, terms.depth_top1_usdt_min) == (3.0, 200.0)
    assert (terms.costs.maker_fee_bps, terms.costs.taker_fee_bps, terms.costs.curve) == (1.0, 5.0, None)
    limits = terms.limits(D(300))
    assert (limits.recheck_ms, limits.max_delay_ms, limits.slip_bp_hard) == (250, 3_000, 24.0)
    assert await desk.alerts() == []


async def test_without_a_regime_it_is_extreme() -> None:
    desk = await Desk().start()

    terms = await desk.terms()

    assert (terms.regime, terms.volatility) == (Regime.EXTREME, None)
    assert wait_of(terms)[0] == 600


async def test_the_file_of_the_seed_says_wait_and_slices() -> None:
    desk = await Desk(file=lambda: SEED_G).start()

    terms = await desk.terms()

    assert wait_of(terms) == (1_500, WaitSource.FILE)
    assert wait_of(terms, "400") == (2_000, WaitSource.FILE)
    assert (terms.parts(D(400), Market.FUT, None).slices, terms.parts(D(400), Market.FUT, None).gap_ms) == (2, 600)


async def test_what_was_promoted_stands_before_the_file_on_its_instrument_alone() -> None:
    desk = await Desk(file=lambda: SEED_G).start()
    await desk.says(ROUTER_CURVES.name(ENV, FUT), a="100", b="200", c="0")
    await desk.later()

    assert wait_of(await desk.terms()) == (500, WaitSource.CURVES)
    assert wait_of(await desk.terms(SPOT)) == (1_500, WaitSource.FILE)
    # A curve says nothing of slices.
    assert (await desk.terms()).parts(D(400), Market.FUT, None).slices == 2


async def test_a_promoted_table_says_slices_too_and_what_was_asked_for_wins() -> None:
    desk = await Desk(file=lambda: SEED_G).start()
    table = '[{"notional_usdt_max":1000,"maker_wait_ms":700,"twap":{"slices":4}}]'
    await desk.says(ROUTER_CURVES.name(ENV, FUT), table=table)
    await desk.later()

    terms = await desk.terms()

    assert wait_of(terms) == (700, WaitSource.CURVES)
    assert terms.parts(D(400), Market.FUT, None).slices == 4
    assert terms.parts(D(400), Market.FUT, Twap(enabled=True, slices=6)).slices == 6
    assert wait_of(terms, asked=ExecPolicy(maker_try_ms=900)) == (900, WaitSource.ASKED)
    assert wait_of(terms, asked=ExecPolicy(maker_wait_ms=800, maker_try_ms=900)) == (800, WaitSource.ASKED)


async def test_a_file_that_changes_is_read_again_and_has_another_revision() -> None:
    text: list[str | None] = [None]
    desk = await Desk(file=lambda: text[0]).start()
    seen = [desk.keeper.route_rev]
    for text[0] in (SEED_G, SEED_G.replace("1500", "1400"), SEED_G, None):
        await desk.later()
        seen.append(desk.keeper.route_rev)

    none, seed, changed, again, gone = seen
    assert len({none, seed, changed}) == 3
    assert (again, gone) == (seed, none)
    assert (await desk.terms()).route_rev == none


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("[]", "write a list of 1 to 1000 rows"),
        ('[{"notional_usdt_max":200}]', "[0].maker_wait_ms=None"),
        (OSError("permission denied"), "permission denied"),
        (ValueError("larger than 1000000 bytes"), "larger than"),
    ],
)
async def test_a_bad_file_leaves_the_old_one_in_force_and_a_person_hears_once(broken: Any, why: str) -> None:
    content: list[Any] = [SEED_G]

    def read() -> str | None:
        if isinstance(content[0], Exception):
            raise content[0]
        return str(content[0])

    desk = await Desk(file=read).start()
    before = desk.keeper.route_rev
    content[0] = broken
    for _ in range(3):
        await desk.later()

    assert wait_of(await desk.terms()) == (1_500, WaitSource.FILE)
    assert desk.keeper.route_rev == before
    (told,) = await desk.alerts()
    assert told.startswith("S4_ROUTE_TABLE_PATH: ")
    assert why in told

    content[0] = SEED_G.replace("1500", "1400")
    await desk.later()
    assert wait_of(await desk.terms())[0] == 1_400
    content[0] = broken
    await desk.later()
    assert len(await desk.alerts()) == 2


async def test_a_bad_curve_leaves_the_old_one_in_force_and_a_person_hears_once() -> None:
    desk = await Desk().start()
    await desk.says(ROUTER_CURVES.name(ENV, FUT), a="100", b="200", c="0")
    await desk.later()
    await desk.says(ROUTER_CURVES.name(ENV, FUT), b="many")
    await desk.later()
    await desk.later()

    assert wait_of(await desk.terms()) == (500, WaitSource.CURVES)
    (told,) = await desk.alerts()
    assert "router:curves:{FUT:BTCUSDT}: b='many': write a finite number" in told


async def test_what_a_person_cannot_be_told_now_is_told_later_and_holds_nothing_up() -> None:
    desk = await Desk(file=lambda: "[]").start()
    first = len(await desk.alerts())
    desk.config.here.bus.down = True
    desk.file = lambda: "{}"
    await desk.says(ROUTER_CURVES.name(ENV, FUT), a="100", b="200", c="0")
    await desk.later()
    assert wait_of(await desk.terms()) == (500, WaitSource.CURVES)

    desk.config.here.bus.down = False
    await desk.later()
    await desk.later()

    assert (first, len(await desk.alerts())) == (1, 2)


async def test_costs_come_from_the_newest_curve_of_the_instrument() -> None:
    desk = await Desk().start()
    await desk.measured(CostCurveKind.SLIPPAGE, "1", 1, base_bps=1, p_fill=0.9)
    await desk.measured(CostCurveKind.SLIPPAGE, "2", 2, base_bps=2, instrument="FUT:BTCUSDT")
    await desk.measured(CostCurveKind.FEES, "1", 1, maker_bp=0.5, taker_bp=2)
    before = desk.keeper.route_rev
    await desk.later()

    fut, spot = await desk.terms(), await desk.terms(SPOT)

    assert fut.costs.curve is not None
    assert spot.costs.curve is not None
    assert (fut.costs.curve.base_bps, spot.costs.curve.base_bps) == (2.0, 1.0)
    assert (fut.costs.p_fill, spot.costs.p_fill) == (0.6, 0.9)
    assert fut.costs.taker_fee_bps == 2.0
    assert desk.keeper.route_rev != before


async def test_a_newest_curve_that_cannot_be_used_leaves_it_to_the_one_before() -> None:
    desk = await Desk().start()
    await desk.measured(CostCurveKind.SLIPPAGE, "1", 1, base_bps=1)
    await desk.measured(CostCurveKind.SLIPPAGE, "2", 2, base_bps="cheap")
    await desk.later()
    await desk.later()

    terms = await desk.terms()

    assert terms.costs.curve is not None
    assert terms.costs.curve.base_bps == 1.0
    (told,) = await desk.alerts()
    assert "cost_curves/SLIPPAGE-2 params.base_bps='cheap'" in told


async def test_the_accounts_own_rates_and_limits_stand_in_the_registry() -> None:
    desk = await Desk().start()
    listed = Listed(
        market=Market.FUT,
        symbol="BTCUSDT",
        status=EntryStatus.ENABLED,
        tick_size=D("0.1"),
        step_size=D("0.001"),
        min_notional=D(50),
        spread_bp_limit=1.5,
        maker_fee_ratio=D("0.0002"),
        taker_fee_ratio=D("0.0004"),
    )
    await desk.config.here.documents.put(INSTRUMENT_REGISTRY, listed)
    await desk.later()

    terms = await desk.terms()

    assert (terms.costs.maker_fee_bps, terms.costs.taker_fee_bps) == (pytest.approx(2.0), pytest.approx(4.0))
    assert (terms.spread_bp_limit, terms.depth_top1_usdt_min) == (1.5, 200.0)


async def test_grades_and_level_make_slices_finer_and_forbid_maker() -> None:
    desk = await Desk().start()
    await desk.regime("NORMAL")
    book = (await desk.terms()).book(D(400), 0.5, 50_000.0)

    def style(terms: Terms) -> Style:
        return terms.choice("SIG-0", book, Routing.AUTO, new_entry=True, can_post=True).style

    assert style(await desk.terms()) is Style.MAKER_FIRST
    assert style(await desk.terms(level=HealthLevel.ORANGE)) is Style.TAKER
    assert style(await desk.terms(level=None)) is Style.TAKER
    assert wait_of(await desk.terms(level=HealthLevel.YELLOW))[0] == 900

    await desk.graded(backtest_guard="ORANGE", router_e2e_latency_p95="GREEN", nonsense="BLUE")
    terms = await desk.terms()
    assert (terms.conservative, style(terms)) == (True, Style.TAKER)
    assert terms.parts(D(400), Market.FUT, None).slices == 6

    await desk.graded(ib_rate="ORANGE")
    assert (await desk.terms(SPOT)).parts(D(400), Market.SPOT, None).slices == 100
    assert (await desk.terms()).parts(D(400), Market.FUT, None).slices == 3


async def test_a_bundle_may_say_that_the_guard_does_not_count() -> None:
    desk = await Desk().start(backtest_guard={"actions": {"conservative_routing": False}})
    await desk.graded(backtest_guard="ORANGE")

    assert not (await desk.terms()).conservative


@pytest.mark.parametrize("grades", ["", "[]", "{", '{"ib_rate": ["RED"]}', '{"ib_rate": 5}'])
async def test_grades_that_are_none_are_left_out(grades: str) -> None:
    desk = await Desk().start()
    await desk.says(HEALTH_ROLLING.name(ENV), grades=grades)

    assert (await desk.terms()).grades == {}


async def test_an_entry_costs_two_reads_of_the_state_store() -> None:
    desk = await Desk(file=lambda: SEED_G).start()
    reads: list[str] = []
    inner = desk.config.here.snapshots.inner

    class Counted:
        def __getattr__(self, name: str) -> Any:
            reads.append(name)
            return getattr(inner, name)

    desk.config.here.snapshots.inner = Counted()
    desk.config.here.documents.down = True
    await desk.terms()

    assert len(reads) == 2


async def test_without_a_bundle_or_a_store_there_are_no_terms() -> None:
    desk = await Desk().start()
    desk.config.here.snapshots.down = True
    with pytest.raises(StateUnavailable):
        await desk.terms()

    here = desk.config.here
    desk.keeper.watch = ConfigWatch(here.world, ENV, service="s4", check=lint)
    with pytest.raises(ConfigUnavailable):
        await desk.terms()


def test_a_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    place = tmp_path / "route.json"
    read = route_file(str(place))
    assert read() is None
    assert route_file(str(tmp_path / "route.json" / "deeper"))() is None

    place.write_text(SEED_G)
    assert read() == SEED_G
    assert route_file(str(place / "deeper"))() is None

    place.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="utf-8"):
        read()
    place.write_text(" " * (BYTES_MAX + 1))
    with pytest.raises(ValueError, match="larger than"):
        read()
    with pytest.raises(OSError, match="directory"):
        route_file(str(tmp_path))()


SNAP = {
    "mid": "60000.05",
    "bid": "60000",
    "ask": "60000.1",
    "spread_bps": "0.0167",
    "depth_top1_usdt": "120000",
    "ts": "1000",
}


async def seen(oldest_ms: int = 0, **changed: str) -> Touch | None:
    desk = Config()
    await desk.here.snapshots.set_hash(MKT_SNAP.name(ENV, FUT), {**SNAP, **changed})
    return await MarketView(env=ENV, snapshots=desk.here.world.snapshots).touch(FUT, oldest_ms=oldest_ms)


async def test_the_touch_of_the_market() -> None:
    assert await seen() == Touch(bid=D(60_000), ask=D("60000.1"), spread_bps=0.0167, depth_top1_usdt=120_000.0)
    thin = await seen(depth_top1_usdt="")
    assert thin is not None
    assert thin.depth_top1_usdt is None


async def test_a_touch_that_is_too_old_or_none_is_not_known() -> None:
    assert await seen(1_000) is not None
    assert await seen(1_001) is None
    assert await seen(1, ts="") is None
    for name, value in (("bid", "NaN"), ("ask", "0"), ("bid", "-1"), ("ask", ""), ("spread_bps", "nan"), ("bid", "x")):
        assert await seen(**{name: value}) is None

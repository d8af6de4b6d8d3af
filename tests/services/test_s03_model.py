"""S3 with real ONNX models: asked last, in time, by name and hash; and what is done where one does not answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import log
from typing import Any

import pytest

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.onnx_models import OnnxModels
from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES, MODELS
from chimera.contracts.documents import ConfigCanary, Factor, Model
from chimera.contracts.enums import Action
from chimera.contracts.flags import ModelFlags
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.messages import AlertEvent
from chimera.domain.config.bundle import content_hash, default_bundle, known_factors
from chimera.domain.config.cohort import in_canary
from chimera.domain.config.lint import lint
from chimera.domain.decision.calibration import AsItIs
from chimera.ports.bus import BusUnavailable
from chimera.ports.models import Models, OpenModel
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.telling import Teller
from chimera.services.s03_strategy.handlers.score import Opened, Scorer
from chimera.simulation.loop import run_virtual
from tests.ports.model_files import certainty_of, logistic, no_number, sha256, slow
from tests.services.meddling import Meddled
from tests.services.small_world import ENV, small_world
from tests.services.test_s03_strategy import HOUSE, Desk
from tests.services.trading_floor import BEGIN_MS

D = Decimal
FACTORS = known_factors()
FEATURES = ("spread_bps", "atr_14")


def always(p: float, width: int = 2) -> bytes:
    """A logistic regression that says p whatever it sees."""
    return logistic([0.0] * width, log(p / (1 - p)))


@dataclass
class Counted:
    """Real models, and how often they were opened, asked and closed."""

    inner: Models
    opened: list[str] = field(default_factory=list)
    asked: list[tuple[float, ...]] = field(default_factory=list)
    closed: int = 0

    async def open(self, body: bytes, *, sha256: str, inputs: int) -> OpenModel:
        model = await self.inner.open(body, sha256=sha256, inputs=inputs)
        self.opened.append(sha256)
        return CountedModel(self, model)


@dataclass
class CountedModel:
    counted: Counted
    inner: OpenModel

    async def predict(self, features: Sequence[float]) -> float:
        self.counted.asked.append(tuple(features))
        return await self.inner.predict(features)

    def close(self) -> None:
        self.counted.closed += 1
        self.inner.close()


class ModelDesk(Desk):
    async def keep_model(self, name: str, body: bytes | None, **changes: Any) -> Model:
        """On file, with its file where it belongs unless there is none."""
        digest = sha256(body or b"")
        model = Model(**{"name": name, "hash": digest, "features": FEATURES, "created_at": 1, **changes})
        await self.world.documents.put(MODELS, model)
        if body is not None:
            await self.world.objects.put(ids.model_object(model.hash), body, "application/octet-stream")
        return model

    async def use(self, name: str, **bundle: Any) -> None:
        await self.promote(flags={"model": {"name": name}}, **bundle)

    async def force(self, name: str, factors: tuple[Factor, ...] = FACTORS) -> None:
        """A bundle comes into force that S10 would not let pass now: its model was there when it did."""
        active = await self.world.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        assert active is not None
        first = default_bundle(1)
        flags = first.flags.but(model=ModelFlags(name=name))
        digest = content_hash(flags, first.rules, factors, first.instruments)
        rev = active.rev + 1
        bundle = first.but(bundle_id=f"BND-{rev}", rev=rev, flags=flags, factors=factors, hash=digest)
        await self.world.documents.put(CONFIG_BUNDLES, bundle)
        switch = active.but(rev=rev, seq=active.seq + 1, bundle_id=bundle.bundle_id, hash=digest)
        await self.world.documents.put(CONFIG_ACTIVE, switch)
        await self.settle(6_000)

    async def health(self) -> tuple[str, Any]:
        answer = await self.call("s3", "GET", "/health")
        return answer.body["status"], answer.body["checks"]["model"]


@pytest.mark.parametrize(
    ("p", "action", "note", "qty"),
    [
        pytest.param(0.95, "open", "P_HIGH", "0.008", id="sure"),
        pytest.param(0.70, "open", "P_NORMAL", "0.006", id="fair"),
        pytest.param(0.50, "open", "P_LOW", "0.003", id="doubtful"),
        pytest.param(0.20, "skip", "P_TOO_LOW", "0", id="too low"),
    ],
)
def test_the_bundles_model_sizes_the_entry(p: float, action: str, note: str, qty: str) -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        model = await desk.keep_model("m1", always(p))
        await desk.use("m1")

        signal_id = await desk.see()

        decision = (await desk.signal(signal_id)).decision
        assert decision.action.value == action
        assert decision.model_p == pytest.approx(p, abs=1e-6)
        assert decision.trail is not None
        told = decision.trail["model"]
        assert (told["note"], told["name"], told["hash"]) == (note, "m1", model.hash)
        assert desk.position_qty() == D(qty)
        if action == "skip":
            assert (decision.reason, decision.detail) == ("MODEL", note)
        assert await desk.health() == ("OK", "OK")
        await desk.stop()

    run_virtual(scenario())


def test_a_model_sees_its_features_in_its_own_order_and_its_answer_is_calibrated() -> None:
    async def scenario() -> None:
        counted = Counted(OnnxModels(in_thread=False))
        desk = await ModelDesk.begin(models=lambda _: counted)
        assert isinstance(desk, ModelDesk)
        calibration = {"method": "isotonic", "x": [0.0, 0.5, 1.0], "y": [0.1, 0.72, 0.8]}
        await desk.keep_model("m1", always(0.5), features=("atr_14", "spread_bps"), calibration=calibration)
        await desk.use("m1")

        signal_id = await desk.see(spread_bps=0.25, atr_14=110.0)

        assert counted.asked == [(110.0, 0.25)]
        assert (await desk.signal(signal_id)).decision.model_p == pytest.approx(0.72)
        await desk.stop()

    run_virtual(scenario())


def test_a_model_is_asked_only_where_nothing_else_refuses() -> None:
    async def scenario() -> None:
        counted = Counted(OnnxModels(in_thread=False))
        desk = await ModelDesk.begin(models=lambda _: counted)
        assert isinstance(desk, ModelDesk)
        await desk.keep_model("m1", always(0.2))
        await desk.use("m1")

        refused = [await desk.see(0.0), await desk.see(spread_bps=9.0), await desk.see(stale=("atr_14",))]
        asked_before = len(counted.asked)
        by_the_model = await desk.see()

        details = [(await desk.signal(each)).decision.detail for each in refused]
        assert (details, asked_before) == (["NO_SIGNAL", "SPREAD", "STALE"], 0)
        assert (await desk.signal(by_the_model)).decision.detail == "P_TOO_LOW"
        assert len(counted.asked) == 1
        await desk.stop()

    run_virtual(scenario())


def test_a_dry_run_asks_the_model_too_and_a_surer_one_may_make_room() -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        await desk.keep_model("m1", always(0.5))
        await desk.use("m1")
        await desk.see(0.0)

        told = [
            (await desk.decide("/dryrun", sideHint="BUY")).body,
            (await desk.decide("/decide", sideHint="BUY", dry_run=True)).body,
        ]

        for each in told:
            assert (each["decision"], each["size_mult"], each["intent"]["qty"]) == ("open", 0.5, 0.003)
            assert each["model_p"] == pytest.approx(0.5)
        assert (await desk.intents(), await desk.reserved()) == ([], {})
        await desk.stop()

    run_virtual(scenario())


# --- without an answer


@pytest.mark.parametrize(
    ("body", "changes", "says"),
    [
        pytest.param(None, None, "no such model", id="not on file"),
        pytest.param(None, {"hash": "a" * 64}, "there is no object models/aaaa", id="no file"),
        pytest.param(always(0.9), {"hash": "b" * 64}, "sha256", id="another file"),
        pytest.param(always(0.9, 3), {}, "takes 3 features", id="another width"),
        pytest.param(b"nonsense", {}, "cannot read the file", id="no model"),
        pytest.param(
            always(0.9), {"calibration": {"method": "platt", "a": 1, "b": 0}}, "calibration.a", id="backwards"
        ),
        pytest.param(always(0.9), {"features": ("atr_14", "atr_14")}, "named twice", id="a feature twice"),
        pytest.param(always(0.9), {"hash": "../secret"}, "64 hex digits", id="a name that is no hash"),
    ],
)
def test_a_model_that_cannot_be_opened_is_told_once_and_decisions_go_on_without_it(
    body: bytes | None, changes: dict[str, Any] | None, says: str
) -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        if changes is not None:
            model = await desk.keep_model("m1", None, **{"hash": sha256(body or b""), **changes})
            if body is not None and len(model.hash) == 64:
                await desk.world.objects.put(ids.model_object(model.hash), body, "")
        await desk.force("m1")

        signal_id = await desk.see()
        await desk.settle(200_000)

        decision = (await desk.signal(signal_id)).decision
        assert (decision.action, decision.model_p, decision.size_mult) == (Action.OPEN, None, 1.0)
        assert decision.trail is not None
        assert decision.trail["model"] == {"p": None, "note": "NO_MODEL", "name": "m1", "hash": None}
        (alert,) = desk.alerts("MODEL_UNUSABLE")
        assert says in alert.message
        assert await desk.health() == ("DEGRADED", "DEGRADED")
        await desk.stop()

    run_virtual(scenario())


def test_a_model_that_is_mended_is_used_within_a_minute_without_a_restart() -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        await desk.force("m1")
        before = (await desk.decide("/dryrun", sideHint="BUY")).status
        await desk.keep_model("m1", always(0.2))

        await desk.settle(61_000)

        signal_id = await desk.see()
        assert before == 400, "nothing was seen yet"
        assert (await desk.signal(signal_id)).decision.detail == "P_TOO_LOW"
        assert await desk.health() == ("OK", "OK")
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    "body", [no_number(2), certainty_of(1.5, 2), certainty_of(-0.5, 2)], ids=["NaN", "1.5", "-0.5"]
)
def test_an_answer_that_is_no_probability_enters_nothing_and_is_told_once(body: bytes) -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        # A calibration would make a probability of it.
        await desk.keep_model("m1", body, calibration={"method": "platt", "a": -1.0, "b": 0.0})
        await desk.use("m1")

        signal_ids = [await desk.see(), await desk.see()]
        answer = await desk.decide("/dryrun")

        decision = (await desk.signal(signal_ids[0])).decision
        assert (decision.action, decision.reason, decision.detail) == (Action.SKIP, "MODEL", "MODEL_INVALID")
        assert decision.trail is not None
        assert decision.trail["model"]["note"] == "MODEL_INVALID"
        assert answer.body["detail"] == "MODEL_INVALID", answer.body
        assert desk.position_qty() == 0
        (alert,) = desk.alerts("MODEL_UNUSABLE")
        assert "no probability" in alert.message
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("how", ["stale", "absent", "not enabled"])
def test_what_the_model_reads_must_be_there_as_what_a_rule_reads(how: str) -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        await desk.keep_model("m1", always(0.7), features=("spread_bps", "rv_1d"))
        await desk.force("m1", tuple(each for each in FACTORS if how != "not enabled" or each.factor_id != "rv_1d"))
        well = {"rv_1d": 0.5} if how != "absent" else {}

        signal_id = await desk.see(stale=("rv_1d",) if how == "stale" else (), **well)

        decision = (await desk.signal(signal_id)).decision
        assert (decision.reason, decision.detail) == ("GATE", "FACTOR_MISSING")
        assert decision.trail is not None
        assert decision.trail["missing"] == ["rv_1d"]
        (alert,) = desk.alerts("FACTOR_MISSING")
        assert "rv_1d" in alert.message
        await desk.stop()

    run_virtual(scenario())


def test_a_word_among_the_features_is_a_broken_model_and_no_poison() -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        await desk.keep_model("m1", always(0.7), features=("spread_bps", "rv_1d"))
        await desk.use("m1")

        signal_id = await desk.see(rv_1d="calm")

        assert (await desk.signal(signal_id)).decision.detail == "MODEL_INVALID"
        await desk.stop()

    run_virtual(scenario())


# --- coming and going


def test_one_model_is_opened_once_however_often_the_configuration_changes_and_closed_when_none_names_it() -> None:
    async def scenario() -> None:
        counted = Counted(OnnxModels(in_thread=False))
        desk = await ModelDesk.begin(models=lambda _: counted)
        assert isinstance(desk, ModelDesk)
        one, two = await desk.keep_model("m1", always(0.7)), await desk.keep_model("m2", always(0.2))

        await desk.use("m1")
        await desk.promote(flags={"model": {"name": "m1", "timeout_ms": 70}})
        opened_once = list(counted.opened)
        await desk.use("m2")
        by_the_second = await desk.see()
        await desk.promote()
        by_the_constant = await desk.see()

        assert opened_once == [one.hash]
        assert (counted.opened, counted.closed) == ([one.hash, two.hash], 2)
        assert (await desk.signal(by_the_second)).decision.detail == "P_TOO_LOW"
        constant = (await desk.signal(by_the_constant)).decision
        assert constant.model_p == 0.65
        assert constant.trail is not None
        assert (constant.trail["model"]["name"], constant.trail["model"]["hash"]) == ("constant", None)
        await desk.stop()
        assert counted.closed == 2

    run_virtual(scenario())


def test_stopping_closes_what_is_open() -> None:
    async def scenario() -> None:
        counted = Counted(OnnxModels(in_thread=False))
        desk = await ModelDesk.begin(models=lambda _: counted)
        assert isinstance(desk, ModelDesk)
        await desk.keep_model("m1", always(0.7))
        await desk.use("m1")

        await desk.stop("s3")

        assert (len(counted.opened), counted.closed) == (1, 1)
        await desk.start("s3")
        await desk.settle(1_000)
        assert (len(counted.opened), counted.closed) == (2, 1), "a restart opens what is in force"
        await desk.stop()

    run_virtual(scenario())


def test_a_canary_decides_its_signals_by_its_own_model_and_they_carry_its_revision() -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin()
        assert isinstance(desk, ModelDesk)
        await desk.keep_model("m1", always(0.2))
        made = await desk.call("s10", "POST", "/bundles", {"flags": {"model": {"name": "m1"}}})
        bundle_id = made.body["bundle_id"]
        staged = await desk.call("s10", "POST", f"/bundles/{bundle_id}/stage")
        active = await desk.world.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        bundle = await desk.world.documents.get(CONFIG_BUNDLES, bundle_id)
        assert active is not None
        assert bundle is not None
        canary = ConfigCanary(rev=staged.body["rev"], bundle_id=bundle_id, hash=bundle.hash, share=0.5)
        await desk.world.documents.put(CONFIG_ACTIVE, active.but(seq=active.seq + 1, canary=canary))
        await desk.settle(6_000)

        told = {}
        for _ in range(12):
            signal_id = await desk.see(0.0, settle_ms=1_000)
            answer = (await desk.decide("/dryrun", sideHint="BUY")).body
            told[answer["signal_id"]] = (answer["config_rev"], answer["detail"])
            assert answer["signal_id"] == signal_id
        while not await desk.intents():
            last = await desk.see(settle_ms=1_000)

        for signal_id, decided in told.items():
            assert decided == ((canary.rev, "P_TOO_LOW") if in_canary(signal_id, 0.5) else (1, "OK"))
        assert {rev for rev, _ in told.values()} == {1, canary.rev}
        (record,) = await desk.intents()
        trade = await desk.trade(record.intent_id)
        assert ((await desk.signal(last)).config_rev, record.intent.risk.rcu_rev, trade.config_rev) == (1, 1, 1)
        await desk.stop()

    run_virtual(scenario())


# --- in time


@dataclass
class Bench:
    """A scorer in real time, with a real thread behind its model."""

    scorer: Scorer
    opened: Opened
    clock: LoopClock

    @classmethod
    async def with_model(cls, body: bytes) -> "Bench":
        here = small_world()
        clock = LoopClock(BEGIN_MS)
        teller = Teller(source="s3", env=ENV, bus=here.world.bus, documents=here.world.documents, clock=clock)
        scorer = Scorer(
            watch=ConfigWatch(here.world, ENV, service="s3", check=lint),
            documents=here.world.documents,
            objects=here.world.objects,
            models=OnnxModels(in_thread=True),
            clock=clock,
            randomness=SeededRandomness(1),
            teller=teller,
        )
        session = await OnnxModels(in_thread=True).open(body, sha256=sha256(body), inputs=1)
        document = Model(name="m1", hash=sha256(body), features=("atr_14",), created_at=1)
        return cls(scorer, Opened(document=document, calibration=AsItIs(), session=session), clock)

    async def ask(self, value: float, timeout_ms: int) -> tuple[float | None, str]:
        score = await self.scorer.ask(self.opened, ModelFlags(name="m1", timeout_ms=timeout_ms), {"atr_14": value})
        return score.p, score.note


async def test_a_model_that_is_too_late_counts_as_none_and_says_so() -> None:
    bench = await Bench.with_model(slow(1))

    late = await bench.ask(1e6, timeout_ms=50)
    afterwards = await bench.ask(0.0, timeout_ms=10_000)

    assert late == (None, "MODEL_TIMEOUT")
    assert afterwards[0] is not None
    bench.opened.session.close()


async def test_who_waits_behind_a_stuck_run_is_in_time_or_late_and_nothing_piles_up() -> None:
    bench = await Bench.with_model(slow(1))

    stuck = asyncio.ensure_future(bench.ask(1e6, timeout_ms=400))
    await asyncio.sleep(0.05)
    behind = await asyncio.gather(*(bench.ask(1e6, timeout_ms=50) for _ in range(10)))

    assert behind == [(None, "MODEL_TIMEOUT")] * 10
    assert await stuck == (None, "MODEL_TIMEOUT")
    assert (await bench.ask(0.0, timeout_ms=10_000))[0] is not None
    assert bench.opened.asking == 0
    bench.opened.session.close()


async def test_a_model_is_closed_when_its_last_asker_has_left() -> None:
    bench = await Bench.with_model(slow(1))
    asking = asyncio.ensure_future(bench.ask(1e6, timeout_ms=200))
    await asyncio.sleep(0.05)

    bench.opened.retire()

    assert await asking == (None, "MODEL_TIMEOUT"), "not broken: it was only replaced"
    assert await bench.ask(0.0, timeout_ms=1_000) == (None, "NO_MODEL"), "closed by now"


async def test_the_whole_of_s3_enters_without_a_model_that_is_too_late() -> None:
    desk = await ModelDesk.begin(*HOUSE, models=lambda _: OnnxModels(in_thread=True))
    assert isinstance(desk, ModelDesk)
    await desk.keep_model("m1", slow(1), features=("atr_14",))
    await desk.use("m1")
    for _ in range(600):
        if (await desk.health())[1] == "OK":
            break
        await asyncio.sleep(0.05)

    signal_id = await desk.see(settle_ms=500)
    for _ in range(600):
        if await desk.intents():
            break
        await asyncio.sleep(0.05)

    decision = (await desk.signal(signal_id)).decision
    assert (decision.action, decision.model_p, decision.size_mult) == (Action.OPEN, None, 1.0)
    assert decision.trail is not None
    assert decision.trail["model"]["note"] == "MODEL_TIMEOUT"
    await desk.stop()


# --- telling


def test_an_alert_that_the_bus_did_not_take_is_told_when_it_does() -> None:
    async def scenario() -> None:
        desk = await ModelDesk.begin(*HOUSE, bus=Meddled)
        assert isinstance(desk, ModelDesk)
        refused = 0

        async def publish(call: Any, stream: str, message: Any) -> Any:
            nonlocal refused
            if isinstance(message, AlertEvent) and refused < 3:
                refused += 1
                raise BusUnavailable("a failover")
            return await call(stream, message)

        desk.world.bus.instead["publish"] = publish
        await desk.force("m1")
        await desk.settle(20_000)

        assert (refused, len(desk.alerts("MODEL_UNUSABLE"))) == (3, 1)
        await desk.stop()

    run_virtual(scenario())

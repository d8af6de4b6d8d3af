"""A dry run reads what was stored, decides it twice, and says what would have been otherwise."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from chimera.adapters.compute import ComputeInThread
from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_BUNDLES, INSTRUMENT_REGISTRY, MODELS, SIGNALS
from chimera.contracts.documents import Decision, Signal
from chimera.contracts.enums import Action
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S10Settings
from chimera.ports.documents import Put, Query
from chimera.services.s10_config.handlers import dry_run
from chimera.services.s10_config.service import build
from chimera.services.s10_config.settings import ConfigSettings
from tests.services.config_desk import Config
from tests.services.small_world import ENV, small_world
from tests.services.test_s10_models import BODY, MODEL

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000
FEATURES = {
    "mid": 60_000.05,
    "spread_bps": 0.5,
    "depth_top1_usdt": 500_000.0,
    "atr_14": 320.0,
    "funding_next": 0.0001,
    "rv_1d": 0.4,
    "xmkt_signal": 1.0,
}
RULE = {
    "rule_id": "R-1",
    "priority": 1,
    "applies": {"symbols": [], "services": ["s3-strategy"]},
    "when": {"f": "rv_1d", "op": ">", "v": 0.5},
    "action": {"type": "skip_entry", "value": True},
    "status": "ENABLED",
}


def signal(key: str, t0: int, **features: float) -> Signal:
    instrument = InstrumentKey.parse(key)
    return Signal(
        signal_id=f"SIG-{t0}-{instrument.doc_key}",
        t0=t0,
        market=instrument.market,
        symbol=instrument.symbol,
        features={**FEATURES, **features},
        decision=Decision(action=Action.SKIP, reason="PENDING"),
        config_rev=1,
    )


async def ready(*signals: Signal, asked_min: int = 1) -> Config:
    config = Config()
    settings = ConfigSettings(env=ENV, variables=S10Settings(dry_run_asked_min=asked_min))
    config.service = build(config.here.world, settings)
    config.here.peers.add("s10", config.service.routes)
    await (await config.start()).lists("FUT:BTCUSDT", "SPOT:BTCUSDT", "FUT:ETHUSDT")
    await config.here.documents.put_many([Put(SIGNALS, each) for each in signals])
    return config


async def drafted(config: Config, **parts: Any) -> str:
    made = await config.ask("POST", "/bundles", {"rules": [RULE], **parts})
    bundle_id: str = made.body["bundle_id"]
    return bundle_id


def ago(minutes: int) -> int:
    return NOW_MS - 60_000 * minutes


async def test_a_rule_that_refuses_shows_in_every_figure() -> None:
    config = await ready(
        *(signal("FUT:BTCUSDT", ago(n), rv_1d=0.6 if n <= 3 else 0.4) for n in range(1, 5)),
        signal("SPOT:BTCUSDT", ago(1)),
        signal("FUT:ETHUSDT", ago(2_000), mid=3_000.05, atr_14=20.0),
    )
    bundle_id = await drafted(config)

    told = await config.ask("POST", f"/bundles/{bundle_id}/dry-run", {"days": 7})

    assert told.status == 200
    body = told.body
    assert (body["bundle_id"], body["against_rev"], body["days"]) == (bundle_id, 1, 7)
    assert (body["signals"], body["asked"], body["skipped"]) == (6, 6, 3)
    assert (body["opened"], body["opened_by_reference"], body["opened_by_both"]) == (3, 6, 3)
    assert (body["skip_entry_ratio"], body["jaccard"], body["size_up_ratio"]) == (0.5, 0.5, 0.0)
    assert body["passed"] is True
    by_key = {(each["market"], each["symbol"]): each for each in body["instruments"]}
    assert by_key["FUT", "BTCUSDT"]["opened"] == 1
    assert by_key["SPOT", "BTCUSDT"]["jaccard"] == 1.0
    assert body["rules"] == [
        {"rule_id": "R-001", "hits": 0, "hits_of_reference": 0},
        {"rule_id": "R-1", "hits": 3, "hits_of_reference": 0},
    ]
    assert body["outcomes"] == [
        {"outcome": "OK", "signals": 3, "signals_of_reference": 6},
        {"outcome": "RULE:R-1", "signals": 3, "signals_of_reference": 0},
    ]
    assert [(day["day"], day["signals"], day["opened"]) for day in body["per_day"]] == [
        ("2023-11-13", 1, 1),
        ("2023-11-14", 5, 2),
    ]
    assert "neutral" in body["notes"][0]


async def test_a_dry_run_changes_nothing() -> None:
    config = await ready(signal("FUT:BTCUSDT", ago(1)))
    bundle_id = await drafted(config)
    before = await config.here.documents.get(CONFIG_BUNDLES, bundle_id)

    await config.ask("POST", f"/bundles/{bundle_id}/dry-run")

    assert await config.here.documents.get(CONFIG_BUNDLES, bundle_id) == before


async def test_only_signals_of_the_days_and_symbols_asked_for_count() -> None:
    config = await ready(
        signal("FUT:BTCUSDT", ago(10)),
        signal("FUT:BTCUSDT", NOW_MS - 3 * DAY_MS),
        signal("FUT:BTCUSDT", NOW_MS),
        signal("FUT:ETHUSDT", ago(10)),
    )
    bundle_id = await drafted(config)

    async def signals(**wish: Any) -> int:
        told = await config.ask("POST", f"/bundles/{bundle_id}/dry-run", wish)
        count: int = told.body["signals"]
        return count

    assert await signals() == 3
    assert await signals(days=1) == 2
    assert await signals(days=3) == 3
    assert await signals(symbols=["ETHUSDT"]) == 1
    assert await signals(symbols=["BTCUSDT", "ETHUSDT", "BTCUSDT"], days=1) == 2


async def test_a_market_that_the_bundle_no_longer_trades_is_a_shift_of_policy() -> None:
    config = await ready(signal("FUT:BTCUSDT", ago(1)), signal("FUT:ETHUSDT", ago(1), mid=3_000.05, atr_14=20.0))
    only_eth = {"strategy": {"markets": {"ETHUSDT": ["FUT"]}}}
    bundle_id = await drafted(config, flags=only_eth)

    body = (await config.ask("POST", f"/bundles/{bundle_id}/dry-run")).body

    futures = [each for each in body["instruments"] if each["market"] == "FUT"]
    assert {each["symbol"]: each["jaccard"] for each in futures} == {"BTCUSDT": 0.0, "ETHUSDT": 1.0}
    assert {"outcome": "NOT_TRADED", "signals": 1, "signals_of_reference": 0} in body["outcomes"]


async def test_of_too_few_signals_nothing_is_said_and_nothing_passes() -> None:
    config = await ready(signal("FUT:BTCUSDT", ago(1)), asked_min=2)
    bundle_id = await drafted(config)

    body = (await config.ask("POST", f"/bundles/{bundle_id}/dry-run")).body

    assert body["passed"] is False
    [failed] = [limit for limit in body["limits"] if not limit["passed"]]
    assert (failed["name"], failed["value"], failed["limit"]) == ("asked", 1, 2)


async def test_what_cannot_be_sized_yet_is_left_out_and_named() -> None:
    config = await ready(signal("FUT:BTCUSDT", ago(1)), signal("SPOT:BTCUSDT", ago(1)))
    bare = await config.here.documents.get(INSTRUMENT_REGISTRY, "FUT-BTCUSDT")
    await config.here.documents.put(INSTRUMENT_REGISTRY, bare.but(leverage_bracket=None))
    bundle_id = await drafted(config)

    body = (await config.ask("POST", f"/bundles/{bundle_id}/dry-run")).body

    assert body["signals"] == 1
    assert "FUT:BTCUSDT is left out" in body["notes"][1]


async def test_a_factor_that_was_not_computed_then_is_named() -> None:
    config = await ready(signal("FUT:BTCUSDT", ago(1)), signal("SPOT:BTCUSDT", ago(1)))
    bundle_id = await drafted(config, rules=[{**RULE, "when": {"f": "atr_1m_14", "op": ">", "v": 1}}])

    body = (await config.ask("POST", f"/bundles/{bundle_id}/dry-run")).body

    assert (body["asked"], body["opened_by_reference"]) == (0, 2)
    assert any(note.startswith("atr_1m_14 stands in no stored signal of FUT:BTCUSDT, SPOT") for note in body["notes"])


@pytest.mark.parametrize(("heard", "passed"), [(1, False), (2, True)])
async def test_a_model_that_is_hardly_heard_does_not_pass(heard: int, passed: bool) -> None:
    signals = [signal("FUT:BTCUSDT", ago(n)) for n in range(1, 5)]
    for n in range(heard):
        signals[n] = signals[n].but(decision=signals[n].decision.but(model_p=0.9))
    config = await ready(*signals)
    await config.here.documents.put(MODELS, MODEL)
    await config.here.world.objects.put(ids.model_object(MODEL.hash), BODY, "application/octet-stream")
    bundle_id = await drafted(config, flags={"model": {"name": "m1"}})

    body = (await config.ask("POST", f"/bundles/{bundle_id}/dry-run", {"days": 7})).body

    assert (body["model_asked"], body["without_p"], body["passed"]) == (4, 4 - heard, passed)
    assert any(note.startswith(f"Of {4 - heard} of the 4 signals") for note in body["notes"])
    silent = next(limit for limit in body["limits"] if limit["name"] == "without_p_ratio")
    assert (silent["passed"], silent["limit"]) == (passed, 0.5)


async def test_two_bundles_can_be_run_beside_each_other() -> None:
    config = await ready(signal("FUT:BTCUSDT", ago(1), rv_1d=0.6))
    one, other = await drafted(config), await drafted(config, note="the same")

    body = (await config.ask("POST", f"/bundles/{one}/dry-run", {"against": other})).body

    assert (body["against"], body["opened"], body["jaccard"]) == (other, 0, 1.0)


@pytest.mark.parametrize(
    ("wish", "status", "says"),
    [
        pytest.param({"days": 0}, 400, "days", id="no day"),
        pytest.param({"days": 366}, 400, "days", id="more than a year"),
        pytest.param({"symbols": []}, 400, "symbols", id="no symbol"),
        pytest.param({"symbols": ["FOOUSDT"]}, 422, "BTCUSDT, ETHUSDT", id="not listed"),
        pytest.param({"against": "BND-none"}, 404, "BND-none", id="no such reference"),
        pytest.param({"day": 3}, 400, "day", id="a misspelt wish"),
    ],
)
async def test_a_wish_that_cannot_be_met_is_refused(wish: Any, status: int, says: str) -> None:
    config = await ready()
    bundle_id = await drafted(config)

    answer = await config.ask("POST", f"/bundles/{bundle_id}/dry-run", wish)

    assert answer.status == status
    assert says in answer.body["detail"]


async def test_a_bundle_with_faults_is_not_run() -> None:
    config = await ready()
    bundle_id = await drafted(config, rules=[{**RULE, "when": {"f": "moon_phase", "op": ">", "v": 1}}])

    answer = await config.ask("POST", f"/bundles/{bundle_id}/dry-run")

    assert (answer.status, "moon_phase" in answer.body["detail"]) == (422, True)


class Counting:
    """Documents that note how many signals were handed over at once."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.pieces: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def find(self, query: Query[Any]) -> Any:
        found = await self.inner.find(query)
        if query.collection is SIGNALS:
            self.pieces.append(len(found))
        return found


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
async def test_every_signal_counts_once_however_they_fall_into_pieces(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "PIECE", piece)
    keys = ("FUT:BTCUSDT", "SPOT:BTCUSDT", "FUT:ETHUSDT")
    config = await ready(*(signal(key, ago(n)) for n in (1, 2, 2, 3, 9) for key in keys))
    bundle_id = await drafted(config)

    every = (await config.ask("POST", f"/bundles/{bundle_id}/dry-run")).body
    of_one = (await config.ask("POST", f"/bundles/{bundle_id}/dry-run", {"symbols": ["BTCUSDT"]})).body

    assert (every["signals"], of_one["signals"]) == (12, 8)


async def test_others_have_their_turn_between_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "PIECE", 10)
    here = small_world()
    compute = ComputeInThread()
    here = replace(here, world=replace(here.world, compute=compute))
    config = Config(here)
    await (await config.start()).lists("FUT:BTCUSDT")
    await here.documents.put_many([Put(SIGNALS, signal("FUT:BTCUSDT", ago(n))) for n in range(1, 101)])
    bundle_id = await drafted(config)
    counting = here.documents.inner = Counting(here.documents.inner)
    turns: list[int] = []

    async def somebody_else() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(len(counting.pieces))

    other = asyncio.create_task(somebody_else())
    told = await config.ask("POST", f"/bundles/{bundle_id}/dry-run")
    other.cancel()
    compute.close()

    assert told.body["signals"] == 100
    assert max(counting.pieces) <= 10
    assert set(turns) >= set(range(1, len(counting.pieces)))

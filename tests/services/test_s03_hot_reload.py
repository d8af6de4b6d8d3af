"""A configuration that changes while S3 decides: each decision is one revision's from the first gate to the last price,
and the next one is the new revision's.

Every revision here differs from every other in rules, limits, sizing and targets, so that a decision put together from
two of them says so in its own trail.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import pytest

from chimera.contracts import ids
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import ConfigActive, ConfigBundle
from chimera.contracts.enums import Action, CfgEventKind, Market
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.messages import CfgEvent, SignalEvent
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.streams import CFG_EVENTS
from chimera.domain.config.bundle import hash_of, known_factors
from chimera.runtime.service import Service
from chimera.simulation.loop import run_virtual
from tests.domain.decision.worlds import rule
from tests.services.test_s03_strategy import HOUSE, Desk
from tests.services.trading_floor import ENV, FUT, SPOT

D = Decimal
ACTIVATIONS = 20
DECISIONS = 1_000
LATENCY_MS_MAX = 12
"""Of everything that S3 waits for: a decision takes some tens of ms, in which a switch may come."""
ASK = {Market.FUT: D(60_001), Market.SPOT: D(60_001)}
SPOT_FEE = D("0.001")


class Slow:
    """A dependency that takes its time, by a seed."""

    def __init__(self, inner: Any, clock: Any, seed: int) -> None:
        self._inner = inner
        self._clock = clock
        self._random = random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(call):
            return call

        async def slowly(*args: Any, **kwargs: Any) -> Any:
            await self._clock.sleep_until_ms(self._clock.now_ms() + self._random.randint(0, LATENCY_MS_MAX))
            return await call(*args, **kwargs)

        return slowly


class HookedDesk(Desk):
    """A desk whose S3 waits for `hooked` parts of the world; all others see it as it is."""

    hook: Callable[[Any, str], Any] | None = None

    def _build(self, service_id: str) -> Service:
        whole = self.world
        if service_id == "s3" and self.hook is not None:
            parts = ("snapshots", "locks", "reservations", "documents")
            self.world = replace(whole, **{part: self.hook(getattr(whole, part), part) for part in parts})
        try:
            built: Service = super()._build(service_id)
        finally:
            self.world = whole
        return built

    @classmethod
    async def hooked(cls, hook: Callable[[Any, str], Any] | None = None, *services: str) -> "HookedDesk":
        desk = await cls.open("s10", "s1", *(services or HOUSE[:-1]))
        assert isinstance(desk, HookedDesk)
        desk.hook = hook
        await desk.start("s3")
        return desk

    async def activate(self, number: int) -> int:
        """Through S10: made, staged, promoted. Returns its revision; nobody has been waited for."""
        made = await self.call("s10", "POST", "/bundles", bundle(number))
        bundle_id = made.body["bundle_id"]
        staged = await self.call("s10", "POST", f"/bundles/{bundle_id}/stage")
        assert staged.ok, staged.body
        promoted = await self.call("s10", "POST", "/promote", {"bundle_id": bundle_id, "mode": "FULL"})
        assert promoted.ok, promoted.body
        return int(promoted.body["to_rev"])


def bundle(number: int) -> dict[str, Any]:
    odd = number % 2 == 1
    always = {"f": "spread_bps", "op": ">=", "v": 0}
    return {
        "rules": [
            rule(f"SIZE-{number}", when=always, action={"type": "size_mult", "value": 0.8 if odd else 1.0}),
            rule(f"TARGET-{number}", when=always, action={"type": "tp_mult", "value": 1 + number / 100}),
            rule(f"STOP-{number}", when=always, action={"type": "sl_mult", "value": 1 + number / 50}),
        ],
        "factors": [factor.to_dict() for factor in known_factors()],
        "flags": {
            "risk": {"slip_bp_hard": 24 + number, "daily_loss_usdt_max": 6 + number},
            "strategy": {"cooldown_min": 60 + number, "min_exit_net_pct": float(D("0.2") + D(number) / 1_000)},
            "spot": {
                "quote_usdt": 50 + number,
                # Every other revision has fixed distances: then S3 says prices, else a profit.
                "tp_bps": 150 + number if odd else 0,
                "sl_bps": 100 + number if odd else 0,
            },
        },
    }


def check_whole(number: int, market: Market, trail: dict[str, Any], intent: dict[str, Any] | None) -> None:
    """Every part of a decision says that it was made by bundle `number`."""
    odd = number % 2 == 1
    limits = {gate["code"]: gate["limit"] for gate in trail["gates"]}
    assert (limits["SLIPPAGE"], limits["COOLDOWN"], limits["DAILY_LOSS"]) == (24 + number, 60 + number, 6 + number)
    assert [each["rule_id"] for each in trail["rules"]] == [f"{kind}-{number}" for kind in ("SIZE", "STOP", "TARGET")]
    if trail["plan"] is None:
        assert intent is None
        return
    plan = trail["plan"]
    assert trail["rules_fired"] == [f"{kind}-{number}" for kind in ("SIZE", "STOP", "TARGET")]
    assert (trail["size_mult"], trail["tp_mult"], trail["sl_mult"]) == (
        0.8 if odd else 1.0,
        1 + number / 100,
        1 + number / 50,
    )
    assert intent is not None
    told = OrderIntent.model_validate({name: value for name, value in intent.items() if name not in ("tp_px", "sl_px")})
    size_mult = D("0.8") if odd else D(1)
    assert told.sl is not None
    assert told.sl.distance is not None
    assert float(told.sl.distance) == plan["stop_distance"]
    if market is Market.FUT:
        assert plan["target_ratio"] == float(D("0.2") + D(number) / 1_000)
        assert told.tp is not None
        assert told.tp.ratio == D("0.2") + D(number) / 1_000
        return
    quote = (50 + number) * size_mult
    qty = (quote / ASK[market] / D("0.00001")).to_integral_value(ROUND_FLOOR) * D("0.00001")
    assert told.qty == qty
    assert told.exec_policy.oco is not None
    if odd:
        assert told.tp is None, "the target of one revision stands beside the prices of another"
        target = (ASK[market] * (1 + D(150 + number) / 10_000) / D("0.01")).to_integral_value(ROUND_CEILING) * D("0.01")
        assert told.exec_policy.oco.tp == target
        assert told.sl.distance == (ASK[market] * D(100 + number) / 10_000).quantize(D("1e-8"), ROUND_FLOOR)
    else:
        assert told.tp is not None, "the prices of one revision stand beside the target of another"
        assert told.tp.ratio == (D("0.01") * quote / (qty * ASK[market])).quantize(D("1e-8"))


def test_a_thousand_decisions_during_twenty_activations_are_each_of_one_revision() -> None:
    async def scenario() -> None:
        desk = await HookedDesk.hooked()
        seeds = iter(range(100))
        await desk.stop("s3")
        desk.hook = lambda inner, part: Slow(inner, desk.world.clock, next(seeds))
        await desk.start("s3")
        numbers: dict[int, int] = {}
        in_force: list[tuple[int, int]] = []
        """When each revision was promoted, and which."""

        async def switch(number: int) -> None:
            rev = await desk.activate(number)
            numbers[rev] = number
            in_force.append((desk.world.clock.now_ms(), rev))

        await switch(0)
        await desk.settle(1_000)
        for key in (FUT, SPOT):
            await desk.see(0.0, key=key, settle_ms=100)
        seen: Counter[int] = Counter()
        mixed: list[str] = []
        left = iter(range(DECISIONS))

        async def ask(who: int) -> None:
            chance = random.Random(who)
            for _ in left:
                market = chance.choice(["FUT", "SPOT"])
                path, more = chance.choice([("/dryrun", {"sideHint": "BUY"}), ("/decide", {})])
                began_ms = desk.world.clock.now_ms()
                answer = await desk.decide(path, market=market, **more)
                assert answer.ok, answer.body
                body = answer.body
                rev = body["config_rev"]
                seen[rev] += 1
                # Told within half a second of the switch, and never before it.
                oldest = [each for at_ms, each in in_force if at_ms <= began_ms - 500][-1:]
                assert rev in numbers, f"revision {rev} decided before it was promoted"
                assert rev >= max(oldest, default=0), f"revision {rev} decided long after {oldest}"
                assert body["decision"] == ("open" if path == "/dryrun" else "skip"), body
                intent = body.get("intent")
                assert intent is None or intent["risk"]["rcu_rev"] == rev
                try:
                    check_whole(numbers[rev], Market(market), body["trail"], intent)
                except AssertionError as error:
                    mixed.append(f"revision {rev} ({numbers[rev]}), {market} {path}: {str(error).splitlines()[0]}")

        async def keep_features_fresh() -> None:
            while True:
                for key in (FUT, SPOT):
                    await desk.see(0.0, key=key, settle_ms=200)

        fresh = asyncio.ensure_future(keep_features_fresh())
        asking = [asyncio.ensure_future(ask(who)) for who in range(12)]
        for number in range(1, ACTIVATIONS + 1):
            wanted = number * DECISIONS // (ACTIVATIONS + 1)
            while sum(seen.values()) < wanted and not any(task.done() for task in asking):
                await desk.pass_ms(7)
            await switch(number)
        await asyncio.gather(*asking)
        fresh.cancel()
        await asyncio.gather(fresh, return_exceptions=True)

        assert not mixed, "\n".join(mixed[:10])
        assert sum(seen.values()) == DECISIONS
        assert set(seen) == set(numbers), "a revision that nobody decided by"
        await desk.stop()

    run_virtual(scenario())


def test_the_next_signal_after_the_event_carries_the_new_revision() -> None:
    async def scenario() -> None:
        desk = await HookedDesk.hooked()
        for number in range(1, 8):
            rev = await desk.activate(number)
            # The reader of cfg:events takes its turn; nobody waits for the poll.
            await desk.pass_ms(1)
            # Another reason each time: the same one is not stored again.
            spoilt = {"spread_bps": 5.0} if number % 2 else {"depth_top1_usdt": 10.0}
            signal = await desk.signal(await desk.see(1.0, settle_ms=100, **spoilt))

            assert desk.messages(CfgEvent)[-1].rev == rev
            assert signal.config_rev == rev
            assert signal.decision.detail == ("SPREAD" if number % 2 else "DEPTH")
            check_whole(number, Market.FUT, dict(signal.decision.trail or {}), None)
            told = desk.messages(SignalEvent)[-1]
            assert (told.signal_id, told.config_rev) == (signal.signal_id, rev)
        await desk.stop()

    run_virtual(scenario())


class SwitchAt:
    """Runs `switch` once, before the `at`-th call of anything that S3 waits for."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.calls = 0
        self.armed = False
        self.switch: Callable[[], Any] | None = None

    def hook(self, inner: Any, part: str) -> Any:
        outer = self

        class Hooked:
            def __getattr__(self, name: str) -> Any:
                call = getattr(inner, name)
                if not asyncio.iscoroutinefunction(call):
                    return call

                async def hooked(*args: Any, **kwargs: Any) -> Any:
                    await outer.step()
                    return await call(*args, **kwargs)

                return hooked

        return Hooked()

    async def step(self) -> None:
        if not self.armed:
            return
        self.calls += 1
        if self.calls == self.at and self.switch is not None:
            # Its own calls are no steps.
            self.armed = False
            await self.switch()


async def opened_while_switching(at: int | None, *, path: str, odd_first: bool) -> tuple[int, list[str]]:
    """A spot entry during which, before step `at`, another revision comes into force. Returns the steps there were."""
    between = SwitchAt()
    desk = await HookedDesk.hooked(between.hook)
    first, second = (1, 2) if odd_first else (2, 3)
    numbers = {await desk.activate(first): first}
    await desk.settle(1_000)
    await desk.see(0.0, key=SPOT, settle_ms=300)

    async def switch() -> None:
        numbers[await desk.activate(second)] = second
        await desk.pass_ms(50)

    between.at, between.switch, between.armed = at, switch, True
    answer = await desk.decide(path, market="SPOT", sideHint="BUY")
    between.armed = False
    wrong: list[str] = []
    body = answer.body
    assert (answer.status, body["decision"]) == (200, "open"), body
    try:
        number = numbers[body["config_rev"]]
        assert body["intent"]["risk"]["rcu_rev"] == body["config_rev"]
        check_whole(number, Market.SPOT, body["trail"], body["intent"])
        if path == "/decide":
            signal = await desk.signal(body["signal_id"])
            trail = dict(signal.decision.trail or {})
            assert signal.config_rev == body["config_rev"]
            check_whole(number, Market.SPOT, trail, trail["intent"])
            (record,) = await desk.intents()
            assert record.intent.to_dict() == trail["intent"]
            assert signal.decision.action is Action.OPEN
    except AssertionError as error:
        wrong.append(f"{path}, switched before step {at} of {between.calls}: {str(error).splitlines()[0]}")
    await desk.stop()
    return between.calls, wrong


@pytest.mark.parametrize("odd_first", [True, False], ids=["prices then profit", "profit then prices"])
@pytest.mark.parametrize("path", ["/decide", "/dryrun"])
def test_a_switch_between_any_two_steps_of_an_entry_mixes_nothing(path: str, odd_first: bool) -> None:
    steps, wrong = run_virtual(opened_while_switching(None, path=path, odd_first=odd_first))
    assert steps >= 10

    for at in range(1, steps + 1):
        wrong += run_virtual(opened_while_switching(at, path=path, odd_first=odd_first))[1]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda bad: bad.but(rules=(bad.rules[0].but(when={"f": "no_such_factor", "op": ">", "v": 1}),)),
            id="a rule reads a factor that does not exist",
        ),
        pytest.param(
            lambda bad: bad.but(rules=(bad.rules[0].but(action=bad.rules[0].action.but(value=9.0)),)),
            id="a multiplier out of its range",
        ),
        pytest.param(lambda bad: bad.but(hash="0" * 64), id="another content than was promoted"),
    ],
)
def test_a_bundle_that_fails_its_check_is_refused_with_an_alert_and_the_old_one_stays(
    spoil: Callable[[ConfigBundle], ConfigBundle],
) -> None:
    async def scenario() -> None:
        desk = await HookedDesk.hooked()
        rev = await desk.activate(1)
        await desk.settle(1_000)
        documents = desk.world.documents
        active = await documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        assert active is not None
        good = await documents.get(CONFIG_BUNDLES, active.bundle_id)
        assert good is not None
        # Past S10, which would not let it through: a hand in the database, or a store that lost a part.
        now_ms = desk.world.clock.now_ms()
        bad = spoil(good.but(bundle_id=ids.bundle_id(now_ms, "bad"), rev=rev + 1))
        if bad.hash == good.hash:
            bad = bad.but(hash=hash_of(bad))
        await documents.put(CONFIG_BUNDLES, bad)
        switched = ConfigActive(
            key="active",
            rev=rev + 1,
            bundle_id=bad.bundle_id,
            activated_at=now_ms,
            seq=active.seq + 1,
            hash=hash_of(bad),
        )
        await documents.put(CONFIG_ACTIVE, switched)
        await desk.world.bus.publish(
            CFG_EVENTS.name(ENV),
            CfgEvent(
                rev=switched.rev,
                bundle_id=bad.bundle_id,
                event=CfgEventKind.PROMOTE,
                activated_at=now_ms,
                hash=hash_of(bad),
                seq=switched.seq,
            ),
        )
        await desk.settle(6_000)

        await desk.see(0.0, settle_ms=300)
        still = await desk.decide("/dryrun", sideHint="BUY")
        alerts = [alert for alert in desk.alerts("CONFIG_REV_MISMATCH") if alert.source == "s3"]

        assert still.body["config_rev"] == rev
        check_whole(1, Market.FUT, still.body["trail"], still.body["intent"])
        assert len(alerts) == 1, alerts
        assert f"rev {rev} stays" in alerts[0].message
        await desk.stop()

    run_virtual(scenario())


def test_the_bundle_after_a_refused_one_comes_into_force() -> None:
    async def scenario() -> None:
        desk = await HookedDesk.hooked()
        rev = await desk.activate(1)
        await desk.settle(1_000)
        active = await desk.world.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        assert active is not None
        await desk.world.documents.put(
            CONFIG_ACTIVE, active.but(bundle_id="gone", rev=rev + 1, seq=active.seq + 1, hash="0" * 64)
        )
        await desk.settle(6_000)
        await desk.see(0.0, settle_ms=300)
        meanwhile = await desk.decide("/dryrun", sideHint="BUY")

        following = await desk.activate(2)
        await desk.settle(1_000)
        await desk.see(0.0, settle_ms=300)
        afterwards = await desk.decide("/dryrun", sideHint="BUY")

        assert meanwhile.body["config_rev"] == rev
        assert afterwards.body["config_rev"] == following
        check_whole(2, Market.FUT, afterwards.body["trail"], afterwards.body["intent"])
        await desk.stop()

    run_virtual(scenario())

"""People and programs outside that want things of the house: entries of every kind, exits, switches, configurations.

Owns what they ask for and when, by chance alone. Who gets no answer asks again by the same name; who is refused shrugs.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal

from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.contracts.enums import (
    BreakerState,
    Intent,
    Market,
    OrderType,
    PromotionMode,
    Purpose,
    Routing,
    Side,
    Switch,
)
from chimera.contracts.http import CancelRequest
from chimera.contracts.http.breaker import BreakerRequest
from chimera.contracts.http.config import PromoteRequest
from chimera.contracts.http.gateway import FlattenRequest, HaltReleaseRequest, KillSwitchRequest, PauseRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages.orders import ExecPolicy, GuardStop, Oco, RiskRef, StopSpec, TargetSpec, Twap
from chimera.contracts.order_intent import OrderIntent
from chimera.ports.clock import Clock
from chimera.simulation.attack.chance import Chance
from chimera.simulation.attack.town import Town

D = Decimal
HOUR_MS = 3_600_000
BPS = D(10_000)
NOTIONAL_USDT = (20, 400)
STOP_BPS = (15, 150)
ASKS_AGAIN_MS = (200, 5_000)
HALTS = ("DAILY_LOSS", "DRAWDOWN", "BACKTEST_GUARD", "IB_RATE")

Act = Callable[["Hands"], Awaitable[None]]


@dataclass(slots=True)
class Hands:
    """`per_hour`: how often somebody wants something."""

    town: Town
    venue: SimulatedVenue
    clock: Clock
    keys: Sequence[InstrumentKey]
    chance: Chance
    per_hour: float
    asked: list[str] = field(default_factory=list)
    """Intents by name, the last ones."""
    _number: int = 0

    async def work(self, until_ms: int) -> None:
        while True:
            wait_ms = int(self.chance.wait(self.per_hour) * HOUR_MS)
            at_ms = self.clock.now_ms() + wait_ms
            if at_ms >= until_ms:
                return
            await self.clock.sleep_until_ms(at_ms)
            act = self.chance.weighted(ACTS)
            await act(self)

    async def calm_down(self) -> None:
        """Whatever was switched off by hand or by a limit is on again."""
        call = self.town.call
        await call("s12", "POST", "/kill-switch", KillSwitchRequest(state=Switch.OFF))
        await call("s12", "POST", "/resume", PauseRequest())
        for halt in HALTS:
            await call("s12", "POST", f"/halts/{halt}/release", HaltReleaseRequest(reason="the simulation goes on"))
        breaker = await call("s4", "GET", "/breaker")
        if breaker is not None and breaker.ok and breaker.body["state"] != BreakerState.CLOSED:
            await call("s4", "POST", "/breaker/close", BreakerRequest(reason="the simulation goes on"))

    # --- entries

    async def enter(self) -> None:
        key = self.chance.choice(self.keys)
        intent = self._entry(key)
        if intent is None:
            return
        self.asked = [*self.asked[-9:], intent.intent_id]
        for _ in range(4):
            answer = await self.town.call("s4", "POST", "/orders", intent)
            if answer is not None and self.chance.random() > 0.1:
                return
            # No answer; or one who does not believe it and asks again.
            await self._waits(*ASKS_AGAIN_MS)

    def _entry(self, key: InstrumentKey) -> OrderIntent | None:
        book = self.venue.books.get(key)
        if book is None:
            return None
        chance = self.chance
        mid = (book.bids[0][0] + book.asks[0][0]) / 2
        instrument = next(each for each in self.venue.rules.instruments if each.key == key)
        fut = key.market is Market.FUT
        side = Side.BUY if not fut or chance.random() < 0.5 else Side.SELL
        sign = side.sign
        qty = (D(chance.between(*NOTIONAL_USDT)) / mid).quantize(instrument.step_size, ROUND_DOWN)
        away = D(chance.between(*STOP_BPS)) / BPS
        reach = D(chance.between(*STOP_BPS)) / BPS
        stop = _on_tick(mid * (1 - sign * away), instrument.tick_size)
        target = _on_tick(mid * (1 + sign * reach), instrument.tick_size)
        guarded = not fut and chance.random() < 0.3
        paired = not fut and not guarded
        self._number += 1
        name = f"H{self._number}"
        limit = chance.random() < 0.15
        return OrderIntent(
            intent_id=name,
            signal_id=f"SIG-{name}",
            client_order_id=f"h-{key.symbol[:3].lower()}-{name.lower()}",
            ts=self.clock.now_ms(),
            market=key.market,
            symbol=key.symbol,
            side=side,
            intent=Intent.ENTRY,
            purpose=Purpose.ENTRY,
            qty=max(qty, instrument.step_size),
            type=OrderType.LIMIT if limit else OrderType.MARKET,
            price=_on_tick(mid * (1 + sign * D("0.0002")), instrument.tick_size) if limit else None,
            sl=StopSpec(price=stop) if fut else None,
            tp=TargetSpec(price=target) if fut and chance.random() < 0.7 else None,
            leverage=chance.choice((5, 10, 20)) if fut else None,
            exec_policy=ExecPolicy(
                routing=chance.choice((Routing.AUTO, Routing.DIRECT_TAKER)),
                twap=Twap(enabled=True, slices=chance.between(2, 6), gap_ms=chance.between(300, 20_000))
                if chance.random() < 0.25
                else None,
                oco=Oco(enabled=True, tp=target, sl=stop) if paired else None,
            ),
            guard_stop=GuardStop(enable=True, price=stop) if guarded else None,
            risk=RiskRef(rcu_rev=1),
        )

    # --- what is asked of what is there

    async def leave(self) -> None:
        key = self.chance.choice(self.keys)
        await self.town.call("s12", "POST", f"/positions/{key.market}-{key.symbol}/close", {})

    async def cancel(self) -> None:
        if self.asked:
            await self.town.call("s4", "POST", "/cancel", CancelRequest(intent_id=self.chance.choice(self.asked)))

    async def move_stop(self) -> None:
        futures = [key for key in self.keys if key.market is Market.FUT]
        key = self.chance.choice(futures)
        book = self.venue.books.get(key)
        if book is None:
            return
        away = D(self.chance.between(-150, 150)) / BPS
        price = _on_tick(book.bids[0][0] * (1 + away), D("0.1"))
        body = {"price": str(price), "confirm": self.chance.random() < 0.5}
        await self.town.call("s12", "POST", f"/positions/{key.market}-{key.symbol}/stop", body)

    async def decide(self) -> None:
        key = self.chance.choice(self.keys)
        side = self.chance.choice((Side.BUY, Side.SELL)) if key.market is Market.FUT else Side.BUY
        body = {"symbol": key.symbol, "market": key.market.value, "sideHint": side.value}
        await self.town.call("s3", "POST", "/decide", body)

    async def flatten(self) -> None:
        await self.town.call("s12", "POST", "/flatten", FlattenRequest(confirm=True))
        await self._waits(10_000, 300_000)
        await self.calm_down()

    async def pull_the_switch(self) -> None:
        await self.town.call("s12", "POST", "/kill-switch", KillSwitchRequest(state=Switch.ON, reason="the simulation"))
        # Somebody who did not hear of it, or does not care.
        await self._waits(0, 2_000)
        await self.enter()
        await self._waits(1_000, 300_000)
        await self.calm_down()

    async def pause(self) -> None:
        await self.town.call("s12", "POST", "/pause", PauseRequest(reason="the simulation"))
        await self._waits(1_000, 300_000)
        await self.town.call("s12", "POST", "/resume", PauseRequest())

    async def open_the_breaker(self) -> None:
        await self.town.call("s4", "POST", "/breaker/open", BreakerRequest(reason="the simulation"))
        await self._waits(1_000, 120_000)
        await self.town.call("s4", "POST", "/breaker/close", BreakerRequest(reason="the simulation"))

    async def configure(self) -> None:
        """A bundle that changes a limit, put in force through all its steps; one in three is refused by its lint."""
        active = await self.town.call("s10", "GET", "/bundles/active")
        if active is None or not active.ok:
            return
        bundle = active.body["bundle"]
        flags = dict(bundle["flags"])
        bad = self.chance.random() < 0.33
        flags["risk"] = {**flags["risk"], "slip_bp_hard": -1 if bad else self.chance.between(12, 40)}
        draft = {name: bundle[name] for name in ("rules", "factors", "instruments")} | {"flags": flags}
        made = await self.town.call("s10", "POST", "/bundles", draft)
        if made is None or not made.ok:
            return
        bundle_id = made.body["bundle_id"]
        await self.town.call("s10", "POST", f"/bundles/{bundle_id}/stage")
        mode = self.chance.choice((PromotionMode.FULL, PromotionMode.CANARY))
        await self.town.call("s10", "POST", "/promote", PromoteRequest(bundle_id=bundle_id, mode=mode))

    async def _waits(self, low_ms: int, high_ms: int) -> None:
        await self.clock.sleep_until_ms(self.clock.now_ms() + self.chance.between(low_ms, high_ms))


ACTS: Sequence[tuple[Act, float]] = (
    (Hands.enter, 50),
    (Hands.decide, 12),
    (Hands.leave, 12),
    (Hands.cancel, 6),
    (Hands.move_stop, 6),
    (Hands.pull_the_switch, 1.5),
    (Hands.flatten, 1),
    (Hands.pause, 1),
    (Hands.open_the_breaker, 1),
    (Hands.configure, 2),
)
"""How often each, of a hundred or so."""


def _on_tick(price: Decimal, tick: Decimal) -> Decimal:
    return (price / tick).quantize(D(1)) * tick

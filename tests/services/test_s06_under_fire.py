"""Replacing a stop under fire: whatever the exchange answers, and in whatever order, one is listed that covers all that
is open, and at flat nothing of ours rests on either book."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts import ids
from chimera.contracts.enums import Intent, OrderType, Purpose, Side, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.orders import NewOrder
from chimera.ports.venue import OutcomeUnknown, Refused, UnknownOrder, VenueUnavailable
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Instead, Meddled, meddled_floor
from tests.services.trading_floor import FUT, Floor

D = Decimal
I2_MS = 2_000
"""How long a position may be without a stop that covers it. Source: SERVICES, I2."""
WATCH_MS = 200
"""Between two looks; each call of ours is looked after besides."""
LOOKUP_MS = 2_000
"""How long the exchange's own lookup lags: a stop that nobody answered for is asked for, and sent again only then."""


class Answer(StrEnum):
    """How one call about a stop goes."""

    OK = "ok"
    LATE = "carried out a second and a half later"
    BUSY = "not served"
    REFUSED = "refused"
    DONE_UNKNOWN = "carried out, and the answer is lost"
    LOST = "never arrived, and nobody can know"
    GONE = "somebody else was faster: gone already"


LATE_MS = 1_500
OF_PLACING = (Answer.OK, Answer.LATE, Answer.BUSY, Answer.REFUSED, Answer.DONE_UNKNOWN, Answer.LOST)
OF_CANCELING = (Answer.OK, Answer.LATE, Answer.BUSY, Answer.DONE_UNKNOWN, Answer.LOST, Answer.GONE)


@dataclass(slots=True)
class Fire:
    """The exchange as S4 meets it: the n-th stop placed, and the n-th order canceled, go as the scripts say; what comes
    after the scripts goes well. `naked_ms` is the longest time that something was open without a stop listed for all
    of it."""

    floor: Floor
    placing: list[Answer]
    canceling: list[Answer]
    naked_ms: int = 0
    _naked_since: int | None = None
    seen: list[Answer] = field(default_factory=list)

    async def place(self, place: Instead, new: NewOrder) -> Any:
        scripted = new.type is OrderType.STOP_MARKET and bool(self.placing)
        return await self._go(self.placing.pop(0) if scripted else Answer.OK, place, new)

    async def cancel(self, cancel: Instead, key: InstrumentKey, client_order_id: str, **more: Any) -> Any:
        answer = self.canceling.pop(0) if self.canceling else Answer.OK
        return await self._go(answer, cancel, key, client_order_id, **more)

    async def _go(self, answer: Answer, call: Instead, *args: Any, **more: Any) -> Any:
        clock = self.floor.world.clock
        self.seen.append(answer)
        match answer:
            case Answer.BUSY:
                raise VenueUnavailable("503 for the test")
            case Answer.REFUSED:
                raise Refused(-4000, "refused for the test")
            case Answer.LOST:
                raise OutcomeUnknown("the connection was reset")
            case Answer.LATE:
                await clock.sleep_until_ms(clock.now_ms() + LATE_MS)
        done = await call(*args, **more)
        self.watch()
        if answer is Answer.DONE_UNKNOWN:
            raise OutcomeUnknown("the connection was reset")
        if answer is Answer.GONE:
            raise UnknownOrder(-2011, "Unknown order sent.")
        return done

    def watch(self) -> None:
        now_ms = self.floor.world.clock.now_ms()
        covered = sum(
            (qty for kind, qty, _ in self.floor.resting().values() if kind == OrderType.STOP_MARKET.value), D(0)
        )
        if abs(self.floor.position_qty()) <= covered:
            self._naked_since = None
            return
        if self._naked_since is None:
            self._naked_since = now_ms
        self.naked_ms = max(self.naked_ms, now_ms - self._naked_since, 1)

    async def settle(self, duration_ms: int) -> None:
        end_ms = self.floor.world.clock.now_ms() + duration_ms
        while self.floor.world.clock.now_ms() < end_ms:
            await self.floor.settle(WATCH_MS)
            self.watch()

    async def move(self, price: str, duration_ms: int = 4_000) -> None:
        self.floor.price = D(price)
        await self.settle(duration_ms)


async def under_fire(placing: Sequence[Answer], canceling: Sequence[Answer], side: Side = Side.BUY) -> Fire:
    """A covered position of 0.010 at about 60000 whose further stops meet the scripts."""
    floor = await meddled_floor("s4", "s6", "s5", venue=Meddled)
    sl, tp = ("59400", "60500") if side is Side.BUY else ("60600", "59500")
    await floor.enter(side=side, sl=sl, tp=tp)
    fire = Fire(floor, list(placing), list(canceling))
    floor.world.venue.instead |= {"place": fire.place, "cancel": fire.cancel}
    return fire


def away(side: Side, distance: int) -> str:
    """A price that far in favour of the position."""
    return str(60_000 + side.sign * distance)


async def a_trades_life(fire: Fire, side: Side) -> None:
    """A tier, a rung, another tier, and the stop: each replaces the stop."""
    await fire.move(away(side, 310))
    await fire.move(away(side, 520))
    await fire.move(away(side, 700), 70_000)
    await fire.move(away(side, -900), 30_000)


async def ended_clean(fire: Fire) -> None:
    trade = await fire.floor.trade()
    assert (fire.floor.position_qty(), fire.floor.resting()) == (D(0), {})
    assert trade.status is TradeStatus.CLOSED


@pytest.mark.parametrize(("first", "second"), list(product(OF_PLACING, repeat=2)))
def test_every_pair_of_answers_to_a_new_stop_leaves_one_listed(first: Answer, second: Answer) -> None:
    async def scenario() -> None:
        fire = await under_fire([first, second], [])

        await a_trades_life(fire, Side.BUY)

        assert {first, second} <= set(fire.seen)
        assert fire.naked_ms == 0
        await ended_clean(fire)
        await fire.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(("first", "second"), list(product(OF_CANCELING, repeat=2)))
def test_every_pair_of_answers_to_a_cancel_leaves_one_listed_and_no_orphan(first: Answer, second: Answer) -> None:
    async def scenario() -> None:
        fire = await under_fire([], [first, second], Side.SELL)

        await a_trades_life(fire, Side.SELL)

        assert {first, second} <= set(fire.seen)
        assert fire.naked_ms == 0
        await ended_clean(fire)
        await fire.floor.stop()

    run_virtual(scenario())


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    placing=st.lists(st.sampled_from(OF_PLACING), max_size=5),
    canceling=st.lists(st.sampled_from(OF_CANCELING), max_size=5),
    side=st.sampled_from(list(Side)),
)
def test_whatever_the_exchange_answers_a_stop_for_all_that_is_open_is_listed(
    placing: list[Answer], canceling: list[Answer], side: Side
) -> None:
    async def scenario() -> None:
        fire = await under_fire(placing, canceling, side)

        await a_trades_life(fire, side)

        assert fire.naked_ms == 0
        await ended_clean(fire)
        await fire.floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("answer", "within_ms"),
    [
        (Answer.OK, I2_MS),
        (Answer.DONE_UNKNOWN, I2_MS),
        (Answer.REFUSED, I2_MS),
        (Answer.LOST, I2_MS + LOOKUP_MS),
    ],
)
def test_a_stop_that_somebody_took_away_is_there_again_in_time(answer: Answer, within_ms: int) -> None:
    async def scenario() -> None:
        fire = await under_fire([answer], [])

        await fire.floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)
        fire.watch()
        await fire.settle(10_000)

        assert answer in fire.seen
        assert 0 < fire.naked_ms <= within_ms
        stops = [what for what in fire.floor.resting().values() if what[0] == OrderType.STOP_MARKET.value]
        assert stops == [("STOP_MARKET", D("0.010"), D(59400))]
        await fire.floor.stop()

    run_virtual(scenario())


def test_the_old_stop_taken_away_while_the_new_one_is_on_its_way_is_covered_in_time() -> None:
    async def scenario() -> None:
        fire = await under_fire([Answer.LATE], [])

        fire.floor.price = D(60_310)
        await fire.settle(1_200)
        await fire.floor.venue.cancel(FUT, "s3-btc-e1-1", conditional=True)
        fire.watch()
        await fire.settle(10_000)

        assert 0 < fire.naked_ms <= I2_MS
        (stop,) = [what for what in fire.floor.resting().values() if what[0] == OrderType.STOP_MARKET.value]
        assert stop[1] == D("0.010")
        await fire.floor.stop()

    run_virtual(scenario())


def test_a_stop_that_the_reconciler_ordered_for_the_trade_is_led_and_ends_with_it() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp="63000")
        by_s5 = OrderIntent(
            intent_id=ids.recon_stop_id(FUT, 1),
            client_order_id="s3-btc-recon-1",
            parent_id="E1",
            ts=floor.world.clock.now_ms(),
            market=FUT.market,
            symbol=FUT.symbol,
            side=Side.SELL,
            intent=Intent.EXIT,
            purpose=Purpose.SL,
            qty=D("0.010"),
            type=OrderType.STOP_MARKET,
            price=D(59450),
            reduce_only=True,
        )
        assert (await floor.call("s4", "POST", "/orders", by_s5)).ok
        await floor.settle(5_000)
        beside = {name: what for name, what in floor.resting().items() if what[0] == "STOP_MARKET"}
        await floor.move("60310")
        moved = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        await floor.move("59300", settle_ms=10_000)

        assert beside == {"s3-btc-recon-1": ("STOP_MARKET", D("0.010"), D(59450))}
        assert [qty for _, qty, _ in moved] == [D("0.010")]
        assert (floor.position_qty(), floor.resting()) == (D(0), {})
        await floor.stop()

    run_virtual(scenario())

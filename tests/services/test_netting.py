"""A person and we on one futures instrument: the exchange nets both into one position, and our books stay true."""

import random
from decimal import Decimal

import pytest

from chimera.contracts.collections import FILLS
from chimera.contracts.documents import Fill
from chimera.contracts.enums import Side, TradeStatus
from chimera.contracts.http import NettedRequest
from chimera.simulation.loop import run_virtual
from tests.services.test_s04_crash_points import HOUSE, Fuse, Timeline
from tests.services.trading_floor import Floor

D = Decimal


async def begin() -> tuple[Timeline, Floor]:
    timeline = Timeline.open()
    floor = await timeline.live(Fuse(None))
    await floor.start(*HOUSE, price="60000")
    await floor.settle(5_000)
    return timeline, floor


def entry_fills(timeline: Timeline) -> list[Fill]:
    return [fill for fill in timeline.evidence().on_file(FILLS) if fill.intent_id == "E1"]


def test_an_entry_against_what_a_person_held_opens_what_is_left() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, "0.004")
        # Nobody has seen it yet: a moment later the router would refuse.
        answer = await floor.enter(side=Side.SELL, sl="60600", tp="59500")
        await floor.settle(5_000)

        trade = await floor.trade()
        assert answer.status == 200
        assert floor.position_qty() == D("-0.006")
        assert (trade.qty_opened, trade.qty_open) == (D("0.006"), D("0.006"))
        assert sum((fill.netted_qty or D(0) for fill in entry_fills(timeline)), D(0)) == D("0.004")
        assert {what[:2] for what in floor.resting().values() if what[0] == "STOP_MARKET"} == {
            ("STOP_MARKET", D("0.006"))
        }
        timeline.check("while it is open")

        await floor.by_hand("web_close", Side.BUY, "0.006", reduce_only=True)
        await floor.settle(5_000)
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert floor.resting() == {}
        timeline.check("when it is closed")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("held", [pytest.param("0.010", id="as much"), pytest.param("0.015", id="more")])
def test_an_entry_that_only_closed_what_a_person_held_opened_nothing(held: str) -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, held)
        await floor.enter(side=Side.SELL, sl="60600", tp="59500")
        await floor.settle(40_000)

        trade = await floor.trade()
        assert floor.position_qty() == D(held) - D("0.010")
        assert (trade.status, trade.reason, trade.qty_open) == (TradeStatus.CLOSED, "NETTED", 0)
        assert trade.realized_pnl_usdt == sum((fill.realized_pnl_usdt or D(0) for fill in entry_fills(timeline)), D(0))
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_an_entry_is_netted_only_as_far_as_the_exchange_says_so() -> None:
    async def net(floor: Floor, intent_id: str, qty: str) -> int:
        answer = await floor.call("s4", "POST", "/orders/netted", NettedRequest(intent_id=intent_id, qty=D(qty)))
        return answer.status

    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter("E0")
        plain = await net(floor, "E0", "0.004")
        await floor.by_hand("web_close", Side.SELL, "0.010", reduce_only=True)
        await floor.settle(5_000)
        await floor.by_hand("web_open", Side.BUY, "0.004")
        await floor.enter(side=Side.SELL, sl="60600", tp="59500")
        await floor.settle(5_000)

        assert (plain, await net(floor, "E9", "0.004"), await net(floor, "E1", "0.011")) == (422, 404, 422)
        assert (await floor.trade()).qty_opened == D("0.006")
        assert [await net(floor, "E1", "0.004") for _ in range(2)] == [200, 200]
        await floor.settle(5_000)
        assert (await floor.trade()).qty_opened == D("0.006")
        timeline.check("after all that was asked")
        await floor.stop()

    run_virtual(scenario())


def test_nothing_is_entered_beside_what_a_person_holds() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_open", Side.BUY, "0.004")
        await floor.settle(3_000)
        refused = await floor.enter()
        await floor.by_hand("web_close", Side.SELL, "0.004", reduce_only=True)
        await floor.settle(3_000)
        accepted = await floor.enter("E2")

        assert refused.status == 409
        assert refused.body["type"].endswith("foreign-position")
        assert accepted.status == 200
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_person_does_beside_us_the_books_stay_true(seed: int) -> None:
    """Buys, sells, closes and entries of ours in quick succession; then quiet, and everything must agree."""

    async def scenario() -> None:
        chance = random.Random(seed)
        timeline, floor = await begin()
        for number in range(30):
            side = chance.choice((Side.BUY, Side.SELL))
            match chance.randrange(6):
                case 0:
                    await floor.by_hand(f"web_{number}", side, str(D(chance.randint(1, 12)) / 1000))
                case 1:
                    held = floor.position_qty()
                    if held:
                        closing = Side.SELL if held > 0 else Side.BUY
                        await floor.by_hand(f"web_{number}", closing, str(abs(held)), reduce_only=True)
                case 2 | 3:
                    sl, tp = (str(round(floor.price * (1 - side.sign * D(off)))) for off in ("0.01", "-0.01"))
                    await floor.enter(f"E{number}", side, sl=sl, tp=tp)
                case 4:
                    await floor.move(D(60_000 + chance.randint(-1_500, 1_500)), settle_ms=chance.choice((50, 3_000)))
                case _:
                    await floor.settle(chance.choice((50, 500, 3_000, 40_000)))
        await floor.settle(90_000)

        timeline.check(f"seed {seed}")
        await floor.stop()

    run_virtual(scenario())

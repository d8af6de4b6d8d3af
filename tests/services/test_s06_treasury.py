"""S6 proposes transfers for a wallet that runs short; S12's person or the bundle allows them, S1 moves the money."""

from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from chimera.contracts.collections import TREASURY_TRANSFERS
from chimera.contracts.documents import TreasuryTransfer
from chimera.contracts.enums import Market, TransferResult
from chimera.contracts.keys import LOCK_TREASURY, TREASURY_QUOTA
from chimera.contracts.messages import AuditEvent
from chimera.domain.execution.orders import Transfer
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.domain.positions.treasury import need_usdt
from chimera.ports.documents import Query
from chimera.ports.errors import DependencyDown
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.domain.matching.venue import SPOT as SPOT_RULES
from tests.services.meddling import Instead, Meddled, wrapped
from tests.services.trading_floor import ENV, Floor

D = Decimal
MINUTE_MS = 60_000


async def floor_with(spot: str, fut: str, *, auto: bool = False) -> Floor:
    exchange = Exchange(
        ExchangeRules(instruments=(FUT_RULES, SPOT_RULES)),
        spot_balances={"USDT": D(spot)},
        fut_balances={"USDT": D(fut)},
    )
    floor = await Floor.open("s10", "s1", exchange=exchange)
    if auto:
        body = {"flags": {"treasury": {"auto_transfer": True}}}
        made = (await floor.call("s10", "POST", "/bundles", body)).body["bundle_id"]
        assert (await floor.call("s10", "POST", f"/bundles/{made}/stage")).ok
        assert (await floor.call("s10", "POST", "/promote", {"bundle_id": made, "mode": "FULL"})).ok
    return floor


async def rows(floor: Floor) -> list[TreasuryTransfer]:
    return list(await floor.world.documents.find(Query(collection=TREASURY_TRANSFERS, index="by_time")))


def moved(floor: Floor) -> list[Transfer]:
    return list(floor.venue.exchange.transfers())


@pytest.mark.parametrize(
    ("spot", "fut", "way", "amount"),
    [
        pytest.param("200", "20.005", ("SPOT", "FUT"), "30.00", id="futures are short, rounded up to a cent"),
        pytest.param("10", "200", ("FUT", "SPOT"), "40", id="spot is short"),
        pytest.param("90", "10", ("SPOT", "FUT"), "40", id="the source keeps just its minimum"),
    ],
)
def test_what_is_missing_is_proposed_once_and_waits_for_a_person(
    spot: str, fut: str, way: tuple[str, str], amount: str
) -> None:
    async def scenario() -> None:
        floor = await floor_with(spot, fut)
        await floor.start("s6")
        await floor.settle(5 * MINUTE_MS)
        await floor.stop("s6")
        await floor.start("s6")
        await floor.settle(5 * MINUTE_MS)

        (row,) = await rows(floor)
        assert (row.from_market, row.to_market, row.amount_usdt) == (*way, D(amount))
        assert (row.result, row.requested_by, row.sent_at) == (TransferResult.PENDING, "s6", None)
        assert moved(floor) == []
        proposals = [event for event in floor.messages(AuditEvent) if event.action == "TRANSFER_PROPOSE"]
        assert [event.subject for event in proposals] == [row.transfer_id]
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("spot", "fut"),
    [
        pytest.param("89.99", "10", id="the source would fall below its minimum"),
        pytest.param("10", "10", id="both are short"),
        pytest.param("50", "50", id="nobody is short"),
    ],
)
def test_nothing_is_proposed_that_would_only_move_the_lack(spot: str, fut: str) -> None:
    async def scenario() -> None:
        floor = await floor_with(spot, fut)
        await floor.start("s6")
        await floor.settle(2 * MINUTE_MS)

        assert await rows(floor) == []
        await floor.stop()

    run_virtual(scenario())


def test_a_person_allows_it_and_the_next_lack_is_another_transfer() -> None:
    async def scenario() -> None:
        floor = await floor_with("400", "20")
        floor.peers.add("s12", build(floor.world, GatewaySettings(env=ENV)).routes)
        await floor.start("s6")
        await floor.settle(MINUTE_MS)
        (row,) = await rows(floor)

        assert (await floor.call("s12", "POST", f"/treasury/transfers/{row.transfer_id}/approve", {})).ok
        await floor.settle(2 * MINUTE_MS)
        after_first = await rows(floor)
        await floor.venue.transfer(Market.FUT, Market.SPOT, D(45))
        await floor.settle(2 * MINUTE_MS)

        assert [each.result for each in after_first] == [TransferResult.OK]
        first, second = await rows(floor)
        assert first.transfer_id != second.transfer_id
        assert (second.result, second.amount_usdt) == (TransferResult.PENDING, D(45))
        await floor.stop()

    run_virtual(scenario())


def test_what_a_person_refused_is_not_asked_for_again_for_an_hour() -> None:
    async def scenario() -> None:
        floor = await floor_with("400", "20")
        floor.peers.add("s12", build(floor.world, GatewaySettings(env=ENV)).routes)
        await floor.start("s6")
        await floor.settle(MINUTE_MS)
        (row,) = await rows(floor)
        refusal = {"approve": False, "reason": "not today"}
        assert (await floor.call("s12", "POST", f"/treasury/transfers/{row.transfer_id}/approve", refusal)).ok

        await floor.settle(55 * MINUTE_MS)
        soon = len(await rows(floor))
        await floor.settle(10 * MINUTE_MS)

        assert soon == 1
        assert [each.result for each in await rows(floor)] == [TransferResult.REJECTED, TransferResult.PENDING]
        await floor.stop()

    run_virtual(scenario())


def test_where_the_bundle_allows_it_the_money_moves_by_itself() -> None:
    async def scenario() -> None:
        floor = await floor_with("200", "20", auto=True)
        await floor.start("s6")
        await floor.settle(5 * MINUTE_MS)

        (row,) = await rows(floor)
        assert (row.result, row.approved_by) == (TransferResult.OK, "auto_transfer")
        assert [(each.source, each.target, each.amount) for each in moved(floor)] == [(Market.SPOT, Market.FUT, D(30))]
        await floor.stop()

    run_virtual(scenario())


class Dead(DependencyDown):
    """The process is no more."""


class Steps:
    """Kills before or after the `at`-th thing that outlives the process; from then on nothing gets through."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed = count(1)
        self.dead = False

    def step(self) -> None:
        if self.dead or next(self.passed) == self.at:
            self.dead = True
            raise Dead("s6", "killed for the test")

    async def around(self, call: Instead, *args: Any, **more: Any) -> Any:
        if args and getattr(args[0], "name", TREASURY_TRANSFERS.name) != TREASURY_TRANSFERS.name:
            return await call(*args, **more)
        self.step()
        result = await call(*args, **more)
        self.step()
        return result

    async def peer(self, call: Instead, asked: Any) -> Any:
        if asked.service != "s1":
            return await call(asked)
        self.step()
        result = await call(asked)
        self.step()
        return result


def test_a_crash_anywhere_moves_the_money_once() -> None:
    reached: list[int] = []

    async def scenario(at: int) -> bool:
        floor = await floor_with("200", "20", auto=True)
        steps, world = Steps(at), floor.world
        floor.world = wrapped(world, documents=Meddled, peers=Meddled, locks=Meddled)
        for name in ("insert", "replace"):
            floor.world.documents.instead[name] = steps.around
        floor.world.peers.instead["call"] = steps.peer
        for name in ("acquire", "release"):
            floor.world.locks.instead[name] = steps.around
        await floor.start("s6")
        await floor.settle(15_000)
        died = steps.dead
        await floor.stop("s6")
        floor.world = world
        await floor.start("s6")
        await floor.settle(3 * MINUTE_MS)

        (row,) = await rows(floor)
        assert row.result is TransferResult.OK, f"at {at}"
        assert len(moved(floor)) == 1, f"at {at}"
        await floor.stop()
        reached.append(at)
        return died

    at = 1
    while run_virtual(scenario(at)):
        at += 1

    # Four writes, a call and two locks, each before and after, and the run that nothing cut.
    assert len(reached) >= 10


def test_two_of_us_propose_one() -> None:
    async def scenario() -> None:
        floor = await floor_with("200", "20")
        await floor.start("s6")
        first = floor.runners.pop("s6")
        await floor.start("s6")
        await floor.settle(2 * MINUTE_MS)

        assert len(await rows(floor)) == 1
        await first.stop()
        await floor.stop()

    run_virtual(scenario())


def test_while_another_holds_the_direction_nothing_is_proposed() -> None:
    async def scenario() -> None:
        floor = await floor_with("200", "20")
        lock = LOCK_TREASURY.name(ENV, "SPOT", "FUT")
        await floor.world.locks.acquire(lock, "somebody", ttl_ms=60_000)
        await floor.start("s6")
        await floor.settle(30_000)
        meanwhile = await rows(floor)
        await floor.settle(60_000)

        assert meanwhile == []
        assert len(await rows(floor)) == 1
        await floor.stop()

    run_virtual(scenario())


def test_the_quota_is_shown_with_what_is_used() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter()
        await floor.settle(15_000)

        quota = await floor.world.snapshots.get_hash(TREASURY_QUOTA.name(ENV))
        used = await floor.world.reservations.usage(Market.FUT)
        assert quota == {
            "spot_quote_usdt_max": "2000",
            "fut_margin_usdt_max": "600",
            "used_spot": "0",
            "used_fut": str(used.amount_usdt),
        }
        assert used.amount_usdt > 0
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("free", "source", "need"),
    [
        pytest.param("49.999", "100", "0.01", id="a hair short, a cent"),
        pytest.param("0", "100", "50", id="the source keeps its minimum exactly"),
        pytest.param("0", "99.99", "0", id="it would not"),
        pytest.param("50", "1000", "0", id="enough"),
    ],
)
def test_need_is_what_is_missing_as_long_as_the_source_keeps_its_own(free: str, source: str, need: str) -> None:
    found = need_usdt(free=D(free), min_free=D(50), source_free=D(source), source_min_free=D(50))

    assert found == D(need)

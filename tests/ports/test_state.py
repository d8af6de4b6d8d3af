"""What every store of fast state promises, port by port."""

import asyncio
import itertools
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.state import Reservation, Reservations, ReservationState, ReserveOutcome, Usage

from .conftest import StateCase, memory_state

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
ETH = InstrumentKey(Market.FUT, "ETHUSDT")
BTC_SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")

# Snapshots


async def test_a_value_is_read_as_it_was_set(state: StateCase) -> None:
    await state.snapshots.set("test:kill_switch", "ON")

    assert await state.snapshots.get("test:kill_switch") == "ON"
    assert await state.snapshots.get("test:nothing") is None


async def test_many_values_come_in_the_order_that_was_asked_for(state: StateCase) -> None:
    await state.snapshots.set("test:a", "1")
    await state.snapshots.set("test:c", "3")

    assert list(await state.snapshots.get_many(["test:c", "test:b", "test:a"])) == ["3", None, "1"]


async def test_a_value_ends_with_its_life(state: StateCase) -> None:
    await state.snapshots.set("test:a", "1", ttl_ms=100)
    await state.snapshots.set("test:b", "1", ttl_ms=60_000)

    await state.pass_ms(150)

    assert list(await state.snapshots.get_many(["test:a", "test:b"])) == [None, "1"]


async def test_of_many_who_take_a_value_one_gets_it(state: StateCase) -> None:
    await state.snapshots.set("test:token", "APR-1", ttl_ms=60_000)

    taken = await asyncio.gather(*(state.snapshots.take("test:token") for _ in range(5)))

    assert sorted(each or "" for each in taken) == ["", "", "", "", "APR-1"]
    assert await state.snapshots.get("test:token") is None


async def test_a_value_whose_life_is_over_is_not_taken(state: StateCase) -> None:
    await state.snapshots.set("test:token", "APR-1", ttl_ms=100)
    await state.pass_ms(150)

    assert await state.snapshots.take("test:token") is None


async def test_a_key_that_was_taken_can_be_set_anew(state: StateCase) -> None:
    await state.snapshots.set("test:token", "APR-1", ttl_ms=100)
    await state.snapshots.take("test:token")
    await state.snapshots.set("test:token", "APR-2")
    await state.pass_ms(150)

    assert await state.snapshots.take("test:token") == "APR-2"


async def test_setting_again_without_a_life_keeps_the_value_for_ever(state: StateCase) -> None:
    await state.snapshots.set("test:a", "1", ttl_ms=100)
    await state.snapshots.set("test:a", "2")

    await state.pass_ms(150)

    assert await state.snapshots.get("test:a") == "2"


async def test_fields_of_a_hash_are_set_without_touching_others(state: StateCase) -> None:
    await state.snapshots.set_hash("test:h", {"a": "1", "b": "2"})
    await state.snapshots.set_hash("test:h", {"b": "3"})

    assert dict(await state.snapshots.get_hash("test:h")) == {"a": "1", "b": "3"}
    assert dict(await state.snapshots.get_hash("test:none")) == {}


async def test_a_hash_lives_on_as_long_as_it_is_renewed(state: StateCase) -> None:
    await state.snapshots.set_hash("test:h", {"a": "1"}, ttl_ms=400)
    await state.pass_ms(250)
    await state.snapshots.set_hash("test:h", {"b": "2"}, ttl_ms=400)
    await state.pass_ms(250)
    alive = dict(await state.snapshots.get_hash("test:h"))
    await state.pass_ms(250)

    assert alive == {"a": "1", "b": "2"}
    assert dict(await state.snapshots.get_hash("test:h")) == {}


async def test_a_hash_that_was_read_does_not_change_afterwards(state: StateCase) -> None:
    await state.snapshots.set_hash("test:h", {"a": "1"})
    before = await state.snapshots.get_hash("test:h")

    await state.snapshots.set_hash("test:h", {"a": "2"})

    assert dict(before) == {"a": "1"}


async def test_a_counter_begins_at_nothing_and_adds_up(state: StateCase) -> None:
    await state.snapshots.increment("test:h", "n", 1)
    await state.snapshots.increment("test:h", "n", 2.5)

    assert float((await state.snapshots.get_hash("test:h"))["n"]) == 3.5


async def test_what_is_deleted_is_gone(state: StateCase) -> None:
    await state.snapshots.set("test:a", "1")
    await state.snapshots.set_hash("test:h", {"a": "1", "b": "2"})

    await state.snapshots.delete("test:a")
    await state.snapshots.delete("test:never")
    await state.snapshots.delete_field("test:h", "a")

    assert await state.snapshots.get("test:a") is None
    assert dict(await state.snapshots.get_hash("test:h")) == {"b": "2"}


# Locks


async def test_a_lock_has_one_holder_at_a_time(state: StateCase) -> None:
    mine = await state.locks.acquire("test:lock", "a", ttl_ms=60_000)
    theirs = await state.locks.acquire("test:lock", "b", ttl_ms=60_000)

    assert mine is not None
    assert theirs is None


async def test_of_many_that_ask_at_once_one_gets_the_lock(state: StateCase) -> None:
    asked = [state.locks.acquire("test:lock", str(owner), ttl_ms=60_000) for owner in range(20)]

    fences = await asyncio.gather(*asked)

    assert sum(fence is not None for fence in fences) == 1


async def test_each_holder_gets_a_greater_number_than_all_before(state: StateCase) -> None:
    fences = []
    for owner in ("a", "b", "a", "c"):
        fences.append(await state.locks.acquire("test:lock", owner, ttl_ms=60_000))
        await state.locks.release("test:lock", owner)

    assert all(earlier < later for earlier, later in itertools.pairwise(fences))


async def test_a_lock_that_is_not_renewed_falls_to_the_next_with_a_greater_number(state: StateCase) -> None:
    first = await state.locks.acquire("test:lock", "a", ttl_ms=100)
    await state.pass_ms(150)

    second = await state.locks.acquire("test:lock", "b", ttl_ms=60_000)

    assert first is not None
    assert second is not None
    assert second > first
    assert not await state.locks.renew("test:lock", "a", ttl_ms=60_000)


async def test_a_renewed_lock_is_kept(state: StateCase) -> None:
    await state.locks.acquire("test:lock", "a", ttl_ms=400)
    await state.pass_ms(250)

    assert await state.locks.renew("test:lock", "a", ttl_ms=400)
    await state.pass_ms(250)
    assert await state.locks.acquire("test:lock", "b", ttl_ms=400) is None


async def test_only_the_owner_releases_a_lock(state: StateCase) -> None:
    await state.locks.acquire("test:lock", "a", ttl_ms=60_000)

    assert not await state.locks.release("test:lock", "b")
    assert await state.locks.acquire("test:lock", "b", ttl_ms=60_000) is None
    assert await state.locks.release("test:lock", "a")
    assert not await state.locks.release("test:lock", "a")


# Idempotency


async def test_a_key_is_claimed_once_within_its_life(state: StateCase) -> None:
    claims = [await state.idempotency.claim("test:order-1", ttl_ms=100) for _ in range(3)]
    await state.pass_ms(150)

    assert claims == [True, False, False]
    assert await state.idempotency.claim("test:order-1", ttl_ms=100)


# DueQueue


async def test_what_is_due_comes_earliest_first_and_once(state: StateCase) -> None:
    for member, due_ms in (("c", 30), ("a", 10), ("b", 20), ("d", 40)):
        await state.due.put("test:twap", member, due_ms)

    assert list(await state.due.take_due("test:twap", 30, 10)) == ["a", "b", "c"]
    assert list(await state.due.take_due("test:twap", 30, 10)) == []
    assert await state.due.size("test:twap") == 1


async def test_no_more_is_taken_than_asked_for(state: StateCase) -> None:
    for member in "abc":
        await state.due.put("test:twap", member, 10)

    assert list(await state.due.take_due("test:twap", 10, 2)) == ["a", "b"]
    assert await state.due.size("test:twap") == 1


async def test_putting_a_member_again_moves_it(state: StateCase) -> None:
    await state.due.put("test:twap", "a", 10)
    await state.due.put("test:twap", "a", 50)

    early = list(await state.due.take_due("test:twap", 20, 10))

    assert early == []
    assert await state.due.size("test:twap") == 1
    assert list(await state.due.take_due("test:twap", 50, 10)) == ["a"]


async def test_a_member_moved_there_and_back_comes_once(state: StateCase) -> None:
    for due_ms in (10, 50, 10):
        await state.due.put("test:twap", "a", due_ms)

    assert list(await state.due.take_due("test:twap", 60, 10)) == ["a"]
    assert list(await state.due.take_due("test:twap", 60, 10)) == []


async def test_a_removed_member_is_not_due(state: StateCase) -> None:
    await state.due.put("test:twap", "a", 10)

    assert await state.due.remove("test:twap", "a")
    assert not await state.due.remove("test:twap", "a")
    assert list(await state.due.take_due("test:twap", 99, 10)) == []


# Reservations


def reservation(intent_id: str, key: InstrumentKey = BTC, amount_usdt: str = "100") -> Reservation:
    return Reservation(
        intent_id=intent_id, key=key, amount_usdt=Decimal(amount_usdt), state=ReservationState.RESERVED, ts=1
    )


async def reserve(
    reservations: Reservations, wanted: Reservation, amount_max_usdt: str = "1000", concurrency_max: int = 10
) -> ReserveOutcome:
    return await reservations.reserve(wanted, amount_max_usdt=Decimal(amount_max_usdt), concurrency_max=concurrency_max)


async def test_a_reservation_uses_budget_until_it_is_released(state: StateCase) -> None:
    await reserve(state.reservations, reservation("i1", amount_usdt="0.1"))
    await reserve(state.reservations, reservation("i2", ETH, "0.2"))
    before = await state.reservations.usage(Market.FUT)

    released = await state.reservations.release("i1"), await state.reservations.release("i1")

    assert before == Usage(Decimal("0.3"), 2)
    assert released == (True, False)
    assert await state.reservations.usage(Market.FUT) == Usage(Decimal("0.2"), 1)


async def test_markets_have_budgets_of_their_own(state: StateCase) -> None:
    await reserve(state.reservations, reservation("i1", BTC))
    await reserve(state.reservations, reservation("i2", BTC_SPOT, "7"))

    assert await state.reservations.usage(Market.SPOT) == Usage(Decimal(7), 1)


@pytest.mark.parametrize(
    ("amount_usdt", "outcome"),
    [
        pytest.param("900", ReserveOutcome.RESERVED, id="exactly the budget fits"),
        pytest.param("900.00000001", ReserveOutcome.OVER_BUDGET, id="one hundred-millionth more does not"),
    ],
)
async def test_the_budget_is_kept_to_the_last_digit(
    state: StateCase, amount_usdt: str, outcome: ReserveOutcome
) -> None:
    await reserve(state.reservations, reservation("i1"))

    assert await reserve(state.reservations, reservation("i2", ETH, amount_usdt)) is outcome


async def test_concurrency_counts_an_instrument_once(state: StateCase) -> None:
    await reserve(state.reservations, reservation("i1"), concurrency_max=1)

    add_on = await reserve(state.reservations, reservation("i2"), concurrency_max=1)
    other = await reserve(state.reservations, reservation("i3", ETH), concurrency_max=1)

    assert (add_on, other) == (ReserveOutcome.RESERVED, ReserveOutcome.OVER_CONCURRENCY)
    await state.reservations.release("i1")
    assert (await state.reservations.usage(Market.FUT)).concurrency == 1


async def test_reserving_twice_for_an_intent_changes_nothing(state: StateCase) -> None:
    await reserve(state.reservations, reservation("i1"))

    again = await reserve(state.reservations, reservation("i1", ETH, "999999"))

    assert again is ReserveOutcome.ALREADY
    assert await state.reservations.usage(Market.FUT) == Usage(Decimal(100), 1)


async def test_settling_sets_what_is_truly_used(state: StateCase) -> None:
    await reserve(state.reservations, reservation("i1"))

    assert await state.reservations.settle("i1", Decimal("97.5"), ReservationState.OPEN)
    assert not await state.reservations.settle("unknown", Decimal(1), ReservationState.OPEN)
    (record,) = await state.reservations.all()
    assert (record.amount_usdt, record.state) == (Decimal("97.5"), ReservationState.OPEN)
    assert (await state.reservations.usage(Market.FUT)).amount_usdt == Decimal("97.5")


async def test_healing_leaves_exactly_the_given_records(state: StateCase) -> None:
    await reserve(state.reservations, reservation("wrong"))
    healed = [reservation("i2", ETH, "5"), reservation("i1", BTC, "3")]

    await state.reservations.replace_all(healed)

    assert list(await state.reservations.all()) == [healed[1], healed[0]]
    assert await state.reservations.usage(Market.FUT) == Usage(Decimal(8), 2)


async def test_of_many_that_reserve_at_once_only_the_budgets_worth_succeeds(state: StateCase) -> None:
    wanted = [reserve(state.reservations, reservation(f"i{number}", BTC, "300")) for number in range(10)]

    outcomes = await asyncio.gather(*wanted)

    assert outcomes.count(ReserveOutcome.RESERVED) == 3
    assert (await state.reservations.usage(Market.FUT)).amount_usdt == Decimal(900)


_ids = st.sampled_from([f"i{number}" for number in range(6)])
_keys = st.sampled_from([BTC, ETH, BTC_SPOT])
_amounts = st.decimals("0", "500", places=8)
_steps = st.one_of(
    st.tuples(st.just("reserve"), _ids, _keys, _amounts),
    st.tuples(st.just("settle"), _ids, _keys, _amounts),
    st.tuples(st.just("release"), _ids, _keys, _amounts),
    st.tuples(st.just("heal"), _ids, _keys, _amounts),
)


@pytest.mark.parametrize("make", [pytest.param(memory_state, id="memory")])
@settings(max_examples=150, deadline=None)
@given(steps=st.lists(_steps, max_size=30))
def test_usage_is_always_the_sum_of_the_records(
    make: Callable[[], StateCase], steps: list[tuple[str, str, InstrumentKey, Decimal]]
) -> None:
    async def walk() -> None:
        reservations = make().reservations
        for kind, intent_id, key, amount_usdt in steps:
            before = await reservations.usage(key.market)
            if kind == "reserve":
                outcome = await reserve(reservations, reservation(intent_id, key, str(amount_usdt)), "1000", 1)
                after = await reservations.usage(key.market)
                if outcome is ReserveOutcome.RESERVED:
                    assert after.amount_usdt <= 1000
                    assert after.concurrency <= max(1, before.concurrency)
                else:
                    assert after == before
            elif kind == "settle":
                await reservations.settle(intent_id, amount_usdt, ReservationState.OPEN)
            elif kind == "release":
                await reservations.release(intent_id)
            else:
                records = list(await reservations.all())
                await reservations.replace_all(records[: len(records) // 2])
            records = list(await reservations.all())
            for market in Market:
                mine = [record for record in records if record.key.market is market]
                assert await reservations.usage(market) == Usage(
                    sum((record.amount_usdt for record in mine), Decimal(0)), len({record.key for record in mine})
                )

    asyncio.run(walk())

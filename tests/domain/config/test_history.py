"""Going back follows what was in force, not the numbers, and going back twice goes back two steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.documents import Promotion
from chimera.contracts.enums import PromotionMode, PromotionStatus
from chimera.domain.config.history import Unfinished, revisions_in_force, revisions_to_go_back_to, unfinished


def switch(number: int, from_rev: int, to_rev: int, *, back: bool = False, **more: object) -> Promotion:
    return Promotion.model_validate(
        {
            "promotion_id": f"PRM-{number}-{to_rev}",
            "bundle_id": f"BND-{to_rev}",
            "from_rev": from_rev,
            "to_rev": to_rev,
            "mode": PromotionMode.ROLLBACK if back else PromotionMode.FULL,
            "status": PromotionStatus.DONE,
            "activated_at": 1_000 * number,
            "seq": number,
            **more,
        }
    )


@pytest.mark.parametrize(
    ("switches", "back_to"),
    [
        pytest.param([(0, 1)], (), id="the first start"),
        pytest.param([(0, 1), (1, 4)], (1,), id="numbers may be skipped"),
        pytest.param([(0, 1), (1, 2), (2, 3)], (2, 1), id="step by step"),
        pytest.param([(0, 1), (1, 2), (2, 3), (3, 2, "back")], (1,), id="back twice is two steps back"),
        pytest.param([(0, 1), (1, 2), (2, 1, "back")], (), id="back to the first"),
        pytest.param([(0, 1), (1, 2), (2, 1, "back"), (1, 3)], (1,), id="forth again after back"),
        pytest.param([(0, 1), (1, 2), (2, 1)], (2,), id="an old one promoted is a step forth"),
        pytest.param([(0, 1), (1, 2), (2, 3), (3, 1, "back")], (), id="far back"),
    ],
)
def test_the_way_back(switches: list[tuple[int, ...]], back_to: tuple[int, ...]) -> None:
    records = [switch(seq, each[0], each[1], back=len(each) > 2) for seq, each in enumerate(switches, 1)]

    assert revisions_to_go_back_to(records[-1], records[::-1]) == back_to
    assert revisions_in_force(records[-1], records) == {each[1] for each in switches}


def test_who_lost_a_race_or_died_in_one_was_never_in_force() -> None:
    first, present = switch(1, 0, 1), switch(2, 1, 3)
    lost = switch(2, 1, 2, status=PromotionStatus.ABORTED)
    died = switch(2, 1, 7, status=PromotionStatus.PENDING, activated_at=None)

    assert revisions_to_go_back_to(present, [died, lost, present, first]) == (1,)
    assert revisions_in_force(present, [died, lost, present, first]) == {1, 3}


def test_a_switch_that_was_never_noted_as_done_was_in_force_all_the_same() -> None:
    records = [switch(1, 0, 1), switch(2, 1, 2, status=PromotionStatus.PENDING, activated_at=None), switch(3, 2, 3)]

    assert revisions_to_go_back_to(records[-1], records) == (2, 1)


def test_a_bundle_that_was_only_tried_was_never_in_force() -> None:
    tried = switch(2, 1, 2, mode=PromotionMode.CANARY)
    present = switch(4, 1, 3)

    assert revisions_to_go_back_to(present, [switch(1, 0, 1), tried, present]) == (1,)
    assert revisions_in_force(present, [switch(1, 0, 1), tried, present]) == {1, 3}


def test_records_without_a_number_go_by_their_time() -> None:
    records = [switch(n, n - 1, n, seq=None) for n in (1, 2)] + [switch(3, 2, 3)]

    assert revisions_to_go_back_to(records[-1], records) == (2, 1)


def test_records_that_were_lost_end_the_way_back() -> None:
    assert revisions_to_go_back_to(switch(9, 4, 5), []) == (4,)


@given(st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=12))
def test_going_back_undoes_the_last_step_that_was_not_undone(wishes: list[int | None]) -> None:
    """A number promotes it, None goes back; compared with a stack that is kept while it happens."""
    records, stack = [switch(1, 0, 1)], [1]
    for wish in wishes:
        present = stack[-1]
        if wish is None:
            way = revisions_to_go_back_to(records[-1], records)
            if len(stack) < 2:
                assert way == ()
                continue
            stack.pop()
            assert way[0] == stack[-1]
            records.append(switch(len(records) + 1, present, way[0], back=True))
        elif wish not in stack:
            stack.append(wish)
            records.append(switch(len(records) + 1, present, wish))


def test_what_is_left_to_be_settled_came_into_force_or_never_will() -> None:
    pending = {"status": PromotionStatus.PENDING, "activated_at": None}
    first, second, third = switch(1, 0, 1), switch(2, 1, 2, **pending), switch(3, 2, 3, **pending)
    lost, to_come = switch(2, 1, 7, **pending), switch(4, 3, 8, **pending)

    left = unfinished(third, [to_come, lost, third, second, first])

    assert left == Unfinished(in_force=(second, third), lost=(lost,))
    assert not unfinished(first, [first, to_come])


def test_of_two_that_asked_for_the_same_the_one_taken_back_was_in_force() -> None:
    pending = {"status": PromotionStatus.PENDING, "activated_at": None}
    first, refused = switch(1, 0, 1), switch(2, 1, 2, promotion_id="PRM-refused", **pending)
    done, back = switch(2, 1, 2, **pending), switch(3, 2, 1, back=True, undoes="PRM-2-2", **pending)

    assert unfinished(back, [refused, done, first, back]) == Unfinished(in_force=(done, back), lost=(refused,))

"""What was there is left out of the search, and comes back into it."""

import gc

from chimera.runtime.garbage import THRESHOLDS, rarely_collected


def test_what_was_there_is_not_searched_while_it_lasts() -> None:
    before = gc.get_threshold()

    with rarely_collected():
        assert gc.get_freeze_count() > 1_000
        assert gc.get_threshold() == THRESHOLDS

    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before

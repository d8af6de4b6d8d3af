"""The last of what is numbered without a gap."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from chimera.runtime.numbered import last_of


@given(count=st.integers(0, 5_000))
def test_the_last_is_found_in_few_looks(count: int) -> None:
    asked: list[int] = []

    async def get(number: int) -> str | None:
        asked.append(number)
        return f"no {number}" if number <= count else None

    assert asyncio.run(last_of(get)) == (count, f"no {count}" if count else None)
    assert len(asked) <= 2 * (count + 1).bit_length() + 1

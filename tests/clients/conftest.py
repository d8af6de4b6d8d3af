from collections.abc import AsyncIterator

import pytest

from tests.clients.markets import Markets, open_markets


@pytest.fixture
async def markets() -> AsyncIterator[Markets]:
    async with open_markets() as opened:
        yield opened

"""The last guard of a trade is found without reading the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import INTENTS
from chimera.contracts.ids import guard_id
from chimera.runtime.spot_guards import guards_count
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled


@pytest.mark.parametrize("there", [0, 1, 2, 3, 7, 8, 100, 1_000])
def test_they_are_counted_in_few_looks_and_in_one_where_the_count_is_known(there: int) -> None:
    async def scenario() -> None:
        names = {guard_id("E1", number) for number in range(1, there + 1)}
        looks = 0

        async def found(real: Any, collection: Any, keys: Iterable[str], fields: Collection[str]) -> Any:
            nonlocal looks
            assert collection is INTENTS
            looks += 1
            return {key: () for key in keys if key in names}

        documents: Any = Meddled(SqliteDocuments.in_loop())
        documents.instead["get_values"] = found
        assert await guards_count(documents, "E1") == there
        assert looks <= 2 * there.bit_length() + 1
        looks = 0
        assert await guards_count(documents, "E1", at_least=there) == there
        assert looks == 1

    run_virtual(scenario())

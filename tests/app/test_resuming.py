"""Where the clock begins again after a kill: never before what is on file."""

from pathlib import Path

import pytest

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import open_folder
from chimera.app.sides import UpProblem, resumes_at_ms_of
from chimera.contracts import ids
from chimera.contracts.collections import SIGNALS
from chimera.contracts.documents.trading import Decision, Signal
from chimera.contracts.enums import Action, Market
from chimera.contracts.instrument_key import InstrumentKey

NOW_MS = 1_800_000_000_000
STALL_MAX_MS = 60_000
KEY = InstrumentKey(Market.FUT, "BTCUSDT")


@pytest.mark.parametrize(
    ("on_file_ms", "resumes_ms"),
    [
        pytest.param(None, NOW_MS, id="nothing on file"),
        pytest.param(NOW_MS - 5, NOW_MS, id="the usual case"),
        pytest.param(NOW_MS + 1, NOW_MS + 1, id="killed between a stall and the next mark"),
        pytest.param(NOW_MS + STALL_MAX_MS, NOW_MS + STALL_MAX_MS, id="the longest stall"),
    ],
)
async def test_the_clock_resumes_at_or_after_what_is_on_file(
    tmp_path: Path, on_file_ms: int | None, resumes_ms: int
) -> None:
    assert await resumes(tmp_path, on_file_ms) == resumes_ms


async def test_files_of_two_pasts_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UpProblem, match=r"clock went backwards.*documents\.sqlite.*same backup"):
        await resumes(tmp_path, NOW_MS + STALL_MAX_MS + 1)


async def resumes(path: Path, on_file_ms: int | None) -> int:
    folder = open_folder(path)
    documents = SqliteDocuments.in_thread(folder.documents)
    try:
        if on_file_ms is not None:
            await documents.put(
                SIGNALS,
                Signal(
                    signal_id=ids.signal_id(on_file_ms, KEY),
                    t0=on_file_ms,
                    market=KEY.market,
                    symbol=KEY.symbol,
                    features={},
                    decision=Decision(action=Action.SKIP, reason="RULE"),
                    config_rev=1,
                    created_at=on_file_ms,
                ),
            )
        return await resumes_at_ms_of(NOW_MS, STALL_MAX_MS, documents, folder)
    finally:
        await documents.close()
        folder.close()

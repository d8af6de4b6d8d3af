"""A password is set in the folder of a system that is not running, or nothing is changed."""

from pathlib import Path

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import DOCUMENTS_NAME, DataFolderProblem, open_folder
from chimera.app.people import PeopleProblem, set_password
from chimera.services.s12_gateway.passwords import Passwords, WeakPassword, require_password_for

GOOD = "heron glacier muffin seven"


async def a_system_was_here(data: Path) -> Path:
    await SqliteDocuments.in_thread(data / DOCUMENTS_NAME).close()
    return data


async def test_a_password_opens_the_way_beyond_loopback(tmp_path: Path) -> None:
    data = await a_system_was_here(tmp_path)

    await set_password(data, "ada", GOOD)

    documents = SqliteDocuments.in_thread(data / DOCUMENTS_NAME)
    await require_password_for("0.0.0.0", documents)
    assert await Passwords(documents, LoopClock(0)).check("ada", GOOD) is not None
    await documents.close()


async def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    data = await a_system_was_here(tmp_path)
    running = open_folder(data)

    with pytest.raises(DataFolderProblem, match=r"in use by another process.*while the system does not run"):
        await set_password(data, "ada", GOOD)

    running.close()


async def test_where_no_system_was_started_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(PeopleProblem, match="chimera up --data"):
        await set_password(tmp_path / "new", "ada", GOOD)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "password", "refusal"),
    [
        pytest.param("ada", "short", WeakPassword, id="too short"),
        pytest.param("", GOOD, PeopleProblem, id="no name"),
        pytest.param("ada lovelace", GOOD, PeopleProblem, id="a name with a space"),
        pytest.param("../ada", GOOD, PeopleProblem, id="a name that is a path"),
    ],
)
async def test_a_bad_name_or_password_is_refused_before_the_folder_is_touched(
    tmp_path: Path, name: str, password: str, refusal: type[Exception]
) -> None:
    data = await a_system_was_here(tmp_path)
    before = sorted(path.name for path in data.iterdir())

    with pytest.raises(refusal):
        await set_password(data, name, password)

    assert sorted(path.name for path in data.iterdir()) == before

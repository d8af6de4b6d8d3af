"""Half of a system is no system: what would be buried by a start is refused by name, an interrupted warm-up is not."""

from pathlib import Path

import pytest

from chimera.app.data_folder import DataFolder, DataFolderProblem, open_folder
from chimera.contracts.settings import S3Settings, S4Settings
from chimera.simulation.warmup import warm_up

END_MS = 1_763_546_400_000


def folder_with(path: Path, *names: str) -> DataFolder:
    folder = open_folder(path)
    for name in names:
        file = path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"kept")
    return folder


@pytest.mark.parametrize(
    ("names", "is_new"),
    [
        pytest.param((), True, id="nothing yet"),
        pytest.param(("warm-up/documents.sqlite.part",), True, id="killed while the past was written"),
        pytest.param(("warm-up/documents.sqlite", "warm-up/venue.sqlite"), True, id="killed before the first move"),
        pytest.param(("warm-up/documents.sqlite", "venue/venue.clock"), True, id="killed between the moves"),
        pytest.param(
            ("warm-up/documents.sqlite", "venue/venue.clock", "venue/venue.sqlite"), True, id="before the last move"
        ),
        pytest.param(
            ("documents.sqlite", "venue/venue.clock", "venue/venue.sqlite", "warm-up/left"), False, id="a whole system"
        ),
    ],
)
def test_a_folder_is_new_or_whole(tmp_path: Path, names: tuple[str, ...], is_new: bool) -> None:
    folder = folder_with(tmp_path, *names)

    folder.refuse_half()

    assert folder.is_new is is_new


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        pytest.param(("venue/venue.sqlite", "venue/venue.clock"), "documents.sqlite", id="no documents"),
        pytest.param(
            ("venue/venue.sqlite", "warm-up/left"), "documents.sqlite", id="no documents, beside a warm-up that ended"
        ),
        pytest.param(("documents.sqlite",), "venue/venue.sqlite, venue/venue.clock", id="no exchange"),
        pytest.param(("documents.sqlite", "venue/venue.sqlite"), "venue/venue.clock", id="no clock"),
    ],
)
def test_half_of_a_system_is_refused_with_the_remedy(tmp_path: Path, names: tuple[str, ...], missing: str) -> None:
    folder = folder_with(tmp_path, *names)

    with pytest.raises(DataFolderProblem, match=rf"{missing} is missing.*restore a copy.*--data"):
        folder.refuse_half()


def test_a_warm_up_that_was_killed_before_its_last_move_is_made_again(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    simulate_nothing(tmp_path)
    (tmp_path / "warm-up").mkdir()
    folder.documents.rename(tmp_path / "warm-up" / "documents.sqlite")

    folder.refuse_half()
    simulate_nothing(tmp_path)

    folder.refuse_half()
    assert not folder.is_new
    assert not (tmp_path / "warm-up").exists()


def simulate_nothing(path: Path) -> None:
    warm_up(
        path,
        symbols=("BTCUSDT",),
        days=0,
        seed=7,
        end_ms=END_MS,
        id_prefix="chi",
        env="dev",
        s3=S3Settings.from_env({}),
        s4=S4Settings.from_env({}),
        tell=lambda day, note: None,
    )

"""What a folder of objects adds to the port: a failed write leaves the old object and nothing else."""

from pathlib import Path

import pytest

from chimera.adapters.local_objects import LocalObjects
from chimera.ports.objects import ObjectsUnavailable


async def test_an_object_outlives_the_process(tmp_path: Path) -> None:
    await LocalObjects(tmp_path, in_thread=False).put("a/b", b"1", "text/plain")

    assert await LocalObjects(tmp_path, in_thread=True).get("a/b") == b"1"


async def test_a_write_that_fails_leaves_the_old_object_whole(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path, in_thread=False)
    await objects.put("a", b"old", "text/plain")
    (tmp_path / ".a.part").mkdir()

    with pytest.raises(ObjectsUnavailable):
        await objects.put("a", b"new", "text/plain")

    assert await objects.get("a") == b"old"
    assert await objects.list("") == ["a"]


async def test_what_a_dead_process_left_half_written_is_no_object(tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(b"hal")

    assert await LocalObjects(tmp_path, in_thread=False).list("") == []


async def test_an_object_cannot_also_be_a_folder(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path, in_thread=False)
    await objects.put("a", b"", "text/plain")
    await objects.put("folder/b", b"", "text/plain")

    with pytest.raises(ValueError, match="cannot be a folder too"):
        await objects.put("a/b", b"", "text/plain")
    with pytest.raises(ValueError, match="cannot be an object too"):
        await objects.put("folder", b"", "text/plain")

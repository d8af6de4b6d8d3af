"""What every store of objects promises: whole or absent, and no name that leads elsewhere."""

import pytest

from chimera.ports.objects import NoSuchObject, Objects


async def test_an_object_is_read_back_byte_for_byte(objects: Objects) -> None:
    body = bytes(range(256)) * 40
    await objects.put("reports/2026/autopsy-1.pdf", body, "application/pdf")

    assert await objects.get("reports/2026/autopsy-1.pdf") == body


async def test_putting_again_replaces_the_whole_object(objects: Objects) -> None:
    await objects.put("model.onnx", b"a long first version", "application/octet-stream")
    await objects.put("model.onnx", b"short", "application/octet-stream")

    assert await objects.get("model.onnx") == b"short"


async def test_names_are_listed_by_prefix_in_order(objects: Objects) -> None:
    for name in ("b/2", "a/1", "b/1", "b-side"):
        await objects.put(name, b"", "text/plain")

    assert list(await objects.list("b/")) == ["b/1", "b/2"]
    assert list(await objects.list("b")) == ["b-side", "b/1", "b/2"]
    assert list(await objects.list("")) == ["a/1", "b-side", "b/1", "b/2"]
    assert list(await objects.list("nothing")) == []


async def test_nothing_is_listed_before_anything_was_put(objects: Objects) -> None:
    assert list(await objects.list("")) == []


async def test_what_is_not_there_is_no_object(objects: Objects) -> None:
    await objects.put("folder/name", b"", "text/plain")

    for name in ("missing", "folder"):
        with pytest.raises(NoSuchObject):
            await objects.get(name)


async def test_a_deleted_object_is_gone_and_deleting_again_is_harmless(objects: Objects) -> None:
    await objects.put("a", b"1", "text/plain")
    await objects.put("folder/name", b"1", "text/plain")
    await objects.delete("folder")
    await objects.delete("folder/name/deeper")
    await objects.delete("a")
    await objects.delete("a")

    with pytest.raises(NoSuchObject):
        await objects.get("a")
    assert await objects.get("folder/name") == b"1"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../secret", id="upwards"),
        pytest.param("a/../../secret", id="upwards inside"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("a//b", id="empty part"),
        pytest.param("a/", id="empty end"),
        pytest.param("", id="empty"),
        pytest.param(".hidden", id="a dot first"),
        pytest.param("a/.part", id="a dot first inside"),
        pytest.param("a\\b", id="backslash"),
        pytest.param("a\0b", id="zero byte"),
        pytest.param("a\n", id="line end"),
        pytest.param("x" * 600, id="too long"),
    ],
)
async def test_a_name_that_could_lead_elsewhere_is_refused(objects: Objects, name: str) -> None:
    with pytest.raises(ValueError, match="object name"):
        await objects.put(name, b"", "text/plain")
    with pytest.raises(ValueError, match="object name"):
        await objects.get(name)
    with pytest.raises(ValueError, match="object name"):
        await objects.delete(name)

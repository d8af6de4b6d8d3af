"""Objects of a world that leaves nothing behind."""

from collections.abc import Sequence

from chimera.ports.objects import NoSuchObject, checked_name


class MemoryObjects:
    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}

    async def put(self, name: str, body: bytes, content_type: str) -> None:
        self._bodies[checked_name(name)] = bytes(body)

    async def get(self, name: str) -> bytes:
        body = self._bodies.get(checked_name(name))
        if body is None:
            raise NoSuchObject(f"there is no object {name}")
        return body

    async def list(self, prefix: str) -> Sequence[str]:
        return sorted(name for name in self._bodies if name.startswith(prefix))

    async def delete(self, name: str) -> None:
        self._bodies.pop(checked_name(name), None)

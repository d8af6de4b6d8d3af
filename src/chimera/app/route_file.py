"""The route table as a file on this machine."""

from collections.abc import Callable
from pathlib import Path

BYTES_MAX = 1_000_000
"""A table of a thousand rows is a tenth of it."""


def route_file(path: str) -> Callable[[], str | None]:
    """Reads the file whenever it is called. None: there is none.

    Raises (when called):
        OSError: it is there and cannot be read.
        ValueError: it is not UTF-8, or larger than `BYTES_MAX`.
    """
    place = Path(path)

    def read() -> str | None:
        try:
            with place.open("rb") as file:
                body = file.read(BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(body) > BYTES_MAX:
            raise ValueError(f"{place} is larger than {BYTES_MAX} bytes; a route table is a short list of rows")
        return body.decode("utf-8")

    return read

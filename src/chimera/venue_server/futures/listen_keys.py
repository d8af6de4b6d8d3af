"""The keys to the private futures streams: given out, kept alive, closed, forgotten after an hour.

Owns which listen key belongs to which API key and until when, in real time as every limit of the connection. An API
key has at most one: asking again gives the same one and a new hour. Whoever streams is told when a key ends.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chimera.domain.matching.refusals import Refusal
from chimera.ports.clock import Clock

LIFE_MS = 3_600_000
CHECK_MS = 1_000
LENGTH = 64

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

OnEnd = Callable[[str], None]
"""Told the listen key that expired or was closed."""


@dataclass(slots=True)
class _Given:
    listen_key: str
    api_key: str
    until_ms: int


class ListenKeys:
    """Times are real milliseconds, `Floor.real_ms`."""

    def __init__(self) -> None:
        self.on_end: list[OnEnd] = []
        self.on_change: Callable[[], None] = lambda: None
        """Called when a key was given, kept or closed; not when one's time is over, which its row says itself."""
        self._by_api_key: dict[str, _Given] = {}
        self._by_listen_key: dict[str, _Given] = {}
        self._count = 0

    def create(self, api_key: str, secret: str, now_ms: int) -> str:
        """The API key's listen key, good for an hour from now. `secret` keeps others from guessing it."""
        self.expire_due(now_ms)
        given = self._by_api_key.get(api_key)
        if given is None:
            self._count += 1
            named = f"{api_key}/{now_ms}/{self._count}"
            given = _Given(letters(hmac.digest(secret.encode(), named.encode(), "sha512"), LENGTH), api_key, 0)
            self._by_api_key[api_key] = self._by_listen_key[given.listen_key] = given
        given.until_ms = now_ms + LIFE_MS
        self.on_change()
        return given.listen_key

    def keep(self, api_key: str, now_ms: int) -> str:
        """
        Raises:
            Refusal: -1125, the API key has none.
        """
        self.expire_due(now_ms)
        given = self._by_api_key.get(api_key)
        if given is None:
            raise gone()
        given.until_ms = now_ms + LIFE_MS
        self.on_change()
        return given.listen_key

    def close(self, api_key: str) -> None:
        """
        Raises:
            Refusal: -1125, the API key has none.
        """
        given = self._by_api_key.get(api_key)
        if given is None:
            raise gone()
        self._end(given)
        self.on_change()

    def alive(self, listen_key: str, now_ms: int) -> bool:
        given = self._by_listen_key.get(listen_key)
        return given is not None and now_ms < given.until_ms

    def expire_due(self, now_ms: int) -> None:
        for given in [given for given in self._by_listen_key.values() if given.until_ms <= now_ms]:
            self._end(given)

    def expire_all(self) -> None:
        """As if the hour of every key were over."""
        for given in list(self._by_listen_key.values()):
            self._end(given)
        self.on_change()

    def rows(self) -> list[tuple[str, str, int]]:
        """Listen key, API key and until when, for `restore`."""
        return [(given.listen_key, given.api_key, given.until_ms) for given in self._by_listen_key.values()]

    def restore(self, rows: Iterable[tuple[str, str, int]], now_ms: int) -> None:
        for listen_key, api_key, until_ms in rows:
            # A clock that now runs at another speed counts real time otherwise.
            given = _Given(listen_key, api_key, min(until_ms, now_ms + LIFE_MS))
            self._by_api_key[api_key] = self._by_listen_key[listen_key] = given

    async def watch(self, clock: Clock, real_ms: Callable[[], int]) -> None:
        """End keys when their time has come, for ever."""
        while True:
            await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(CHECK_MS))
            self.expire_due(real_ms())

    def _end(self, given: _Given) -> None:
        del self._by_api_key[given.api_key]
        del self._by_listen_key[given.listen_key]
        for tell in self.on_end:
            tell(given.listen_key)


def gone() -> Refusal:
    return Refusal(
        -1125,
        "This listenKey does not exist. Please use `POST /fapi/v1/listenKey` to recreate `listenKey`",
    )


def letters(digest: bytes, length: int) -> str:
    """So many letters and digits out of a digest of at least 8/11 of that length."""
    number = int.from_bytes(digest, "big")
    made = []
    for _ in range(length):
        number, rest = divmod(number, len(_LETTERS))
        made.append(_LETTERS[rest])
    return "".join(made)


def drawn_id(name: str) -> str:
    """A client order id as the exchange makes one up: 22 letters and digits that follow from `name`."""
    return letters(hashlib.sha256(name.encode()).digest(), 22)

"""Chance from a seed, and chance from the machine."""

import hashlib
import random
import secrets


class SeededRandomness:
    """The same seed and name give the same draws, on every machine and under every hash seed."""

    def __init__(self, seed: int | str) -> None:
        self._seed = str(seed)
        self._random = random.Random(int.from_bytes(hashlib.sha256(self._seed.encode()).digest()[:8], "big"))

    def fork(self, name: str) -> "SeededRandomness":
        return SeededRandomness(f"{self._seed}/{name}")

    def uniform(self) -> float:
        return self._random.random()

    def token_hex(self, size_bytes: int) -> str:
        return self._random.getrandbits(size_bytes * 8).to_bytes(size_bytes, "big").hex()


class SystemRandomness:
    """Unguessable tokens; jitter that no seed repeats."""

    def fork(self, name: str) -> "SystemRandomness":
        return self

    def uniform(self) -> float:
        return secrets.randbits(53) / (1 << 53)

    def token_hex(self, size_bytes: int) -> str:
        return secrets.token_hex(size_bytes)

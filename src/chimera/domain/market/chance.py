"""Chance of the market from integers: the same numbers give the same chance on every machine and after every restart.

`stream` is for whole days (numpy's generator), `mix` for one tick (a fraction of a microsecond). Neither keeps state.
"""

from zlib import crc32

import numpy as np

_MASK = (1 << 64) - 1


def symbol_number(name: str) -> int:
    """A number for a name that no hash seed changes."""
    return crc32(name.encode())


def stream(seed: int, day_index: int, name: str) -> np.random.Generator:
    """An independent stream for one day of one series: another symbol in the market changes nothing here."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, day_index, symbol_number(name)])))


def mix(value: int) -> int:
    """64 well mixed bits of an integer >= 0 (splitmix64's finaliser)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def salt(seed: int, name: str) -> int:
    """What `mix` is started with for one series; xor it with a time."""
    return mix(mix(seed) ^ symbol_number(name))

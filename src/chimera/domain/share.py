"""Whether a name belongs to a share of all names: by its hash, so in every process and after every restart alike."""

import hashlib

_WHOLE = 1 << 64


def in_share(name: str, share: float) -> bool:
    """True for `share` of all names, by the first 64 bits of the sha256. A larger share keeps whom a smaller one had.

    Args:
        share: from 0 (none) to 1 (all).
    """
    if share >= 1.0:
        return True
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return drawn < share * _WHOLE

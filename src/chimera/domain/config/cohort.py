"""Which signals a canary decides.

Owns the assignment: a signal belongs to the same side in every process, after every restart, and for as long as the
share does not change. A larger share keeps whom a smaller one had, so a ramp moves nobody back.
"""

import hashlib

_WHOLE = 1 << 64


def in_canary(signal_id: str, share: float) -> bool:
    """True for `share` of all signals, by the first 64 bits of the sha256 of the id.

    Args:
        share: from 0 (none) to 1 (all).
    """
    if share >= 1.0:
        return True
    drawn = int.from_bytes(hashlib.sha256(signal_id.encode()).digest()[:8], "big")
    return drawn < share * _WHOLE

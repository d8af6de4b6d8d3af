"""Which signals a canary decides.

Owns the assignment: a signal belongs to the same side in every process, after every restart, and for as long as the
share does not change. A larger share keeps whom a smaller one had, so a ramp moves nobody back.
"""

from chimera.domain.share import in_share


def in_canary(signal_id: str, share: float) -> bool:
    """True for `share` of all signals.

    Args:
        share: from 0 (none) to 1 (all).
    """
    return in_share(signal_id, share)

"""How often somebody may try to log in.

Owns counts of failed tries by address and by account, in memory: a restart forgives, which nobody outside can cause.
An attempt counts as failed until it succeeds, so that many at once gain nothing.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from chimera.ports.clock import Clock

FREE_TRIES = 5
FIRST_WAIT_MS = 1_000
ADDRESS_WAIT_MAX_MS = 15 * 60_000
ACCOUNT_WAIT_MAX_MS = 30_000
"""Short: it stops guessing from many addresses, and a stranger cannot lock the owner out for long."""
REMEMBERED_MAX = 10_000


@dataclass(slots=True)
class _Tries:
    failed: int = 0
    next_at_ms: int = 0


@dataclass(slots=True)
class Throttle:
    clock: Clock
    _tries: OrderedDict[tuple[str, str], _Tries] = field(default_factory=OrderedDict)

    def begin(self, address: str, account: str) -> int:
        """Count one attempt. Returns how long to wait in ms of our own work time; 0: it may go on."""
        now_ms = self.clock.now_ms()
        limits = ((("address", address), ADDRESS_WAIT_MAX_MS), (("account", account), ACCOUNT_WAIT_MAX_MS))
        late_ms = max(self._of(key).next_at_ms - now_ms for key, _ in limits)
        if late_ms > 0:
            return max(1, int(late_ms / self.clock.speed))
        for key, wait_max_ms in limits:
            tries = self._of(key)
            tries.failed += 1
            if tries.failed >= FREE_TRIES:
                wait_ms = min(FIRST_WAIT_MS * 2 ** min(tries.failed - FREE_TRIES, 20), wait_max_ms)
                tries.next_at_ms = now_ms + self.clock.work_ms(wait_ms)
        return 0

    def succeeded(self, address: str, account: str) -> None:
        self._tries.pop(("address", address), None)
        self._tries.pop(("account", account), None)

    def _of(self, key: tuple[str, str]) -> _Tries:
        tries = self._tries.setdefault(key, _Tries())
        self._tries.move_to_end(key)
        while len(self._tries) > REMEMBERED_MAX:
            self._tries.popitem(last=False)
        return tries

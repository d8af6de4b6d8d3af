"""The breaker: no new entry while the exchange fails too often.

Owns the count of calls in a moving window and the three states. CLOSED counts; too large a share of errors OPENs it for
a while, then HALF lets a few calls through: all good, and it closes, one bad, and it opens again. A person may open it,
which then lasts until a person closes it. It holds back new entries only: exits, stops and cancels never ask it. Pure:
the present moment is passed in; memory does not grow with the calls. Source: SERVICES S4, 000 D4, 003 section 6.
"""

from dataclasses import dataclass, field

from chimera.contracts.enums import BreakerState

BUCKETS = 60
"""The window moves by a sixtieth: seconds, of a minute."""

BY_ERRORS = "errors"
"""Who opened it, where it was nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`error_ratio_max`: above it, of at least `calls_min` calls, the breaker opens. `probes` good calls at HALF close
    it. Times are those of the moments that are passed in."""

    window_ms: int = 60_000
    error_ratio_max: float = 0.2
    calls_min: int = 10
    open_ms: int = 300_000
    probes: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where it stands; all that must outlive the process. `opened_at_ms` None: it is closed. `by` is `BY_ERRORS` or
    the person who opened it."""

    state: BreakerState = BreakerState.CLOSED
    opened_at_ms: int | None = None
    by: str = BY_ERRORS
    reason: str = ""

    @property
    def by_hand(self) -> bool:
        return self.by != BY_ERRORS


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What happened within the window. `submits` are the calls that place an order, which a refusal fails too."""

    calls: int = 0
    errors: int = 0
    submits: int = 0
    submit_errors: int = 0

    @property
    def error_ratio(self) -> float:
        return self.errors / self.calls if self.calls else 0.0

    @property
    def submit_error_ratio(self) -> float:
        return self.submit_errors / self.submits if self.submits else 0.0


@dataclass(slots=True)
class _Bucket:
    number: int
    calls: int = 0
    errors: int = 0
    submits: int = 0
    submit_errors: int = 0


@dataclass(slots=True)
class Breaker:
    policy: Policy
    standing: Standing = Standing()
    _buckets: list[_Bucket] = field(default_factory=list)
    _half: int = 0
    """Number of the present HALF: what was begun before it proves nothing about it."""
    _probing: int = 0
    _good: int = 0

    def forbids(self, now_ms: int) -> bool:
        """Whether a new entry must not leave now."""
        self.advance(now_ms)
        match self.standing.state:
            case BreakerState.CLOSED:
                return False
            case BreakerState.OPEN:
                return True
            case BreakerState.HALF:
                return self._probing + self._good >= self.policy.probes

    def advance(self, now_ms: int) -> None:
        """OPEN has lasted long enough: HALF. What a person opened stays."""
        stands = self.standing
        if stands.state is BreakerState.OPEN and not stands.by_hand:
            assert stands.opened_at_ms is not None
            if now_ms >= stands.opened_at_ms + self.policy.open_ms:
                self._to_half()

    def next_ms(self) -> int | None:
        """When `advance` changes something by itself; None: never."""
        stands = self.standing
        if stands.state is not BreakerState.OPEN or stands.by_hand or stands.opened_at_ms is None:
            return None
        return stands.opened_at_ms + self.policy.open_ms

    def begin(self, now_ms: int) -> int:
        """A call is being made. Returns what `end` needs to know."""
        self.advance(now_ms)
        if self.standing.state is not BreakerState.HALF:
            return 0
        self._probing += 1
        return self._half

    def end(self, now_ms: int, token: int, *, failed: bool | None, submit: bool = False, refused: bool = False) -> None:
        """The call of `token` has ended.

        Args:
            failed: a 5xx, a 429 or no answer in time. None: we gave it up ourselves, which tells nothing.
            submit: it placed an order.
            refused: the exchange answered that it does not want it: an answer, and no order.
        """
        self.advance(now_ms)
        mine = token == self._half and self.standing.state is BreakerState.HALF
        if mine:
            self._probing -= 1
        if failed is None:
            return
        self._count(now_ms, failed, submit, refused)
        if mine and failed:
            self._open(now_ms, BY_ERRORS, "a call failed while the breaker was half open")
        elif mine:
            self._good += 1
            if self._good >= self.policy.probes:
                self._close()
        elif self.standing.state is BreakerState.CLOSED:
            tally = self.tally(now_ms)
            if tally.calls >= self.policy.calls_min and tally.error_ratio > self.policy.error_ratio_max:
                self._open(now_ms, BY_ERRORS, f"{tally.errors} of {tally.calls} calls failed")

    def open_by_hand(self, now_ms: int, actor: str, reason: str) -> None:
        """Whatever its state; it stays open until `close_by_hand`."""
        self._open(now_ms, actor, reason)

    def close_by_hand(self) -> None:
        """Whatever its state, and as if nothing had failed before."""
        self._close()

    def restore(self, standing: Standing) -> None:
        """As it was before a restart. What was counted then is not known any more."""
        self.standing = standing
        if standing.state is BreakerState.HALF:
            self._to_half()

    def tally(self, now_ms: int) -> Tally:
        """Of the window that ends now."""
        self._drop(now_ms)
        return Tally(
            calls=sum(bucket.calls for bucket in self._buckets),
            errors=sum(bucket.errors for bucket in self._buckets),
            submits=sum(bucket.submits for bucket in self._buckets),
            submit_errors=sum(bucket.submit_errors for bucket in self._buckets),
        )

    def _open(self, now_ms: int, by: str, reason: str) -> None:
        self._good = self._probing = 0
        self.standing = Standing(state=BreakerState.OPEN, opened_at_ms=now_ms, by=by, reason=reason)

    def _to_half(self) -> None:
        self._half += 1
        self._good = self._probing = 0
        stands = self.standing
        self.standing = Standing(
            state=BreakerState.HALF, opened_at_ms=stands.opened_at_ms, by=stands.by, reason=stands.reason
        )

    def _close(self) -> None:
        # Old errors would open it again with the first new one.
        self._buckets.clear()
        self._good = self._probing = 0
        self.standing = Standing()

    def _count(self, now_ms: int, failed: bool, submit: bool, refused: bool) -> None:
        number = now_ms // self._width_ms
        self._drop(now_ms)
        if not self._buckets or self._buckets[-1].number < number:
            self._buckets.append(_Bucket(number))
        bucket = self._buckets[-1]
        bucket.calls += 1
        bucket.errors += failed
        bucket.submits += submit
        bucket.submit_errors += submit and (failed or refused)

    def _drop(self, now_ms: int) -> None:
        oldest = now_ms // self._width_ms - BUCKETS
        while self._buckets and self._buckets[0].number <= oldest:
            del self._buckets[0]

    @property
    def _width_ms(self) -> int:
        return max(1, self.policy.window_ms // BUCKETS)

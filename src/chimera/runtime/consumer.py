"""Reading one stream for one group: in order, acknowledged when durable, never blocked by poison.

A message that itself fails is tried `ATTEMPTS_MAX` times and then goes to `<stream>:dlq` with its error and an alert. A
dependency that is down is not the message's fault: the reader pauses with backoff and tries the same message again.

Where the service says so (`Gather`), the newest of several prices is handled for all of them, and all are acknowledged
with it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from chimera.contracts.streams import ATTEMPTS_MAX, CLAIM_AFTER_MS, RETRY_FIRST_MS, dlq
from chimera.ports.bus import Bus, Delivery, NoSuchGroup, Undecodable
from chimera.ports.clock import Clock
from chimera.ports.errors import DependencyDown
from chimera.ports.metrics import Metrics
from chimera.ports.randomness import Randomness
from chimera.runtime.retry import Backoff
from chimera.runtime.service import Gather, MessageHandler, Poison

READ_COUNT = 64

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Consumer:
    stream: str
    group: str
    name: str
    handle: MessageHandler
    broadcast: bool
    bus: Bus
    clock: Clock
    randomness: Randomness
    metrics: Metrics
    on_poison: Callable[[Poison], Awaitable[None]]
    claim_every_ms: int = CLAIM_AFTER_MS
    """Of our own work; how often what others left behind is looked for."""
    gather: Gather | None = None
    _free_ms: int = 0
    """Where messages are gathered: from then on the next one is handled at once."""

    async def run(self) -> None:
        """Read for ever."""
        backoff = Backoff(self.clock, self.randomness)
        if self.broadcast:
            await self._follow(backoff)
            return
        while True:
            try:
                await self.bus.ensure_group(self.stream, self.group)
                await self._read(backoff)
            except (DependencyDown, NoSuchGroup) as down:
                log.warning("consumer pauses", stream=self.stream, group=self.group, why=str(down))
                await backoff.wait()

    async def _read(self, backoff: Backoff) -> None:
        claim_at_ms = 0
        while True:
            now_ms = self.clock.now_ms()
            if now_ms >= claim_at_ms:
                claim_at_ms = now_ms + self.clock.work_ms(self.claim_every_ms)
                await self._handle_all(
                    await self.bus.claim(
                        self.stream, self.group, self.name, min_idle_ms=CLAIM_AFTER_MS, count=READ_COUNT
                    )
                )
            deliveries = await self.bus.read(self.stream, self.group, self.name, count=READ_COUNT, block_ms=None)
            backoff.tried = 0
            if self.gather is None:
                await self._handle_all(deliveries)
            else:
                await self._handle_newest(self.gather, deliveries)

    async def _handle_all(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            await self._handle_one(delivery)
            # One by one: what is acknowledged is durable, and a kill repeats a single message at most.
            await self._ack((delivery.entry_id,))

    async def _handle_newest(self, gather: Gather, first: Sequence[Delivery]) -> None:
        """Of what comes too soon after the last one, the newest; of what came with a border between, both."""
        now_ms = self.clock.now_ms()
        if len(first) == 1 and now_ms >= self._free_ms:
            # The usual way where prices are rare.
            await self._handle_all(first)
            self._free_ms = self.clock.now_ms() + gather.within_ms
            return
        deliveries = list(first)
        if now_ms < self._free_ms and not _is_of_the_past(first[0], now_ms, gather):
            await self.clock.sleep_until_ms(min(self._free_ms, _border_after(now_ms - 1, gather.border_ms)))
            more = first
            while more:
                try:
                    more = await self.bus.read(self.stream, self.group, self.name, count=READ_COUNT, block_ms=0)
                except DependencyDown:
                    # What is in hand is handled; the next read finds the bus down and waits for it.
                    break
                deliveries += more
        passed_over: list[str] = []
        for delivery, following in zip(deliveries, [*deliveries[1:], None], strict=True):
            passed_over.append(delivery.entry_id)
            if following is None or not _needless(delivery, following, gather):
                await self._handle_one(delivery)
                await self._ack(tuple(passed_over))
                passed_over.clear()
        self._free_ms = self.clock.now_ms() + gather.within_ms

    async def _ack(self, entry_ids: tuple[str, ...]) -> None:
        try:
            await self.bus.ack(self.stream, self.group, entry_ids)
        except DependencyDown:
            await self._surely(partial(self.bus.ack, self.stream, self.group, entry_ids))

    async def _follow(self, backoff: Backoff) -> None:
        after: str | None = None
        while True:
            try:
                if after is None:
                    after = await self.bus.last_id(self.stream)
                for delivery in await self.bus.read_broadcast(self.stream, after, count=READ_COUNT, block_ms=None):
                    await self._handle_one(delivery)
                    after = delivery.entry_id
                backoff.reset()
            except DependencyDown as down:
                log.warning("consumer pauses", stream=self.stream, group=self.group, why=str(down))
                await backoff.wait()

    async def _handle_one(self, delivery: Delivery) -> None:
        """Returns when the effect is durable or the message is in the dead-letter stream."""
        message = delivery.message
        if isinstance(message, Undecodable):
            await self._bury(delivery, message.error, attempts=1)
            return
        try:
            await self.handle(message)
        except Exception as error:
            await self._handle_again(delivery, error)

    async def _handle_again(self, delivery: Delivery, error: Exception) -> None:
        """After a first failure: a dependency is waited for, a message that fails is tried `ATTEMPTS_MAX` times."""
        outage = Backoff(self.clock, self.randomness)
        failed = Backoff(self.clock, self.randomness, first_ms=RETRY_FIRST_MS)
        while True:
            if isinstance(error, DependencyDown):
                log.warning("waiting for a dependency", stream=self.stream, entry=delivery.entry_id, why=str(error))
                await outage.wait()
            else:
                attempt = failed.tried + 1
                log.error(
                    "a message failed", stream=self.stream, entry=delivery.entry_id, attempt=attempt, exc_info=error
                )
                if attempt >= ATTEMPTS_MAX:
                    await self._bury(delivery, f"{type(error).__name__}: {error}", attempts=attempt)
                    return
                await failed.wait()
            try:
                await self.handle(delivery.message)
            except Exception as again:
                error = again
            else:
                return

    async def _bury(self, delivery: Delivery, error: str, *, attempts: int) -> None:
        message = delivery.message
        fields = (
            dict(message.fields)
            if isinstance(message, Undecodable)
            else {"payload": message.to_json(), "type": type(message).__name__, "v": "1", "seq": str(delivery.seq)}
        )
        fields |= {"error": error[:2_000], "attempts": str(attempts), "entry_id": delivery.entry_id}
        await self._surely(partial(self.bus.publish_fields, dlq(self.stream), fields))
        await self._surely(partial(self.on_poison, Poison(delivery, error)))

    async def _surely(self, do: Callable[[], Awaitable[object]]) -> None:
        """Do it as soon as the bus lets us. To give up here would leave the rest of a batch behind newer entries."""
        backoff = Backoff(self.clock, self.randomness)
        while True:
            try:
                await do()
                return
            except DependencyDown as down:
                log.warning("consumer pauses", stream=self.stream, group=self.group, why=str(down))
            await backoff.wait()


def _needless(delivery: Delivery, following: Delivery, gather: Gather) -> bool:
    before, after = delivery.message, following.message
    if isinstance(before, Undecodable) or isinstance(after, Undecodable):
        return False
    border_ms = gather.border_ms
    return _border_after(gather.moment(before) - 1, border_ms) == _border_after(gather.moment(after) - 1, border_ms)


def _is_of_the_past(delivery: Delivery, now_ms: int, gather: Gather) -> bool:
    """It belongs before a border that has passed: whoever looks back to it must find it."""
    message = delivery.message
    return (
        not isinstance(message, Undecodable) and _border_after(gather.moment(message) - 1, gather.border_ms) <= now_ms
    )


def _border_after(at_ms: int, border_ms: int) -> int:
    """The first multiple of `border_ms` later than `at_ms`."""
    return (at_ms // border_ms + 1) * border_ms

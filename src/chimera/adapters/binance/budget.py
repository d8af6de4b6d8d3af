"""How much may be asked of the exchange before it refuses: one budget for every process behind one address.

Owns the count of what this minute has used, by what we sent and by what the exchange's headers say (which count every
process of the address), and until when nobody may ask. Knows no endpoint.

Limits are real time: windows are fixed, one per minute of our own work's time, and after a change of window the first
header says what the true one has used. The store is told and asked in the background, so that no order waits for it; a
store that is down leaves each process with its own count and the headers.

    PROTECTIVE   stops, exits, cancels, and the cheap looks that these need: always, until a ban (418)
    ENTRY        what may wait: refused below a tenth of headroom, and after a 429 until it ends
    DATA         refused earlier still, so that back-filling never takes what entries need

Source: exchangeInfo `rateLimits`; response headers `x-mbx-used-weight-1m`, `x-mbx-order-count-10s|1m|1d`; wallet
`x-sapi-used-ip-weight-1m`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import structlog

from chimera.adapters.binance.hosts import Site
from chimera.contracts.keys import RATE_BUDGET
from chimera.ports.clock import Clock
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.ports.venue import RateLimited

MINUTE_MS = 60_000
SHARE_EVERY_MS = 1_000
"""Work time between two exchanges with the store."""

log = structlog.get_logger(__name__)


class Priority(IntEnum):
    PROTECTIVE = 0
    ENTRY = 1
    DATA = 2


KEPT_FREE = {Priority.PROTECTIVE: 0.0, Priority.ENTRY: 0.10, Priority.DATA: 0.25}
"""The part of a limit that a priority leaves to those above it. A tenth: SERVICES, S1."""

_INTERVALS_MS = {"SECOND": 1_000, "MINUTE": MINUTE_MS, "HOUR": 3_600_000, "DAY": 86_400_000}


@dataclass(slots=True)
class Pool:
    """One limit. `header` tells what of it is used, in lower case."""

    name: str
    header: str
    limit: int
    window_ms: int
    window: int = -1
    used: int = 0

    def turn(self, work_now_ms: int) -> None:
        window = work_now_ms // self.window_ms
        if window != self.window:
            self.window, self.used = window, 0

    def left_ms(self, work_now_ms: int) -> int:
        return self.window_ms - work_now_ms % self.window_ms

    def allows(self, more: int, priority: Priority) -> bool:
        return self.used + more <= self.limit * (1.0 - KEPT_FREE[priority])


@dataclass(slots=True)
class _SiteBudget:
    weight: Pool
    orders: list[Pool]
    limited_until_ms: int = 0
    """Market time until which only PROTECTIVE goes (429)."""
    banned_until_ms: int = 0
    """Market time until which nothing goes (418)."""

    def pools(self) -> list[Pool]:
        return [self.weight, *self.orders]


def _sites() -> dict[Site, _SiteBudget]:
    """Limits as published in July 2026; `learn_limits` replaces them by what exchangeInfo says."""
    return {
        Site.FUTURES: _SiteBudget(
            Pool("weight_1m", "x-mbx-used-weight-1m", 2_400, MINUTE_MS),
            [
                Pool("orders_10s", "x-mbx-order-count-10s", 300, 10_000),
                Pool("orders_1m", "x-mbx-order-count-1m", 1_200, MINUTE_MS),
            ],
        ),
        Site.SPOT: _SiteBudget(
            Pool("weight_1m", "x-mbx-used-weight-1m", 6_000, MINUTE_MS),
            [
                Pool("orders_10s", "x-mbx-order-count-10s", 100, 10_000),
                Pool("orders_1d", "x-mbx-order-count-1d", 200_000, 86_400_000),
            ],
        ),
        Site.WALLET: _SiteBudget(Pool("weight_1m", "x-sapi-used-ip-weight-1m", 12_000, MINUTE_MS), []),
    }


@dataclass(slots=True)
class Budget:
    """`take` before a call, `learn` from its answer, `limit` or `ban` where it was refused for asking too much."""

    clock: Clock
    snapshots: Snapshots | None
    key: str
    """Where the shared budget is kept; `budget_key` makes it."""
    _by_site: dict[Site, _SiteBudget] = field(default_factory=_sites)
    _shared_at_ms: int = 0
    _sharing: "asyncio.Task[None] | None" = None

    def take(self, site: Site, *, weight: int, orders: int, priority: Priority) -> None:
        """Count a call that is about to be sent.

        Raises:
            RateLimited: it must not be sent now.
        """
        budget = self._by_site[site]
        now_ms = self.clock.now_ms()
        if now_ms < budget.banned_until_ms:
            raise RateLimited(f"{site.value} has banned this address", self._work_left_ms(budget.banned_until_ms))
        if priority is not Priority.PROTECTIVE and now_ms < budget.limited_until_ms:
            raise RateLimited(f"{site.value} asked us to slow down", self._work_left_ms(budget.limited_until_ms))
        work_now_ms = self._work_now_ms()
        for pool in budget.pools():
            more = weight if pool is budget.weight else orders
            pool.turn(work_now_ms)
            if more and priority is not Priority.PROTECTIVE and not pool.allows(more, priority):
                raise RateLimited(
                    f"{site.value}: {pool.used} of {pool.limit} ({pool.name}) are used, the rest is kept for stops,"
                    " exits and cancels",
                    pool.left_ms(work_now_ms),
                )
        budget.weight.used += weight
        for pool in budget.orders:
            pool.used += orders
        if now_ms >= self._shared_at_ms + self.clock.work_ms(SHARE_EVERY_MS):
            self._share_soon()

    def learn(self, site: Site, headers: Mapping[str, str], sent_at_ms: int) -> None:
        """The exchange's count includes other processes; ours may run ahead of it, so the larger one holds.

        What was sent before the window turned says nothing of the present one.
        """
        work_now_ms = self._work_now_ms()
        sent_work_ms = int(sent_at_ms / self.clock.speed)
        for pool in self._by_site[site].pools():
            told = headers.get(pool.header)
            if told is not None and told.isdecimal():
                pool.turn(work_now_ms)
                if sent_work_ms // pool.window_ms == pool.window:
                    pool.used = max(pool.used, int(told))

    def learn_limits(self, site: Site, limits: Sequence[Mapping[str, Any]]) -> None:
        """`rateLimits` of exchangeInfo. A limit that we have no header for is left out."""
        pools = {(pool.header[:10], pool.window_ms): pool for pool in self._by_site[site].pools()}
        heads = {"REQUEST_WEIGHT": "x-mbx-used", "ORDERS": "x-mbx-orde"}
        for row in limits:
            window_ms = _INTERVALS_MS.get(str(row["interval"]), 0) * int(row["intervalNum"])
            pool = pools.get((heads.get(str(row["rateLimitType"]), ""), window_ms))
            if pool is not None:
                pool.limit = int(row["limit"])

    def limit(self, site: Site, retry_after_ms: int) -> None:
        """429: everything but stops, exits and cancels waits. `retry_after_ms` is real time."""
        budget = self._by_site[site]
        budget.limited_until_ms = max(budget.limited_until_ms, self._until_ms(retry_after_ms))
        self._share_soon()

    def ban(self, site: Site, retry_after_ms: int) -> None:
        """418: nothing at all goes until it ends; what rests at the exchange protects."""
        budget = self._by_site[site]
        budget.banned_until_ms = max(budget.banned_until_ms, self._until_ms(retry_after_ms))
        log.error("the exchange has banned this address", site=site.value, for_ms=retry_after_ms)
        self._share_soon()

    def used(self, site: Site) -> Mapping[str, tuple[int, int]]:
        """Pool name to (used, limit), now."""
        work_now_ms = self._work_now_ms()
        for pool in self._by_site[site].pools():
            pool.turn(work_now_ms)
        return {pool.name: (pool.used, pool.limit) for pool in self._by_site[site].pools()}

    # --- with the other processes

    async def share(self) -> None:
        """Take over what others have seen, and show what we have. A store that is down is asked again later."""
        self._shared_at_ms = self.clock.now_ms()
        if self.snapshots is None:
            return
        try:
            known = await self.snapshots.get_hash(self.key)
            for site, budget in self._by_site.items():
                self._take_over(site, budget, known)
            ttl_s = RATE_BUDGET.ttl_s
            await self.snapshots.set_hash(
                self.key, self._fields(), ttl_ms=None if ttl_s is None else max(ttl_s * 1_000, self._longest_ms())
            )
        except DependencyDown as down:
            log.warning("the rate budget is not shared for now", why=str(down))

    async def close(self) -> None:
        if self._sharing is not None:
            await self._sharing

    def _share_soon(self) -> None:
        self._shared_at_ms = self.clock.now_ms()
        if self.snapshots is not None and (self._sharing is None or self._sharing.done()):
            self._sharing = asyncio.get_running_loop().create_task(self.share())

    def _take_over(self, site: Site, budget: _SiteBudget, known: Mapping[str, str]) -> None:
        work_now_ms = self._work_now_ms()
        for pool in budget.pools():
            window, _, used = known.get(f"{site.value}.{pool.name}", "").partition(":")
            pool.turn(work_now_ms)
            if used and int(window) == pool.window:
                pool.used = max(pool.used, int(used))
        limited = known.get(f"{site.value}.limited_until_ms", "0")
        banned = known.get(f"{site.value}.banned_until_ms", "0")
        budget.limited_until_ms = max(budget.limited_until_ms, int(limited))
        budget.banned_until_ms = max(budget.banned_until_ms, int(banned))

    def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for site, budget in self._by_site.items():
            for pool in budget.pools():
                fields[f"{site.value}.{pool.name}"] = f"{pool.window}:{pool.used}"
            fields[f"{site.value}.limited_until_ms"] = str(budget.limited_until_ms)
            fields[f"{site.value}.banned_until_ms"] = str(budget.banned_until_ms)
        return fields

    def _longest_ms(self) -> int:
        """A ban must outlive the key's usual life."""
        until_ms = max(budget.banned_until_ms for budget in self._by_site.values())
        return self._work_left_ms(until_ms)

    # --- time

    def _work_now_ms(self) -> int:
        return int(self.clock.now_ms() / self.clock.speed)

    def _until_ms(self, retry_after_ms: int) -> int:
        return self.clock.now_ms() + self.clock.work_ms(retry_after_ms)

    def _work_left_ms(self, until_ms: int) -> int:
        return max(0, int((until_ms - self.clock.now_ms()) / self.clock.speed))


def budget_key(env: str, exchange: str, address: str) -> str:
    return RATE_BUDGET.name(env, exchange, address)

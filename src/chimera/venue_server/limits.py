"""Request weights and order counts in fixed windows, and what happens to those who go on: 429, then 418.

Windows begin at :00 and run in real time, whatever the speed of the market. Whoever keeps asking after a 429 is
banned for two minutes, and twice as long each time up to three days. Source: the exchange's limit pages.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Site

MINUTE_MS = 60_000
FIVE_MINUTES_MS = 300_000
TEN_SECONDS_MS = 10_000
DAY_MS = 86_400_000
BAN_MS = 120_000
BAN_MS_MAX = 3 * DAY_MS
STRIKES = 10
"""So many requests after a 429, within the same window, bring the ban."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRules:
    """Of the exchange in production; `scale` multiplies all of them (a bench wants more room)."""

    futures_weight: int = 2_400
    futures_orders_10s: int = 300
    futures_orders_minute: int = 1_200
    spot_weight: int = 6_000
    spot_orders_10s: int = 100
    spot_orders_day: int = 200_000
    pool_5m: int = 500
    scale: int = 1


class Limited(Exception):
    """429 or 418, with the seconds to wait and the exchange's words."""

    def __init__(self, status: int, retry_after_s: int, refusal: Refusal) -> None:
        super().__init__(status, retry_after_s, refusal)
        self.status = status
        self.retry_after_s = retry_after_s
        self.refusal = refusal


@dataclass(slots=True)
class _Window:
    length_ms: int
    began_ms: int = 0
    used: int = 0

    def at(self, now_ms: int) -> int:
        began = now_ms - now_ms % self.length_ms
        if began != self.began_ms:
            self.began_ms, self.used = began, 0
        return self.used

    def left_s(self, now_ms: int) -> int:
        return max(1, -((now_ms - self.began_ms - self.length_ms) // 1_000))


@dataclass(slots=True)
class _Visitor:
    """One address: its weights, its strikes, its ban."""

    weights: dict[str, _Window] = field(default_factory=dict)
    strikes: int = 0
    strikes_until_ms: int = 0
    banned_until_ms: int = 0
    bans: int = 0


class Limits:
    """
    Args:
        speed: Market time per real time: a ban is told in the market's.
    """

    def __init__(self, rules: LimitRules, speed: float = 1.0) -> None:
        self.rules = rules
        self._speed = speed
        self._visitors: dict[str, _Visitor] = defaultdict(_Visitor)
        self._orders = {
            Site.FUTURES: (_Window(TEN_SECONDS_MS), _Window(MINUTE_MS)),
            Site.SPOT: (_Window(TEN_SECONDS_MS), _Window(DAY_MS)),
        }
        scale = rules.scale
        self._weight_max = {
            Site.FUTURES: rules.futures_weight * scale,
            Site.SPOT: rules.spot_weight * scale,
            Site.WALLET: rules.spot_weight * scale,
        }
        self._orders_max = {
            Site.FUTURES: (rules.futures_orders_10s * scale, rules.futures_orders_minute * scale),
            Site.SPOT: (rules.spot_orders_10s * scale, rules.spot_orders_day * scale),
        }

    def refuse_banned(self, address: str, now_ms: int) -> None:
        """
        Raises:
            Limited: 418 while the address is banned.
        """
        visitor = self._visitors[address]
        if now_ms < visitor.banned_until_ms:
            raise self._banned(visitor, now_ms)

    def weigh(self, address: str, site: Site, weight: int, pool: str, now_ms: int) -> None:
        """Count a request of `weight`.

        Raises:
            Limited: 429 above the limit, 418 for those who went on.
        """
        limit = self._weight_max.get(site)
        if limit is None:
            return
        visitor = self._visitors[address]
        name, length_ms = (pool, FIVE_MINUTES_MS) if pool else (site.name, MINUTE_MS)
        if pool:
            limit = self.rules.pool_5m * self.rules.scale
            weight = 1
        window = visitor.weights.get(name)
        if window is None:
            window = visitor.weights[name] = _Window(length_ms)
        window.at(now_ms)
        window.used += weight
        if window.used > limit:
            self.strike(address, now_ms, window.left_s(now_ms))

    def strike(self, address: str, now_ms: int, retry_after_s: int) -> None:
        """
        Raises:
            Limited: always: 429, or 418 where this is one time too many.
        """
        visitor = self._visitors[address]
        if now_ms >= visitor.strikes_until_ms:
            visitor.strikes = 0
        visitor.strikes += 1
        visitor.strikes_until_ms = now_ms + retry_after_s * 1_000
        if visitor.strikes > STRIKES:
            self.ban(address, now_ms, min(BAN_MS << visitor.bans, BAN_MS_MAX))
            visitor.bans += 1
            raise self._banned(visitor, now_ms)
        raise Limited(
            429,
            retry_after_s,
            Refusal(
                -1003,
                "Too many requests; current limit is exceeded. Please use the websocket for live updates to avoid"
                " polling the API.",
            ),
        )

    def ban(self, address: str, now_ms: int, length_ms: int) -> None:
        visitor = self._visitors[address]
        visitor.strikes = 0
        visitor.banned_until_ms = now_ms + length_ms

    def _banned(self, visitor: _Visitor, now_ms: int) -> Limited:
        left_s = max(1, -((now_ms - visitor.banned_until_ms) // 1_000))
        until_ms = int(visitor.banned_until_ms * self._speed)
        text = (
            f"Way too many requests; IP banned until {until_ms}. Please use the websocket for live updates to avoid"
            " bans."
        )
        return Limited(418, left_s, Refusal(-1003, text))

    def count_orders(self, site: Site, orders: int, now_ms: int, orders_long: int | None = None) -> None:
        """Count new orders of the account; `orders_long` is what the longer window counts where that differs.

        Raises:
            Limited: 429 with -1015.
        """
        short, long = self._orders[site]
        counts = ((short, orders), (long, orders if orders_long is None else orders_long))
        for (window, count), limit in zip(counts, self._orders_max[site], strict=True):
            if window.at(now_ms) + count > limit:
                text = f"Too many new orders; current limit is {limit} orders per {_named(window.length_ms)}."
                raise Limited(429, window.left_s(now_ms), Refusal(-1015, text))
        for window, count in counts:
            window.used += count

    def filled(self, site: Site, orders: int) -> None:
        """Spot gives the count back when an order fills. Source: spot changelog 2026-04-02."""
        for window in self._orders[site]:
            window.used = max(0, window.used - orders)

    def give_back(self, address: str, site: Site, weight: int, now_ms: int) -> None:
        """Orders and cancels of spot weigh nothing when they succeed. Source: spot changelog 2026-03-27."""
        window = self._visitors[address].weights.get(site.name)
        if window is not None and window.at(now_ms) >= weight:
            window.used -= weight

    def weight_used(self, address: str, site: Site, now_ms: int) -> tuple[int, int]:
        """(limit, used) of the running minute."""
        window = self._visitors[address].weights.get(site.name)
        return self._weight_max[site], window.at(now_ms) if window is not None else 0

    def orders_used(self, site: Site, now_ms: int) -> tuple[tuple[int, int, int], ...]:
        """(window in ms, limit, used), the short window first."""
        windows = zip(self._orders[site], self._orders_max[site], strict=True)
        return tuple((window.length_ms, limit, window.at(now_ms)) for window, limit in windows)

    def headers(self, address: str, site: Site, pool: str, now_ms: int) -> list[tuple[bytes, bytes]]:
        """What the answer says about the use so far."""
        if site is Site.MAX or site is Site.ADMIN or pool:
            return []
        window = self._visitors[address].weights.get(site.name)
        weight = str(window.at(now_ms) if window is not None else 0).encode()
        headers = [(b"x-mbx-used-weight-1m", weight)]
        if site is not Site.FUTURES:
            headers.append((b"x-mbx-used-weight", weight))
        return headers

    def order_headers(self, site: Site, now_ms: int) -> list[tuple[bytes, bytes]]:
        short, long = self._orders[site]
        name = b"x-mbx-order-count-1m" if site is Site.FUTURES else b"x-mbx-order-count-1d"
        return [
            (b"x-mbx-order-count-10s", str(short.at(now_ms)).encode()),
            (name, str(long.at(now_ms)).encode()),
        ]


def _named(length_ms: int) -> str:
    return {TEN_SECONDS_MS: "10 SECOND", MINUTE_MS: "1 MINUTE", DAY_MS: "1 DAY"}[length_ms]

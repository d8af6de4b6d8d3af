"""A dependency with a test's hand in it: one method at a time does something else, the rest is the real thing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from chimera.ports.world import World
from tests.services.trading_floor import Floor

Instead = Callable[..., Awaitable[Any]]
"""Is given the real method first, then what the caller gave."""


class Meddled:
    """`instead` by method name; it may be changed at any time."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.instead: dict[str, Instead] = {}

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.inner, name)
        instead = self.instead.get(name)
        return call if instead is None else partial(instead, call)


async def meddled_floor(
    *services: str, price: str = "60000", usdt: str = "1000", **meddled: Callable[[Any], Any]
) -> Floor:
    """A floor whose world has these parts wrapped (`venue=Meddled`) before `services` start."""
    floor = await Floor.open("s10", "s1", price=price, usdt=usdt)
    floor.world = wrapped(floor.world, **meddled)
    await floor.start(*services)
    return floor


async def floor_without_market_stops(*services: str) -> Floor:
    """Where SPOT's stops are STOP_LOSS_LIMIT; `s4`, which reads the exchange's rules, must be among `services`."""
    floor = await meddled_floor(*services, venue=Meddled)
    venue: Any = floor.world.venue

    async def without_market_stops(instruments: Any) -> Any:
        return [replace(each, stop_loss_market=False) for each in await instruments()]

    venue.instead["instruments"] = without_market_stops
    await floor.stop("s4")
    await floor.start("s4")
    return floor


def wrapped(world: World, **meddled: Callable[[Any], Any]) -> World:
    return replace(world, **{part: wrap(getattr(world, part)) for part, wrap in meddled.items()})

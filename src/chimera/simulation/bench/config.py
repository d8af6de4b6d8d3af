"""How long a switch of the configuration takes to arrive everywhere.

    by event    from asking for the switch (the check, two writes that reach the disk, the telling) to the last of the
                readers that follows
    by poll     the same where the bus loses the news: each reader is measured, for they look at moments of their own

The readers are those of S2, S3 and S6, each with the check that every reader makes.
"""

import asyncio
import time

import uvloop

from chimera.simulation.bench.config_house import ConfigHouse, open_config_house
from chimera.simulation.bench.rows import BenchOptions, BenchRow, row_of_runs

NAME = "config"
READERS = ("s2", "s3", "s6")
CALLS_OF_A_SWITCH = 10
"""One switch for so many `calls`: a switch is dearer than a call."""
GROUPS_BY_POLL = 4
"""Readers of each service, each looking at moments of its own."""
LOOK_EVERY_MS = 1


def bench(options: BenchOptions) -> list[BenchRow]:
    switches = max(1, options.calls // CALLS_OF_A_SWITCH)
    by_event = [uvloop.run(_by_event(switches, options.poll_ms)) for _ in range(options.runs)]
    by_poll = [uvloop.run(_by_poll(max(1, switches // 20), options.poll_ms)) for _ in range(options.runs)]
    return [
        row_of_runs(NAME, f"by event, last of {len(READERS)} readers", by_event, asked=switches),
        row_of_runs(NAME, f"by poll every {options.poll_ms / 1_000:g} s, each reader", by_poll, asked=len(by_poll[0])),
    ]


async def _by_event(switches: int, poll_ms: int) -> list[int]:
    async with open_config_house() as house:
        for reader in READERS:
            await house.watch(reader, poll_ms)
        return [max(await _follow(house, await house.staged(slip_bp_max=number))) for number in _numbers(switches)]


async def _by_poll(switches: int, poll_ms: int) -> list[int]:
    async with open_config_house() as house:
        for reader in READERS * GROUPS_BY_POLL:
            await house.watch(reader, poll_ms)
            await house.wait_ms(max(1, poll_ms // (len(READERS) * GROUPS_BY_POLL)))
        house.bus.loses = True
        taken: list[int] = []
        for number in _numbers(switches):
            taken += await _follow(house, await house.staged(slip_bp_max=number))
        return taken


def _numbers(count: int) -> list[float]:
    """Each another bundle, and none the default one."""
    return [1 + number / 1_000 for number in range(1, count + 1)]


async def _follow(house: ConfigHouse, bundle_id: str) -> list[int]:
    """How long each reader took, in ns."""
    seq = 1 + max(reader.current().seq for reader in house.watches)
    began_ns = time.perf_counter_ns()
    switch = asyncio.get_running_loop().create_task(house.ask("POST", "/promote", {"bundle_id": bundle_id}))
    taken: dict[int, int] = {}
    while len(taken) < len(house.watches):
        await house.wait_ms(LOOK_EVERY_MS)
        for place, reader in enumerate(house.watches):
            if place not in taken and reader.current().seq >= seq:
                taken[place] = time.perf_counter_ns() - began_ns
        if switch.done():
            switch.result()
    await switch
    return list(taken.values())

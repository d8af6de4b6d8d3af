"""Ports of the loopback for servers that a test starts.

Not the kernel's own choice (port 0): that one comes from the range from which every connection of the machine gets its
port too, so it may be taken again before the server that it is meant for has started.
"""

import os
import random
import socket

RANGE = range(10_240, 32_768)
"""Below where Linux by default begins to give connections their ports (`net.ipv4.ip_local_port_range`)."""


class _Slice:
    """What this process hands out: each worker of a test run has a part of its own, and no port comes twice."""

    def __init__(self) -> None:
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        size = len(RANGE) // workers
        self._ports = RANGE[worker * size : (worker + 1) * size]
        # Another run on the same machine begins elsewhere.
        self._next = random.SystemRandom().randrange(size)

    def take(self, count: int) -> range:
        if self._next + count > len(self._ports):
            self._next = 0
        taken = self._ports[self._next : self._next + count]
        self._next += count
        return taken


_slice = _Slice()


def free_ports(count: int = 1) -> int:
    """The first of `count` neighbours that nobody has."""
    for _ in range(1_000):
        ports = _slice.take(count)
        if all(map(is_free, ports)):
            return ports[0]
    raise AssertionError(f"no {count} free ports in a row in {RANGE}")


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as each:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            each.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

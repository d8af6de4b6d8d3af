"""HTTP servers inside our own loop: a port checked before anything starts, signals left to the program."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


class PortProblem(Exception):
    """The address cannot be used; the text says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, or a clear refusal before anything else has happened.

    Raises:
        PortProblem: naming host, port and remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's waiting off on what is accepted: without it an answer takes 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        # From now on a browser that comes before the server waits instead of being refused.
        sock.listen()
    except OSError as error:
        sock.close()
        raise PortProblem(
            f"port {port} on {host} cannot be used: {error.strerror}. Stop what listens there, or choose another port."
        ) from error
    return sock


class _Server(uvicorn.Server):
    """Signals belong to the program: it has more to end than this server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: Any, *, quiet: bool = True, streams: bool = False) -> uvicorn.Server:
    """
    Args:
        streams: for an app that pushes thousands of messages a second: not compressed, and by the implementation that
            costs least for each (30 us with all that leads to it, 25 of them the kernel's).
    """
    return _Server(
        uvicorn.Config(
            app,
            log_level="warning" if quiet else "info",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            ws="websockets-sansio" if streams else "auto",
            ws_per_message_deflate=not streams,
            ws_ping_interval=20.0,
            proxy_headers=False,
        )
    )


async def stop(*servers: tuple[uvicorn.Server, "asyncio.Task[None]"]) -> None:
    for each, _ in servers:
        each.should_exit = True
    await asyncio.gather(*(task for _, task in servers), return_exceptions=True)

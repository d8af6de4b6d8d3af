"""Sockets as our servers need them."""

import asyncio
import socket

from chimera.app.serving import listen
from tests.loopback import free_ports


async def test_an_accepted_connection_never_waits_for_more_to_send() -> None:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        accepted.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    port = free_ports()
    async with await asyncio.start_server(meet, sock=listen("127.0.0.1", port)):
        _, writer = await asyncio.open_connection("127.0.0.1", port)

        assert await accepted == 1

        writer.close()

"""A port for a server that a bench starts."""

import socket


def free_port() -> int:
    """One that nobody has now. Another program may take it before the server does; a bench is then started again."""
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        port: int = each.getsockname()[1]
        return port

"""A stream and whoever listens to it. An event is written once, and the same text goes to all of them."""

from typing import Protocol


class Listener(Protocol):
    """`combined` asks for the envelope {"stream", "data"}."""

    combined: bool

    def hear(self, stream: str, text: str) -> None:
        """`text` is ready to leave, in its envelope where one was asked for."""
        ...

    def hear_spoilt(self, stream: str, event: str) -> None:
        """The bare event, of which something else may be made on purpose before it leaves."""
        ...


class Topic:
    """
    Args:
        spoilt: True while market data may go wrong on purpose; then nobody shares a text.
    """

    __slots__ = ("_head", "listeners", "name", "spoilt")

    def __init__(self, name: str) -> None:
        self.name = name
        self.listeners: dict[Listener, None] = {}
        self.spoilt = False
        self._head = envelope_head(name)

    def publish(self, event: str) -> None:
        wrapped = ""
        for listener in list(self.listeners):
            if self.spoilt:
                listener.hear_spoilt(self.name, event)
            elif listener.combined:
                wrapped = wrapped or f"{self._head}{event}}}"
                listener.hear(self.name, wrapped)
            else:
                listener.hear(self.name, event)


def envelope_head(stream: str) -> str:
    """The beginning of the envelope, up to the event."""
    return f'{{"stream":"{stream}","data":'

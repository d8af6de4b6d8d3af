"""Who is told of the account: one market's events, written once, in the order they happened."""

from collections.abc import Callable

Push = Callable[[bytes], None]


class AccountFeed:
    def __init__(self) -> None:
        self._listeners: dict[int, Push] = {}
        self._count = 0

    def subscribe(self, push: Push) -> Callable[[], None]:
        """`push` gets every event from now on, without envelope; what is returned ends that."""
        self._count += 1
        number = self._count
        self._listeners[number] = push

        def unsubscribe() -> None:
            self._listeners.pop(number, None)

        return unsubscribe

    def tell(self, event: bytes) -> None:
        for push in list(self._listeners.values()):
            push(event)

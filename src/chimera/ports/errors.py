"""The root of what a dependency can do to us.

    DependencyDown     the dependency did not serve us: wait with backoff and try again; the message is not to blame

Each port's own tree stands in its module and hangs its "unavailable" error below this root, so that a consumer can
pause instead of counting the message as poison.
"""


class DependencyDown(Exception):
    """A port's other side is not there right now. Nothing was changed by the failed call, unless its kind says so."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} is unavailable: {why}")
        self.what = what
        self.why = why

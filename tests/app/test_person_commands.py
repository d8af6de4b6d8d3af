"""What the command line says of positions."""

from typing import Any

import pytest

from chimera.app.person_commands import stop_words


@pytest.mark.parametrize(
    ("position", "words"),
    [
        pytest.param({"stop_price": 59400.0, "stop_kind": "LISTED"}, "59,400", id="at the exchange"),
        pytest.param({"stop_price": 59400.0, "stop_kind": "GUARD"}, "59,400 guard", id="a guard of ours"),
        pytest.param({"stop_kind": "NONE"}, "[bold red]none[/]", id="nothing"),
        pytest.param({}, "not known", id="what is on file cannot be read"),
    ],
)
def test_a_stop_is_told_as_what_holds_it(position: dict[str, Any], words: str) -> None:
    assert stop_words(position) == words

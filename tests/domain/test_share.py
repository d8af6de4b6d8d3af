"""A share of names is that share, and a larger one keeps whom a smaller one had."""

from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.share import in_share


def test_a_tenth_is_a_tenth() -> None:
    names = [f"SIG-{number}-ENTRY-1" for number in range(20_000)]

    assert 0.09 < sum(in_share(name, 0.1) for name in names) / len(names) < 0.11
    assert not any(in_share(name, 0.0) for name in names)
    assert all(in_share(name, 1.0) for name in names)


@given(st.text(max_size=36), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_whom_a_smaller_one_had(name: str, one: float, other: float) -> None:
    small, large = sorted((one, other))

    assert in_share(name, large) or not in_share(name, small)

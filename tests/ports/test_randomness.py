"""What every source of chance promises, and what a seeded one adds: the same again, by name."""

import subprocess
import sys

import pytest

from chimera.adapters.chance import SeededRandomness, SystemRandomness
from chimera.ports.randomness import Randomness


@pytest.fixture(
    params=[pytest.param(lambda: SeededRandomness(7), id="seeded"), pytest.param(SystemRandomness, id="system")]
)
def randomness(request: pytest.FixtureRequest) -> Randomness:
    made: Randomness = request.param()
    return made


def test_chance_lies_between_0_and_1(randomness: Randomness) -> None:
    draws = [randomness.uniform() for _ in range(1_000)]

    assert all(0 <= draw < 1 for draw in draws)
    assert 0.4 < sum(draws) / len(draws) < 0.6


@pytest.mark.parametrize("size_bytes", [1, 16, 32])
def test_a_token_has_its_size_and_is_not_drawn_twice(randomness: Randomness, size_bytes: int) -> None:
    tokens = [randomness.token_hex(size_bytes) for _ in range(3)]

    assert all(len(bytes.fromhex(token)) == size_bytes for token in tokens)
    assert size_bytes == 1 or len(set(tokens)) == 3


def test_a_fork_draws_on_its_own(randomness: Randomness) -> None:
    assert randomness.fork("a").token_hex(16) != randomness.fork("b").token_hex(16)


def test_a_seed_repeats_a_run() -> None:
    first, second = SeededRandomness(7).fork("market"), SeededRandomness(7).fork("market")

    assert [first.uniform() for _ in range(5)] == [second.uniform() for _ in range(5)]
    assert first.token_hex(8) == second.token_hex(8)


def test_another_seed_is_another_run() -> None:
    assert SeededRandomness(7).uniform() != SeededRandomness(8).uniform()


def test_a_fork_does_not_depend_on_what_others_drew() -> None:
    fresh, used = SeededRandomness(7), SeededRandomness(7)
    for _ in range(10):
        used.uniform()

    assert fresh.fork("x").uniform() == used.fork("x").uniform()


def test_chance_does_not_depend_on_the_hash_seed() -> None:
    code = "from chimera.adapters.chance import SeededRandomness as S; print(S(7).fork('a').token_hex(16))"

    drawn = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }

    assert len(drawn) == 1

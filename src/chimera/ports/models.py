"""A trained model: opened once, asked often, never allowed to hold anybody up.

ModelUnusable      its file is not the one that was named, cannot be read, or does not fit: open another
ModelFailed        it was asked and could not answer

What an answer is worth (a probability, calibrated, in time) is the asker's to judge.
"""

from collections.abc import Sequence
from typing import Protocol


class ModelUnusable(Exception):
    """The text says what is wrong with the model and what to do about it."""


class ModelFailed(Exception):
    """The model raised an error of its own while it worked."""


class OpenModel(Protocol):
    async def predict(self, features: Sequence[float]) -> float:
        """The model's own output for one row, NaN and nonsense included. Rows are answered one after the other.

        Whoever is cancelled while he waits stops the run that worked for him; the next begins when that one has ended.

        Args:
            features: in the order that the model was trained with; the model sees them as 32-bit floats.

        Raises:
            ModelFailed
        """
        ...

    def close(self) -> None:
        """Stop what runs and let everything go. Who still waits for an answer gets ModelFailed."""
        ...


class Models(Protocol):
    async def open(self, body: bytes, *, sha256: str, inputs: int) -> OpenModel:
        """Make the file `body` ready to be asked. Nothing of it is read before its hash was found right.

        Args:
            sha256: of the whole file, 64 hex digits.
            inputs: how many features a row has.

        Raises:
            ModelUnusable
        """
        ...

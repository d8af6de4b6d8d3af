"""Models as ONNX files, run by onnxruntime: beside the loop, or in it where time is virtual.

Each open model has a thread of its own: a model that hangs holds up neither another one nor any other long work, and
one that is replaced takes its thread with it. A run that nobody waits for any more is told to stop, which onnxruntime
does between two of the model's steps. The library is loaded with the first model, so that a system without one needs
neither its memory nor the time it takes to load.

Read from the file: one input of 32-bit floats, [rows, features]. One output of floats is the probability: a column
([rows] or [rows, 1]), or one column a class of which the last counts ([rows, 2], as scikit-learn and LightGBM export a
classifier with zipmap off, beside an output of labels that is left alone).
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from chimera.ports.models import ModelFailed, ModelUnusable, OpenModel

T = TypeVar("T")

_PROBABILITY = ("tensor(float)", "tensor(double)")
_QUIET = 4
"""Fatal only: what goes wrong is raised, and needs no second telling on stderr."""


class OnnxModels:
    """`in_thread`: virtual time has no threads, False there; a run then takes no time at all."""

    def __init__(self, *, in_thread: bool) -> None:
        self._in_thread = in_thread

    async def open(self, body: bytes, *, sha256: str, inputs: int) -> OpenModel:
        place = _Thread() if self._in_thread else _Loop()
        model = _Model(place)
        try:
            await place.run(lambda: model.load(body, sha256, inputs))
        except BaseException:
            model.close()
            raise
        return model


class _Loop:
    """Done at once, where it was asked."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    def close(self) -> None:
        pass


class _Thread:
    """One piece after the other, beside the loop. A piece that was given up before it began is never done."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        try:
            piece = asyncio.get_running_loop().run_in_executor(self._pool, work)
        except RuntimeError as closed:
            raise ModelFailed("the model was closed") from closed
        try:
            return await piece
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if self._closed and me is not None and not me.cancelling():
                # Closing forgot the piece: whoever waits for it is told so, and is not cancelled himself.
                raise ModelFailed("the model was closed") from None
            raise

    def close(self) -> None:
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Model:
    """One session. What begins with `load` and `run` is done where the place does it."""

    def __init__(self, place: "_Thread | _Loop") -> None:
        self._place = place
        self._onnx: Any = None
        self._session: Any = None
        self._running: Any = None
        self._input = ""
        self._output = ""
        self._closed = False

    async def predict(self, features: Sequence[float]) -> float:
        if self._closed:
            raise ModelFailed("the model was closed")
        options = self._options()
        try:
            return await self._place.run(lambda: self.run(_row(features), options))
        except BaseException:
            options.terminate = True
            raise

    def close(self) -> None:
        self._closed = True
        if self._running is not None:
            self._running.terminate = True
        self._place.close()
        self._session = None

    def load(self, body: bytes, sha256: str, inputs: int) -> None:
        found = hashlib.sha256(body).hexdigest()
        if found != sha256:
            raise ModelUnusable(
                f"the file's sha256 is {found}, the model's document says {sha256}: store the right file, or export"
                " the model again"
            )
        self._onnx = onnx = import_module("onnxruntime")
        options = onnx.SessionOptions()
        # One row is a few microseconds of work; more threads would only fight for the processors.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        try:
            session = onnx.InferenceSession(body, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelUnusable(f"onnxruntime cannot read the file, export the model again: {error}") from error
        self._input, self._output = _input_of(session, inputs), _output_of(session)
        self._session = session
        try:
            # Shows what shapes alone do not, and the first run, which is the slowest, is nobody's decision.
            self.run(_row([0.0] * inputs), self._options())
        except ModelFailed as failed:
            raise ModelUnusable(f"it cannot answer a row of zeros, export the model again: {failed}") from failed

    def run(self, row: npt.NDArray[np.float32], options: Any) -> float:
        session = self._session
        if session is None:
            raise ModelFailed("the model was closed")
        self._running = options
        try:
            (answer,) = session.run([self._output], {self._input: row}, options)
        except Exception as error:
            raise ModelFailed(f"onnxruntime: {error}") from error
        finally:
            self._running = None
        if answer.shape not in ((1,), (1, 1), (1, 2)):
            raise ModelFailed(f"one row was answered by the shape {answer.shape}, not by one probability or two")
        return float(answer.reshape(-1)[-1])

    def _options(self) -> Any:
        options = self._onnx.RunOptions()
        options.log_severity_level = _QUIET
        return options


def _row(features: Sequence[float]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        # Beyond 32 bits a figure becomes infinite, and what the model makes of that is no probability.
        return np.asarray([features], dtype=np.float32)


def _input_of(session: Any, inputs: int) -> str:
    """
    Raises:
        ModelUnusable: it does not take one row of so many features.
    """
    taken = session.get_inputs()
    if len(taken) != 1 or taken[0].type != "tensor(float)" or len(taken[0].shape) != 2:
        shown = ", ".join(f"{each.name} {each.type} {each.shape}" for each in taken)
        raise ModelUnusable(f"it takes {shown}: export it with one input of 32-bit floats, [rows, features]")
    rows, width = taken[0].shape
    if isinstance(rows, int) and rows != 1:
        raise ModelUnusable(f"it takes {rows} rows at a time: export it for one row, or for any number")
    if isinstance(width, int) and width != inputs:
        raise ModelUnusable(f"it takes {width} features and the model's document names {inputs}: name those it takes")
    return str(taken[0].name)


def _output_of(session: Any) -> str:
    """
    Raises:
        ModelUnusable: it is not clear which output is the probability.
    """
    given = session.get_outputs()
    floats = [each for each in given if each.type in _PROBABILITY]
    likely = [each for each in floats if "prob" in each.name.lower()]
    for found in (floats, likely):
        if len(found) == 1:
            return str(found[0].name)
    shown = ", ".join(f"{each.name} {each.type}" for each in given)
    raise ModelUnusable(
        f"it gives {shown}: export it with one output of floats (scikit-learn and LightGBM: zipmap off), or name the"
        " probability's output so"
    )

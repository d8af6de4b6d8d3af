"""Models as real ONNX files, run by onnxruntime in both ways: what is answered, what is refused, who waits for whom."""

import asyncio
import math
import threading

import numpy as np
import pytest
from onnx import TensorProto, helper

from chimera.adapters.onnx_models import OnnxModels
from chimera.ports.models import ModelFailed, Models, ModelUnusable, OpenModel
from tests.ports.model_files import certainty_of, classifier, logistic, no_number, onnx_file, sha256, slow


@pytest.fixture(params=[False, True], ids=["in the loop", "in a thread"])
def models(request: pytest.FixtureRequest) -> Models:
    return OnnxModels(in_thread=request.param)


async def opened(models: Models, body: bytes, inputs: int = 2) -> OpenModel:
    return await models.open(body, sha256=sha256(body), inputs=inputs)


@pytest.mark.parametrize("make", [logistic, classifier], ids=["a column", "a column a class"])
async def test_a_logistic_regression_is_answered_as_its_formula(models: Models, make: object) -> None:
    assert callable(make)
    model = await opened(models, make([0.5, -1.25]))

    for row in ([0.0, 0.0], [1.0, 2.0], [-3.0, 0.7]):
        z = 0.5 * row[0] - 1.25 * row[1]
        assert await model.predict(row) == pytest.approx(1 / (1 + math.exp(-z)), rel=1e-6)
    model.close()


async def test_the_model_sees_32_bit_floats(models: Models) -> None:
    model = await opened(models, logistic([1.0, 0.0]))

    assert await model.predict([0.1, 0.0]) == pytest.approx(1 / (1 + math.exp(-np.float32(0.1))), rel=1e-7)
    assert await model.predict([1e300, 0.0]) == 1.0, "beyond 32 bits: infinite, and a saturated answer"
    model.close()


@pytest.mark.parametrize("row", [[1.0, 2.0], [0.5, -0.5]])
async def test_what_is_no_number_comes_back_as_it_is(models: Models, row: list[float]) -> None:
    model = await opened(models, no_number(2))

    assert math.isnan(await model.predict(row))
    model.close()


async def test_an_output_out_of_range_comes_back_as_it_is(models: Models) -> None:
    model = await opened(models, certainty_of(1.5, 2))

    assert await model.predict([0.3, 0.4]) == 1.5
    model.close()


def two_floats() -> bytes:
    return onnx_file(
        [helper.make_node("Sigmoid", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"])],
        {},
        width=2,
        outputs=(("a", TensorProto.FLOAT, [None, 2]), ("b", TensorProto.FLOAT, [None, 2])),
    )


def wide_answer() -> bytes:
    return onnx_file(
        [helper.make_node("Concat", ["x", "x"], ["p"], axis=1)],
        {},
        width=2,
        outputs=(("p", TensorProto.FLOAT, [None, 4]),),
    )


@pytest.mark.parametrize(
    ("body", "inputs", "says"),
    [
        pytest.param(logistic([1.0, 1.0, 1.0]), 2, "takes 3 features and the model's document names 2", id="too wide"),
        pytest.param(logistic([1.0, 1.0], rows=32), 2, "32 rows at a time", id="many rows"),
        pytest.param(b"not a model at all", 2, "cannot read the file", id="no model"),
        pytest.param(logistic([1.0, 1.0])[:-40], 2, "cannot read the file", id="cut off"),
        pytest.param(two_floats(), 2, "name the probability's output", id="two outputs"),
        pytest.param(wide_answer(), 2, r"by the shape \(1, 4\)", id="four columns"),
    ],
)
async def test_what_does_not_fit_is_refused_when_it_is_opened(
    models: Models, body: bytes, inputs: int, says: str
) -> None:
    with pytest.raises(ModelUnusable, match=says):
        await opened(models, body, inputs)


async def test_a_file_with_another_hash_is_not_even_read(models: Models) -> None:
    with pytest.raises(ModelUnusable, match="sha256"):
        await models.open(b"not a model at all", sha256="0" * 64, inputs=2)


async def test_a_closed_model_answers_nobody(models: Models) -> None:
    model = await opened(models, logistic([1.0, 1.0]))
    model.close()

    with pytest.raises(ModelFailed):
        await model.predict([0.0, 0.0])


async def test_a_run_that_nobody_waits_for_stops_and_the_next_is_answered() -> None:
    model = await opened(OnnxModels(in_thread=True), slow(1), inputs=1)
    hanging = asyncio.ensure_future(model.predict([1e6]))
    await asyncio.sleep(0.1)
    behind = asyncio.ensure_future(model.predict([0.0]))
    await asyncio.sleep(0.1)

    assert not behind.done(), "one after the other"
    hanging.cancel()
    # Without being stopped it would work for hours.
    assert 0.0 <= await asyncio.wait_for(behind, 30) <= 1.0
    model.close()


async def test_who_gives_up_while_waiting_leaves_nothing_behind() -> None:
    model = await opened(OnnxModels(in_thread=True), slow(1), inputs=1)
    hanging = asyncio.ensure_future(model.predict([1e6]))
    await asyncio.sleep(0.05)
    waiting = [asyncio.ensure_future(model.predict([1e6])) for _ in range(20)]
    await asyncio.sleep(0.05)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    hanging.cancel()

    # Had the twenty been queued, each would run for hours now.
    assert 0.0 <= await asyncio.wait_for(model.predict([0.0]), 30) <= 1.0
    model.close()


async def test_closing_stops_what_runs_and_tells_who_waits() -> None:
    before = threading.active_count()
    model = await opened(OnnxModels(in_thread=True), slow(1), inputs=1)
    asked = [asyncio.ensure_future(model.predict([1e6])) for _ in range(3)]
    await asyncio.sleep(0.1)

    model.close()

    ended = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
    assert [type(each) for each in ended] == [ModelFailed] * 3
    for _ in range(300):
        if threading.active_count() <= before:
            break
        await asyncio.sleep(0.05)
    assert threading.active_count() <= before


async def test_a_thread_leaves_the_loop_free() -> None:
    model = await opened(OnnxModels(in_thread=True), slow(1), inputs=1)
    hanging = asyncio.ensure_future(model.predict([1e6]))
    turns = 0
    for _ in range(10):
        await asyncio.sleep(0.01)
        turns += 1

    assert (turns, hanging.done()) == (10, False)
    hanging.cancel()
    model.close()


async def test_two_models_do_not_wait_for_each_other() -> None:
    models = OnnxModels(in_thread=True)
    stuck, well = await opened(models, slow(1), inputs=1), await opened(models, logistic([1.0]), inputs=1)
    hanging = asyncio.ensure_future(stuck.predict([1e6]))
    await asyncio.sleep(0.05)

    assert await asyncio.wait_for(well.predict([0.0]), 30) == 0.5
    assert not hanging.done()
    hanging.cancel()
    stuck.close()
    well.close()

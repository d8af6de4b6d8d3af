"""ONNX files for tests, written node by node: a logistic regression, and some that go wrong in one way each."""

import hashlib
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_IR_VERSION = 9
_OPSETS = [helper.make_opsetid("", 17)]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def logistic(weights: Sequence[float], bias: float = 0.0, *, rows: int | None = None) -> bytes:
    """1 / (1 + exp(-(w*x + bias))): one column of probabilities."""
    return onnx_file(
        [
            helper.make_node("MatMul", ["x", "w"], ["wx"]),
            helper.make_node("Add", ["wx", "bias"], ["z"]),
            helper.make_node("Sigmoid", ["z"], ["p"]),
        ],
        {"w": np.array([[w] for w in weights], np.float32), "bias": np.array([bias], np.float32)},
        width=len(weights),
        rows=rows,
    )


def classifier(weights: Sequence[float]) -> bytes:
    """As scikit-learn exports one with zipmap off: labels, then a column of probabilities a class."""
    return onnx_file(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Sigmoid", ["z"], ["p1"]),
            helper.make_node("Sub", ["one", "p1"], ["p0"]),
            helper.make_node("Concat", ["p0", "p1"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ],
        {"w": np.array([[w] for w in weights], np.float32), "one": np.array([1.0], np.float32)},
        width=len(weights),
        outputs=(("label", TensorProto.INT64, [None]), ("probabilities", TensorProto.FLOAT, [None, 2])),
    )


def no_number(width: int) -> bytes:
    """The logarithm of minus the sum of squares: no number, unless all is zero, which is what a first look shows."""
    return onnx_file(
        [
            helper.make_node("ReduceSumSquare", ["x"], ["s"], axes=[1]),
            helper.make_node("Neg", ["s"], ["n"]),
            helper.make_node("Sqrt", ["n"], ["p"]),
        ],
        {},
        width=width,
    )


def certainty_of(constant: float, width: int) -> bytes:
    """Says `constant` whatever it sees."""
    return onnx_file(
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["s"]),
            helper.make_node("Mul", ["s", "zero"], ["z"]),
            helper.make_node("Add", ["z", "c"], ["p"]),
        ],
        {
            "axis": np.array([1], np.int64),
            "zero": np.array([0.0], np.float32),
            "c": np.array([constant], np.float32),
        },
        width=width,
    )


def slow(width: int, rounds_per_unit: int = 20_000, size: int = 400) -> bytes:
    """Multiplies matrices for `rounds_per_unit` times the first feature's value; a row of zeros is answered at once."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h_in", "m"], ["h_out"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h_in", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h_out", TensorProto.FLOAT, [size, size]),
        ],
    )
    return onnx_file(
        [
            helper.make_node("Slice", ["x", "from", "to", "axis"], ["first"]),
            helper.make_node("Mul", ["first", "unit"], ["rounds"]),
            helper.make_node("Cast", ["rounds"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Squeeze", ["whole"], ["count"]),
            helper.make_node("Loop", ["count", "yes", "m"], ["h"], body=body),
            helper.make_node("ReduceMean", ["h"], ["mean"], axes=[0, 1]),
            helper.make_node("Sigmoid", ["mean"], ["p"]),
        ],
        {
            "m": np.full((size, size), 1.0 / size, np.float32),
            "yes": np.array(True),
            "from": np.array([0], np.int64),
            "to": np.array([1], np.int64),
            "axis": np.array([1], np.int64),
            "unit": np.array([float(rounds_per_unit)], np.float32),
        },
        width=width,
    )


def onnx_file(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"],
    *,
    width: int,
    rows: int | None = None,
    outputs: Sequence[tuple[str, int, list[int | None]]] = (("p", TensorProto.FLOAT, [None, 1]),),
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=_OPSETS)
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model)
    body: bytes = model.SerializeToString()
    return body

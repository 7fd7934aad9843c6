"""The graph of a linear model, nothing compressed yet."""

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sklc.deploy.onnx.nets import BATCH, IR_VERSION, OPSET
from sklc.signature import Signature


def linear_graph(model: Any) -> ModelProto:
    """Return the graph of the decision function of a linear model, in float64.

    Parameters
    ----------
    model : LinearRegression, Ridge or LogisticRegression
        Fitted.
    """
    weight = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    intercept = np.broadcast_to(np.asarray(model.intercept_, np.float64), len(weight))
    held = {"coef_": weight, "intercept_": intercept}
    n_outputs, n_features = weight.shape
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["coef_"], ["columns"], perm=[1, 0]),
            helper.make_node("MatMul", ["X", "columns"], ["product"]),
            helper.make_node("Add", ["product", "intercept_"], ["output"]),
        ],
        "linear",
        [_table("X", n_features)],
        [_table("output", n_outputs)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _table(name: str, n_columns: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.DOUBLE, [BATCH, n_columns])


def linear_signature(model: Any, signature: Signature) -> Signature:
    """Return how predictions follow from the decision function of a linear model."""
    if signature.classes is None:
        return replace(signature, shape="flat" if np.ndim(model.coef_) == 1 else "")
    if len(signature.classes) > 2:
        return replace(signature, activation="softmax", decision="argmax")
    return replace(
        signature,
        activation="sigmoid_pair",
        decision="threshold",
        threshold=0.5,
        flat=True,
    )

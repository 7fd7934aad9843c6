"""Classes, and what is known of inputs and outputs, as JSON values, and back again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sklc.signature import Input, Signature

_ACTIVATIONS = "identity", "softmax", "sigmoid_pair", "pair", "custom"
_DECISIONS = "output", "argmax", "threshold", "custom"
_NUMBERS = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
}
_DTYPES = {*_NUMBERS, "bfloat16", ""}
_PLAIN = bool, int, float, str


def describe(labels: np.ndarray | None) -> dict[str, Any] | None:
    """Return labels, or names, as JSON values.

    Raises
    ------
    TypeError
        If they are no texts, numbers or truth values.
    """
    if labels is None:
        return None
    kind = {"U": "str", "O": "object"}.get(labels.dtype.kind, labels.dtype.name)
    values = labels.tolist()
    plain = all(type(value) in _PLAIN for value in values)
    if labels.ndim != 1 or not plain or not (kind in ("str", "object") or _known(kind)):
        msg = (
            f"Labels {values!r} cannot be saved: they must be texts, integers, floats "
            "or truth values. Encode them, with LabelEncoder, and fit again."
        )
        raise TypeError(msg)
    return {"dtype": kind, "values": values}


def rebuild(entry: Mapping[str, Any] | None) -> np.ndarray | None:
    """Return the labels that :func:`describe` described, or raise a ValueError."""
    if entry is None:
        return None
    kind, values = entry["dtype"], entry["values"]
    good = type(values) is list and all(type(value) in _PLAIN for value in values)
    if kind == "str":
        good = good and all(type(value) is str for value in values)
    elif kind != "object":
        good = good and _known(kind)
        good = good and not any(type(value) is str for value in values)
    if not good or entry.keys() != {"dtype", "values"} or not _distinct(values):
        msg = f"These are no labels: {entry!r:.200}."
        raise ValueError(msg)
    return np.array(values, dtype={"str": np.str_, "object": object}.get(kind, kind))


def describe_signature(signature: Signature) -> dict[str, Any]:
    """Return a signature as JSON values."""
    inputs = [[own.name, list(own.shape), own.dtype] for own in signature.inputs]
    facts = vars(signature) | {"inputs": inputs}
    return facts | {"classes": describe(signature.classes)}


def rebuild_signature(entry: Mapping[str, Any]) -> Signature:
    """Return the signature that was described, or raise a ValueError."""
    inputs = [
        Input(name, tuple(shape), dtype) for name, shape, dtype in entry["inputs"]
    ]
    facts = {**entry, "inputs": tuple(inputs), "classes": rebuild(entry["classes"])}
    columns = entry["columns"]
    facts["columns"] = None if columns is None else tuple(columns)
    found = Signature(**facts)
    good = (
        found.activation in _ACTIVATIONS
        and found.decision in _DECISIONS
        and found.shape in ("flat", "column", "")
        and type(found.threshold) in (int, float)
        and type(found.flat) is bool
        and all(_is_input(own) for own in inputs)
        and (columns is None or type(columns) is list)
        and all(type(name) is str for name in columns or ())
        and (not inputs or _distinct([own.name for own in inputs]))
    )
    if not good:
        msg = f"This is no signature: {entry!r:.200}."
        raise ValueError(msg)
    return found


def _distinct(values: list[Any]) -> bool:
    """Whether there are values, no two of which are equal."""
    return len(set(values)) == len(values) > 0


def _known(kind: Any) -> bool:
    return type(kind) is str and kind in _NUMBERS


def _is_input(own: Input) -> bool:
    sizes = all(type(length) is int and length >= 0 for length in own.shape)
    return sizes and type(own.name) is str and own.dtype in _DTYPES

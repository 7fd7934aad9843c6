"""What goes into a net, and what its output means."""

from typing import Any

from skorch import (
    NeuralNet,
    NeuralNetBinaryClassifier,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from skorch.dataset import unpack_data
from torch import nn

from sklc.lstep.net.parts import dtype_name, parts_of
from sklc.lstep.net.translation import NetTranslation
from sklc.signature import Input, Signature

_KNOWN = NeuralNet, NeuralNetClassifier, NeuralNetBinaryClassifier, NeuralNetRegressor
_ACTIVATIONS = {  # skorch's, for predict_nonlinearity="auto"
    nn.CrossEntropyLoss: "softmax",
    nn.BCEWithLogitsLoss: "sigmoid_pair",
    nn.BCELoss: "pair",
}
_OWN = "forward_iter", "evaluation_step", "infer", "predict_proba", "predict"


def signature(net: NeuralNet, translation: NetTranslation, batch: Any) -> Signature:
    """Return how a net is fed, and how it predicts.

    Parameters
    ----------
    net : NeuralNet
        Initialized.
    translation : NetTranslation
    batch : object
        As the net trains on.
    """
    inputs = tuple(
        Input(
            f"X{name}" if name.isdigit() else name or "X",
            tuple(part.shape[1:]),
            dtype_name(part),
            translation.given.get(name, ""),
        )
        for name, part in parts_of(unpack_data(batch)[0]).items()
    )
    columns = None
    if translation.table is not None:
        columns = tuple(map(str, translation.features.get("feature_names_in_", ())))
    binary = isinstance(net, NeuralNetBinaryClassifier)
    decision = "output"
    if isinstance(net, NeuralNetClassifier):
        decision = "argmax"
    elif binary:
        decision = "threshold"
    custom = any(
        all(getattr(type(net), name) is not getattr(kind, name) for kind in _KNOWN)
        for name in _OWN
    )
    return Signature(
        inputs=inputs,
        activation=_activation(net),
        decision="custom" if custom else decision,
        threshold=float(net.threshold) if binary else 0.5,
        flat=binary,
        classes=translation.classes,
        shape=translation.shape,
        columns=columns,
    )


def _activation(net: NeuralNet) -> str:
    """Return what stands between the output of a net and its probabilities."""
    if net.predict_nonlinearity is None:
        return "identity"
    if net.predict_nonlinearity != "auto":
        return "custom"
    if len(net._criteria) != 1:  # as skorch, which does not guess then
        return "identity"
    criterion = getattr(net, f"{net._criteria[0]}_")
    criterion = getattr(criterion, "_orig_mod", criterion)
    for kind, name in _ACTIVATIONS.items():
        if isinstance(criterion, kind):
            return name
    return "identity"

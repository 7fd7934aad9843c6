"""A net that predicts, without the tools that made it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklc.codes.dtypes import dtype_of
from sklc.signature import Input, Signature

Activation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, Activation] = {
    "identity": lambda output: output,
    "softmax": lambda output: output.softmax(-1),
    "sigmoid_pair": lambda output: _pair(output.sigmoid()),
    "pair": lambda output: _pair(output),
}


class Predictor:
    """A module, and what its output means.

    :func:`sklc.load` makes it. It predicts what :class:`~sklc.LCCompressor` does, to
    the last bit where device, threads and batch size are the same.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    signature : Signature
    activation : callable, default=None
        From the output to probabilities, where the signature has ``"custom"``.
    batch_size : int, default=128
        Samples that the module gets at a time.

    Attributes
    ----------
    module_ : nn.Module
    signature_ : Signature
    classes_ : ndarray of shape (n_classes,)
        Of a classifier whose classes are known.
    """

    def __init__(
        self,
        module: nn.Module,
        signature: Signature,
        activation: Activation | None = None,
        batch_size: int = 128,
    ) -> None:
        self.module_ = module
        self.signature_ = signature
        self.batch_size = batch_size
        self.activation = activation
        if signature.classes is not None:
            self.classes_ = signature.classes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.module_).__name__})"

    def predict(self, X: Any) -> np.ndarray:
        """Predict.

        Parameters
        ----------
        X : array, tensor, data frame, or list or dict of them
            A list or a dict of a net with several inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of a classifier labels, otherwise numbers, in the form of the `y` of the
            fit.

        Raises
        ------
        ValueError
            If that was up to a method of the user's.
        """
        signature = self.signature_
        if signature.decision == "custom":
            msg = (
                "The net predicts by methods of its own class, which a file does not "
                "hold: decide by predict_proba(X), or by module_."
            )
            raise ValueError(msg)
        found = self.predict_proba(X)
        if signature.decision == "argmax":
            return self._labels(found.argmax(axis=1))
        if signature.decision == "threshold":
            return self._labels((found[:, 1] > signature.threshold).astype("uint8"))
        if signature.shape == "flat" and found.ndim == 2:
            return found[:, 0]
        if signature.shape == "column" and found.ndim == 1:
            return found[:, None]
        return found

    def _labels(self, numbers: np.ndarray) -> np.ndarray:
        """Return the classes of outputs; their numbers, if they are not known."""
        classes = self.signature_.classes
        if classes is None or numbers.ndim != 1:
            return numbers
        if numbers.max(initial=0) >= len(classes):
            msg = (
                f"The module predicts its output {numbers.max()}, but there are only "
                f"{len(classes)} classes: give the module that was compressed."
            )
            raise ValueError(msg)
        found: np.ndarray = classes[numbers]
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities; of a regressor, numbers as the net returns them.

        Parameters
        ----------
        X : data
            As for :meth:`predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.

        Raises
        ------
        ValueError
            If they follow from the output by a function that is not known.
        """
        known = _ACTIVATIONS.get(self.signature_.activation)
        activation = self.activation or known
        if activation is None:
            msg = (
                "Probabilities follow from the output of the net by a function of its "
                "own, which a file does not hold: give load(..., activation=...) it."
            )
            raise ValueError(msg)
        named, parts = _parts(X, self.signature_.inputs)
        found = []
        was_training = self.module_.training
        self.module_.eval()
        try:
            with torch.no_grad():
                for first in range(0, len(parts[0][1]), self.batch_size):
                    batch = slice(first, first + self.batch_size)
                    output = self._output(named, [(k, t[batch]) for k, t in parts])
                    found.append(activation(output).cpu().numpy())
        finally:
            self.module_.train(was_training)
        return np.concatenate(found)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of a classifier, or the R² of a regressor.

        Parameters
        ----------
        X : data
            As for :meth:`predict`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
            R² is the mean over the outputs; of one that is constant, 1 or 0.
        """
        predicted, y = self.predict(X), np.asarray(y)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        if self.signature_.decision != "output":
            hits = predicted == y.reshape(predicted.shape)
            return float(np.average(hits, weights=weight))
        y, predicted = (
            array.reshape(len(y), -1).astype(float) for array in (y, predicted)
        )
        residual = weight @ (y - predicted) ** 2
        total = weight @ (y - np.average(y, axis=0, weights=weight)) ** 2
        safe = np.where(total > 0, total, 1)
        constant = np.where(residual > 0, 0.0, 1.0)
        return float(np.where(total > 0, 1 - residual / safe, constant).mean())

    def _output(self, named: bool, batch: list[tuple[Any, Tensor]]) -> Tensor:
        """Return what the module makes of some samples."""
        own = (*self.module_.parameters(), *self.module_.buffers())
        device = own[0].device if own else torch.device("cpu")
        parts = {key: tensor.to(device) for key, tensor in batch}
        if named:
            output = self.module_(**parts)
        elif None in parts:
            output = self.module_(parts[None])
        else:
            output = self.module_(list(parts.values()))
        found: Tensor = output[0] if isinstance(output, tuple) else output
        return found.reshape(-1) if self.signature_.flat else found


def _parts(X: Any, inputs: tuple[Input, ...]) -> tuple[bool, list[tuple[Any, Tensor]]]:
    """Return whether samples have names, and their tensors: by name, number or None.

    Raises
    ------
    ValueError
        If they are no samples of a net with these inputs.
    """
    names = [own.name for own in inputs]
    if hasattr(X, "columns") and len(names) > 1:
        X = {name: np.asarray(X[name])[:, None] for name in names}
    named = isinstance(X, Mapping)
    arrays = isinstance(X, list | tuple) and any(hasattr(part, "shape") for part in X)
    several = arrays and names != ["X"]  # and not rows of one array
    given = [*X.items()] if named else [*enumerate(X)] if several else [(None, X)]
    if inputs and (len(given) != len(inputs) or (named and set(X) != set(names))):
        shown = ", ".join(map(str, X)) if named else f"{len(given)} parts"
        msg = f"X has {shown}, but the net takes {', '.join(names)}."
        raise ValueError(msg)
    order = names if named else [key for key, _ in given]
    dtypes = {key: own.dtype for key, own in zip(order, inputs, strict=False)}
    parts = [(key, _tensor(part, dtypes.get(key, ""))) for key, part in given]
    lengths = [len(tensor) for _, tensor in parts]
    if not lengths[0] or len(set(lengths)) > 1:
        msg = f"X must have samples, as many in each part, but it has {lengths}."
        raise ValueError(msg)
    return named, parts


def _pair(probability: Tensor) -> Tensor:
    return torch.stack([1 - probability, probability], 1)


def _tensor(part: Any, dtype: str) -> Tensor:
    """Return samples as a tensor."""
    if isinstance(part, Tensor):
        tensor = part
    else:
        tensor = torch.as_tensor(np.require(np.asarray(part), requirements="W"))
    return (tensor.to(dtype_of(dtype)) if dtype else tensor).contiguous()

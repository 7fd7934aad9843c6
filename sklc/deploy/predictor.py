"""A net that predicts, without the tools that made it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklc.signature import Signature

Activation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, Activation] = {
    "identity": lambda output: output,
    "softmax": lambda output: output.softmax(-1),
    "sigmoid_pair": lambda output: _pair(output.sigmoid()),
    "pair": lambda output: _pair(output),
}


class Predictor:
    """A module, and what its output means.

    :func:`sklc.load` makes it. It predicts what :class:`~sklc.LCCompressor` does, to the
    last bit where the device, the threads and the batch size are the same.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    signature : Signature
    activation : callable, default=None
        From the output to probabilities, where the signature has ``"custom"``.
    batch_size : int, default=128
        Samples at a time; :meth:`predict` keeps only their predictions.

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
        self._activation = activation or _ACTIVATIONS.get(signature.activation)
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
            found = found.argmax(axis=1)
        elif signature.decision == "threshold":
            found = (found[:, 1] > signature.threshold).astype("uint8")
        elif signature.shape == "flat" and found.ndim == 2:
            found = found[:, 0]
        elif signature.shape == "column" and found.ndim == 1:
            found = found[:, None]
        decided = signature.decision in ("argmax", "threshold")
        if decided and signature.classes is not None:
            if found.ndim != 1:
                return found
            if found.max(initial=0) >= len(signature.classes):
                msg = (
                    f"The module predicts its output {found.max()}, but there are only "
                    f"{len(signature.classes)} classes."
                )
                raise ValueError(msg)
            return signature.classes[found]
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
        activation = self._activation
        if activation is None:
            msg = (
                "Probabilities follow from the output of the net by a function of its "
                "own, which a file does not hold: give load(..., activation=...) it."
            )
            raise ValueError(msg)
        was_training = self.module_.training
        self.module_.eval()
        try:
            with torch.no_grad():
                found = [
                    _numpy(activation(self._output(batch)))
                    for batch in self._batches(X)
                ]
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

    def _output(self, batch: Any) -> Tensor:
        named = isinstance(batch, Mapping)
        output = self.module_(**batch) if named else self.module_(batch)
        output = output[0] if isinstance(output, tuple) else output
        return output.reshape(-1) if self.signature_.flat else output

    def _batches(self, X: Any) -> Iterator[Any]:
        """Yield the samples as the net was fed, some at a time."""
        inputs = self.signature_.inputs
        device = next((t.device for t in _tensors(self.module_)), torch.device("cpu"))
        names = [own.name for own in inputs]
        if hasattr(X, "columns") and len(names) > 1:
            X = {name: np.asarray(X[name])[:, None] for name in names}
        keys = (
            list(X)
            if isinstance(X, Mapping)
            else range(len(X))
            if _several(X)
            else None
        )
        parts = [X] if keys is None else [X[key] for key in keys]
        if inputs and len(parts) != len(inputs):
            msg = f"X has {len(parts)} parts, but the net takes {', '.join(names)}."
            raise ValueError(msg)
        dtypes = [own.dtype for own in inputs] or [""] * len(parts)
        if isinstance(X, Mapping) and inputs:
            if set(X) != set(names):
                msg = f"X has {', '.join(map(str, X))}, but the net takes {', '.join(names)}."
                raise ValueError(msg)
            by_name = {own.name: own.dtype for own in inputs}
            dtypes = [by_name[key] for key in X]
        tensors = [
            _tensor(part, dtype) for part, dtype in zip(parts, dtypes, strict=True)
        ]
        n = len(tensors[0])
        if not n or any(len(tensor) != n for tensor in tensors):
            msg = f"X has parts of {[len(tensor) for tensor in tensors]} samples."
            raise ValueError(msg)
        for first in range(0, n, self.batch_size):
            batch = [t[first : first + self.batch_size].to(device) for t in tensors]
            if isinstance(X, Mapping):
                yield dict(zip(X, batch, strict=True))
            else:
                yield batch[0] if keys is None else batch


def _pair(probability: Tensor) -> Tensor:
    return torch.stack([1 - probability, probability], 1)


def _several(X: Any) -> bool:
    return isinstance(X, list | tuple) and any(hasattr(part, "shape") for part in X)


def _tensor(part: Any, dtype: str) -> Tensor:
    """Return samples as a tensor."""
    if not isinstance(part, Tensor):
        part = torch.as_tensor(np.require(np.asarray(part), requirements="W"))
    return part.to(getattr(torch, dtype)) if dtype else part


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _numpy(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.cpu().numpy()
    return found

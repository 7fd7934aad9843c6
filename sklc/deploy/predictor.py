"""A net that predicts, without the tools that made it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklc.checks import check_int
from sklc.deploy.samples import Parts, parts_of, unlike
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
        if activation is not None and not callable(activation):
            msg = (
                f"activation must be a function from the output of the net to "
                f"probabilities, got {activation!r}: give such as "
                "lambda output: output.softmax(-1)."
            )
            raise TypeError(msg)
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
        ValueError, TypeError
            If that was up to a method of the user's, or if X does not suit the net: as
            in the compressor, a frame has the columns of the fit, and a table neither
            NaN nor infinity.
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
        ValueError, TypeError
            If they follow from the output by a function that is not known, or if X does
            not suit the net.
        """
        known = _ACTIVATIONS.get(self.signature_.activation)
        activation = self.activation or known
        if activation is None:
            msg = (
                "Probabilities follow from the output of the net by a function of its "
                "own, which a file does not hold: give load(..., activation=...) it."
            )
            raise ValueError(msg)
        size = check_int(self, "batch_size", 1)
        named, parts = parts_of(X, self.signature_)
        found = []
        was_training = self.module_.training
        self.module_.eval()
        try:
            with torch.no_grad():
                for first in range(0, len(parts[0][1]), size):
                    batch = slice(first, first + size)
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

        Raises
        ------
        ValueError
            If `y` or `sample_weight` do not go with the predictions.
        """
        predicted, y = self.predict(X), np.asarray(y)
        n = len(predicted)
        weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight)
        if y.shape[:1] != (n,) or y.size != predicted.size or weight.shape != (n,):
            msg = (
                f"The predictions for X have the shape {predicted.shape}, but y has "
                f"{y.shape} and sample_weight {weight.shape}: pass as many of each."
            )
            raise ValueError(msg)
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

    def _output(self, named: bool, batch: Parts) -> Tensor:
        """Return what the module makes of some samples."""
        own = (*self.module_.parameters(), *self.module_.buffers())
        device = own[0].device if own else torch.device("cpu")
        parts = {key: tensor.to(device) for key, tensor in batch}
        try:
            if named:
                output = self.module_(**parts)
            elif None in parts:
                output = self.module_(parts[None])
            else:
                output = self.module_(list(parts.values()))
        except Exception as error:
            shapes = unlike(batch, self.signature_.inputs)
            if not shapes:
                raise
            msg = f"The net does not take {shapes}: {error}"
            raise ValueError(msg) from error
        found: Tensor = output[0] if isinstance(output, tuple) else output
        return found.reshape(-1) if self.signature_.flat else found


def _pair(probability: Tensor) -> Tensor:
    return torch.stack([1 - probability, probability], 1)

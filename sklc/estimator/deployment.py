"""What a fitted compressor gives away: modules, files, graphs, reports."""

import os
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklc.codes import Theta
from sklc.deploy.model import CompressedModel
from sklc.exceptions import warn
from sklc.layers import LayerInfo
from sklc.lstep import Translation
from sklc.signature import Signature


class DeploymentMixin:
    """Take the compressed model away."""

    estimator_: Any
    theta_: Theta
    sizes_: dict[str, int]
    _layers: dict[str, LayerInfo]
    _signature: Signature
    _translation: Translation

    def to_onnx(
        self,
        path: str | os.PathLike[str],
        X: Any = None,
        *,
        values: str | None = None,
    ) -> None:
        """Write the compressed model to a file of ONNX, compressed as it is.

        The graph is the dense one, of any architecture that torch exports, and of
        linear models in float64. In it every compressed weight is replaced by its code
        and by standard operators that decompress it, where that takes fewer bytes than
        the dense weight; and low-rank layers by two, where that takes fewer operations.
        Runtimes decompress when they load a file, once: it is small, but unless there
        are fewer operations it runs as fast as the dense one.

        The input is called ``X``; several are called as the module's ``forward`` calls
        them (``X0``, ``X1``, ..., if it takes a list). Of a classifier the outputs are
        ``label``, as :meth:`predict` gives it, and ``probabilities``; otherwise there
        is one, ``variable``. The number of samples is free. The operators are those of
        opset 21: onnxruntime reads them from version 1.23 on.

        Parameters
        ----------
        path : str or path
            Replaced as a whole, or not at all.
        X : data, default=None
            A few samples as for :meth:`fit`; only shapes and dtypes matter. By default
            those of the fit. Linear models need none.
        values : {None, "float16"}, default=None
            ``"float16"`` rounds the values, codebooks and factors of codes where that
            saves bytes. What is computed has the same dtype as before.

        Raises
        ------
        ImportError
            If ``sklc[onnx]`` is not installed.
        ValueError
            If torch cannot export the model, if the shapes of its inputs are not known,
            or if the graph does not fit into one file of 2 GiB.
        TypeError
            If the labels of a classifier are neither str, int, float nor bool.

        Warns
        -----
        UserWarning
            If a weight is written dense because the graph does not have it in the form
            that the code describes; if float16 does not hold its numbers; if a net
            predicts by code of your own, and the output of its module is exported.
        """
        from sklc.deploy import to_onnx

        model = self._compressed_model()
        if X is not None and model.is_net:
            X = self._translation.samples(X)
        to_onnx(model, path, X, values=values)

    def _compressed_model(self) -> CompressedModel:
        """Return the compressed model, apart from this compressor."""
        check_is_fitted(self)
        last = self.estimator_
        if isinstance(last, Pipeline):
            names = ", ".join(name for name, _ in last.steps[:-1])
            if names:
                msg = (
                    "Only the last step of the pipeline is taken away: transform its "
                    f"samples with lc.estimator_[:-1] ({names}) first."
                )
                warn(msg)
            last = last[-1]
        rest = [name for name in self.sizes_ if name not in self.theta_]
        return CompressedModel.of(
            last, self.theta_, rest, self._layers, self._signature
        )

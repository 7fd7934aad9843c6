"""What a fitted compressor gives away: modules, files, graphs, reports."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklc.codes import Theta
from sklc.deploy.model import CompressedModel
from sklc.exceptions import warn
from sklc.layers import LayerInfo
from sklc.signature import Signature


class DeploymentMixin:
    """Take the compressed model away."""

    estimator_: Any
    theta_: Theta
    sizes_: dict[str, int]
    _layers: dict[str, LayerInfo]
    _signature: Signature

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

    def to_module(
        self, *, materialize: bool = False, fold_batch_norm: bool = False
    ) -> nn.Module:
        """Return the compressed net as a module without scikit-learn and skorch.

        It is a copy, in evaluation and without gradients, whose outputs are those of
        ``estimator_``, to rounding. To unpickle it takes torch and, if something in it
        is still compressed, sklc.

        - A low-rank layer becomes two ordinary layers in sequence, linear or
          convolutional, where that takes fewer multiplications: it is smaller, and
          faster where those are what takes the time (not in small layers at small
          batches). The weight that others may read of it is still there, and is
          computed when it is read. A convolution of several groups repeats the factor
          that they share.
        - Other codes lie beside where the weight was: packed in buffers, in as many
          bytes as ``nbits_`` counts (``fc.weight_index``), and their floats in
          parameters (``fc.weight_codebook``), which ``requires_grad_`` opens to
          fine-tuning. Each use of the weight decodes it: that is smaller in memory and
          on disk, and slower than the dense net.
        - A code that takes no fewer bytes than its weight is decoded for good.

        Parameters
        ----------
        materialize : bool, default=False
            Whether codes are decoded once and dropped, for the speed and memory of the
            dense net. Layers in sequence stay.
        fold_batch_norm : bool, default=False
            Whether batch normalisation goes into the layer before it, where that is
            one whose output nothing else takes. A packed weight gets a scale for each
            output, and its code stays as it is. What cannot be folded stays, with a
            warning that lists it.

        Returns
        -------
        module : nn.Module
            For copies, pickles, other devices and dtypes (``half()`` converts floats
            only), :func:`torch.export.export` and :func:`torch.compile`.

        Raises
        ------
        TypeError
            If a linear model of scikit-learn was compressed.
        """
        from sklc.deploy.modules import to_module

        return to_module(
            self._compressed_model(),
            materialize=materialize,
            fold_batch_norm=fold_batch_norm,
        )

"""What a fitted compressor gives away: modules, files, graphs, reports."""

import os
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklc.codes import Theta
from sklc.deploy import to_module, to_onnx
from sklc.deploy.model import CompressedModel
from sklc.deploy.report import Report
from sklc.deploy.saving import save, sized
from sklc.deploy.sizes import SizeReport
from sklc.estimator.comparison import standings
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

    def report(self, X: Any = None, y: Any = None, **score_params: Any) -> Report:
        """Say what compression has cost and gained.

        Parameters
        ----------
        X : data, default=None
            As for :meth:`fit`; without it there are no scores.
        y : array-like, default=None
            In the terms of the fit.
        **score_params : dict
            As for :meth:`score`.

        Returns
        -------
        Report
            It prints as text, and shows as tables in a notebook: scores, losses and
            sizes of the model before (the reference), of direct compression and of the
            result (LC); form, size, rank, non-zeros and codebook of each weight; and
            what gets faster, and what takes less storage only. The scores of the first
            two need ``keep_reference=True``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklc import LCCompressor
        >>> from sklc.schemes import AdaptiveQuantization
        >>> X, y = load_iris(return_X_y=True)
        >>> model = LogisticRegression(max_iter=1000)
        >>> lc = LCCompressor(model, AdaptiveQuantization(k=4), keep_reference=True)
        >>> report = lc.fit(X, y).report(X, y)
        >>> report.to_frame().loc["bits"].tolist()
        [960.0, 472.0, 472.0]
        """
        model = self._compressed_model(alone=False)
        found, notes = standings(self, X, y, score_params)
        return Report.of(model, found, notes)

    def size_report(self, *, values: str | None = None) -> SizeReport:
        """Return what the compressed model takes, weight by weight.

        The file is made for it, though not written: its sizes are measured, and its
        ``file_bytes`` is the size of the file that :meth:`save` writes.

        Parameters
        ----------
        values : {"float16", "bfloat16"} or None, default=None
            As of :meth:`save`.

        Returns
        -------
        SizeReport
            A table: of each weight, of what is not compressed, and of the header of the
            file parameters, bytes without compression, bits as papers count, bytes in
            the file, the entropy bound of these, and multiplications per sample without
            and with compression. It can be printed, and has ``to_frame()``.
        """
        return sized(self._compressed_model(alone=False), values)

    def save(
        self, path: str | os.PathLike[str], *, values: str | None = None
    ) -> SizeReport:
        """Write the compressed model to a file, as small as it is.

        It is one safetensors file of the codes of the weights, each stream in the
        smallest of several codings, of what is not compressed, and of what must be
        known to predict. :func:`sklc.load` makes a predictor of it, and
        :func:`sklc.load_into` fills a module of PyTorch. The same model makes the same
        bytes. The file is written at once or not at all.

        Weights are read as they are in ``estimator_``, to the last bit where they are
        not products of two factors, and to rounding there. Factors that take more than
        the matrix are written as the matrix.

        Parameters
        ----------
        path : str or Path
        values : {"float16", "bfloat16"} or None, default=None
            Dtype in the file of the values of Θ (codebooks, scales, values that are not
            zero, factors), where theirs is wider. They have their own again when they
            are read, rounded: by how much that changes each weight is in the report,
            and if it is more than a hundredth, there is a warning. What is not
            compressed is never rounded.

        Returns
        -------
        SizeReport
            As of :meth:`size_report`: what takes which part of the file.

        Raises
        ------
        ValueError
            If `values` is another, or cannot hold a value.
        TypeError
            If the model has what no file holds, such as labels that are dates, or
            buffers that are sparse.
        OSError
            If the file cannot be written; only regular files are replaced.

        Warns
        -----
        UserWarning
            If `values` changes a weight much, or if a module has extra state
            (``get_extra_state``), which is not in the file.
        """
        return save(self._compressed_model(), path, values)

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
          on disk, and slower than the dense net. A ``state_dict`` says how numbers are
          packed (``fc.weight_layout``), and only a module that packs them so loads it:
          that of another fit often does not. To keep a module, pickle it as a whole.
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
        return to_module(
            self._compressed_model(),
            materialize=materialize,
            fold_batch_norm=fold_batch_norm,
        )

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
        them (``X0``, ``X1``, ..., if it takes a list). Integers and truth values are
        taken in the dtype that they had in the fit, floats in that of the net (which a
        fit converts to it, too). Of a classifier the outputs are
        ``label``, as :meth:`predict` gives it, and ``probabilities``; otherwise there
        is one, ``variable``. The number of samples is free. The operators are those of
        opset 21: onnxruntime reads them from version 1.23 on.

        Parameters
        ----------
        path : str or path
            Replaced as a whole, or not at all.
        X : data, default=None
            A few samples as for :meth:`fit`; only shapes matter. By default those of
            the fit. Linear models need none.
        values : {None, "float16"}, default=None
            ``"float16"`` rounds the values, codebooks and factors of codes where that
            saves bytes. What is computed has the same dtype as before.

        Raises
        ------
        ImportError
            If ``sklc[onnx]`` is not installed.
        ValueError
            If torch cannot export the model, or not as valid ONNX; if the shapes of its
            inputs are not known; or if the graph does not fit into one file of 2 GiB.
        TypeError
            If the labels of a classifier are neither str, int, float nor bool.

        Warns
        -----
        UserWarning
            If a weight is written dense because the graph does not have it in the form
            that the code describes; if float16 does not hold its numbers; if a net
            predicts by code of your own, and the output of its module is exported; if
            an output gets another name (``label_``) because an input is called so; or
            if onnxruntime is known to fail (to version 1.32, on CPUs) at the graph of a
            layer: bfloat16, LSTM with ``proj_size``, EmbeddingBag of mode "mean", and
            transposed convolutions whose ``output_padding`` is not below their
            ``stride``.
        """
        model = self._compressed_model()
        if X is not None and model.is_net:
            X = self._translation.samples(X)
        to_onnx(model, path, X, values=values)

    def _compressed_model(self, *, alone: bool = True) -> CompressedModel:
        """Return the compressed model, apart from this compressor.

        It is to be used `alone`, without the transformers of a pipeline before it.
        """
        check_is_fitted(self)
        last = self.estimator_
        if isinstance(last, Pipeline):
            names = ", ".join(name for name, _ in last.steps[:-1])
            if names and alone:
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

"""What a fitted compressor gives away: modules, files, graphs, reports."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklc.codes import Theta
from sklc.deploy.model import CompressedModel
from sklc.deploy.report import Report
from sklc.estimator.comparison import standings
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
        found, notes = standings(self, X, y, score_params)
        return Report.of(self._compressed_model(alone=False), found, notes)

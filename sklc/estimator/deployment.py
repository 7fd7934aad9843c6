"""What a fitted compressor gives away: modules, files, graphs, reports."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

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

"""The coefficients of a compressed linear model, for those who look for them."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


class CoefficientsMixin:
    """Show the coefficients of ``estimator_``, or of its last step, if it has some.

    So the compressor selects features: in
    :class:`~sklearn.feature_selection.SelectFromModel`,
    :class:`~sklearn.feature_selection.RFE` and their like.
    """

    estimator_: Any

    @property
    def coef_(self) -> Any:
        """Compressed coefficients of a linear model, or of one that ends a pipeline."""
        return self._linear_model.coef_

    @property
    def intercept_(self) -> Any:
        """Intercepts of a linear model, or of one that ends a pipeline."""
        return self._linear_model.intercept_

    @property
    def _linear_model(self) -> Any:
        check_is_fitted(self)
        model = self.estimator_
        return model[-1] if isinstance(model, Pipeline) else model

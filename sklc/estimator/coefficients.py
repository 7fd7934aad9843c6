"""The coefficients of a compressed linear model, for those who look for them."""

from typing import Any

from sklearn.utils.validation import check_is_fitted


class CoefficientsMixin:
    """Show the coefficients of ``estimator_``, if it has some.

    So the compressor selects features: in
    :class:`~sklearn.feature_selection.SelectFromModel`,
    :class:`~sklearn.feature_selection.RFE` and their like.
    """

    estimator_: Any

    @property
    def coef_(self) -> Any:
        """Compressed coefficients of a linear model."""
        check_is_fitted(self)
        return self.estimator_.coef_

    @property
    def intercept_(self) -> Any:
        """Intercepts of a linear model."""
        check_is_fitted(self)
        return self.estimator_.intercept_

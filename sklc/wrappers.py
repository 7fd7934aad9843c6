"""What wraps an estimator without changing it: scikit-learn's FrozenEstimator."""

from typing import Any

from sklearn.frozen import FrozenEstimator


def unfrozen(estimator: Any) -> Any:
    """Return what a FrozenEstimator holds, and any other estimator as it is."""
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator

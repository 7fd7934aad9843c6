"""Sizes of compressed models as scores, and the choice of the smallest that is good."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklc.estimator.compressor import LCCompressor


def compression_ratio(estimator: Any, X: Any = None, y: Any = None) -> float:
    """Return the compression ratio of a fitted compressor, as a scorer.

    Parameters
    ----------
    estimator : LCCompressor, or a Pipeline or search that ends in one
        Fitted.
    X, y : data, default=None
        Not used.

    Raises
    ------
    TypeError
        If there is no compressor.
    NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklc import LCCompressor
    >>> from sklc.metrics import compression_ratio, nbits, smallest_within
    >>> from sklc.schemes import ConstraintL0Pruning
    >>> model = LogisticRegression(max_iter=1000)
    >>> lc = LCCompressor(model, ConstraintL0Pruning(), max_iter=10)
    >>> search = GridSearchCV(
    ...     lc, {"scheme__kappa": [1, 4, 12]},
    ...     scoring={"score": "accuracy", "bits": nbits, "ratio": compression_ratio},
    ...     refit=smallest_within(0.02))
    >>> X, y = load_iris(return_X_y=True)
    >>> search.fit(X, y).best_params_
    {'scheme__kappa': 4}
    """
    return float(_compressor(estimator).compression_ratio_)


def nbits(estimator: Any, X: Any = None, y: Any = None) -> int:
    """Return the size in bits of a fitted compressor's model, as a scorer.

    See :func:`compression_ratio` for the parameters.
    """
    return int(_compressor(estimator).nbits_)


def _compressor(estimator: Any) -> LCCompressor:
    found = estimator
    while not isinstance(found, LCCompressor):
        if hasattr(found, "steps"):
            found = found.steps[-1][1]
        elif hasattr(found, "best_estimator_"):
            found = found.best_estimator_
        else:
            msg = (
                "Sizes are those of an LCCompressor, or of a Pipeline or a fitted "
                f"search that ends in one, got {estimator!r}."
            )
            raise TypeError(msg)
    check_is_fitted(found)
    return found


def smallest_within(
    tolerance: float = 0.0,
    *,
    standard_error: bool = False,
    score: str = "score",
    size: str = "bits",
) -> Callable[[Mapping[str, Any]], int]:
    """Return a `refit` callable that picks the smallest model of good score.

    Parameters
    ----------
    tolerance : float, default=0.0
        How far below the best mean score a model may be, in units of the score.
    standard_error : bool, default=False
        Whether it may be below by one standard error of the best score, over the
        splits, besides.
    score, size : str, default="score", "bits"
        The names of the two scores in ``scoring``; the size is the smaller the better.

    Returns
    -------
    callable
        From ``cv_results_`` to the index of the candidate. Of equal sizes it takes the
        better score; candidates that failed never win.

    Raises
    ------
    ValueError
        If the tolerance is negative; by the callable, if a score is missing.
    """
    if not tolerance >= 0:
        msg = f"tolerance must be at least 0, got {tolerance!r}."
        raise ValueError(msg)

    def choose(results: Mapping[str, Any]) -> int:
        for name in score, size:
            if f"mean_test_{name}" not in results:
                msg = (
                    f"smallest_within needs a score {name!r}: pass scoring="
                    f"{{{score!r}: ..., {size!r}: sklc.metrics.nbits}} to the search."
                )
                raise ValueError(msg)
        means = np.asarray(results[f"mean_test_{score}"], dtype=float)
        sizes = np.asarray(results[f"mean_test_{size}"], dtype=float)
        if np.isnan(means + sizes).all():
            msg = (
                f"No candidate has both scores, {score!r} and {size!r}: all failed, or "
                "sizes were asked of what is not an LCCompressor."
            )
            raise ValueError(msg)
        best = int(np.nanargmax(np.where(np.isnan(sizes), np.nan, means)))
        bar = means[best] - tolerance
        if standard_error:
            splits = sum(
                name.startswith("split") and name.endswith(f"_test_{score}")
                for name in results
            )
            bar -= results[f"std_test_{score}"][best] / np.sqrt(splits)
        good = np.flatnonzero((means >= bar) & ~np.isnan(sizes))
        return int(min(good, key=lambda at: (sizes[at], -means[at])))

    return choose

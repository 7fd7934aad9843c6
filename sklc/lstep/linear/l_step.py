"""The L step of scikit-learn's linear models: what there is to choose, and its door."""

import copy
from typing import Any

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from sklc.lstep.base import LStep, register
from sklc.lstep.linear.learner import LinearLearner
from sklc.lstep.linear.models import MODELS
from sklc.wrappers import unfrozen


class LinearLStep(LStep):
    r"""Solve a pulled linear or logistic regression exactly, in double precision.

    For :class:`~sklearn.linear_model.LinearRegression`,
    :class:`~sklearn.linear_model.Ridge` and
    :class:`~sklearn.linear_model.LogisticRegression`. The loss is the objective of the
    estimator, divided so that its data term is a (weighted) mean over samples:

    .. math:: \frac1S \sum_i s_i\, \ell(y_i, W x_i + b) + R(W), \qquad S = \sum_i s_i,

    with :math:`R = 0`, :math:`\frac\alpha S \|W\|^2` and
    :math:`\frac1{2CS} \|W\|^2`. Squared errors are minimised by one factorisation,
    which serves for all pulls (of large sparse data by conjugate gradients, each step
    from the last); log losses by L-BFGS and Newton's method, each step from the last,
    to the `tol` of the estimator or to a hundredth of the pull's gradient, whichever is
    less.

    Schemes see a parameter ``coef_`` of shape (n_outputs, n_features), and
    ``intercept_``, which they leave alone unless it is selected by name. Fine-tuning is
    the refit of the degrees of freedom of Θ and of all that is not compressed: a convex
    problem for codebooks, scales and non-zeros, of squared errors solved directly.

    Sparse data are never densified. ``fit`` accepts ``sample_weight``. Nothing here
    draws random numbers of the process.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklc import LCCompressor
    >>> from sklc.schemes import ConstraintL0Pruning
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=1000)
    >>> lc = LCCompressor(model, ConstraintL0Pruning(kappa=4)).fit(X, y)
    >>> int((lc.estimator_.coef_ != 0).sum()), lc.score(X, y) > 0.95
    (4, True)
    """

    draws = False

    def start(
        self, estimator: Any, X: Any, y: Any, *, n_steps: int, **fit_params: Any
    ) -> LinearLearner:
        """Return a learner of a copy of the model (see :meth:`LStep.start`)."""
        frozen = isinstance(estimator, FrozenEstimator)
        inner = unfrozen(estimator)
        if type(inner) not in MODELS:
            known = ", ".join(kind.__name__ for kind in MODELS)
            msg = f"LinearLStep trains {known}, and no {type(inner).__name__}."
            raise TypeError(msg)
        facts = MODELS[type(inner)]
        inner._validate_params()
        facts.refuse_options(inner)
        if frozen:
            try:
                check_is_fitted(inner)
            except NotFittedError as error:
                msg = (
                    "FrozenEstimator holds a model that is not fitted: fit it first, "
                    "or pass it without FrozenEstimator to have it trained."
                )
                raise NotFittedError(msg) from error
            inner = copy.deepcopy(inner)
        else:
            inner = clone(inner)
        weight = fit_params.pop("sample_weight", None)
        if fit_params:
            msg = f"{type(inner).__name__} is not fitted with {sorted(fit_params)}."
            raise TypeError(msg)
        return LinearLearner(inner, facts, X, y, weight, trained=frozen)


for _kind in MODELS:
    register(_kind, LinearLStep)

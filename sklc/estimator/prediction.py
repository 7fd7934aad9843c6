"""What a fitted compressor offers: the methods of the estimator that it compressed."""

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRouter, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklc.estimator.delegation import estimator_has, prototype, router, with_tags_of
from sklc.lstep import Translation


class PredictionMixin:
    """Predict and score with ``estimator_``, in terms of the data of the fit."""

    estimator: Any
    estimator_: Any
    _translation: Translation

    def _call(self, method: str, X: Any, *args: Any, **kwargs: Any) -> Any:
        check_is_fitted(self)
        X = self._translation.samples(X)
        return getattr(self.estimator_, method)(X, *args, **kwargs)

    @available_if(estimator_has("predict"))
    def predict(self, X: Any) -> Any:
        """Predict with the compressed model.

        Parameters
        ----------
        X : data
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of a classifier, labels as in the `y` of the fit; otherwise numbers of the
            dtype of the model, in the shape of the `y` of the fit.
        """
        predicted = self._call("predict", X)
        return self._translation.predictions(predicted)

    @available_if(estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> Any:
        """Predict class probabilities with the compressed model.

        Parameters
        ----------
        X : data
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._call("predict_proba", X)

    @available_if(estimator_has("predict_log_proba"))
    def predict_log_proba(self, X: Any) -> Any:
        """Predict logarithms of class probabilities with the compressed model.

        Parameters
        ----------
        X : data
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._call("predict_log_proba", X)

    @available_if(estimator_has("decision_function"))
    def decision_function(self, X: Any) -> Any:
        """Return the decision function of the compressed model.

        Parameters
        ----------
        X : data
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._call("decision_function", X)

    @available_if(estimator_has("score"))
    def score(self, X: Any, y: Any = None, **score_params: Any) -> float:
        """Return the score of the compressed model, as its estimator defines it.

        Parameters
        ----------
        X : data
            As for :meth:`fit`.
        y : array-like, default=None
            In the terms of the fit.
        **score_params : dict
            Handed to the ``score`` of the estimator, such as ``sample_weight``, or
            routed to it, if scikit-learn routes metadata.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return self._score_of(self.estimator_, X, y, **score_params)

    def _score_of(self, model: Any, X: Any, y: Any, **score_params: Any) -> float:
        """Return the score of a model that takes and returns what estimator_ does."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "score", **score_params)
            score_params = dict(routed["estimator"]["score"])
        X, y = self._translation.samples(X), self._translation.targets(y)
        return float(model.score(X, y, **score_params))

    @property
    def classes_(self) -> np.ndarray:
        """Classes of a classifier."""
        check_is_fitted(self)
        known = self._translation.classes
        return self.estimator_.classes_ if known is None else known

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reach the estimator, if scikit-learn routes them.

        Returns
        -------
        MetadataRouter
        """
        return router(self, prototype(self))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "theta_")

    def __sklearn_tags__(self) -> Any:
        return with_tags_of(prototype(self), super().__sklearn_tags__())  # type: ignore

"""What a compressor takes over from the estimator that it wraps."""

from collections.abc import Callable
from typing import Any

from sklearn.base import is_regressor
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from sklc.lstep import FunctionLStep, LStep, default_l_step


def l_step_of(compressor: Any) -> LStep:
    """Return how the estimator of a compressor is trained.

    Raises
    ------
    TypeError
        If no L step is known for it.
    """
    given = compressor.l_step
    if given is None:
        return default_l_step(compressor.estimator)
    return given if isinstance(given, LStep) else FunctionLStep(given)


def prototype(compressor: Any) -> Any:
    """Return an estimator with the methods and tags of the one to be compressed."""
    try:
        l_step = l_step_of(compressor)
    except TypeError:  # of no known kind: fit() will say so
        return compressor.estimator
    return l_step.prototype(compressor.estimator)


def estimator_has(method: str) -> Callable[[Any], bool]:
    """Return a check of whether the estimator of a compressor has a method."""

    def check(compressor: Any) -> bool:
        given = prototype(compressor)
        if method == "predict_proba" and is_regressor(compressor):
            return False  # skorch has it all the same
        return hasattr(getattr(compressor, "estimator_", given), method)

    return check


def with_tags_of(estimator: Any, tags: Any) -> Any:
    """Return the tags of a compressor, completed by those of an estimator."""
    if not hasattr(estimator, "__sklearn_tags__"):
        return tags  # no estimator: fit() will say so
    inner = get_tags(estimator)
    tags.estimator_type = inner.estimator_type
    tags.classifier_tags = inner.classifier_tags
    tags.regressor_tags = inner.regressor_tags
    tags.target_tags = inner.target_tags
    tags.input_tags = inner.input_tags
    tags.non_deterministic = inner.non_deterministic
    return tags


def router(owner: Any, estimator: Any) -> MetadataRouter:
    """Return how metadata reach the estimator of a compressor."""
    mapping = MethodMapping()
    for method in "fit", "score":
        mapping.add(caller=method, callee=method)
    return MetadataRouter(owner=type(owner).__name__).add(
        estimator=estimator, method_mapping=mapping
    )

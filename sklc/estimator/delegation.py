"""What a compressor takes over from the estimator that it wraps."""

from collections.abc import Callable
from typing import Any

from sklearn.base import is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.utils import ClassifierTags, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRequest,
    MetadataRouter,
    MethodMapping,
)
from skorch import NeuralNet, NeuralNetClassifier
from torch import nn

from sklc.wrappers import unfrozen


def is_net(estimator: Any) -> bool:
    """Whether it is a skorch net or a module of torch, frozen or not."""
    return isinstance(unfrozen(estimator), NeuralNet | nn.Module)


def is_trained(estimator: Any) -> bool:
    """Whether it comes with the weights to start from."""
    return isinstance(estimator, FrozenEstimator | nn.Module)


def estimator_has(method: str) -> Callable[[Any], bool]:
    """Return a check of whether the estimator of a compressor has a method."""

    def check(compressor: Any) -> bool:
        given = unfrozen(compressor.estimator)
        if isinstance(given, nn.Module):
            given = NeuralNetClassifier  # what it becomes
        if method == "predict_proba" and is_regressor(compressor):
            return False  # skorch has it all the same
        return hasattr(getattr(compressor, "estimator_", given), method)

    return check


def with_tags_of(estimator: Any, tags: Any) -> Any:
    """Return the tags of a compressor, completed by those of its estimator."""
    if isinstance(unfrozen(estimator), nn.Module):
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags()
        tags.target_tags.required = True
        return tags
    if not hasattr(estimator, "__sklearn_tags__"):
        return tags  # no estimator: fit() will say so
    inner = get_tags(estimator)
    tags.estimator_type = inner.estimator_type
    tags.classifier_tags = inner.classifier_tags
    tags.regressor_tags = inner.regressor_tags
    tags.target_tags = inner.target_tags
    if not is_net(estimator):
        tags.input_tags = inner.input_tags
    tags.non_deterministic = inner.non_deterministic
    return tags


def router(owner: Any, estimator: Any) -> MetadataRouter:
    """Return how metadata reach the estimator of a compressor."""
    inner = unfrozen(estimator)
    if isinstance(inner, nn.Module):  # it asks for nothing
        inner = MetadataRequest(owner=type(inner).__name__)
    mapping = MethodMapping()
    for method in "fit", "score":
        mapping.add(caller=method, callee=method)
    return MetadataRouter(owner=type(owner).__name__).add(
        estimator=inner, method_mapping=mapping
    )

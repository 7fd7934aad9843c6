"""Trained references, kept in a cache: a search over schemes trains each but once."""

import inspect
import os
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_memory
from torch import nn

from sklc import __version__
from sklc.estimator.fingerprint import describe, digest, is_content
from sklc.exceptions import warn
from sklc.lstep.base import Learner

_PACKAGES = ("numpy", "scikit-learn", "scipy", "skorch", "torch")
_OTHERS = {"builtins", "numpy", "scipy", "sklearn", "skorch", "torch"}


def train_reference(
    learner: Learner, memory: Any, estimator: Any, seed: Any, *data: Any
) -> None:
    """Train the reference of a learner, or take it from a cache.

    Parameters
    ----------
    learner : Learner
        Not trained yet.
    memory : str, path or joblib.Memory
    estimator : estimator
        What is trained.
    seed : random state
        What its training begins with.
    *data : data
        All that it is trained on. If there is more than arrays, tensors, frames and
        their dicts or lists (a Dataset), nothing is cached.
    """
    if not all(map(is_content, data)):
        msg = (
            "memory caches references that are trained on arrays, tensors or frames; "
            "a Dataset may change unseen, so this one is trained anew."
        )
        warn(msg)
        learner.train_reference()
        return
    fresh = False

    def train() -> Any:
        nonlocal fresh
        fresh = True
        learner.train_reference()
        return learner.state_dict()

    key = identity(estimator, seed, *data, parts=learner.parts())
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    cached = check_memory(memory).cache(_result, ignore=["train"])
    found = cached(key, train)
    if not fresh:
        learner.load_state_dict(found, generators=seed is not None)


def _result(key: dict[str, Any], train: Any) -> Any:
    return train()


def identity(
    estimator: Any, seed: Any, *data: Any, parts: Iterable[Any] = ()
) -> dict[str, Any]:
    """Return what makes two trainings equal, in whatever process.

    The estimator's classes and parameters, the initial weights of a module that is
    given as an object, the data, the seed and the versions of sklc and of the packages
    that it builds upon. Of the classes and functions that are not from these packages
    also the source: of classes with that of their bases and of the parts of a module.
    What they call besides is not looked into.

    Parameters
    ----------
    estimator : estimator
    seed : random state
    *data : data
    parts : iterable
        More objects whose source counts, such as the parts of a module.
    """
    parameters = [estimator]
    if isinstance(estimator, BaseEstimator):
        parameters += list(estimator.get_params(deep=True).values())
    modules = [value for value in parameters if isinstance(value, nn.Module)]
    own = [part for module in modules for part in module.modules()]
    sources = {}
    for part in [*parameters, *own, *parts]:
        kind = part if inspect.isclass(part) or inspect.isroutine(part) else type(part)
        for each in getattr(kind, "__mro__", (kind,)):
            home = str(getattr(each, "__module__", "builtins"))
            if home.split(".")[0] not in _OTHERS:
                sources[f"{home}.{each.__qualname__}"] = _source(each)
    return {
        "estimator": describe(estimator),
        "sources": sources,
        "weights": [digest(dict(module.state_dict())) for module in modules],
        "data": [digest(part) for part in data],
        "seed": describe(seed),
        "versions": {name: version(name) for name in _PACKAGES} | {"sklc": __version__},
    }


def _source(kind: Any) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # it has none, such as what was typed in
        return ""

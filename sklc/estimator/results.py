"""What a fit leaves in the compressor: all of it, or nothing."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sklc.lc.sizes import Sizes
from sklc.lc.state import State
from sklc.lstep import Learner

_MODELS = "estimator_", "reference_", "direct_"


def forget(compressor: Any) -> None:
    """Drop all that an earlier fit has left."""
    parameters = compressor.get_params(deep=False)
    for name in set(vars(compressor)) - set(parameters):
        if not name.startswith("_"):
            delattr(compressor, name)


@contextmanager
def put_back_if_it_fails(compressor: Any) -> Iterator[None]:
    """Leave a compressor as it was, an earlier fit included, if there is an error."""
    before = vars(compressor).copy()
    try:
        yield
    except BaseException:
        vars(compressor).clear()
        vars(compressor).update(before)
        raise


def fitted(
    learner: Learner, state: State, termination: str, *, keep_reference: bool
) -> dict[str, Any]:
    """Return the fitted attributes by name; the learner comes to the iterate kept.

    Parameters
    ----------
    learner : Learner
    state : State
    termination : str
        Why the run ended.
    keep_reference : bool
        Whether the models before compression are among them.
    """
    beside = {}
    if keep_reference:
        assert state.reference is not None
        assert state.direct is not None
        beside["reference_"] = _copy_at(learner, state.reference)
        beside["direct_"] = _copy_at(learner, state.direct.learner)
    kept = state.kept
    learner.load_state_dict(kept.learner, generators=False)
    sizes = Sizes.of(learner, kept.theta)
    rows = {name: facts["nbits"] for name, facts in state.kept_entry["layers"].items()}
    rows |= sizes.rest
    found = {
        "estimator_": learner.estimator,
        **beside,
        "theta_": kept.theta,
        "history_": state.history,
        "reference_loss_": state.reference_loss,
        "best_step_": kept.step,
        "n_iter_": state.iterate.step,
        "termination_condition_": termination,
        "sizes_": rows,
        "nbits_": sum(rows.values()),
        "compression_ratio_": state.kept_entry["compression_ratio"],
        "_translation": learner.translation,
        "_layers": dict(learner.layers()),
        "_signature": learner.signature(),
    }
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(learner.estimator, name):
            found[name] = getattr(learner.estimator, name)
    return found | learner.translation.features


def as_if_ended(
    learner: Learner, state: State, termination: str, *, keep_reference: bool
) -> dict[str, Any]:
    """Return copies of the fitted attributes; the learner goes on from where it is."""
    found = fitted(learner, state, termination, keep_reference=keep_reference)
    # the learner knows best how to copy models
    found["estimator_"] = learner.fitted_copy()
    models = {name: found.pop(name) for name in _MODELS if name in found}
    learner.load_state_dict(state.learner)
    return models | copy.deepcopy(found)


def _copy_at(learner: Learner, state: Mapping[str, Any]) -> Any:
    """Return a copy of the model in another state."""
    learner.load_state_dict(state, generators=False)
    return learner.fitted_copy()

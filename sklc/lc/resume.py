"""Going on from a state: of a run that was killed, or of another one."""

from collections.abc import Mapping

from torch import Tensor

from sklc.exceptions import CheckpointError
from sklc.lc.state import State
from sklc.lstep.base import Learner
from sklc.schemes.base import Scheme


def resumed(state: State, learner: Learner, scheme: Scheme) -> State:
    """Bring a learner to a state, and return the state on the learner's device.

    Parameters
    ----------
    state : State
    learner : Learner
        Trained then.
    scheme : Scheme

    Raises
    ------
    CheckpointError
        If the state does not fit the model.
    """
    weights = learner.weights()
    own = {name: weights[name] for name in scheme.covers(weights)}
    try:
        state = state.on(next(iter(own.values())).device)
        _check_fits(state, own)
        if state.reference is not None:
            learner.load_state_dict(state.reference, generators=False)
        learner.begin()
        learner.load_state_dict(state.kept.learner, generators=False)  # that it can be
        learner.load_state_dict(state.learner)
    except (LookupError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        msg = f"The state to go on from does not fit the model ({error!r})."
        raise CheckpointError(msg) from error
    return state


def _check_fits(state: State, weights: Mapping[str, Tensor]) -> None:
    """Raise a TypeError unless the shapes in a state are those of the weights."""
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    n = sum(weight.numel() for weight in weights.values())
    iterate, direct = state.iterate, state.direct
    thetas = [iterate.theta, state.kept.theta, *([direct.theta] if direct else [])]
    thetas += [kept.theta for kept in state.visited]
    found = [
        {name: tuple(code.shape) for name, code in theta.items()} for theta in thetas
    ]
    vectors = iterate.weights, iterate.multipliers
    if any(each != shapes for each in found) or any(v.shape != (n,) for v in vectors):
        msg = f"weights of {shapes} are wanted, and {found} are in it"
        raise TypeError(msg)

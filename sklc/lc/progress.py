"""How a run tells where it is: a progress bar, or plain lines."""

import sys

from sklc.lc.observers import Observer
from sklc.lc.state import State


class Bar(Observer):
    """A progress bar over the LC steps, by tqdm.

    Parameters
    ----------
    n_steps : int
        LC steps to come, at most.
    """

    def __init__(self, n_steps: int) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=n_steps, desc="LC", unit="step")

    def on_step(self, state: State, end: str) -> bool:
        self._bar.update(state.iterate.step - self._bar.n)
        self._bar.set_postfix_str(told(state))
        return False

    def close(self) -> None:
        self._bar.close()


class Lines(Observer):
    """A line for every LC step, on the standard output.

    Parameters
    ----------
    n_steps : int
        LC steps to come, at most.
    """

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps

    def on_step(self, state: State, end: str) -> bool:
        step = state.iterate.step
        sys.stdout.write(f"LC step {step} of {self._n_steps}: {told(state)}\n")
        sys.stdout.flush()
        return False


def displays(verbose: int, n_steps: int) -> list[Observer]:
    """Return what shows the progress: nothing, a bar (1) or lines (2 and more)."""
    if verbose == 0:
        return []
    return [Bar(n_steps) if verbose == 1 else Lines(n_steps)]


def told(state: State) -> str:
    """Return the facts of a step, in short."""
    entry = state.entry
    return (
        f"mu {entry['mu']:.2e}, gap {entry['gap']:.2e}, loss {entry['loss']:.4g}, "
        f"ratio {entry['compression_ratio']:.1f}"
    )

"""Who watches a run."""

from sklc.lc.state import State


class Observer:
    """Is told of every step of a run: a display, a checkpoint, a callback.

    All methods do nothing here.
    """

    def on_step(self, state: State, end: str) -> bool:
        """Act after a step, and return whether to stop here.

        Parameters
        ----------
        state : State
            After the step; the first is direct compression, or what the run goes on
            from.
        end : str
            Why the run ends with this step, such as ``"converged"``; empty if it goes
            on.
        """
        return False

    def on_end(self, state: State, end: str) -> None:
        """Act after the last step and fine-tuning, unless the run failed.

        Parameters
        ----------
        state : State
        end : str
            Why the run ended.
        """

    def close(self) -> None:
        """Let go of whatever is held, however the run ended."""

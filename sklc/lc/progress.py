"""How a run tells where it is: a progress bar, or plain lines."""

import sys
from collections.abc import Mapping
from typing import Any


class Progress:
    """A progress bar over the LC steps, by rich or tqdm, or a line for each.

    Parameters
    ----------
    verbose : int
        0 is silent; 1 shows a bar if rich or tqdm is installed, lines otherwise; 2
        always writes lines.
    n_steps : int
        LC steps to come, at most.
    """

    def __init__(self, verbose: int, n_steps: int) -> None:
        make = {0: _Silence, 1: _bar}.get(int(verbose), _Lines)
        self._display = make(n_steps)

    def tell(self, entry: Mapping[str, Any], ratio: float) -> None:
        """Report an entry of the history, and the compression ratio."""
        facts = (
            f"mu {entry['mu']:.2e}, gap {entry['gap']:.2e}, "
            f"loss {entry['loss']:.4g}, ratio {ratio:.1f}"
        )
        self._display.show(entry["step"], facts)

    def close(self) -> None:
        """End the bar."""
        self._display.close()


class _Silence:
    def __init__(self, n_steps: int) -> None:
        pass

    def show(self, step: int, facts: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Lines:
    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps

    def show(self, step: int, facts: str) -> None:
        sys.stdout.write(f"LC step {step} of {self._n_steps}: {facts}\n")
        sys.stdout.flush()

    def close(self) -> None:
        pass


class _Rich:
    def __init__(self, n_steps: int) -> None:
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("LC"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.description}"),
        )
        self._task = self._bar.add_task("", total=n_steps)
        self._bar.start()

    def show(self, step: int, facts: str) -> None:
        self._bar.update(self._task, completed=step, description=facts)

    def close(self) -> None:
        self._bar.stop()


class _Tqdm:
    def __init__(self, n_steps: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=n_steps, desc="LC", unit="step")

    def show(self, step: int, facts: str) -> None:
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix_str(facts)

    def close(self) -> None:
        self._bar.close()


def _bar(n_steps: int) -> Any:
    for kind in _Rich, _Tqdm:
        try:
            return kind(n_steps)
        except ImportError:
            continue
    return _Lines(n_steps)

"""How many threads work on small problems: one."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from threadpoolctl import ThreadpoolController

_LARGE = 10_000_000  # multiplications


class Threads:
    """Keep the kernels of a small problem in one thread, for a while.

    Waking other threads for a small product, and waiting for them where the machine is
    busy, takes longer than they save: ten times as long, on two busy cores.

    Parameters
    ----------
    work : int
        Multiplications of the products to come; if they are many, nothing changes.
    """

    def __init__(self, work: int) -> None:
        self._pools = ThreadpoolController() if work < _LARGE else None

    def limited(self) -> AbstractContextManager[Any]:
        """Return a context of one thread, or of as many as ever."""
        return nullcontext() if self._pools is None else self._pools.limit(limits=1)


def limited(method: Callable[..., Any]) -> Callable[..., Any]:
    """Run a method within the ``threads`` of its object."""

    @wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.threads.limited():
            return method(self, *args, **kwargs)

    return run

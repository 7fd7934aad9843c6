"""How many threads work on small problems: one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from threading import Lock
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

    _lock, _users, _limiter = Lock(), 0, None  # the limit is that of the process

    def __init__(self, work: int) -> None:
        self._small = work < _LARGE

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Work in one thread, or in as many as ever.

        Of threads of Python that do so at once, the last one lifts the limit.
        """
        if not self._small:
            yield
            return
        kind = type(self)
        with self._lock:
            if kind._users == 0:
                kind._limiter = _pools().limit(limits=1)
            kind._users += 1
        try:
            yield
        finally:
            with self._lock:
                kind._users -= 1
                if kind._users == 0:
                    kind._limiter.restore_original_limits()  # type: ignore[attr-defined]


@cache
def _pools() -> ThreadpoolController:
    """Return the pools of this process: to look for them takes milliseconds."""
    return ThreadpoolController()


def limited(method: Callable[..., Any]) -> Callable[..., Any]:
    """Run a method within the ``threads`` of its object."""

    @wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.threads.limited():
            return method(self, *args, **kwargs)

    return run

"""Errors that users may want to catch."""


class DivergenceError(ArithmeticError):
    """Training left the finite numbers.

    After :meth:`sklc.LCCompressor.fit` raised it, the compressor holds the best iterate
    of the steps before, if there was one.
    """

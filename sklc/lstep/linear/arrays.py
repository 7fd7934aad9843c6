"""Arrays of the linear L step: all are of double precision."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Coefficients and intercepts.
Pair = tuple[Array, Array]


def scaled_rows(X: Any, scale: Array) -> Any:
    """Return X, dense or CSR, with each row multiplied by a number."""
    if isinstance(X, np.ndarray):
        return X * scale[:, None]
    return X.multiply(scale[:, None]).tocsr()

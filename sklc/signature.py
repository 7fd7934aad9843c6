"""What goes into a model, and what its output means, as values."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes
    ----------
    name : str
        As the module's ``forward`` calls it; ``"X"`` of a single one.
    shape : tuple of int
        Of one sample.
    dtype : str
        Such as ``"float32"``: as the model takes it.
    given : str
        As the fit got it, if that is known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    given: str = ""


@dataclass(frozen=True, eq=False)
class Signature:
    """How a model is fed, and how predictions follow from its output.

    Attributes
    ----------
    inputs : tuple of Input
        As seen in the fit; empty if they were no arrays.
    activation : {"identity", "softmax", "sigmoid_pair", "pair", "custom"}
        From the output to probabilities: nothing; softmax over the last axis; from one
        logit, or one probability p, to the pair (1 - p, p) along axis 1; or a function
        of the user's.
    decision : {"output", "argmax", "threshold", "custom"}
        From probabilities to the prediction: they are it; the largest along axis 1;
        whether the second is above `threshold`; or a method of the user's.
    threshold : float
    flat : bool
        Whether the output is laid out in a row, (n, 1) as (n,), before all this.
    classes : ndarray of shape (n_classes,) or None
        What the numbers of a decision stand for.
    shape : {"flat", "column", ""}
        Of predictions that are numbers: (n,), (n, 1), or as they come.
    columns : tuple of str or None
        If the samples of a net were a table: the names of its columns, empty if they
        had none. Tables are checked as in the fit, all else is taken as it is.
    """

    inputs: tuple[Input, ...] = ()
    activation: str = "identity"
    decision: str = "output"
    threshold: float = 0.5
    flat: bool = False
    classes: np.ndarray | None = None
    shape: str = ""
    columns: tuple[str, ...] | None = None

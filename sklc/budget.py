"""What a scheme grants the weights: words that C steps and L steps share."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

#: By the names of weights; those are missing of which nothing is known.
Budgets = Mapping[str, "Budget"]


@dataclass(frozen=True, eq=False)
class Budget:
    r"""How many non-zeros, or how large magnitudes, the entries of a weight may have.

    Within each row :math:`\|\theta\|_0 \le \kappa` (order 0) or
    :math:`\|\theta\|_1 \le \kappa` (order 1), and each unit of it has a price.

    Attributes
    ----------
    order : {0, 1}
    rows : integer Tensor of the weight's shape
        The number of the row that each entry is in.
    most : Tensor of shape (n_rows,)
        :math:`\kappa`; infinite where only the price limits.
    price : float
        In units of the loss.
    """

    order: int
    rows: Tensor
    most: Tensor
    price: float = 0.0

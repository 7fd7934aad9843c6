"""Schemes made of schemes, and different ones for different layers."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.utils.metaestimators import _BaseComposition

from sklc.codes import Code, decompress
from sklc.layers import Layers
from sklc.schemes.base import Scheme, Theta, Weights
from sklc.selection import Selector, select


class Composition(_BaseComposition, Scheme):
    """A scheme with named parts, whose parameters are reached as ``name__parameter``.

    A part is a tuple that begins with its name and its scheme.
    """

    schemes: Sequence[Any]

    @property
    def _named(self) -> list[tuple[str, Any]]:
        """The (name, scheme) pairs, which is what _BaseComposition works on."""
        return [(name, scheme) for name, scheme, *_ in self.schemes]

    @_named.setter
    def _named(self, pairs: list[tuple[str, Any]]) -> None:
        self.schemes = [
            (name, scheme, *part[2:])
            for (name, scheme), part in zip(pairs, self.schemes, strict=True)
        ]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the parts as ``name__parameter``."""
        try:
            return self._get_params("_named", deep=deep) | {"schemes": self.schemes}
        except (TypeError, ValueError):  # not (yet) valid: validate() will say so
            return super().get_params(deep=False)

    def set_params(self, **params: Any) -> "Composition":
        """Set parameters: ``name`` replaces a part, ``name__parameter`` changes one."""
        if "schemes" in params:
            self.schemes = params.pop("schemes")
        self._set_params("_named", **params)
        return self

    @property
    @abstractmethod
    def _form(self) -> str:
        """How a part is written."""

    def validate(self) -> None:
        kind = type(self).__name__
        length = self._form.count(",") + 1
        if not isinstance(self.schemes, list | tuple) or not self.schemes:
            msg = f"{kind} needs a list of {self._form}, got {self.schemes!r}."
            raise ValueError(msg)
        for part in self.schemes:
            if not isinstance(part, tuple) or len(part) != length:
                msg = f"Each part of {kind} must be {self._form}, got {part!r}."
                raise ValueError(msg)
            name, scheme = part[:2]
            if not isinstance(name, str) or not isinstance(scheme, Scheme):
                msg = (
                    f"Each part of {kind} must be {self._form} with a str and a "
                    f"Scheme, got {part!r}."
                )
                raise TypeError(msg)
        self._validate_names([part[0] for part in self.schemes])
        for _, scheme, *_ in self.schemes:
            scheme.validate()

    @property
    def rescales_distortion(self) -> bool:
        return any(scheme.rescales_distortion for _, scheme, *_ in self.schemes)

    @property
    def keeps_feasible(self) -> bool:  # type: ignore[override]
        return all(scheme.keeps_feasible for _, scheme, *_ in self.schemes)


class Mixed(Composition):
    r"""Compress different layers by different schemes.

    Solves the C step of every scheme for its own layers; weights that none selects are
    left alone, and are trained freely. Exact if the schemes are.

    Parameters
    ----------
    schemes : list of (name, scheme, layers)
        `name` is how :meth:`set_params` and a grid search reach the scheme
        (``name__parameter``), and `layers` says which weights it compresses: a shell
        pattern, a list of patterns, or a callable, see :func:`sklc.selection.select`.

    Raises
    ------
    ValueError
        If a selection is empty, or a weight is selected twice.

    Examples
    --------
    >>> import torch
    >>> from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning, Mixed
    >>> scheme = Mixed([
    ...     ("prune", ConstraintL0Pruning(kappa=1), "fc1"),
    ...     ("quantize", AdaptiveQuantization(k=1), "fc2"),
    ... ])
    >>> weights = {"fc1.weight": torch.tensor([[1.0, 2.0]]),
    ...            "fc2.weight": torch.tensor([[1.0, 2.0]])}
    >>> for name, code in scheme.compress(weights, mu=1.0).items():
    ...     print(name, code.dense())
    fc1.weight tensor([[0., 2.]])
    fc2.weight tensor([[1.5000, 1.5000]])
    >>> scheme.set_params(prune__kappa=2).schemes[0][1]
    ConstraintL0Pruning(kappa=2)
    """

    def __init__(self, schemes: Sequence[tuple[str, Scheme, Selector]] = ()) -> None:
        self.schemes = schemes

    _form = "(name, scheme, layers)"

    @property
    def exact(self) -> bool:  # type: ignore[override]
        return all(scheme.exact for _, scheme, _ in self.schemes)

    def _parts(
        self, weights: Mapping[str, Any], *, strict: bool = True
    ) -> list[tuple[Scheme, list[str]]]:
        """Return the schemes and the names of their weights."""
        owner: dict[str, str] = {}
        parts = []
        for name, scheme, selector in self.schemes:
            names = select(selector, weights, strict=strict)
            for weight in names:
                if weight in owner:
                    msg = (
                        f"{weight!r} is selected by {owner[weight]!r} and by {name!r}. "
                        "Make their layers disjoint, or use Additive to compress a "
                        "weight as a sum."
                    )
                    raise ValueError(msg)
                owner[weight] = name
            parts.append((scheme, names))
        return parts

    def covers(self, weights: Weights, *, selected: bool = False) -> list[str]:
        self.validate()
        covered = {
            name
            for scheme, names in self._parts(weights)
            for name in scheme.covers({n: weights[n] for n in names}, selected=True)
        }
        return [name for name in weights if name in covered]

    def _solve(
        self,
        weights: Weights,
        mu: float,
        theta: Mapping[str, Code],
        layers: Layers | None,
    ) -> Theta:
        found: Theta = {}
        for scheme, names in self._parts(weights):
            own = {name: weights[name] for name in names}
            found |= scheme._solve(own, mu, theta, layers)
        return {name: found[name] for name in weights if name in found}

    def _split(self, theta: Mapping[str, Code]) -> list[tuple[Scheme, Theta]]:
        # a selected weight that a scheme leaves alone is not in its Θ: not strict
        parts = self._parts(decompress(theta), strict=False)
        return [
            (scheme, {name: theta[name] for name in names})
            for scheme, names in parts
            if names
        ]

    def _feasible(self, theta: Mapping[str, Code]) -> bool:
        return all(scheme._feasible(own) for scheme, own in self._split(theta))

    def _project(self, theta: Mapping[str, Code]) -> Theta:
        found: Theta = {}
        for scheme, own in self._split(theta):
            found |= scheme.project(own)
        return {name: found[name] for name in theta}

    def _penalty(
        self, theta: Mapping[str, Code], weights: Weights | None, layers: Layers | None
    ) -> float:
        return sum(
            scheme._penalty(own, weights, layers) for scheme, own in self._split(theta)
        )

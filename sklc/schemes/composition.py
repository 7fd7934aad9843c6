"""Schemes made of schemes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from sklearn.utils.metaestimators import _BaseComposition

from sklc.schemes.base import Scheme


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
    def keeps_feasible(self) -> bool:
        return all(scheme.keeps_feasible for _, scheme, *_ in self.schemes)

    @property
    def has_cost(self) -> bool:
        return any(scheme.has_cost for _, scheme, *_ in self.schemes)

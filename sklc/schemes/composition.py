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

    @property
    def smooth(self) -> bool:
        return all(scheme.smooth for _, scheme in self._named)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the parts as ``name__parameter``."""
        if deep and _way_back(self):  # never valid: validate() will say so
            deep = False
        found: dict[str, Any]
        try:
            found = self._get_params("_named", deep=deep)
        except (TypeError, ValueError):  # not (yet) valid: validate() will say so
            found = super().get_params(deep=False)
        return found | {"schemes": self.schemes}

    def set_params(self, **params: Any) -> "Composition":
        """Set parameters: ``name`` replaces a part, ``name__parameter`` changes one."""
        if "schemes" in params:
            self.schemes = params.pop("schemes")
        self._set_params("_named", **params)
        return self

    def __sklearn_clone__(self) -> Any:
        self._check_finite()
        return super().__sklearn_clone__()

    def _check_finite(self) -> None:
        if not (way := _way_back(self)):
            return
        *names, last = way
        whole: Any = self
        for name in [*names, last]:
            whole = dict(whole._named)[name]
        what = (
            "contains itself, as its part"
            if whole is self
            else ("has a part that contains itself,")
        )
        msg = (
            f"{type(self).__name__} {what} {'__'.join(way)!r}: put in a clone() that "
            "was made before."
        )
        raise ValueError(msg)

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
        self._check_finite()
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


def _way_back(scheme: Composition, above: tuple[Any, ...] = ()) -> list[str]:
    """Return by which parts a composition comes to contain itself, or a part itself."""
    above = (*above, scheme)
    for part in scheme.schemes if isinstance(scheme.schemes, list | tuple) else ():
        if not isinstance(part, tuple) or len(part) < 2:
            continue
        name, inner = part[:2]
        if any(inner is outer for outer in above):
            return [str(name)]
        if isinstance(inner, Composition) and (way := _way_back(inner, above)):
            return [str(name), *way]
    return []

"""What makes two runs the same: one identity for checkpoints and cached references."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sklc import __version__
from sklc.estimator.fingerprint import codes_of, describe, digest, unseen
from sklc.lstep import Learner

#: Parameters that may change when a run goes on from its checkpoint.
_FREE = (
    "max_iter",
    "tol",
    "finetune",
    "finetune_epochs",
    "verbose",
    "checkpoint",
    "memory",
)
#: What the training of the reference depends on.
_OF_REFERENCE = ("estimator", "random_state", "code", "X", "y", "fit_params")
_PACKAGES = ("numpy", "scikit-learn", "scipy", "skorch", "torch")


@dataclass(frozen=True)
class Identity:
    """What must be equal for a run to be the same, in whatever process.

    Attributes
    ----------
    run : dict
        JSON-compatible: the configuration, with the code of its functions and classes
        and of the parts of the model, the weights that it starts from if it came
        trained, and all data.
    unseen : list of str
        Classes of data whose content is not in it, such as Datasets of one's own.
    """

    run: dict[str, Any]
    unseen: list[str]

    @classmethod
    def of(
        cls,
        compressor: Any,
        learner: Learner,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        *,
        trained: bool,
    ) -> "Identity":
        """Return the identity of a fit.

        Parameters
        ----------
        compressor : LCCompressor
        learner : Learner
            As it starts.
        X, y : data
            As they were given.
        fit_params : dict
        trained : bool
            Whether the model came trained, so that its weights count.
        """
        parameters = compressor.get_params(deep=False)
        configuration = {
            name: describe(value)
            for name, value in parameters.items()
            if name not in _FREE
        }
        weights = learner.weights() | learner.buffers() if trained else None
        data = {
            "code": codes_of(learner.parts()),
            "weights": digest(weights),
            "X": digest(X),
            "y": digest(y),
            "fit_params": {
                name: describe(value) if unseen(value) else digest(value)
                for name, value in fit_params.items()
            },
        }
        return cls(configuration | data, sorted({*unseen(X), *unseen(y)}))

    @property
    def reference(self) -> dict[str, Any]:
        """What of it the training of the reference depends on.

        The versions of sklc and of the packages that it builds upon are in it, too.
        """
        versions = {name: version(name) for name in _PACKAGES} | {"sklc": __version__}
        found = {name: self.run[name] for name in _OF_REFERENCE}
        return found | {"versions": versions}

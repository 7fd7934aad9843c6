"""LCCompressor: the learning-compression algorithm as a scikit-learn estimator."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import process_routing

from sklc.codes import nbits
from sklc.estimator.callbacks import CallbackSupportMixin, Steps, with_callbacks
from sklc.estimator.coefficients import CoefficientsMixin
from sklc.estimator.delegation import l_step_of
from sklc.estimator.fingerprint import describe, digest
from sklc.estimator.parameters import check_parameters
from sklc.estimator.portable import PortableMixin
from sklc.estimator.prediction import PredictionMixin
from sklc.estimator.reference import train_reference
from sklc.lc.checkpoint import Checkpoint
from sklc.lc.run import Run
from sklc.lstep import Learner, LStep, rng
from sklc.schemes import Scheme

#: Parameters that may change when a run goes on from its checkpoint.
_FREE = ("max_iter", "tol", "finetune_epochs", "verbose", "checkpoint", "memory")
#: What a fit sets when it ends.
_RESULTS = (
    "estimator_",
    "theta_",
    "history_",
    "reference_loss_",
    "best_step_",
    "n_iter_",
    "termination_condition_",
    "nbits_",
    "compression_ratio_",
    "n_features_in_",
    "feature_names_in_",
)


class LCCompressor(
    CallbackSupportMixin,
    PortableMixin,
    PredictionMixin,
    CoefficientsMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    r"""Compress a model by the learning-compression (LC) algorithm.

    Solves :math:`\min_{w,\Theta} L(w) + \mathrm{cost}(\Theta)` subject to
    :math:`w = \Delta(\Theta)`: the weights of the model with the least loss among those
    that a compression scheme can represent. Training (the L step) and compression
    (the C step) alternate while the pull `mu` between them grows. What is predicted
    with, scored and returned is always the compressed model.

    Parameters
    ----------
    estimator : skorch.NeuralNet, FrozenEstimator or torch.nn.Module
        The model. A skorch net is cloned and trained first; ``FrozenEstimator(net)``
        starts from the weights of a fitted net; a module counts as trained, and becomes
        a classifier with cross entropy loss (for other tasks, pass a net). The object
        itself is never changed. Beware that cross-validating a net that was trained on
        all the data leaks the validation folds into it.
    scheme : Scheme
        How to compress it, see :mod:`sklc.schemes`. By default all parameters of two or
        more dimensions are compressed; :class:`~sklc.schemes.Mixed` selects layers.
    l_step : LStep, callable or None, default=None
        How to train it: epochs, learning rate, device. By default what suits the
        estimator, :class:`~sklc.lstep.NetLStep` for nets. A function
        ``l_step(module, pull, step, X, y)`` trains a net in your own way, see
        :class:`~sklc.lstep.FunctionLStep`.
    mu_init : float, "auto" or sequence of float, default="auto"
        The first pull. ``"auto"`` measures the curvature of the loss, see
        :func:`sklc.lc.schedule.automatic_mu`. A sequence is a schedule of your own: the
        pulls of direct compression and of each step, the last one for all that follow.
    mu_factor : float or "auto", default="auto"
        The pull grows by this factor at each step; at least 1. ``"auto"`` is what takes
        it to 45 times `mu_init` in `max_iter` steps (to what the curvature asks for, if
        `mu_init` is automatic): 1.1 if they are 40.
    max_iter : int, default=40
        Number of LC steps, at most; 0 is direct compression.
    tol : float, default=1e-4
        Stop when ``||w - Δ(Θ)|| <= tol * ||w||``, after one step at least.
    keep : {"best", "last"}, default="best"
        Which iterate to keep: the one with the lowest mean training loss of Δ(Θ) plus
        cost(Θ) (fewer bits where that ties), direct compression included; or the last.
    multipliers : bool, default=True
        Whether to estimate Lagrange multipliers (augmented Lagrangian), or to use the
        quadratic penalty alone.
    finetune_epochs : int, default=0
        Afterwards, train the degrees of freedom of Θ (codebooks, scales, non-zeros,
        factors) and all that is not compressed for so many epochs, with the structure
        of Θ fixed. The result is kept if it is better. With ``max_iter=0`` this is
        direct compression and fine-tuning.
    checkpoint : str, path or None, default=None
        A file to hold the state after every LC step. If it exists, :meth:`fit` goes on
        from there, as if it had never stopped (on a CPU, bit for bit); the data and the
        call must be the same, but for `max_iter`, `tol`, `finetune_epochs`, `memory`
        and `verbose` (to do more steps than planned, fix the epochs of each). Every run
        needs a path of its own. Fine-tuning is not saved, but done again.
    memory : str, joblib.Memory or None, default=None
        A folder to cache trained references in: a search over schemes trains each
        fold's reference once. The key is the configuration of the estimator, the source
        of its classes and functions (not of what they call), the data, `random_state`
        and the versions of the packages (with `random_state` None, the first training
        there was serves all). Datasets are not cached.
    verbose : int, default=0
        1 shows a progress bar (by rich or tqdm; lines, if neither is installed), 2 a
        line for every LC step.
    random_state : int, RandomState or None, default=None
        Seeds torch during :meth:`fit`; the global generators are left as they were.

    Attributes
    ----------
    estimator_ : estimator
        The compressed model: it holds Δ(Θ).
    theta_ : dict of str to Code
        The compressed weights Θ, by parameter name.
    history_ : list of dict
        For every step, from direct compression (step 0) on: ``step``, ``mu``, ``gap``
        (``||w - Δ(Θ)|| / ||w||``), ``loss`` and ``cost`` of Δ(Θ), ``nbits`` of Θ and
        ``seconds`` since the start. Fine-tuning adds one more, with infinite ``mu``.
    reference_loss_ : float
        Mean training loss of the uncompressed model.
    n_iter_ : int
        LC steps done.
    best_step_ : int
        The step that was kept; ``n_iter_ + 1`` if it is the fine-tuned one.
    termination_condition_ : str
        Why the loop ended: "converged", "max_iter", "callback" (one of scikit-learn's
        stopped it), "interrupted" (by the keyboard), "diverged" or "failed"
        (:meth:`fit` raised an error; what is fitted is the best of the steps before).
    nbits_ : int
        Size of the compressed model: Θ and the parameters that are not compressed,
        in bits, before entropy coding.
    compression_ratio_ : float
        Bits of all parameters before, over bits after.
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    n_features_in_ : int
        Columns of `X`, if it was a table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of these columns, if `X` had names, all of them str.

    References
    ----------
    M. A. Carreira-Perpinan, Model compression as constrained optimization, with
    application to neural nets. Part I: general framework, arXiv:1707.01209, 2017.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from skorch import NeuralNetClassifier
    >>> from sklc import LCCompressor
    >>> from sklc.schemes import AdaptiveQuantization
    >>> X, y = load_iris(return_X_y=True)
    >>> X = ((X - X.mean(0)) / X.std(0)).astype("float32")
    >>> _ = torch.manual_seed(0)
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    >>> net = NeuralNetClassifier(
    ...     module, criterion=torch.nn.CrossEntropyLoss, lr=0.5, max_epochs=30,
    ...     iterator_train__shuffle=True, train_split=None, verbose=0)
    >>> lc = LCCompressor(net, AdaptiveQuantization(k=2), random_state=0).fit(X, y)
    >>> bool(lc.score(X, y) > 0.9)
    True
    >>> lc.estimator_.module_[0].weight.unique().numel()
    2
    """

    def __init__(
        self,
        estimator: Any,
        scheme: Scheme,
        *,
        l_step: LStep | Callable[..., Any] | None = None,
        mu_init: float | str | Sequence[float] = "auto",
        mu_factor: float | str = "auto",
        max_iter: int = 40,
        tol: float = 1e-4,
        keep: str = "best",
        multipliers: bool = True,
        finetune_epochs: int = 0,
        checkpoint: str | PathLike[str] | None = None,
        memory: Any = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.scheme = scheme
        self.l_step = l_step
        self.mu_init = mu_init
        self.mu_factor = mu_factor
        self.max_iter = max_iter
        self.tol = tol
        self.keep = keep
        self.multipliers = multipliers
        self.finetune_epochs = finetune_epochs
        self.checkpoint = checkpoint
        self.memory = memory
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> "LCCompressor":
        """Train the model if it is not trained, and compress it.

        Parameters
        ----------
        X : array-like, Tensor, dict or Dataset
            Whatever the estimator accepts.
        y : array-like, default=None
        **fit_params : dict
            Passed on to the training of the estimator.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are invalid, before any training.
        DivergenceError
            If training left the finite numbers. The best of the steps before, if there
            was one, is fitted then; so it is after an interrupt, which only warns (a
            search goes on with the next candidate).
        """
        check_parameters(self)
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **fit_params)
            fit_params = dict(routed["estimator"]["fit"])
        fit_params = {k: v for k, v in fit_params.items() if v is not None}
        l_step = l_step_of(self)
        trained = l_step.is_trained(self.estimator)
        with self._seeded(l_step):
            learner = l_step.start(
                self.estimator, X, y, n_steps=self.max_iter, **fit_params
            )
            self._check_scheme(learner, trained)
            self._forget()
            run = self._new_run(learner, X, y)
            if self.memory is not None and not trained:
                run.train_reference = partial(
                    train_reference,
                    learner,
                    self.memory,
                    self.estimator,
                    self.random_state,
                    X,
                    y,
                    fit_params,
                )
            as_if_done = partial(self._as_if_done, learner, run)
            steps = Steps(self, X, y, fit_params, self.max_iter, as_if_done)
            run.done = steps.done
            try:
                run.execute()
            finally:
                if run.record.history:
                    self._finish(learner, run)
        run.record.warn_if_useless(self.reference_loss_)
        return self

    def _forget(self) -> None:
        """Drop the results of an earlier fit, lest they mix with those of this one."""
        for name in _RESULTS:
            self.__dict__.pop(name, None)

    def _seeded(self, l_step: LStep) -> AbstractContextManager[None]:
        if self.random_state is None or not l_step.draws:
            return nullcontext()
        random = check_random_state(self.random_state)
        return rng.seeded(random.randint(np.iinfo(np.int32).max))

    def _check_scheme(self, learner: Learner, trained: bool) -> None:
        """Raise the errors that the scheme has for the weights, before any training."""
        weights = learner.weights()
        names = self.scheme.covers(weights)
        if not names:
            msg = (
                "The scheme covers no parameter: the model has none of two or more "
                f"dimensions, only {list(weights)}; select some by name with Mixed."
            )
            raise ValueError(msg)
        if not trained:  # trained weights are compressed at once anyway
            own = {name: weights[name] for name in names}
            self.scheme.compress(own, 1.0, layers=learner.layers())

    def _new_run(self, learner: Learner, X: Any, y: Any) -> Run:
        checkpoint = None
        if self.checkpoint is not None:
            identity = describe(self.get_params(deep=False))
            for name in _FREE:
                del identity[name]
            if l_step_of(self).is_trained(self.estimator):
                identity["weights"] = digest(dict(learner.weights()))
            identity["data"] = digest([X, y])
            checkpoint = Checkpoint(self.checkpoint, identity)
        mu_init = self.mu_init
        if isinstance(mu_init, np.ndarray):
            mu_init = mu_init.tolist()
        return Run(
            learner,
            self.scheme,
            mu_init=mu_init,
            mu_factor=self.mu_factor,
            max_iter=self.max_iter,
            tol=self.tol,
            keep=self.keep,
            multipliers=self.multipliers,
            finetune_epochs=self.finetune_epochs,
            checkpoint=checkpoint,
            verbose=self.verbose,
        )

    def _fitted(self, learner: Learner, run: Run) -> dict[str, Any]:
        """Return the fitted attributes, the learner being at the iterate kept."""
        kept = run.record.kept
        size = nbits(kept.theta)
        found = {
            "estimator_": learner.estimator,
            "theta_": kept.theta,
            "history_": run.record.history,
            "reference_loss_": run.reference_loss,
            "best_step_": kept.step,
            "n_iter_": run.n_iter,
            "termination_condition_": run.termination,
            "nbits_": run.size(size),
            "compression_ratio_": run.ratio(size),
        }
        found["_translation"] = learner.translation
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(learner.estimator, name):
                found[name] = getattr(learner.estimator, name)
        return found | learner.translation.features

    def _as_if_done(self, learner: Learner, run: Run) -> dict[str, Any]:
        """Return the fitted attributes as if the run had ended at this step."""
        state = learner.state_dict()
        learner.load_state_dict(run.record.kept.snapshot, generators=False)
        found = copy.deepcopy(self._fitted(learner, run))
        learner.load_state_dict(state)
        return found

    def _finish(self, learner: Learner, run: Run) -> None:
        learner.load_state_dict(run.record.kept.snapshot, generators=False)
        for name, value in self._fitted(learner, run).items():
            setattr(self, name, value)

"""LCCompressor: the learning-compression algorithm as a scikit-learn estimator."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import process_routing

from sklc.estimator.callbacks import (
    CallbackSupportMixin,
    callbacks_of,
    with_callbacks,
)
from sklc.estimator.coefficients import CoefficientsMixin
from sklc.estimator.delegation import l_step_of
from sklc.estimator.deployment import DeploymentMixin
from sklc.estimator.identity import Identity
from sklc.estimator.parameters import check_scheme, checked
from sklc.estimator.portable import PortableMixin
from sklc.estimator.prediction import PredictionMixin
from sklc.estimator.reference import cached_training
from sklc.estimator.results import as_if_ended, fitted, forget, put_back_if_it_fails
from sklc.lc.checkpoint import Checkpoint
from sklc.lc.progress import displays
from sklc.lc.resume import resumed
from sklc.lc.run import Run
from sklc.lstep import Learner, LStep, rng
from sklc.schemes import Scheme


class LCCompressor(
    CallbackSupportMixin,
    PortableMixin,
    PredictionMixin,
    CoefficientsMixin,
    DeploymentMixin,
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
        :func:`sklc.lc.schedule.automatic_mu`; if `max_iter` is 0, schemes with a cost
        compress at the last pull instead. A sequence is a schedule of your own: the
        pulls of direct compression and of each step, the last one for all that follow.
    mu_factor : float or "auto", default="auto"
        The pull grows by this factor at each step; at least 1. ``"auto"`` is what takes
        it to 45 times `mu_init` in `max_iter` steps (to what the curvature asks for, if
        `mu_init` is automatic): 1.1 if they are 40.
    max_iter : int, default=40
        Number of LC steps, at most; 0 is direct compression.
    tol : float, default=1e-4
        Stop when ``||w - Δ(Θ)|| <= tol * ||w||`` and the iterate stands still by the
        same measure (see :func:`sklc.lc.stationarity.dual_residual`), after one step
        at least.
    keep : {"best", "last"}, default="best"
        Which iterate to keep: the one with the lowest mean training loss of Δ(Θ) plus
        cost(Θ) (fewer bits where that ties), direct compression included; or the last.
        With it comes all that the model had then: what is not compressed, buffers, the
        history of a net.
    multipliers : bool, default=True
        Whether to estimate Lagrange multipliers (augmented Lagrangian), or to use the
        quadratic penalty alone.
    finetune : "auto", bool or int, default="auto"
        Afterwards, train the degrees of freedom of Θ (codebooks, scales, non-zeros,
        factors) and all that is not compressed, with the structure of Θ fixed: for so
        many epochs, or, of linear models, until nothing is left to gain, which is a
        refit. ``"auto"`` refits linear models, and leaves nets alone. The result is
        kept if it is better, and no constant. With ``max_iter=0`` this is direct
        compression and fine-tuning.
    keep_reference : bool, default=False
        Whether to keep the model as it was before compression, and direct compression,
        as ``reference_`` and ``direct_``: to see beside the result what has become of
        them, see :meth:`report`. They take as much memory as two models more.
    checkpoint : str, path or None, default=None
        A file to hold the state after every LC step. If it exists, :meth:`fit` goes on
        from there, as if it had never stopped (on a CPU, bit for bit); the data and the
        call must be the same, but for `max_iter`, `tol`, `finetune`, `memory` and
        `verbose` (to do more steps than planned, fix the epochs of each). That
        includes the code of your classes and functions, and of those that these name;
        of Datasets of your own, the content is beyond what is checked. Every run needs
        a path of its own. Fine-tuning is not saved, but done again.
    memory : str, joblib.Memory or None, default=None
        A folder to cache trained references in: a search over schemes trains each
        fold's reference once. What it depends on must be the same, as for `checkpoint`,
        and so must the versions of the packages (with `random_state` None, the first
        training there was serves all). With Datasets of your own nothing is cached.
    verbose : int, default=0
        1 shows a progress bar, 2 a line for every LC step.
    random_state : int, RandomState or None, default=None
        Seeds the generators of torch, NumPy and Python during :meth:`fit`, if training
        draws random numbers; afterwards they are as they were.
    finetune_epochs : int
        The former name of `finetune`, which warns.

    Attributes
    ----------
    estimator_ : estimator
        The compressed model: it holds Δ(Θ).
    theta_ : dict of str to Code
        The compressed weights Θ, by parameter name.
    reference_, direct_ : estimator
        The model before compression, and as it was at step 0 (direct compression), if
        `keep_reference` is true. They take and return what ``estimator_`` does.
    history_ : list of dict
        For every step, from direct compression (step 0) on: ``step``, ``mu``, ``gap``
        (``||w - Δ(Θ)|| / ||w||``), ``loss`` and ``cost`` of Δ(Θ), what the loss is of
        (``trained_on``: "targets", "reference" or "targets and reference", see
        :class:`~sklc.lstep.NetLStep`), ``nbits`` of Θ, the ``compression_ratio`` of the
        model, ``layers`` (by the name of a compressed
        weight: its ``nbits``, ``cost``, and ``rank`` where it has one) and ``seconds``
        since the start. Fine-tuning adds one more, with infinite ``mu``.
    reference_loss_ : float
        Mean training loss of the uncompressed model, by the same measure.
    n_iter_ : int
        LC steps done.
    best_step_ : int
        The step that was kept; ``n_iter_ + 1`` if it is the fine-tuned one.
    termination_condition_ : str
        Why the loop ended: "converged", "max_iter", "callback" (one of scikit-learn's
        stopped it), "interrupted" (by the keyboard), "diverged" or "failed"
        (:meth:`fit` raised an error; what is fitted is the best of the steps before).
    sizes_ : dict of str to int
        Size of the compressed model in bits, before entropy coding, row by row: each
        compressed weight (what several share counts for the first), each parameter
        that is not compressed, and each buffer that the model needs to predict.
    nbits_ : int
        The sum of these rows.
    compression_ratio_ : float
        Bits of all parameters and buffers before, over bits after; infinite if nothing
        is left.
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    n_features_in_ : int
        Columns of `X`, if it was a table.
    feature_names_in_ : ndarray of shape (n_features,)
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
        finetune: str | bool | int = "auto",
        keep_reference: bool = False,
        checkpoint: str | PathLike[str] | None = None,
        memory: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        finetune_epochs: str | int = "deprecated",
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
        self.finetune = finetune
        self.keep_reference = keep_reference
        self.checkpoint = checkpoint
        self.memory = memory
        self.verbose = verbose
        self.random_state = random_state
        self.finetune_epochs = finetune_epochs

    @with_callbacks
    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> "LCCompressor":
        """Train the model if it is not trained, and compress it.

        Parameters
        ----------
        X : array-like, Tensor, dict or Dataset
            Whatever the estimator accepts.
        y : array-like, default=None
            A net that comes trained needs none: it then learns from its own outputs,
            as they were before compression (see :class:`~sklc.lstep.NetLStep`).
        **fit_params : dict
            Passed on to the training of the estimator.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are invalid, before any training; an earlier fit
            is as it was then.
        CheckpointError
            If the file cannot be used, is damaged, in use, or of another run.
        DivergenceError
            If training left the finite numbers. The best of the steps before, if there
            was one, is fitted then; so it is after an interrupt, which only warns (a
            search goes on with the next candidate).

        Warns
        -----
        UselessResultWarning
            If the result is of little use: hardly smaller, far from what was trained
            (an open gap), no better than a constant or than direct compression.
        """
        options = checked(self)
        fit_params = self._routed(fit_params)
        l_step = l_step_of(self)
        trained = l_step.is_trained(self.estimator)
        with self._seeded(l_step), ExitStack() as held:
            with put_back_if_it_fails(self):
                forget(self)
                learner = l_step.start(
                    self.estimator, X, y, n_steps=options.max_iter, **fit_params
                )
                check_scheme(self.scheme, learner)
                identity = self._identity(learner, X, y, fit_params, trained)
                checkpoints = self._checkpoints(identity, held)
                saved = checkpoints[0].state if checkpoints else None
                state = saved and resumed(saved, learner, self.scheme)
                train_reference = self._training(learner, identity, trained)
            keep = options.keep_reference
            as_if = partial(as_if_ended, learner, keep_reference=keep)
            n_steps = options.max_iter
            run = Run(
                learner,
                self.scheme,
                **vars(options),
                observers=[
                    *checkpoints,
                    *callbacks_of(self, X, y, fit_params, n_steps, as_if),
                    *displays(int(self.verbose), n_steps),
                ],
                train_reference=train_reference,
                state=state,
            )
            try:
                run.execute()
            finally:
                self._finish(learner, run, keep)
        run.warn_if_useless()
        return self

    def _routed(self, fit_params: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata of a fit that are for the estimator."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **fit_params)
            fit_params = dict(routed["estimator"]["fit"])
        return {name: v for name, v in fit_params.items() if v is not None}

    def _seeded(self, l_step: LStep) -> AbstractContextManager[None]:
        """Seed the generators of the process, if training draws from them."""
        if self.random_state is None:
            return nullcontext()
        random = check_random_state(self.random_state)
        if not l_step.draws:
            return nullcontext()
        return rng.seeded(random.randint(np.iinfo(np.int32).max))

    def _identity(
        self, learner: Learner, X: Any, y: Any, fit_params: Any, trained: bool
    ) -> Identity | None:
        if self.checkpoint is None and (self.memory is None or trained):
            return None  # nobody asks
        return Identity.of(self, learner, X, y, fit_params, trained=trained)

    def _checkpoints(
        self, identity: Identity | None, held: ExitStack
    ) -> list[Checkpoint]:
        if self.checkpoint is None or identity is None:
            return []
        found = Checkpoint(self.checkpoint, identity.run, identity.unseen)
        held.callback(found.close)
        return [found]

    def _training(
        self, learner: Learner, identity: Identity | None, trained: bool
    ) -> Callable[[], None]:
        if self.memory is None or identity is None or trained:
            return learner.train_reference
        return cached_training(
            learner,
            self.memory,
            identity.reference,
            identity.unseen,
            generators=self.random_state is not None,
        )

    def _finish(self, learner: Learner, run: Run, keep: bool) -> None:
        if run.state is None:
            forget(self)
        else:
            end = run.termination
            found = fitted(learner, run.state, end, keep_reference=keep)
            for name, value in found.items():
                setattr(self, name, value)

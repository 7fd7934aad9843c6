"""Small nets and data that the tests of training share."""

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization


def data(n=40, n_classes=3):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 5)).astype("float32")
    return X, rng.integers(n_classes, size=n)


def module(*before, n_out=3):
    torch.manual_seed(1)
    return nn.Sequential(*before, nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, n_out))


def classifier(kind=NeuralNetClassifier, **options):
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "lr": 0.1,
        "max_epochs": 3,
        "batch_size": 10,
        "iterator_train__shuffle": False,
        "train_split": None,
        "verbose": 0,
    }
    if "module" not in options:
        options["module"] = module()
    return kind(**{**settings, **options})


def started(net=None, X=None, y=None, *, n_steps=1, **options):
    """Return a learner of a net."""
    if X is None:
        X, y = data()
    step = NetLStep(**{"epochs": 2, "lr_decay": 1.0, **options})
    return step.start(net or classifier(), X, y, n_steps=n_steps)


def compressor(estimator=None, scheme=None, **options):
    settings = {
        "l_step": NetLStep(epochs=1),
        "max_iter": 3,
        "mu_init": 1e-2,
        "mu_factor": 2.0,
        "random_state": 0,
    }
    return LCCompressor(
        estimator or classifier(),
        scheme or AdaptiveQuantization(k=2),
        **{**settings, **options},
    )


def targets(learner, value=0.3):
    """Return targets for the first weight and the last bias."""
    names = list(learner.weights())
    return {
        name: torch.full_like(learner.weights()[name], value)
        for name in (names[0], names[-1])
    }


def flat(learner):
    """Return all weights in one vector."""
    return torch.cat([w.flatten() for w in learner.weights().values()])

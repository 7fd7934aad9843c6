"""Small nets and data that the tests of training share."""

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader

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


#: The L step as the algorithm was published: at w, with the steps of the net's own.
CLASSICAL = {"start_at": "weights", "lr": None, "max_update": None}


def started(net=None, X=None, y=None, *, n_steps=1, **options):
    """Return a learner of a net; its L steps are classical unless options say more."""
    if X is None:
        X, y = data()
    step = NetLStep(**{"epochs": 2, **CLASSICAL, **options})
    return step.start(net or classifier(), X, y, n_steps=n_steps)


def compressor(estimator=None, scheme=None, **options):
    settings = {
        "l_step": NetLStep(epochs=1),
        "max_iter": 3,
        "mu_init": 1e-2,
        "mu_factor": 2.0,
        "finetune": 0,
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


class Unsized(DataLoader):
    """Batches of which nobody knows how many there are: epochs have no floor then."""

    def __len__(self):
        raise TypeError


# ---- training steps that users write ----


class Halved(NeuralNetClassifier):
    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs) / 2


class Accumulating(Halved):
    """Two batches per step of the optimizer, as the skorch documentation has it."""

    def train_step(self, batch, **fit_params):
        n_batches = len(self.history[-1, "batches"])
        step = self.train_step_single(batch, **fit_params)
        if n_batches % 2 == 0:
            self.optimizer_.step()
            self.optimizer_.zero_grad()
        return step


class Scaling(NeuralNetClassifier):
    """Gradients of a scaled loss, as for half precision."""

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        X, y = batch
        output = self.infer(X, **fit_params)
        loss = self.get_loss(output, y, X, True)
        (1024 * loss).backward()
        for group in self.optimizer_.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 1024
        return {"loss": loss, "y_pred": output}


class Deaf(NeuralNetClassifier):
    """A training step that asks neither for the loss nor the callbacks."""

    def train_step(self, batch, **fit_params):
        self._set_training(True)
        X, y = batch
        output = self.infer(X)
        loss = self.criterion_(output, y)
        self.optimizer_.zero_grad()
        loss.backward()
        self.optimizer_.step()
        return {"loss": loss, "y_pred": output}

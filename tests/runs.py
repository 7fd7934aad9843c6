"""Runs of the LC algorithm in processes that may be killed (of test_checkpoint)."""

import os
import pickle
import signal
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # which optimizers import
from nets import classifier, data
from sklearn.base import clone
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader

from sklc import LCCompressor
from sklc.codes import pack
from sklc.files import File
from sklc.lstep import NetLStep
from sklc.schemes import AdaptiveQuantization, Additive, ConstraintL0Pruning, LowRank

#: When the process dies: an event, and how often it happened before.
point = (None, 0)
_counters = {}


def happens(event, last=lambda: None):
    """Die, if it is time to, after a last act."""
    number = next(_counters.setdefault(event, count()))
    if (event, number) == point:
        last()
        os.kill(os.getpid(), signal.SIGKILL)


class Dies(Callback):
    """Die in the middle of training."""

    def on_batch_end(self, net, training, **kwargs):
        happens("batch")


class Net(nn.Module):
    """All that has a state: buffers, and random numbers."""

    def __init__(self):
        super().__init__()
        self.fc1, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.dropout, self.fc2 = nn.Dropout(0.2), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc2(self.dropout(torch.tanh(self.norm(self.fc1(x)))))


class Noisy(DataLoader):
    """Batches of another random generator."""

    def __iter__(self):
        for x, y in super().__iter__():
            noise = 0.1 * np.random.standard_normal(x.shape)
            yield x + torch.as_tensor(noise, dtype=x.dtype), y


SCHEMES = {
    "quick": Additive(
        [("codes", AdaptiveQuantization(k=2)), ("few", ConstraintL0Pruning(kappa=4))]
    ),
    "thorough": LowRank(rank=1),
}
NETS = {
    "quick": {"callbacks": [("dies", Dies())], "optimizer__momentum": 0.9},
    "thorough": {
        "callbacks": [("dies", Dies()), EpochScoring("accuracy", name="acc")],
        "optimizer": torch.optim.Adam,
        "lr": 0.01,
        "iterator_train": Noisy,
        "train_split": ValidSplit(4),
    },
}


def compressor(kind="quick", path=None, **options):
    settings = {
        "l_step": NetLStep(epochs=2, lr_schedule="epoch"),
        "max_iter": 3,
        "mu_factor": 2.0,
        "finetune": 2,
        "random_state": 0,
        "checkpoint": path,
    }
    net = classifier(module=Net, iterator_train__shuffle=True, **NETS[kind])
    return LCCompressor(net, clone(SCHEMES[kind]), **{**settings, **options})


def contents(lc):
    """Return all that a run found, in bytes and numbers."""
    header, arrays = pack(lc.theta_)
    return {
        "theta": (header, {name: array.tobytes() for name, array in arrays.items()}),
        "module": {
            name: tensor.numpy().tobytes()
            for name, tensor in lc.estimator_.module_.state_dict().items()
        },
        "history": [
            {name: value for name, value in entry.items() if name != "seconds"}
            for entry in lc.history_
        ],
        "epochs": [
            {
                name: value
                for name, value in epoch.items()
                if name not in ("batches", "dur")
            }
            for epoch in lc.estimator_.history
        ],
        "facts": (
            lc.n_iter_,
            lc.best_step_,
            lc.termination_condition_,
            lc.reference_loss_,
            lc.nbits_,
        ),
    }


def run(kind, path, result, when=(None, 0)):
    """Fit in this process, which dies at some point, and leave the result in a file."""
    global point
    point = when
    write, fsync = File.write, os.fsync

    def watched_write(*args):
        write(*args)
        happens("saved")

    def watched_fsync(number):
        fsync(number)
        half = os.fstat(number).st_size // 2
        happens("half written", lambda: os.ftruncate(number, half))
        happens("written")

    File.write, os.fsync = watched_write, watched_fsync
    # numbers that are not those of another process
    torch.manual_seed(os.getpid())
    np.random.seed(7)
    lc = compressor(kind, path).fit(*data())
    Path(result).write_bytes(pickle.dumps(contents(lc)))

"""Seeded training in several threads is what it is in one."""

import random
import threading

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data
from sklearn.linear_model import LinearRegression

from sklc.lstep import LinearLStep, NetLStep, rng


def state():
    return torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()


def drawn():
    return torch.rand(1).item(), np.random.rand(), random.random()


def test_all_generators_are_seeded_and_left_as_they_were():
    before = state()
    found = []
    for seed in 3, 3, 4:
        with rng.seeded(seed):
            found.append(drawn())
    assert found[0] == found[1]
    assert all(a != b for a, b in zip(found[0], found[2], strict=True))
    after = state()
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]


def test_seeds_may_be_nested():
    with rng.seeded(1):
        first = drawn()
        with rng.seeded(2):
            drawn()
        second = drawn()
    with rng.seeded(1):
        assert (first, second) == (drawn(), drawn())


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_threads_give_what_each_gives_alone():
    def fitted(seed):
        net = classifier(iterator_train__shuffle=True, module__p=0.3, module=Noisy)
        lc = compressor(net, random_state=seed).fit(*data())
        return [entry["loss"] for entry in lc.history_]

    alone = [fitted(seed) for seed in range(3)]
    before = torch.get_rng_state()
    found = [None] * 3

    def work(seed):
        found[seed] = fitted(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert torch.equal(torch.get_rng_state(), before)


class Noisy(torch.nn.Sequential):
    def __init__(self, p=0.3):
        super().__init__(
            torch.nn.Linear(5, 8), torch.nn.Dropout(p), torch.nn.Linear(8, 3)
        )


def test_only_nets_draw():
    assert NetLStep().draws
    assert not LinearLStep().draws
    before = state()
    X = np.random.default_rng(0).standard_normal((20, 3))
    compressor(LinearRegression(), l_step=None).fit(X, X[:, 0])
    assert torch.equal(before[0], state()[0])

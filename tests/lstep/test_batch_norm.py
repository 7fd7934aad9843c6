"""Statistics of batch normalisation belong to the weights that they were taken with."""

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data, module, started
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader

from sklc.lstep import NetLStep
from sklc.lstep.net.batch_norm import reestimate, with_statistics


class Normed(nn.Module):
    def __init__(self, dropout=0.0, **options):
        super().__init__()
        self.fc1, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4, **options)
        self.dropout, self.fc2 = nn.Dropout(dropout), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc2(self.dropout(torch.relu(self.norm(self.fc1(x)))))


def learner_of(n=40, step=None, **options):
    net = classifier(module=Normed, **options)
    return started(net, *data(n), **(step or {}))


def moments(learner, n=40):
    """Return mean and variance of what the normalisation gets."""
    with torch.no_grad():
        hidden = learner.estimator.module_.fc1(torch.as_tensor(data(n)[0]))
    return hidden.mean(0), hidden.var(0)


def compressed(learner):
    return {"fc1.weight": learner.weights()["fc1.weight"].sign()}


def test_statistics_are_those_of_the_weights_put_in():
    learner = learner_of(batch_size=40)
    learner.train_reference()
    learner.substitute(compressed(learner))
    mean, variance = moments(learner)
    norm = learner.estimator.module_.norm
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


class Own(DataLoader):
    """As torch's, but the user's."""


@pytest.mark.parametrize("n", [40, 43, 41])
@pytest.mark.parametrize("iterator", [DataLoader, Own])
def test_every_sample_counts_alike(n, iterator):
    """Also in a last batch that is not full; one sample alone has no variance."""
    learner = learner_of(n, iterator_train__drop_last=True, iterator_valid=iterator)
    learner.train_reference()
    learner.substitute(compressed(learner))
    mean, _ = moments(learner, n)
    found = learner.estimator.module_.norm.running_mean
    if n == 41 and iterator is Own:  # the last sample is alone
        assert not torch.equal(found, mean)
        assert (found - mean).abs().max() < 0.2
    else:
        torch.testing.assert_close(found, mean)


def test_images_may_come_one_by_one():
    net = classifier(
        module=nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 3)),
        batch_size=1,
    )
    X = torch.randn(6, 1, 2, 2)
    learner = started(net, X, torch.arange(6) % 3)
    learner.substitute({})
    norm = learner.estimator.module_[0]
    torch.testing.assert_close(norm.running_mean, X.mean((0, 2, 3)))


def test_statistics_are_put_back_to_go_on_training():
    seen = []

    class Spy(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(net.module_.norm.running_mean.clone())

        def on_epoch_end(self, net, **kwargs):
            seen.append(net.module_.norm.running_mean.clone())

    net = classifier(module=Normed, callbacks=[Spy()])
    compressor(net, max_iter=2, mu_init="auto").fit(*data())
    for end, begin in zip(seen[1:-1:2], seen[2::2], strict=True):
        assert torch.equal(begin, end)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("finetune", [0, 2])
def test_the_result_has_the_statistics_of_its_weights(keep, finetune):
    lc = compressor(
        classifier(module=Normed, batch_size=40),
        keep=keep,
        finetune=finetune,
    ).fit(*data())
    mean, variance = moments(lc_learner(lc))
    norm = lc.estimator_.module_.norm
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    lc.estimator_.module_.eval()
    with torch.no_grad():
        output = lc.estimator_.module_(torch.as_tensor(data()[0]))
    loss = nn.functional.cross_entropy(output, torch.as_tensor(data()[1])).item()
    assert loss == pytest.approx(lc.history_[lc.best_step_]["loss"], rel=1e-5)


def lc_learner(lc):
    class Holder:
        estimator = lc.estimator_

    return Holder


def test_the_option_leaves_statistics_alone():
    learner = learner_of(step={"reestimate_batch_norm": False})
    learner.train_reference()
    before = learner.estimator.module_.norm.running_mean.clone()
    learner.substitute(compressed(learner))
    assert torch.equal(learner.estimator.module_.norm.running_mean, before)


def test_the_option_changes_the_losses():
    losses = [
        compressor(
            classifier(module=Normed),
            l_step=NetLStep(reestimate_batch_norm=option),
            max_iter=0,
        )
        .fit(*data())
        .history_[0]["loss"]
        for option in (True, False)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("momentum", [0.1, None, 0.5])
def test_the_momentum_is_put_back(momentum):
    learner = learner_of(module__momentum=momentum)
    learner.substitute(compressed(learner))
    assert learner.estimator.module_.norm.momentum == momentum
    assert not learner.estimator.module_.norm.training


def test_the_momentum_is_put_back_after_an_error():
    learner = learner_of()

    def broken():
        raise KeyError
        yield

    with pytest.raises(KeyError):
        reestimate(learner.estimator, [learner.estimator.module_.norm], broken())
    assert learner.estimator.module_.norm.momentum == 0.1


def test_nothing_else_is_in_training_mode():
    """Dropout would make the losses random, and the statistics too large."""
    learner = learner_of(batch_size=40, module__dropout=0.9)
    inner = learner.estimator.module_
    second = nn.BatchNorm1d(3)
    inner.fc2 = nn.Sequential(inner.fc2, second)
    state = torch.get_rng_state()
    learner.substitute({})
    assert torch.equal(torch.get_rng_state(), state)
    assert learner.loss() == learner.loss()
    with torch.no_grad():
        hidden = torch.as_tensor(data()[0])
        hidden = inner.fc1(hidden)
        hidden = torch.relu(
            nn.functional.batch_norm(hidden, None, None, *affine(inner), True)
        )
        torch.testing.assert_close(second.running_mean, inner.fc2[0](hidden).mean(0))


def affine(inner):
    return inner.norm.weight, inner.norm.bias


def test_only_layers_with_statistics_are_touched():
    layers = [nn.BatchNorm1d(5), nn.BatchNorm1d(5, track_running_stats=False)]
    net = classifier(module=module(*layers)).initialize()
    assert with_statistics(net, net.module_) == layers[:1]
    learner = started(classifier(module=module(layers[1])), *data())
    learner.substitute({})
    assert learner.estimator.module_[0].running_mean is None


def test_a_net_without_batch_norm_passes_over_no_data():
    learner = started()
    learner._measure.batches = None
    learner.substitute({"0.weight": torch.zeros(4, 5)})
    assert np.array_equal(learner.weights()["0.weight"], torch.zeros(4, 5))

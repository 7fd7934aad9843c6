"""L steps that are functions of the user."""

from functools import partial

import numpy as np
import pytest
import torch
from nets import classifier, compressor, data, module
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from sklc import LCCompressor
from sklc.codes import decompress
from sklc.exceptions import DivergenceError
from sklc.lstep import FunctionLStep, LStep
from sklc.schemes import AdaptiveQuantization

X, Y = map(torch.as_tensor, data())


def loop(add):
    """Return a training loop of twenty steps, pulled by `add` in either form."""

    def train(module, pull, step, X, y):
        assert module.training
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(X), y)
            if add == "loss":
                loss = loss + pull()
            loss.backward()
            if add == "gradients":
                pull.add_to_gradients()
            optimizer.step()

    return train


def fitted(l_step, **options):
    settings = {"mu_init": 0.05, "max_iter": 4, "random_state": 0, "keep": "last"}
    return LCCompressor(
        module(),
        AdaptiveQuantization(k=2),
        l_step=l_step,
        **{**settings, **options},
    ).fit(X, Y)


def test_a_function_is_an_l_step():
    lc = fitted(loop("loss"))
    assert lc.n_iter_ == 4
    assert lc.history_[-1]["loss"] < lc.history_[0]["loss"]
    for name, dense in decompress(lc.theta_).items():
        assert torch.equal(lc.estimator_.module_.get_parameter(name), dense)


def test_both_forms_of_the_penalty_give_the_same():
    one, other = fitted(loop("loss")), fitted(loop("gradients"))
    losses = [[entry["loss"] for entry in lc.history_] for lc in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for a, b in zip(
        one.estimator_.module_.parameters(),
        other.estimator_.module_.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_the_function_gets_what_fit_got_and_counts_its_steps():
    calls = []

    def train(module, pull, step, *data):
        pull()
        calls.append((module, pull.mu, step, data))

    lc = fitted(train, max_iter=3, mu_factor=1.2)
    modules, mus, steps, given = zip(*calls, strict=True)
    assert steps == (1, 2, 3)
    assert mus == pytest.approx([0.05, 0.05 * 1.2, 0.05 * 1.2**2])
    assert all(each is lc.estimator_.module_ for each in modules)
    for x, y in given:
        assert x is X
        assert y is Y


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_a_net_is_trained_first_as_it_says():
    lc = fitted_net(classifier())
    assert len(lc.estimator_.history) == 3
    frozen = fitted_net(FrozenEstimator(classifier().fit(*data())))
    assert len(frozen.estimator_.history) == 3


def fitted_net(net, **options):
    def train(module, pull, step, X, y):
        loop("loss")(module, pull, step, torch.as_tensor(X), torch.as_tensor(y))

    return compressor(net, l_step=train, **options).fit(*data())


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_the_order_of_batches_only_matters_if_the_net_trains():
    def unshuffled():
        return NeuralNetClassifier(
            module(), criterion=nn.CrossEntropyLoss, batch_size=10, verbose=0
        )

    assert fitted_net(FrozenEstimator(unshuffled().fit(*data()))).n_iter_ == 3
    with pytest.warns(UserWarning, match="in the order of the data") as record:
        fitted_net(unshuffled())
    assert record[0].filename.endswith("test_lstep_function.py")


@pytest.mark.filterwarnings("ignore:The LC steps did not improve")
def test_what_a_function_trained_is_fine_tuned_by_the_net():
    lc = fitted_net(classifier(), finetune=3)
    assert len(lc.history_) == 5
    assert len(lc.estimator_.history) == 3 + 3


def test_forgetting_the_penalty_is_an_error():
    with pytest.raises(
        RuntimeError,
        match=r"did not feel the pull of L step 1: .* nor \(a function passed as "
        r"l_step\) the pull\. Use one of them",
    ):
        fitted(loop("forgotten"))


def test_a_diverging_function_is_an_error():
    def train(module, pull, step, X, y):
        pull.add_to_gradients()
        with torch.no_grad():
            module[0].weight.fill_(float("nan"))

    with pytest.raises(
        DivergenceError, match=r"L step 1 with mu=0\.05 diverged: a weight is not fi"
    ):
        fitted(train)


@pytest.mark.parametrize("function", [None, 3, "train"])
def test_what_cannot_be_called_is_refused(function):
    with pytest.raises(
        TypeError,
        match=r"FunctionLStep needs a function\(module, pull, step, X, y\), got ",
    ):
        fitted(FunctionLStep(function))


@pytest.mark.parametrize(
    "function",
    [
        lambda module, pull, step: None,
        lambda module, pull, step, X, y, epochs: None,
        lambda module, pull, step, X, *, y: None,
    ],
)
def test_a_function_of_other_arguments_is_refused_before_any_training(function):
    class Trains(Callback):
        def on_train_begin(self, net, **kwargs):
            raise AssertionError

    net = classifier(callbacks=[Trains()])
    with pytest.raises(TypeError, match=r"needs a function\(module, pull, step, X, y"):
        compressor(net, l_step=function).fit(*data())


@pytest.mark.parametrize("form", ["options", "object", "partial"])
def test_a_function_may_have_options_of_its_own(form):
    train = loop("loss")

    def optional(module, pull, step, X, y, epochs=1, **more):
        train(module, pull, step, X, y)

    class Trainer:
        def __call__(self, *args):
            train(*args)

    def last(epochs, module, pull, step, X, y):
        train(module, pull, step, X, y)

    forms = {"options": optional, "object": Trainer(), "partial": partial(last, 1)}
    assert fitted(forms[form]).n_iter_ > 0


def test_an_l_step_of_a_function_is_a_configuration():
    train = loop("loss")
    step = FunctionLStep(train)
    assert isinstance(step, LStep)
    assert step.get_params() == {"function": train}
    assert clone(step).function is train
    lc = compressor(l_step=train)
    assert lc.get_params()["l_step"] is train
    assert clone(lc).l_step is train
    assert clone(compressor(l_step=step)).get_params()["l_step__function"] is train


def test_other_estimators_are_refused():
    with pytest.raises(TypeError, match="NetLStep trains skorch nets and torch mod"):
        compressor(AdaptiveQuantization(), l_step=loop("loss")).fit(np.ones((2, 2)))

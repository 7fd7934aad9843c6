"""The benchmark of rivals: models of one form, results that are kept, true tables."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.rivals import records, runner, tables
from benchmarks.rivals.cells import Cell, bits, cells, scheme_of
from benchmarks.rivals.methods import l_steps
from benchmarks.rivals.nets import NETS
from benchmarks.rivals.tasks import task
from benchmarks.rivals.training import Labels, outputs, training_loss

SCHEMES = ["k2", "k4", "kept5", "kept1", "ternary", "rank", "additive"]
NEEDS_TORCHAO = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="needs torchao"
)
PAIRS = [
    pytest.param(scheme, method, marks=NEEDS_TORCHAO if method[0] == "p" else ())
    for scheme in SCHEMES
    for method in runner.methods_of(scheme)
]


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    return lambda name, seed: task(name, seed, folder)


@pytest.mark.filterwarnings("default")  # those of torchao, when it is imported
@pytest.mark.parametrize(("scheme", "method"), PAIRS)
def test_all_methods_end_in_models_of_the_same_form(scheme, method, references):
    cell = Cell("digits", scheme, 2)
    # a model of another form would raise an error
    record = runner.measured(references("digits", 0), cell, "labels", method, 0.1)
    assert 0 < record["bits"] < 32 * (64 * 32 + 32 * 10)
    assert math.isfinite(record["training_loss"])


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_that_is_not_compressed_is_told_apart(scheme, net):
    module = NETS[net]()
    with pytest.raises(AssertionError, match=f"no model of the scheme '{scheme}'"):
        bits(scheme, scheme_of(scheme, module), module)


@pytest.mark.parametrize("epochs", [2, 3, 15, 40])
def test_lc_spends_the_epochs_of_its_rivals(epochs):
    n = l_steps(epochs)
    assert n + math.ceil(n / 3) <= epochs < n + 1 + math.ceil((n + 1) / 3)


@pytest.mark.parametrize("method", ["lc", "direct"])
def test_models_learn_from_the_reference_alone(method, references):
    own, cell = references("digits", 0), Cell("digits", "rank", 2)
    unlabelled = replace(own, train=own.train._replace(y=0 * own.train.y))
    found = runner.measured(unlabelled, cell, "distilled", method, 0.1)
    assert found["test_error"] < 20


def test_training_goes_on_from_direct_compression(references):
    """Where the structure stays, training can only gain."""
    own = references("digits", 0)
    module = own.module()
    theta = scheme_of("k2", module).compress(
        {n: p.detach() for n, p in module.named_parameters() if p.ndim > 1}, mu=1.0
    )
    for name, code in theta.items():
        module.get_parameter(name).data = code.dense()
    untrained = training_loss(module, own.train, Labels(own.train.y))
    cell = Cell("digits", "k2", 2)
    trained = runner.measured(own, cell, "labels", "direct", 0.03)["training_loss"]
    assert trained < untrained


def test_the_distilled_loss_of_the_reference_is_zero(references):
    own = references("digits", 0)
    loss = runner.loss_of("distilled", own)
    assert training_loss(own.reference, own.train, loss) == pytest.approx(0, abs=1e-6)
    everything = torch.arange(len(own.train.X))
    assert loss(2 * outputs(own.reference, own.train.X), everything) > 0.01


def test_a_run_goes_on_where_it_stopped(references, tmp_path):
    bench = runner.Bench(tmp_path / "results.json", references, "abc")
    cell, methods = Cell("digits", "kept5", 2), ["lc", "gmp"]

    def todo(version="abc", again=()):
        other = runner.Bench(bench.path, references, version)
        return list(other.todo(cell, "labels", methods, [0, 1], again))

    assert todo() == [
        ("lc", 0, None),
        ("lc", 1, None),
        *(("gmp", 0, lr) for lr in (0.1, 0.03, 0.3)),
    ]
    for method, seed, lr in bench.todo(cell, "labels", methods, [0, 1]):
        bench.run(cell, "labels", method, seed, lr)
    assert todo() == todo("def") == []
    assert todo("def", ["lc"]) == [("lc", 0, None), ("lc", 1, None)]
    found = records.read(bench.path)
    assert len(found) == 6  # of the second seed, only the rate that the first chose
    first = [r for r in found if r["method"] == "gmp" and r["seed"] == 0]
    (other,) = (r for r in found if r["method"] == "gmp" and r["seed"] == 1)
    assert other["lr"] == min(first, key=lambda r: r["test_error"])["lr"]


def record(method, seed, lr, error, loss):
    return {
        "loss": "labels",
        "net": "digits",
        "scheme": "k2",
        "epochs": 15,
        "method": method,
        "seed": seed,
        "lr": lr,
        "test_error": error,
        "training_loss": loss,
        "process": 3.0,
        "bare_epoch": 0.1,
        "version": "abc",
    }


def test_the_rival_is_chosen_on_the_first_seed_and_compared_on_the_others():
    results = [
        *(record("lc", s, None, e, 0.2) for s, e in enumerate([9.0, 5.0, 7.0])),
        *(record("ste", s, 0.1, e, 0.1) for s, e in enumerate([4.0, 6.0, 6.0])),
        record("ste", 0, 0.3, 5.0, 0.01),  # of the rates, not the best one
        record("ste", 0, 1.0, None, None),  # diverged
        *(record("parq", s, 0.1, e, 0.1) for s, e in enumerate([5.0, 1.0, 1.0])),
    ]
    (found,) = (r for c in cells() if (r := tables.row(results, c, "labels")))
    assert found.rival == "ste"
    assert found.errors == pytest.approx({"lc": 7, "ste": 16 / 3, "parq": 7 / 3})
    assert found.difference == pytest.approx((0.0, 1.0))
    assert found.loss_difference == pytest.approx((math.log(2), 0.0))
    assert found.loss_difference.is_worse
    assert not found.difference.is_worse
    assert found.time == pytest.approx(2.0)


def test_tables_are_put_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"a\n{tables.BEGIN}\nold\n{tables.END}\nb\n")
    tables.renew(page, "new")
    tables.renew(page, "newer")
    expected = f"a\n{tables.BEGIN}\n\nnewer\n\n{tables.END}\nb\n"
    assert page.read_text() == expected
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no marks"):
        tables.renew(page, "new")

"""The report on sizes is the file, and its bounds are bounds."""

import numpy as np
import pytest
import torch
from cases import draw, uses
from compressed import SIGNATURE, codes, model_of, values

from sklc.codes import Quantized, Scaled, Sparse, nbits
from sklc.deploy.saving import save, sized
from sklc.schemes import AdaptiveQuantization, ConstraintL0Pruning


@pytest.mark.parametrize("option", [None, "float16", "bfloat16"])
def test_the_report_is_the_file(tmp_path, option):
    path = tmp_path / "model.sklc"
    model = model_of(codes(), {"bias": values(300)})
    report = sized(model, option)
    assert report == save(model, path, option)
    assert report.file_bytes == path.stat().st_size == report.total.bytes
    assert sum(row.nbits for row in report.rows if row.code) == nbits(model.theta)
    rows = {row.name: row for row in report.rows}
    assert rows["dense"].parameters == 6
    assert rows["kernel"].dense_bytes == 4 * 24
    assert rows["bias"].nbits == 32 * 300
    assert rows["(header)"].bytes > 0
    assert list(rows) == [*model.theta, "bias", "(header)"]
    changes = {row.change is None for row in report.rows if row.code}
    assert changes == {option is None}


def test_the_report_is_a_table():
    weights = draw({"fc.weight": (300, 784)})
    theta = {
        "fc.weight": Sparse.of(weights["fc.weight"], weights["fc.weight"].abs() > 2)
    }
    report = sized(model_of(theta, {"fc.bias": values(300)}, layers=uses(weights, 1.0)))
    lines = str(report).splitlines()
    assert lines[0].split() == [
        *("name", "code", "parameters", "dense", "bytes", "nbits", "bytes"),
        *("entropy", "bytes", "dense", "flops", "flops"),
    ]
    assert lines[1].split()[:4] == ["fc.weight", "Sparse", "235,200", "940,800"]
    assert lines[1].split()[-2:] == ["235,200", "235,200"], "zeros run, too"
    assert lines[-1].split()[0] == "total"
    assert "<td" in report._repr_html_()
    frame = report.to_frame()
    assert frame.loc["total", "bytes"] == report.file_bytes
    assert frame.loc["fc.weight", "flops"] == 235_200
    assert frame.loc["fc.bias", "nbits"] == 9600


def test_entropy_bounds_are_those_of_the_symbols():
    index = torch.tensor([[0] * 75 + [1] * 25], dtype=torch.uint8)
    sparse = Sparse(values(2), torch.tensor([3, 60], dtype=torch.int32), (1, 100))
    theta = {
        "q": Quantized(torch.tensor([[1.0, 2.0]]), index),
        "s": sparse,
        "f": Scaled(
            index.clone(), torch.tensor([1], dtype=torch.int8), (-1.0, 1.0), "float32"
        ),
    }
    rows = {row.name: row for row in sized(model_of(theta)).rows}
    share = 0.811278124459  # bits of a symbol with probabilities 3/4 and 1/4
    assert rows["f"].entropy_bytes == pytest.approx(100 * share / 8)
    support = np.log2(100 * 99 / 2) / 8
    assert support < rows["s"].entropy_bytes < support + 8
    assert rows["q"].entropy_bytes > rows["f"].entropy_bytes


def test_a_large_net_takes_what_papers_say():
    """The sizes of LeNet300, whose weights cost nothing beyond what is counted."""
    shapes = {
        "fc1.weight": (300, 784),
        "fc2.weight": (100, 300),
        "fc3.weight": (10, 100),
    }
    weights = draw(shapes)
    rest = {f"fc{i}.bias": values(n) for i, n in [(1, 300), (2, 100), (3, 10)]}

    def kilobytes(scheme, option=None):
        theta = scheme.compress(weights, mu=1.0)
        return sized(model_of(theta, rest, SIGNATURE), option).file_bytes / 1000

    assert kilobytes(AdaptiveQuantization(k=2)) < 37
    assert kilobytes(ConstraintL0Pruning(kappa=0.05)) < 57
    assert kilobytes(ConstraintL0Pruning(kappa=0.05), "float16") < 35

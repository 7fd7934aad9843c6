"""Files of every format that ever was are read, and hold what they held."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sklc
from sklc.codes import Code, Factored, Sum
from sklc.codes.base import descendants
from sklc.codes.streams import Stream
from sklc.deploy import coding
from sklc.deploy.container import FORMAT
from sklc.deploy.reading import read

FILES = sorted((Path(__file__).parent / "golden").glob("*.sklc"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_golden_file_holds_what_it_held(path):
    expected = json.loads(path.with_suffix(".json").read_text())
    found = read(path.read_bytes(), 1 << 20)
    weights = found.weights()
    assert weights.keys() == expected.keys()
    for name, facts in expected.items():
        weight = weights[name]
        assert weight.dtype == getattr(torch, facts["dtype"])
        values = torch.tensor(facts["values"], dtype=torch.float64)
        exact = not isinstance(found.theta.get(name), Factored | Sum)
        np.testing.assert_allclose(
            weight.double().numpy(),
            values.reshape(facts["shape"]).numpy(),
            rtol=0 if exact else 1e-6,
        )


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_golden_linear_models_predict(name):
    path = FILES[0].with_name(f"format1_{name}.sklc")
    model = sklc.load(path)
    expected = json.loads(path.with_suffix(".json").read_text())
    coef, intercept = (
        np.reshape(expected[k]["values"], expected[k]["shape"])
        for k in ("coef_", "intercept_")
    )
    X = pd.DataFrame(np.eye(6), columns=list("abcdef"))
    found = model.predict(X) if name == "ridge" else model.decision_function(X)
    np.testing.assert_allclose(found, coef.T + intercept)
    assert list(model.feature_names_in_) == list("abcdef")
    if name == "logistic":
        assert model.classes_.tolist() == [2, 3, 5]


def test_every_format_code_and_coding_has_a_golden_file():
    text = "".join(path.read_bytes().decode("latin1") for path in FILES)
    kinds = set(re.findall(r'\\"kind\\":\\"(\w+)\\"', text))
    own = {
        kind.__name__
        for kind in (*descendants(Code), *Stream.__subclasses__())
        if kind.__module__.startswith("sklc.")
    }
    assert '\\"stored\\":\\"float16\\"' in text
    assert kinds >= own - {"Floats"} | set(coding.READERS)
    formats = {int(version) for version in re.findall(r'\\"format\\":(\d+)', text)}
    assert formats == set(range(1, FORMAT + 1))

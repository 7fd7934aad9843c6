"""Run graphs of every scheme and of all nets of the tests in onnxruntime-web.

    python tests/deploy/web/check.py

It needs node and npm, which fetches the version in package.json into a folder that is
gone afterwards. The exit status is 1 if an output differs.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from cases import name_of  # noqa: E402
from onnx_exports import MODULES  # noqa: E402
from onnx_graphs import compressed, identities, net, net_output  # noqa: E402
from test_onnx_codes import ALL, CODES, codes_of  # noqa: E402

from sklc.codes import decompress  # noqa: E402


def tensor(array):
    """Return an array as JSON."""
    kind = "string" if array.dtype.kind == "U" else array.dtype.name
    return {"type": kind, "dims": array.shape, "data": array.reshape(-1).tolist()}


def write_schemes(folder):
    """Write the graph of a small net for every scheme, and return what it gives."""
    X = 0.1 * torch.randn(4, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    cases = []
    for number, scheme in enumerate(ALL):
        theta, weights = codes_of(scheme)
        dense = weights | decompress(theta)
        name = f"{number} {''.join(c for c in name_of(scheme) if c.isalnum())[:60]}"
        content = compressed(net(dense), theta).SerializeToString()
        (folder / f"{name}.onnx").write_bytes(content)
        outputs = {"variable": tensor(net_output(dense, X).numpy())}
        cases.append(
            {"name": name, "inputs": {"X": tensor(X.numpy())}, "outputs": outputs}
        )
    return cases


def write_codes(folder):
    """Write a graph for every kind of code, and return what it gives."""
    cases = []
    for number, code in enumerate(CODES.values()):
        dense = code.dense()
        model = compressed(identities({"w": dense}), {"w": code})
        (folder / f"code {number}.onnx").write_bytes(model.SerializeToString())
        outputs = {"out.w": tensor(dense.numpy())}
        cases.append({"name": f"code {number}", "inputs": {}, "outputs": outputs})
    return cases


def write_nets(folder):
    """Export the nets, and return what they give."""
    command = [sys.executable, HERE.parent / "onnx_exports.py", folder]
    subprocess.run([*command, *MODULES, "others"], check=True)
    cases = []
    for path in sorted(folder.glob("*.npz")):
        arrays = {name: tensor(array) for name, array in np.load(path).items()}
        outputs = {
            name: arrays.pop(name)
            for name in ("label", "probabilities", "variable")
            if name in arrays
        }
        cases.append({"name": path.stem, "inputs": arrays, "outputs": outputs})
    return cases


def main():
    """Return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("package.json", "run.mjs"):
            shutil.copy(HERE / part, folder)
        quiet = ["--silent", "--no-audit", "--no-fund"]
        subprocess.run(["npm", "install", *quiet], cwd=folder, check=True)
        cases = write_schemes(folder) + write_codes(folder)
        cases += write_nets(folder)
        (folder / "cases.json").write_text(json.dumps(cases), "utf-8")
        command = ["node", folder / "run.mjs", folder]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

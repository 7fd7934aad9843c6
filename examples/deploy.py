"""
Take a compressed net away
==========================

A net that reads digits is compressed to one bit per weight in its large layer and to a
low rank in the next one. Then it leaves: as a file, which a fresh process opens with
PyTorch and NumPy alone; as a plain module; and as an ONNX graph for other runtimes. All
of them predict the same.

.. code-block:: bash

    python examples/deploy.py

takes half a minute on a CPU. The last block needs ``pip install "sklc[onnx]"``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import nn

from sklc import LCCompressor
from sklc.plot import WeightsDisplay
from sklc.schemes import AdaptiveQuantization, LowRank, Mixed

parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
parser.add_argument("--figure", default="deploy.png", help="where to save the figure")
options = parser.parse_args()
torch.set_num_threads(1)  # faster for so small a net

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    (X / 16 - 0.3).astype("float32"), y, test_size=0.3, stratify=y, random_state=0
)

# %%
# Compress
# --------

torch.manual_seed(0)
net = NeuralNetClassifier(
    nn.Sequential(
        nn.Linear(64, 300),
        nn.Tanh(),
        nn.Linear(300, 100),
        nn.Tanh(),
        nn.Linear(100, 10),
    ),
    criterion=nn.CrossEntropyLoss,
    optimizer__momentum=0.9,
    optimizer__nesterov=True,
    lr=0.1,
    batch_size=64,
    max_epochs=20,
    iterator_train__shuffle=True,
    train_split=None,
    verbose=0,
)
net.fit(X_train, y_train)

scheme = Mixed(
    [
        ("codes", AdaptiveQuantization(k=2), ["0", "4"]),
        ("thin", LowRank(rank=10), "2"),
    ]
)
lc = LCCompressor(
    FrozenEstimator(net), scheme, keep_reference=True, max_iter=20, random_state=0
)
lc.fit(X_train, y_train)
print(lc.report(X_test, y_test))

# %%
# The weights are what they are stored as: two values, or thin factors.

display = WeightsDisplay.from_compressor(lc).plot()
display.figure_.savefig(options.figure, dpi=150)

# %%
# Save
# ----
# What the report says is what the file takes.

folder = tempfile.TemporaryDirectory()
model, graph, samples, found = (
    Path(folder.name, name)
    for name in ("model.safetensors", "model.onnx", "X.npy", "predicted.npy")
)
lc.save(model)
size = lc.size_report()
print(size)
assert model.stat().st_size == size.file_bytes

# %%
# Load in a fresh process
# -----------------------
# The architecture is code, and stays with you. scikit-learn and skorch are not needed
# there, and are not loaded.

script = """
import sys, time
start = time.perf_counter()
import torch
of_torch = time.perf_counter() - start
import numpy as np
from torch import nn
import sklc

module = nn.Sequential(
    nn.Linear(64, 300), nn.Tanh(), nn.Linear(300, 100), nn.Tanh(), nn.Linear(100, 10)
)
model, samples, found = sys.argv[1:]
predictor = sklc.load(model, module=module)
in_all = time.perf_counter() - start
np.save(found, predictor.predict(np.load(samples)))
assert not {"sklearn", "skorch"} & set(sys.modules)
print(f"torch was there after {of_torch:.2f} s, and the model after {in_all:.2f} s")
"""
np.save(samples, X_test)
arguments = [sys.executable, "-c", script, *map(str, (model, samples, found))]
fresh = subprocess.run(arguments, check=True, capture_output=True, text=True)
print(fresh.stdout, end="")
predicted = lc.predict(X_test)
same = np.array_equal(np.load(found), predicted)
print(f"the same predictions there: {same}")

# %%
# A plain module
# --------------
# Low rank is two thin layers now; the codes are decoded where they are needed.

module = lc.to_module().eval()
print(module)
with torch.inference_mode():
    logits = module(torch.from_numpy(X_test))
same = np.array_equal(logits.argmax(1).numpy(), predicted)
print(f"the same predictions of the module: {same}")

# %%
# A graph for other runtimes
# --------------------------
# The compression stays in the file: the graph decodes its weights.

lc.to_onnx(graph)
session = onnxruntime.InferenceSession(graph)
start = time.perf_counter()
labels, probabilities = session.run(["label", "probabilities"], {"X": X_test})
milliseconds = 1000 * (time.perf_counter() - start)
error = np.abs(probabilities - lc.predict_proba(X_test)).max()
print(
    f"{graph.stat().st_size:,} bytes of ONNX, of {size.file_bytes:,} in our own file; "
    f"{len(X_test)} samples in {milliseconds:.1f} ms"
)
print(f"the same predictions in onnxruntime: {np.array_equal(labels, predicted)}")
print(f"largest difference of a probability: {error:.1e}")
folder.cleanup()

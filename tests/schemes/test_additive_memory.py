"""A sum needs little memory besides what the C steps of its terms need."""

import os
import subprocess
import sys

import pytest

#: Prints the peak of what a call takes besides the weights, in units of their size.
MEASURE = """
import gc
import torch
from sklc.codes import decompress
from sklc.schemes import Additive, PenaltyL0Pruning, ScaledTernaryQuantization

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))

def peak(call):
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")  # forgets the peak so far
    before = status("VmRSS")
    result = call()
    print((status("VmHWM") - before) * 1024 / (4 * N))
    return result

N = 6_000_000
weights = {f"{n}.weight": torch.randn(1000, N // 4000) for n in range(4)}
terms = [("few", PenaltyL0Pruning(1.0)), ("signs", ScaledTernaryQuantization())]
Additive(terms).compress({"w": torch.randn(30, 40)}, 1.0)
for _, term in terms:
    term.compress(weights, 1.0)
scheme = Additive(terms, max_sweeps=2)
theta = peak(lambda: scheme.compress(weights, 1.0))
peak(lambda: scheme.compress(weights, 1.0, theta))
peak(lambda: decompress(theta))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells")
def test_a_sum_takes_at_most_four_times_the_weights():
    # so that memory that is given back is no longer counted
    alone = {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | alone,
    )
    cold, warm, dense = map(float, done.stdout.split())
    assert cold <= 4.0
    assert warm <= 4.0
    assert dense <= 3.0

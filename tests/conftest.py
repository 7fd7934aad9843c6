"""Fixtures of all tests."""

import os
import random
from contextlib import nullcontext

# tensors are tiny here: threads would only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("SCIPY_ARRAY_API", "1")  # a check of scikit-learn wants it

import numpy as np
import pytest
import torch
from elsewhere import DEVICES, ELSEWHERE, Visible


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random numbers, in whatever order they run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(params=DEVICES)
def device(request):
    """Return a device; the one that the CPU plays exists while this lasts."""
    with Visible() if request.param == ELSEWHERE else nullcontext():
        yield request.param


@pytest.fixture
def elsewhere():
    """Return the device that the CPU plays."""
    with Visible():
        yield ELSEWHERE

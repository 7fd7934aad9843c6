"""Buckets know of numbers what a sorted list of them knows."""

import numpy as np
import pytest
import torch

from sklc.ops import buckets as ops
from sklc.ops.buckets import Buckets
from sklc.ops.points import Points

RNG = np.random.default_rng(5)
NORMAL = RNG.standard_normal(3000)
NUMBERS = {
    "gaussian": NORMAL,
    "heavy tailed": RNG.standard_t(1, 3000),
    "of one sign": -np.abs(NORMAL),
    "in few buckets": 1000 + NORMAL,
    "in one bucket": 1 + 1e-4 * np.abs(NORMAL),
    "many zeros": np.where(np.abs(NORMAL) < 1, 0.0, NORMAL),
    "zeros of both signs": RNG.choice([-0.0, 0.0, -1e-40, 1e-40, 1.0], 3000),
    "ties": RNG.integers(-4, 5, 3000),
    "the whole range": RNG.choice([-3.4e38, -1e-45, 1e-45, 3.4e38, 2.0], 3000),
    "one number": NORMAL[:1],
}


@pytest.fixture(params=NUMBERS)
def x(request):
    return torch.tensor(NUMBERS[request.param].astype(np.float32))


@pytest.fixture
def all_may_open(monkeypatch):
    monkeypatch.setattr(ops, "_SHARE", 1)


def thresholds_of(x):
    """Return numbers among and between those of `x`, and beyond them."""
    values = np.unique(x.double().numpy())
    some = values[:: max(1, len(values) // 50)]
    between = (values[1:] / 2 + values[:-1] / 2)[:: max(1, len(values) // 50)]
    return np.sort(np.concatenate([some, between, [-np.inf, -1e300, 0.0, np.inf]]))


def close(found, known, x):
    scale = np.array([1, x.double().abs().max(), x.double().square().max()]) * len(x)
    return np.abs(found - known).max(axis=1) <= 1e-13 * scale


@pytest.mark.usefixtures("all_may_open")
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("chunk", [7, 1 << 16])
def test_thresholds_are_found_where_sorting_has_them(x, centred, chunk, monkeypatch):
    monkeypatch.setattr(ops, "_CHUNK", chunk)
    thresholds = thresholds_of(x)
    buckets, points = Buckets(x, centred), Points(x, centred)

    found = buckets.find(thresholds)

    assert buckets.shift == points.shift
    assert np.array_equal(found, points.find(thresholds))
    assert close(buckets.moments(found), points.moments(found), x).all()


@pytest.mark.parametrize("centred", [False, True])
def test_every_position_is_known(x, centred):
    buckets, points = Buckets(x, centred), Points(x, centred)
    positions = np.array([0, 1, len(x) // 3, len(x) // 2, len(x)]).clip(max=len(x))
    assert close(buckets.moments(positions), points.moments(positions), x).all()
    positions = np.tile(np.arange(-2, len(x) + 2), (2, 1))
    assert np.array_equal(buckets.values(positions), points.values(positions))
    positions = np.arange(len(x) + 1)
    assert close(buckets.moments(positions), points.moments(positions), x).all()


@pytest.mark.parametrize("first", [-1, 0, 0.1, 0.5, 1])
def test_a_value_is_known_whatever_was_looked_at_before(x, first):
    position = np.array([int(first * len(x))])
    buckets, points = Buckets(x, centred=False), Points(x, centred=False)
    assert np.array_equal(buckets.values(position), points.values(position))
    position = position.clip(min=0)
    buckets = Buckets(x, centred=False)
    assert close(buckets.moments(position), points.moments(position), x).all()


def test_values_and_moments_open_one_bucket():
    x = torch.linspace(1.0, 1.9999, 1280)  # ten in each bucket
    for method in "values", "moments":
        buckets = Buckets(x, centred=False)
        getattr(buckets, method)(np.array([15, 16]))
        assert np.flatnonzero(buckets.keys < 0).tolist() == list(range(1, 11))
        assert len(buckets.keys) == 127 + 10


def test_only_what_is_looked_at_is_sorted():
    x = torch.tensor(NUMBERS["gaussian"].astype(np.float32))
    buckets = Buckets(x, centred=False)
    closed = len(buckets.keys)
    buckets.find(np.array([-np.inf, np.inf]))
    assert (buckets.keys >= 0).sum() == closed - 1  # that of the largest is open

    buckets.find(np.array([0.5005, 0.501]))

    first = (x >= 0.5) & (x < 0.5 + 2**-8)
    last = x >= x.max() // 2**-6 * 2**-6
    inside = int((first | last).sum())
    assert (buckets.keys < 0).sum() == inside


def test_when_an_eighth_is_open_thresholds_are_rounded_down():
    x = torch.linspace(1.0, 1.9999, 1280)  # ten in each bucket
    buckets = Buckets(x, centred=False)
    width = 1 / 128
    inner = 1 + width * (np.arange(16) + 0.55)
    assert buckets.find(inner).tolist() == [10 * i + 6 for i in range(16)]
    assert (buckets.keys < 0).sum() == 160

    assert buckets.find(np.array([1.5 + 0.55 * width])).tolist() == [640]
    assert buckets.find(inner).tolist() == [10 * i + 6 for i in range(16)]
    assert (buckets.keys < 0).sum() == 160


def test_buckets_are_fine_where_thresholds_open_an_eighth_at_most():
    x = torch.linspace(1.0, 1.9999, 1280)
    assert Buckets(x, centred=False).fine(16)
    assert not Buckets(x, centred=False).fine(17)
    assert not Buckets(torch.ones(100), centred=False).fine(1)


@pytest.mark.parametrize("count", [2, 64, 10_000])
def test_the_ranges_cover_all_positions(x, count):
    low, high = Buckets(x, centred=True).cover(count)
    assert low[0] == 0
    assert high[-1] == low[-1] == len(x)
    assert (high[:-1] == low[1:]).all()
    assert (np.diff(low) > 0).all()
    assert len(low) <= count + 2


def test_the_ranges_are_even_in_size_and_in_width():
    x = torch.linspace(-1, 1, 3001) ** 3
    buckets = Buckets(x, centred=False)
    most, widest = buckets.each[0].max(), 2**-8
    low, _ = buckets.cover(128)
    assert np.diff(low).max() <= 3001 / 63 + most
    assert np.diff(Points(x, centred=False).values(low)).max() <= 2 / 63 + 2 * widest


def test_the_argument_is_left_alone():
    x = torch.tensor([3.0, -0.0, -2.0], requires_grad=True)
    buckets = Buckets(x, centred=False)
    buckets.values(np.arange(3))
    assert x.tolist() == [3.0, 0.0, -2.0]
    assert torch.signbit(x).tolist() == [False, True, True]

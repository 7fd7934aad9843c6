"""Many short rows are clustered at once, each as it would be alone."""

import numpy as np
import pytest
import torch

from sklc.ops import kmeans_rows as ops
from sklc.ops.kmeans1d import kmeans_1d
from sklc.ops.kmeans_rows import kmeans_rows
from sklc.schemes import AdaptiveQuantization


@pytest.fixture
def starts():
    """Collect what the rows that are clustered one by one start from."""
    return []


@pytest.fixture
def alone(starts, monkeypatch):
    """Count the rows that are clustered one by one."""
    seen = []

    def spy(row, k, start=None):
        seen.append(len(row))
        starts.append(start)
        return kmeans_1d(row, k, start=start)

    monkeypatch.setattr(ops, "kmeans_1d", spy)
    return seen


def draw(g, n, dtype=torch.float32):
    return torch.randn((g, n), generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("at_once", [1, 100, 1 << 16])
@pytest.mark.parametrize(
    ("g", "n", "k"),
    [(30, 9, 2), (30, 9, 1), (30, 9, 3), (20, 40, 4), (5, 200, 9), (10, 20, 12)],
)
def test_every_row_gets_its_optimum(g, n, k, at_once, alone, monkeypatch):
    monkeypatch.setattr(ops, "_AT_ONCE", at_once)
    rows = draw(g, n)
    found = kmeans_rows(rows, k)
    assert alone == []
    for row, clustering in zip(rows, found, strict=True):
        expected = kmeans_1d(row, k)
        torch.testing.assert_close(clustering.centers, expected.centers)
        assert clustering.distortion == pytest.approx(expected.distortion, rel=1e-9)
        assert 0 < clustering.excess <= 1e-9 * clustering.distortion


def test_few_distinct_values_are_returned_bit_for_bit(alone):
    values = torch.tensor([0.1, -3.7, 1e-3])
    rows = values[torch.arange(60).reshape(6, 10) % 3]
    for clustering in kmeans_rows(rows, 3):
        assert torch.equal(clustering.centers.float(), values.sort().values)
    assert alone == [10] * 6


def test_fewer_clusters_than_asked_for_are_enough():
    rows = torch.tensor([[1.0, 1.0, 5.0, 5.0], [1.0, 2.0, 3.0, 9.0]])
    centers = [clustering.centers.tolist() for clustering in kmeans_rows(rows, 3)]
    assert centers[0] == [1.0, 5.0]
    assert len(centers[1]) == 3


@pytest.mark.parametrize("outlier", [1e9, -1e9, 1e30, -1e30])
def test_rows_with_outliers_are_solved_alone(outlier, alone):
    rows = draw(8, 20)
    rows[3, 5] = outlier
    found = kmeans_rows(rows, 4)
    assert alone == [20]
    expected = kmeans_1d(rows[3], 4)
    assert torch.equal(found[3].centers, expected.centers)


def test_two_rows_are_enough_to_be_solved_together(alone):
    rows = draw(2, 50_000)
    kmeans_rows(rows, 4)  # 2 n, the most that is called short
    assert alone == []


def test_numbers_whose_squares_overflow_are_solved_alone(alone):
    rows = draw(4, 20, torch.float64)
    rows[1] *= 1e200
    found = kmeans_rows(rows, 4)
    assert alone == [20]
    assert torch.equal(found[1].centers, kmeans_1d(rows[1], 4).centers)


def test_long_rows_are_solved_alone_from_their_starts(alone, starts, monkeypatch):
    monkeypatch.setattr(ops, "_SHORT", 39)
    rows = draw(3, 20)
    kmeans_rows(rows[:, :19], 4)
    assert alone == []
    given = torch.arange(6.0).reshape(3, 2)
    kmeans_rows(rows, 4, starts=given)
    assert alone == [20, 20, 20]
    torch.testing.assert_close(torch.stack(starts), given)
    kmeans_rows(rows[:1, :19], 4)
    assert alone[3:] == [19]  # one row alone has nothing to share


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_channels_of_all_dtypes(dtype):
    weight = draw(6, 30, dtype)
    scheme = AdaptiveQuantization(k=4, granularity="channel")
    code = scheme.compress({"w": weight}, 1.0)["w"]
    assert code.dense().dtype == dtype
    for row, dense in zip(weight, code.dense(), strict=True):
        alone = AdaptiveQuantization(k=4).compress({"w": row}, 1.0)["w"].dense()
        torch.testing.assert_close(dense, alone)


def test_clusters_without_points_are_left_out():
    x = np.array([[0.0, 1.0, 10.0], [0.0, 1.0, 2.0]])
    cuts = np.array([[0, 0], [2, 0], [2, 1], [3, 3]])
    centers, error = ops._centers(x, cuts)
    np.testing.assert_array_equal(centers.T, [[0.5, np.nan, 10.0], [np.nan, 0.0, 1.5]])
    assert error.tolist() == [0.5, 0.5]

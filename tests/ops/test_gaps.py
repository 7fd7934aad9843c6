"""Gaps that no good cluster spans are shortened, and nothing else is changed."""

from itertools import pairwise

import numpy as np
import pytest

from sklc.ops.gaps import clustered, shortened

X = np.array([-1e6, -3.0, -2.5, 0.25, 1.0, 4.0, 1e5, 1e5 + 1, 1e9])


@pytest.mark.parametrize("zero", [False, True])
def test_short_gaps_stay_and_long_ones_become_the_longest_allowed(zero):
    near = shortened(X, 10.0, zero)
    np.testing.assert_allclose(np.diff(near), np.minimum(np.diff(X), 10.0))
    assert near.dtype == np.float64


def test_zero_stays_where_it_is():
    near = shortened(X, 10.0, True)
    np.testing.assert_allclose(near[1:6], X[1:6], atol=1e-14)
    # a gap around zero is two gaps
    np.testing.assert_allclose(
        shortened(np.array([-50.0, 3.0, 70.0]), 10.0, True), [-10.0, 3.0, 13.0]
    )
    np.testing.assert_allclose(
        shortened(np.array([-50.0, 70.0]), 10.0, True), [-10.0, 10.0]
    )
    np.testing.assert_allclose(shortened(np.array([50.0]), 10.0, True), [10.0])
    np.testing.assert_allclose(
        shortened(np.array([-100.0, 0.5, 300.0]), 10.0, True), [-10.0, 0.5, 10.5]
    )


@pytest.mark.parametrize("zero", [False, True])
def test_without_a_long_gap_there_is_nothing_to_do(zero):
    assert shortened(X[1:6], 10.0, zero) is None


def test_what_is_within_clusters_stays_exact():
    x = np.concatenate([1.0 + 1e-12 * np.arange(5), 2.0**40 + np.arange(5)])
    near = shortened(x, 10.0, False)
    assert np.array_equal(np.diff(near[:5]), np.diff(x[:5] - x[0]))
    assert np.array_equal(np.diff(near[5:]), np.ones(4))


def test_clusters_have_their_means_and_squared_error():
    cuts = np.array([0, 3, 3, 5, 9])
    centers, error = clustered(X, cuts, None)
    parts = [X[:3], X[3:5], X[5:]]
    np.testing.assert_allclose(centers, [part.mean() for part in parts])
    assert error == pytest.approx(sum(((p - p.mean()) ** 2).sum() for p in parts))


@pytest.mark.parametrize("pinned", [0, 1, 2, 3])
def test_a_pinned_cluster_has_its_centre_at_zero(pinned):
    cuts = np.array([0, 3, 3, 5, 9])
    centers, error = clustered(X, cuts, pinned)
    parts = [X[a:b] for a, b in pairwise(cuts)]
    free = [p for at, p in enumerate(parts) if at != pinned and len(p)]
    np.testing.assert_allclose(centers, [part.mean() for part in free])
    expected = sum(((p - p.mean()) ** 2).sum() for p in free)
    assert error == pytest.approx(expected + (parts[pinned] ** 2).sum())


def test_errors_are_right_to_the_rounding_of_the_points():
    rng = np.random.default_rng(0)
    x = np.sort(1e8 + rng.standard_normal(1000))
    exact = x.astype(np.longdouble)
    expected = float(((exact - exact.mean()) ** 2).sum())
    assert clustered(x, np.array([0, 1000]), None)[1] == pytest.approx(expected, 1e-13)

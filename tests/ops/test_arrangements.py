"""Supports in as many bits as there are arrangements, whatever the arrangement."""

import math

import numpy as np
import pytest

from sklc.ops import arrangements


def support_bytes(n, kept):
    """Return log2 of the number of arrangements, in bytes."""
    nats = math.lgamma(n + 1) - math.lgamma(kept + 1) - math.lgamma(n - kept + 1)
    return nats / math.log(2) / 8


def supports(n, kept, rng):
    yield np.sort(rng.permutation(n)[:kept])
    yield np.arange(kept)
    yield np.arange(n - kept, n)
    if kept:
        yield np.arange(kept) * n // kept
    yield np.union1d(np.arange(kept // 2), np.arange(n - kept + kept // 2, n))


DENSITIES = [
    *(0, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.02, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2),
    *(0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.999, 1 - 1e-5, 1),
]


@pytest.mark.parametrize("n", [1, 2, 3, 17, 100, 1000, 8000])
def test_every_density_costs_what_it_must(n):
    rng = np.random.default_rng(n)
    for kept in sorted({round(density * n) for density in DENSITIES} | {1, n - 1}):
        for places in supports(n, kept, rng):
            symbols, packed = arrangements.encode(places, n)
            found = arrangements.decode(packed, kept, n, symbols)
            np.testing.assert_array_equal(found, places)
            assert len(packed) <= 1.02 * support_bytes(n, kept) + 16


def test_large_supports_cost_what_they_must():
    n, rng = 1_000_000, np.random.default_rng(0)
    for density in 1e-5, 0.001, 0.03, 0.3, 0.9:
        places = np.flatnonzero(rng.random(n) < density)
        symbols, packed = arrangements.encode(places.astype(np.int32), n)
        found = arrangements.decode(packed, len(places), n, symbols, np.int32)
        np.testing.assert_array_equal(found, places)
        assert found.dtype == np.int32
        assert len(packed) <= 1.015 * support_bytes(n, len(places)) + 16


def test_clusters_cost_less():
    places = np.concatenate([np.arange(a, a + 50) for a in range(0, 100_000, 5000)])
    packed = arrangements.encode(places, 100_000)[1]
    assert len(packed) < 0.5 * support_bytes(100_000, len(places))


def test_bytes_stay_what_they_were():
    """Files of old are read for ever."""
    for n, places in [(40, [3, 4, 9, 30]), (1000, [5, 600, 601, 999])]:
        symbols, packed = arrangements.encode(np.array(places), n)
        assert [symbols, *packed.tolist()] == EXPECTED[n]


EXPECTED = {
    40: [4, 0, 0, 80, 149, 2, 0, 3, 224],
    1000: [4, 82, 13, 0, 0, 235, 64, 51, 0, 212, 32],
}


def test_what_does_not_fit_is_no_support():
    n, places = 2000, np.arange(0, 2000, 21)
    symbols, packed = arrangements.encode(places, n)
    kept = len(places)
    for other in (
        (packed, kept, n, symbols - 1),
        (packed, kept, n, 1 << 40),
        (packed, kept - 1, n, symbols),
        (packed, kept, 10, symbols),
        (packed, -1, n, symbols),
        (packed[:-1], kept, n, symbols),
        (packed[:3], kept, n, symbols),
        (packed, 0, n, 0),
        (packed, kept, 1 << 60, symbols),
    ):
        with pytest.raises(ValueError, match=r"support|damaged|cut"):
            arrangements.decode(*other)

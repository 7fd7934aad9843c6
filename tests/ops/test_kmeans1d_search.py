"""The parts of the branch and bound of kmeans_1d, each by what it promises."""

import itertools

import numpy as np
import pytest
import torch

from sklc.ops import kmeans1d as ops
from sklc.ops import points as ops_points
from sklc.ops import search as search_module
from sklc.ops.kmeans1d import EXACT_LIMIT, _already_clustered, _spread, kmeans_1d
from sklc.ops.points import Points
from sklc.ops.ranges import Edge, Layer, edges
from sklc.ops.search import Search

RNG = np.random.default_rng(3)
X = np.sort(np.round(RNG.standard_t(2, 41), 2))


def points_of(x, centred=False):
    return Points(torch.as_tensor(x), centred)


# ---- points ----


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 41])
@pytest.mark.parametrize("block", [1, 2, 5, 16])
@pytest.mark.parametrize("chunk", [1, 4, 1 << 15])
@pytest.mark.parametrize("centred", [False, True])
def test_moments_are_sums_over_the_points_before(
    n, block, chunk, centred, device, monkeypatch
):
    monkeypatch.setattr(ops_points, "_CHUNK", chunk)
    monkeypatch.setattr(ops_points, "_BLOCK", block)
    x = RNG.permutation(X)[:n]
    points = Points(torch.tensor(x, device=device), centred)
    x = np.sort(x) - (x.mean() if centred else 0.0)
    positions = np.arange(n + 1)

    count, total, squares = points.moments(positions)

    assert count.tolist() == positions.tolist()
    expected = np.concatenate([[0.0], np.cumsum(x)])
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-13 * abs(x).sum())
    expected = np.concatenate([[0.0], np.cumsum(x**2)])
    np.testing.assert_allclose(squares, expected, rtol=1e-13)
    assert points.n == n


def test_points_are_centred_in_double_precision():
    x = torch.tensor([1e6, 1e6 + 1, 1e6 + 2, 1e6 + 5])
    points = points_of(x, centred=True)
    assert points.shift == 1e6 + 2
    assert points.moments(np.array([1, 4])).tolist() == [[1, 4], [-2, 0], [4, 14]]
    assert points_of(x).shift == 0.0


def test_points_take_any_shape_and_order():
    assert points_of(torch.tensor([[3.0, 1.0], [2.0, 0.0]])).x.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_find_counts_the_points_below_thresholds_of_more_precision(dtype, device):
    x = torch.tensor([0.1, 0.1, 0.2, 0.7, 0.7, 1.0], dtype=dtype)
    points = points_of(x.to(device))
    exact = x.double().numpy()
    thresholds = np.sort(
        np.concatenate([exact, exact * (1 + 1e-15), exact * (1 - 1e-15), [-9.0, 9.0]])
    )
    below = [(exact < threshold).sum() for threshold in thresholds]
    assert points.find(thresholds).tolist() == below
    assert points.find(np.empty(0)).tolist() == []


def test_find_takes_thresholds_at_the_ends_of_the_dtype(device):
    largest = torch.finfo(torch.float32).max
    points = points_of(torch.tensor([-largest, 1.0, largest], device=device))
    thresholds = np.array([-1e300, -largest, -3e38, 3e38, largest])
    assert points.find(thresholds).tolist() == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_find_takes_thresholds_beyond_the_dtype(dtype, device):
    points = points_of(torch.tensor([-1.0, 1.0], dtype=dtype, device=device))
    assert points.find(np.array([-1e300, 0.0, 1e300])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 6, (1.0, 3.0, 0, 0)),
        (1, 5, (1.0, 2.0, 1, 0)),
        (2, 4, (1.0, 2.0, 2, 1)),
        (0, 4, (1.0, 2.0, 0, 1)),
        (3, 4, (2.0, 2.0, 0, 1)),
        (4, 5, (2.0, 2.0, 1, 0)),
        (1, 2, (1.0, 1.0, 1, 1)),
        (5, 6, (3.0, 3.0, 0, 0)),
    ],
)
def test_between_describes_positions_by_values(start, stop, expected):
    x = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 3.0])
    assert points_of(x).between(start, stop) == expected


# ---- edges and layers ----


def test_free_clusters_follow_one_another():
    assert edges(3, zero=False) == [Edge(j, j + 1, False) for j in range(3)]


def test_the_zeros_come_once_in_any_place():
    assert edges(1, zero=True) == [Edge(0, 1, True)]
    assert edges(3, zero=True) == [
        *[Edge(0, 1, True), Edge(0, 2, False), Edge(1, 3, False)],
        *[Edge(2, 3, True), Edge(2, 4, False), Edge(3, 5, False)],
        Edge(4, 5, True),
    ]


def test_refining_drops_ranges_and_splits_the_others_in_four():
    layer = Layer(
        points_of(X), np.array([0, 1, 3, 6, 10, 20]), np.array([0, 2, 5, 9, 19, 41])
    )
    keep = np.array([True, True, False, True, True, False])

    finer = layer.refined(keep)

    assert finer.low.tolist() == [0, 1, 2, 6, 7, 8, 9, 10, 12, 15, 17]
    assert finer.high.tolist() == [0, 1, 2, 6, 7, 8, 9, 11, 14, 16, 19]
    assert finer.points is layer.points


def test_refining_splits_into_as_many_as_asked_for():
    layer = Layer(points_of(X), np.array([0, 10]), np.array([9, 41]))
    finer = layer.refined(np.array([True, True]), 3)
    assert finer.low.tolist() == [0, 3, 6, 10, 20, 31]
    assert finer.high.tolist() == [2, 5, 9, 19, 30, 41]


def test_refining_leads_to_single_positions():
    layer = Layer(points_of(X), np.array([0]), np.array([41]))
    for _ in range(3):
        assert not layer.single
        layer = layer.refined(np.ones(len(layer.low), dtype=bool))
        assert (layer.low[1:] == layer.high[:-1] + 1).all()
    assert layer.single
    assert layer.low.tolist() == list(range(42))
    assert layer.at_high is layer.at_low


def test_collapsing_keeps_where_ranges_begin():
    layer = Layer(points_of(X), np.array([0, 5, 9]), np.array([4, 8, 41]))
    grid = layer.collapsed()
    assert grid.single
    assert grid.low.tolist() == [0, 5, 9]
    assert layer.at_low[0].tolist() == [0, 5, 9]
    assert layer.at_high[0].tolist() == [4, 8, 41]
    assert grid.points is layer.points


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "limit"), [(41, 3, 9999), (63, 1, 1), (64, 1, 9999)]
)
def test_few_positions_are_ranges_of_their_own(n, k, limit, zero):
    search = Search(points_of(np.arange(float(n))), k, zero, 0)
    layers = search.first_layers(limit)

    assert search.last == (2 * k - 1 if zero else k)
    assert len(layers) == search.last + 1 == search.n_layers
    assert all(layer.single for layer in layers)
    assert layers[0].low.tolist() == [0]
    assert layers[-1].low.tolist() == [n]
    for layer in layers[1:-1]:
        assert layer.low.tolist() == list(range(n + 1))


@pytest.mark.parametrize(
    ("k", "limit", "count"),
    [
        (2, 10**6, 2048),  # what it starts with
        (200, 10**6, 3200),  # more for many clusters
        (2, 600, 300),  # the limit is for all layers together
        (2, 1, 64),  # but so many always
    ],
)
def test_many_positions_are_covered_by_ranges(k, limit, count):
    x = RNG.standard_t(2, 5000)
    layers = Search(points_of(x), k, False, 0).first_layers(limit)

    assert layers[0].low.tolist() == layers[0].high.tolist() == [0]
    assert layers[-1].low.tolist() == layers[-1].high.tolist() == [5000]
    for layer in layers[1:-1]:
        assert layer.low[0] == 0
        assert layer.high[-1] == 5000
        assert (layer.low[1:] == layer.high[:-1] + 1).all()
        assert (layer.low <= layer.high).all()
        assert count / 2 <= len(layer.low) <= count + 2
        size, width = layer.high - layer.low, np.diff(np.sort(x)[layer.low[:-1]])
        assert size.max() <= 5000 / (count // 2)  # half of them are of equal size
        assert width.max() > 0


@pytest.mark.parametrize(("k", "half"), [(2, 1024), (200, 1600)])
def test_the_first_ranges_begin_at_even_positions_and_values(k, half):
    x = np.arange(5000.0) ** 2
    layer = Search(points_of(x), k, False, 0).first_layers(10**6)[1]
    positions = {5000 * i // half for i in range(half)}
    values = {int((x < value).sum()) for value in np.linspace(0, x[-1], half)}
    assert layer.low.tolist() == sorted({0, 5000} | positions | values)


def test_half_of_the_first_ranges_are_of_equal_width():
    x = np.concatenate([np.linspace(0, 1, 4000), np.linspace(1, 100, 1000)])
    layer = Search(points_of(x), 2, False, 0).first_layers(2 * 128)[1]
    inner = layer.low[(layer.low > 4000) & (layer.low < 5000)]
    assert np.diff(x[inner]).max() <= 100 / 63 + 0.1


# ---- bounds ----


def cost(points, zero_cluster, start, stop):
    part = points[start:stop]
    if not len(part):
        return 0.0
    return (part**2).sum() if zero_cluster else ((part - part.mean()) ** 2).sum()


def exact_costs(x, clusters, n_layers, n_zeros, forward):
    """Cost from the start to every layer and position (or from there to the end).

    A free cluster may go back at no cost: points in two clusters are never cheaper.
    """
    n = len(x)
    value = np.full((n_layers, n + 1), np.inf)
    value[(0, 0) if forward else (n_layers - 1, n)] = 0.0
    for edge in clusters if forward else reversed(clusters):
        for p in range(n + 1):
            for q in range(p + n_zeros if edge.pinned else 0, n + 1):
                here, there = (edge.source, p), (edge.target, q)
                if not forward:
                    here, there = there, here
                total = value[here] + cost(x, edge.pinned, p, q)
                value[there] = min(value[there], total)
    return value


CASES = [(3, False, 0), (1, False, 0), (1, True, 0), (3, True, 0), (3, True, 12)]


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(("k", "zero", "n_zeros"), CASES)
@pytest.mark.parametrize("x", [X[:20], X[-20:], np.round(X[::2])])
def test_costs_of_single_positions_are_exact(x, k, zero, n_zeros, forward):
    search = Search(points_of(x), k, zero, n_zeros)
    layers = search.first_layers(10**6)
    value, _, _ = search.costs(layers, forward)

    exact = exact_costs(x, search.edges, len(layers), n_zeros, forward)
    for layer, found, expected in zip(layers, value, exact, strict=True):
        np.testing.assert_allclose(found, expected[layer.low], rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(("k", "zero", "n_zeros"), CASES)
@pytest.mark.parametrize("step", [2, 5, 11])
def test_costs_of_ranges_are_lower_bounds(step, k, zero, n_zeros, forward):
    x = X[:20]
    search = Search(points_of(x), k, zero, n_zeros)
    layers = search.first_layers(10**6)
    low = np.arange(0, 21, step)
    for at in range(1, search.last):
        layers[at] = Layer(search.points, low, np.append(low[1:] - 1, 20))
    value, _, _ = search.costs(layers, forward)

    exact = exact_costs(x, search.edges, len(layers), n_zeros, forward)
    for layer, found, expected in zip(layers, value, exact, strict=True):
        for bound, first, last in zip(found, layer.low, layer.high, strict=True):
            assert bound <= expected[first : last + 1].min() + 1e-11


def test_costs_are_those_of_whole_paths_from_either_end():
    """What the points inside a range cost counts once, whichever way one goes."""
    x = np.repeat([-30.0, -15.0, -14.0, 0.0, 13.0, 16.0, 30.0], [4, 1, 1, 4, 1, 1, 4])
    search = Search(points_of(x), 3, False, 0)
    middle = [(4, 5), (6, 6)], [(10, 11), (12, 12)]
    layers = layers_of(search, [(0, 0)], *middle, [(16, 16)])
    assert all(cost[0] > 0 for cost in search.inside(layers)[1:3])
    before, after = (search.costs(layers, forward)[0] for forward in (True, False))
    least = before[-1][0]
    assert least > 0
    for to, on in zip(before, after, strict=True):
        assert (to + on).min() == pytest.approx(least, rel=1e-12)


def test_the_cost_of_layers_without_ranges_is_infinite():
    search = Search(points_of(X), 3, False, 0)
    layers = search.first_layers(10**6)
    nothing = np.empty(0, dtype=int)
    layers[1] = Layer(search.points, nothing, nothing)
    for forward in True, False:
        value, _, _ = search.costs(layers, forward)
        assert len(value[1]) == 0
        assert value[3 if forward else 0].tolist() == [np.inf]


@pytest.mark.parametrize(("k", "zero", "n_zeros"), CASES)
@pytest.mark.parametrize("x", [X[:20], X[-20:], np.round(X[::2])])
def test_the_best_path_has_the_centres_of_the_optimum(x, k, zero, n_zeros):
    search = Search(points_of(x), k, zero, n_zeros)
    layers = search.first_layers(10**6)
    value, via, origin = search.costs(layers)
    centers = search.path_centers(layers, via, origin)
    search.offer(centers)

    assert len(centers) <= k - zero
    assert (np.diff(centers) > 0).all()
    assert search.upper == pytest.approx(value[-1][0], rel=1e-12, abs=1e-11)


# ---- what the points inside a range cost ----


def layers_of(search, *ranges):
    """Make layers of (low, high) pairs."""
    pairs = [np.array(layer, dtype=int).reshape(-1, 2) for layer in ranges]
    return [Layer(search.points, pair[:, 0], pair[:, 1]) for pair in pairs]


@pytest.mark.parametrize(
    ("x", "ranges", "costs"),
    [
        # centres at most 2.8 before, at least 6.8 after: 4 is 1.2 away, 5 is 1.8 away
        ([0.0, 0.0, 4.0, 5.0, 5.0, 10.0, 10.0], [(2, 5)], [3 * 1.2**2]),
        ([0.0, 0.0, 5.0, 5.0, 6.0, 10.0, 10.0], [(2, 5)], [3 * 1.2**2]),
        ([0.0, 0.0, 4.0, 5.0, 5.0, 10.0, 10.0], [(2, 3), (4, 5)], [1.2**2, 1.8**2]),
        ([0.0, 0.0, 4.0, 5.0, 5.0, 10.0, 10.0], [(2, 2)], [0.0]),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [(1, 5)], [0.0]),  # some may be centres
        ([0.0, 0.0, 4.0, 10.0, 10.0], [(0, 3)], [0.0]),  # it touches the first layer
        ([0.0, 0.0, 4.0, 10.0, 10.0], [(2, 5)], [0.0]),  # or the last
    ],
)
@pytest.mark.parametrize("centred", [False, True])
def test_points_inside_a_range_cost_the_way_to_the_nearest_centres(
    x, ranges, costs, centred
):
    search = Search(points_of(x, centred), 2, False, 0)
    layers = layers_of(search, [(0, 0)], ranges, [(len(x), len(x))])
    found = search.inside(layers)
    assert found[0].tolist() == found[2].tolist() == [0.0]
    np.testing.assert_allclose(found[1], costs, rtol=1e-12)


def test_points_inside_a_range_beside_the_zeros_cost_the_way_to_zero():
    search = Search(points_of([0.0, 0.0, 2.0, 3.0, 10.0, 10.0]), 2, True, 0)
    found = search.inside(layers_of(search, [(0, 0)], [(2, 4)], [], [(6, 6)]))
    assert [cost.tolist() for cost in found] == [[0.0], [2 * 2.0**2], [], [0.0]]

    search = Search(points_of([-10.0, -10.0, -3.0, -2.0, 0.0, 0.0]), 2, True, 0)
    found = search.inside(layers_of(search, [(0, 0)], [], [(2, 4)], [(6, 6)]))
    assert [cost.tolist() for cost in found] == [[0.0], [], [2 * 2.0**2], [0.0]]


def test_points_inside_a_range_cost_nothing_if_some_next_cluster_may_have_any_centre():
    x = [0.0, 0.0, 4.0, 5.0, 20.0, 20.0, 20.0, 20.0]
    search = Search(points_of(x), 3, True, 0)
    ends = [(6, 6)], [(8, 8)]
    known = layers_of(search, [(0, 0)], [], [(2, 4)], [], *ends)
    assert search.inside(known)[2].tolist() == [2 * 1.75**2]
    unknown = layers_of(search, [(0, 0)], [], [(2, 4)], [(3, 6)], *ends)
    assert search.inside(unknown)[2].tolist() == [0.0]


def paths(search, layers, at=0, start=0):
    """List the clusters (edge, from, to) of all paths through single positions."""
    if at == search.last:
        yield []
    for edge in search.edges:
        if edge.source == at:
            target = layers[edge.target]
            for low, high in zip(target.low, target.high, strict=True):
                for stop in range(max(low, start), high + 1):
                    for rest in paths(search, layers, edge.target, stop):
                        yield [(edge, start, stop), *rest]


LUMPS = np.array([-9.0, -8.8, -8.1, -5.0, -1.2, -0.7, 0.1, 0.9, 4.0, 8.0, 8.5, 8.6])
WINDOWS = {
    "apart": [[(2, 3), (4, 4)], [(7, 8), (9, 9)]],
    "wide": [[(1, 4)], [(6, 11)]],
    "touching": [[(2, 3), (4, 6)], [(6, 9)]],
    "overlapping": [[(2, 7)], [(5, 9)]],
}


@pytest.mark.parametrize("windows", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("zeros_at", [None, 0, 1, 2, "any"])
def test_points_inside_a_range_never_cost_more_than_in_any_clustering(
    windows, zeros_at
):
    zero = zeros_at is not None
    search = Search(points_of(LUMPS), 3, zero, 0)
    first, second = windows
    middle = {
        None: [first, second],
        0: [first, [], second, []],
        1: [[], first, second, []],
        2: [[], first, [], second],
        "any": [first, first, second, second],
    }[zeros_at]
    layers = layers_of(search, [(0, 0)], *middle, [(12, 12)])
    inside = search.inside(layers)

    for path in paths(search, layers):
        if any(start == stop for _, start, stop in path):
            continue
        error = np.concatenate(
            [
                LUMPS[start:stop] - (0.0 if edge.pinned else LUMPS[start:stop].mean())
                for edge, start, stop in path
            ]
        )
        for edge, _, cut in path:
            layer = layers[edge.target]
            at = np.flatnonzero((layer.low <= cut) & (cut <= layer.high))[0]
            spent = (error[layer.low[at] : layer.high[at]] ** 2).sum()
            assert inside[edge.target][at] <= spent + 1e-12


# ---- where the cuts of the optimum are ----

DRAWS = {
    "heavy tailed": X,
    "offset": 1e6 + X,
    "gaussian": np.sort(np.random.default_rng(5).standard_normal(300)),
    "uniform": np.sort(np.random.default_rng(6).uniform(1, 2, 120)),
    "lumps": np.sort(np.random.default_rng(7).normal(0, 0.1, 40) + np.arange(40) % 4),
}


def optimal_cuts(x, k):
    """Compute the cuts of the optimum by the exact costs of all positions."""
    search = Search(points_of(x, centred=True), k, False, 0)
    every = np.arange(len(x) + 1)
    layers = [Layer(search.points, at, at) for at in (every[:1], every, every[-1:])]
    _, _, origin = search.costs([layers[0], *layers[1:2] * (k - 1), layers[2]])
    cuts = [len(x)]
    for layer in range(k, 0, -1):
        cuts.append(int(origin[layer][cuts[-1] if layer < k else 0]))
    return np.array(cuts[::-1])


def everywhere(n, k):
    """Say that all but the first and the last cut may be anywhere."""
    return np.array([[0] * k + [n], [0] + [n] * k])


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("name", DRAWS)
def test_a_bracket_contains_the_optimal_cuts(name, k):
    x = DRAWS[name]
    search = Search(points_of(x, centred=True), k, False, 0)
    best = optimal_cuts(x, k)
    start = everywhere(len(x), k)

    low, high = search.bracket(start)

    assert (low <= best).all()
    assert (best <= high).all()
    assert search.bracket(np.array([best, best])).tolist() == [best.tolist()] * 2
    assert start.tolist() == everywhere(len(x), k).tolist()


def test_a_bracket_closes_on_lumps_from_near_and_narrows_uniform_points():
    x = DRAWS["lumps"]
    search = Search(points_of(x, centred=True), 4, False, 0)
    near = np.array([[0, 7, 16, 26, 40], [0, 14, 23, 33, 40]])
    assert search.bracket(near).tolist() == [[0, 10, 20, 30, 40]] * 2

    search = Search(points_of(np.arange(120.0), centred=True), 2, False, 0)
    assert search.bracket(everywhere(120, 2)).tolist() == [[0, 59, 120], [0, 61, 120]]


def walked(x, cuts, noise, side):
    """Move cuts by Lloyd's algorithm, to the right (side 1) or the left (-1) only."""
    cuts = list(cuts)
    while True:
        means = []
        for start, stop in itertools.pairwise(cuts):
            if start < stop:
                shift = noise / (stop - start)
                means.append(x[start:stop].mean() - side * shift)
            else:
                means.append(x[min(start, len(x) - 1)] if side > 0 else x[stop - 1])
        middle = [sum(pair) / 2 for pair in itertools.pairwise(means)]
        inner = [int((x < value).sum()) for value in middle]
        choose = max if side > 0 else min
        moved = [choose(pair) for pair in zip(cuts[1:-1], inner, strict=True)]
        moved = [cuts[0], *moved, cuts[-1]]
        if moved == cuts:
            return cuts
        cuts = moved


@pytest.mark.parametrize("rounding", [1e-13, 1e-2, 0.3])
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("name", [name for name in DRAWS if name != "offset"])
def test_both_ends_of_a_bracket_walk_by_lloyds_algorithm(
    name, k, rounding, monkeypatch
):
    monkeypatch.setattr(search_module, "ROUNDING", rounding)
    x = DRAWS[name] - DRAWS[name].mean()
    search = Search(points_of(x), k, False, 0)
    before = [abs(x[:at].sum()) for at in range(0, len(x) + 1, 4)]
    noise = rounding * max(before)  # more of it stops both ends earlier
    low, high = everywhere(len(x), k)

    found = search.bracket(np.array([low, high]))

    assert found[0].tolist() == walked(x, low, noise, 1)
    assert found[1].tolist() == walked(x, high, noise, -1)


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("name", DRAWS)
def test_refining_layers_never_drops_the_optimal_cuts(name, k):
    x = DRAWS[name]
    search = Search(points_of(x, centred=True), k, False, 0)
    best, low = optimal_cuts(x, k), np.arange(0, len(x) + 1, 13)
    layer = Layer(search.points, low, np.append(low[1:] - 1, len(x)))
    ends = layers_of(search, [(0, 0)], [(len(x), len(x))])
    layers = [ends[0], *[layer] * (k - 1), ends[1]]

    n_positions = [len(x) + 1] * (k - 1)
    for _ in range(3):
        keep = [np.ones(len(each.low), dtype=bool) for each in layers]
        layers = search.refined(layers, keep, 1)
        for cut, each in zip(best, layers, strict=True):
            assert ((each.low <= cut) & (cut <= each.high)).any()
        sizes = [int((each.high - each.low + 1).sum()) for each in layers[1:-1]]
        assert all(np.array(sizes) <= n_positions)
        n_positions = sizes
    low, high = search.bracket(everywhere(len(x), k))
    assert all(each.single for each in layers)
    for first, last, each in zip(low, high, layers, strict=True):
        assert each.low.tolist() == list(range(first, last + 1))


def test_refining_layers_begins_the_bracket_at_the_ranges_kept():
    x = DRAWS["lumps"]
    search = Search(points_of(x, centred=True), 4, False, 0)
    low = np.arange(0, 40, 3)
    layer = Layer(search.points, low, np.append(low[1:] - 1, 40))
    ends = layers_of(search, [(0, 0)], [(40, 40)])
    keep = [np.abs(low + 1 - at) <= 5 for at in (10, 20, 30)]
    keep = [np.array([True]), *keep, np.array([True])]

    finer = search.refined([ends[0], layer, layer, layer, ends[1]], keep, 1)

    assert [each.low.tolist() for each in finer] == (
        [[0], [9, 10, 11], [18, 19, 20], [30, 31, 32], [40]]
    )


@pytest.mark.parametrize(
    ("ranges", "limit", "pieces"),
    [(64, 10**6, 12), (10**6, 64, 12), (19, 19, 4), (64, 1, 4), (25, 10**6, 5)],
)
def test_few_ranges_are_split_into_more(ranges, limit, pieces, monkeypatch):
    monkeypatch.setattr(search_module, "_RANGES", ranges)
    search = Search(points_of(np.arange(400.0)), 2, True, 0)
    wide = [(0, 99), (100, 199), (200, 299)]
    layers = layers_of(search, [(0, 0)], wide, wide, [(400, 400)])
    keep = [np.array([True]), np.array([True, False, True])]
    keep += [np.array([False, True, False]), np.array([True])]

    finer = search.refined(layers, keep, limit)

    assert [len(each.low) for each in finer] == [1, 2 * pieces, pieces, 1]
    assert finer[2].low[0] == 100
    assert finer[2].high[-1] == 199


def test_refining_goes_on_where_a_layer_keeps_nothing():
    search = Search(points_of(X, centred=True), 3, False, 0)
    layers = layers_of(search, [(0, 0)], [(0, 41)], [(0, 41)], [(41, 41)])
    keep = [np.array([True]), np.array([False]), np.array([True]), np.array([True])]
    finer = search.refined(layers, keep, 1)
    assert [len(each.low) for each in finer] == [1, 0, 4, 1]


# ---- Lloyd's algorithm ----


def test_lloyd_stops_at_a_fixed_point_and_keeps_the_best():
    search = Search(points_of([0.0, 1.0, 2.0, 10.0, 11.0, 12.0]), 2, False, 0)
    assert search.upper == np.inf

    search.offer(np.array([0.0, 1.0]))
    assert search.centers.tolist() == [1.0, 11.0]
    assert search.upper == 4.0

    search.offer(np.array([5.0]))  # worse
    assert search.centers.tolist() == [1.0, 11.0]
    assert search.upper == 4.0


@pytest.mark.parametrize(
    "first", [[0.0, 0.5], [0.0, 1.0, 40.0], [20.0], [0.1, 0.2, 0.3, 0.4]]
)
def test_lloyd_goes_on_until_the_cuts_stay(first, monkeypatch):
    x = np.arange(41.0) ** 1.5
    search = Search(points_of(x), len(first), False, 0)
    seen = []
    assign = search.assign
    monkeypatch.setattr(search, "assign", lambda c: seen.append(c) or assign(c))
    search.offer(np.array(first))

    centers, previous, n_steps = np.array(first), None, 0
    while True:
        n_steps += 1
        nearest = np.abs(x[:, None] - centers).argmin(axis=1)
        centers = np.array([x[nearest == j].mean() for j in np.unique(nearest)])
        if previous is not None and np.array_equal(nearest, previous):
            break
        previous = nearest
    assert 2 <= len(seen) == n_steps < 50
    np.testing.assert_allclose(search.centers, centers, rtol=1e-12)


def test_lloyd_takes_fifty_steps_at_most(monkeypatch):
    search = Search(points_of(np.arange(5000.0)), 12, False, 0)
    seen = []
    assign = search.assign
    monkeypatch.setattr(search, "assign", lambda c: seen.append(c) or assign(c))
    search.offer(np.arange(12.0))
    assert len(seen) == 50


def test_lloyd_drops_the_clusters_that_are_empty():
    search = Search(points_of([0.0, 1.0, 10.0]), 4, False, 0)
    search.offer(np.array([-50.0, 0.0, 10.0, 99.0]))
    assert search.centers.tolist() == [0.5, 10.0]
    assert search.upper == 0.5


def test_lloyd_keeps_the_zero_where_it_is():
    search = Search(points_of([-4.0, -1.0, 1.0, 5.0, 7.0]), 3, True, 0)
    search.offer(np.array([-3.0, 6.5]))
    assert search.centers.tolist() == [-4.0, 6.0]
    assert search.upper == 1.0 + 1.0 + 2.0
    assert search.zeros == (1, 3)


def test_lloyd_works_on_shifted_centres():
    search = Search(
        points_of([0.0, 1.0, 2.0, 10.0, 11.0, 12.0], centred=True), 2, False, 0
    )
    search.offer(np.array([-6.0, 0.5]))
    assert (search.centers + search.points.shift).tolist() == [1.0, 11.0]


def test_points_go_to_their_nearest_centre_and_ties_to_the_larger():
    search = Search(points_of([0.0, 1.0, 2.0, 3.0, 4.0]), 2, False, 0)
    cuts, _ = search.assign(np.array([1.0, 3.0]))
    assert cuts.tolist() == [0, 2, 5]


@pytest.mark.parametrize(
    ("centers", "cuts", "at"),
    [
        ([-3.0, 3.0], [0, 2, 5, 7], 1),
        ([3.0], [0, 5, 7], 0),
        ([-3.0], [0, 2, 7], 1),
        ([], [0, 7], 0),
    ],
)
def test_zero_is_a_centre_among_the_others(centers, cuts, at):
    x = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
    search = Search(points_of(x), len(centers) + 1, True, 0)
    found, place = search.assign(np.array(centers))
    assert found.tolist() == cuts
    assert place == at


@pytest.mark.parametrize("n_zeros", range(1, 42))
@pytest.mark.parametrize(
    "centers",
    [[-3.0, -1.0, 0.5, 2.0], [0.1], [-0.1], [-5.0, 5.0], [0.2, 0.4, 0.9], [-1.0, -0.3]],
    ids=str,
)
def test_enough_points_are_zeros_those_that_gain_least(centers, n_zeros):
    centers = np.array(centers)
    search = Search(points_of(X), len(centers) + 1, True, n_zeros)

    cuts, at = search.assign(centers)
    start, stop = cuts[at], cuts[at + 1]

    gain = (2 * centers * X[:, None] - centers**2).max(axis=1)
    wanted = max(n_zeros, int((gain < 0).sum()))
    assert (np.diff(cuts) >= 0).all()
    assert cuts[0] == 0
    assert cuts[-1] == 41
    assert len(cuts) == len(centers) + 2
    assert stop - start >= wanted
    assert gain[start:stop].sum() == pytest.approx(np.sort(gain)[: stop - start].sum())
    for cluster, center in enumerate(np.insert(centers, at, 0.0)):
        if cluster != at:  # the others go to the nearest of the free centres
            for value in X[cuts[cluster] : cuts[cluster + 1]]:
                assert abs(value - center) == pytest.approx(abs(value - centers).min())


def test_a_search_ends_with_bounds_that_meet():
    search = Search(points_of(X, centred=True), 4, False, 0)
    lower = search.run(10**6)
    assert search.upper - lower <= search.tolerance
    assert search.tolerance == pytest.approx(1e-13 * ((X - X.mean()) ** 2).sum())


def test_a_lower_bound_lies_between_zero_and_the_distortion():
    search = Search(points_of(RNG.standard_normal(5000)), 30, True, 4000)
    lower = search.run(1)
    assert 0.0 <= lower < search.upper


# ---- before the search ----


@pytest.mark.parametrize(
    ("x", "k", "options", "values"),
    [
        ([1.0, 1.0, 2.0], 2, (False, 0), [1.0, 2.0]),
        ([1.0, 1.0, 2.0], 3, (False, 0), [1.0, 2.0]),
        ([1.0, 2.0, 2.0], 2, (False, 0), [1.0, 2.0]),
        ([1.0, 1.0, 2.0], 1, (False, 0), None),
        ([0.0, 1.0, 2.0], 2, (False, 0), None),
        ([0.0, 1.0, 2.0], 3, (False, 0), [0.0, 1.0, 2.0]),
        ([0.0, 1.0, 2.0], 3, (True, 0), [1.0, 2.0]),
        ([0.0, 1.0, 2.0], 2, (True, 0), None),
        ([1.0, 2.0], 3, (True, 0), [1.0, 2.0]),
        ([1.0, 2.0], 2, (True, 0), None),
        ([0.0, 0.0], 1, (True, 0), []),
        ([1.0, 1.0], 1, (True, 0), None),
        ([0.0, 0.0, 1.0], 2, (True, 2), [1.0]),
        ([0.0, 0.0, 1.0], 2, (True, 3), None),
        ([-0.0, 0.0, 1.0], 2, (True, 2), [1.0]),
    ],
)
def test_few_values_are_their_own_centres(x, k, options, values):
    found = _already_clustered(points_of(x).x, k, *options)
    if values is None:
        assert found is None
    else:
        assert found.centers.tolist() == values
        assert found.centers.dtype == torch.float64
        assert found.distortion == found.excess == 0.0
        assert found.zeros == ((0.0, 0.0, 0, 0) if options[1] else None)


@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("zero", [False, True])
def test_the_first_centres_spread_over_the_points(k, zero):
    points = points_of(X, centred=not zero)
    centers = _spread(points, k, zero)
    assert len(centers) == k - zero
    assert (np.diff(centers) > 0).all()
    assert (centers + points.shift >= X[0]).all()
    assert (centers + points.shift <= X[-1]).all()


def test_the_first_centres_of_uniform_points_are_even():
    x = np.linspace(0.0, 12.0, 5001)
    centers = _spread(points_of(x), 3, False)
    np.testing.assert_allclose(centers, [2.0, 6.0, 10.0], atol=0.02)
    centers = _spread(points_of(x), 3, True)  # the one nearest to zero stands for it
    np.testing.assert_allclose(centers, [6.0, 10.0], atol=0.02)


def test_the_first_centres_lie_dense_where_many_points_are():
    x = np.concatenate([np.linspace(0, 1, 2048), np.linspace(1, 9, 2048)])
    centers = _spread(points_of(x), 20, False)
    # of points 8 times as dense, the cube root of the mass takes twice the centres
    # per width: a fifth of all are below 1
    assert (centers < 1).sum() == pytest.approx(20 / 5, abs=1)


def test_the_first_centres_are_quantiles_of_the_cube_root_of_the_gaps():
    x = np.array([0.0, 1.0, 3.0, 11.0])
    mass = np.array([0.0, 1.0, 1.0 + 4 ** (1 / 3), 1.0 + 4 ** (1 / 3) + 4.0])
    expected = np.interp([mass[-1] / 4, mass[-1] * 3 / 4], mass, x)
    np.testing.assert_allclose(_spread(points_of(x), 2, False), expected, rtol=1e-12)
    assert _spread(points_of([0.0, 1.0]), 1, False).tolist() == [0.5]


def test_equal_points_have_one_first_centre():
    assert _spread(points_of(np.full(3, 2.0)), 2, False).tolist() == [2.0]
    assert _spread(points_of(np.full(3, 2.0)), 2, True).tolist() == []
    assert _spread(points_of(np.full(1, 2.0)), 2, False).tolist() == [2.0]


# ---- when it is exact ----


@pytest.mark.parametrize(
    ("n", "k", "zero", "limit"),
    [
        (99, 3, False, 300),
        (100, 3, False, 1 << 19),
        (49, 3, True, 300),
        (50, 3, True, 1 << 19),
        (8 << 19, 3, False, 1 << 19),
        ((8 << 19) + 23, 3, False, (1 << 19) + 2),
    ],
)
def test_the_limit_depends_on_the_positions_there_are(n, k, zero, limit, monkeypatch):
    monkeypatch.setattr(ops, "EXACT_LIMIT", 300)
    seen = []
    monkeypatch.setattr(Search, "run", lambda self, limit: seen.append(limit) or 0.0)

    kmeans_1d(torch.arange(n, dtype=torch.float32), k, zero=zero)

    assert seen == [limit]


def test_the_documented_limit_covers_the_largest_layer_of_lenet300_at_k_16():
    assert EXACT_LIMIT >= 5_000_000
    assert EXACT_LIMIT >= (784 * 300 + 1) * 16


def test_a_given_limit_is_taken(monkeypatch):
    seen = []
    monkeypatch.setattr(Search, "run", lambda self, limit: seen.append(limit) or 0.0)
    kmeans_1d(torch.arange(9.0), 2, limit=77)
    assert seen == [77]


def test_a_start_is_sorted_shifted_and_offered(monkeypatch):
    offered = []
    monkeypatch.setattr(
        Search, "offer", lambda self, centers: offered.append(centers.tolist())
    )
    monkeypatch.setattr(Search, "run", lambda self, limit: 0.0)
    x = torch.tensor([0.0, 2.0, 7.0])
    start = torch.tensor([5.0, 1.0], requires_grad=True)

    kmeans_1d(x, 2, start=start)
    kmeans_1d(x, 2, start=torch.empty(0))
    kmeans_1d(x, 3, zero=True, max_nonzero=1, start=start)

    assert offered[1] == [-2.0, 2.0]
    assert len(offered) == 2 + 1 + 2
    assert offered[-1] == [1.0, 5.0]


@pytest.mark.parametrize(
    ("n", "start", "near"),
    [
        (99, torch.tensor([5.0]), False),
        (100, None, False),
        (100, torch.empty(0), False),
        (100, torch.tensor([5.0]), True),
    ],
)
def test_a_warm_start_beyond_the_exact_limit_is_not_searched_from(
    n, start, near, monkeypatch
):
    monkeypatch.setattr(ops, "EXACT_LIMIT", 300)
    x = torch.arange(n, dtype=torch.float32)
    searched = []
    monkeypatch.setattr(
        Search, "run", lambda self, limit: searched.append(limit) or self.upper / 2
    )
    found = kmeans_1d(x, 3, start=start)
    assert found.excess == pytest.approx(found.distortion / (1 if near else 2))
    assert len(searched) == (not near)


WARM = {
    "spread out": lambda x: x,
    "offset": lambda x: x + 1000,  # in one bucket
    "pruned": lambda x: torch.where(x.abs() < 1, 0.0, x),
    "of one sign": lambda x: x.abs(),
    "far": lambda x: torch.where(x > 2, 1e30 * x, x),
    "double precision": lambda x: x.double(),
    "half precision": lambda x: x.half(),
}


@pytest.mark.parametrize("options", [{}, {"zero": True}, {"max_nonzero": 9000}])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WARM)
def test_near_a_warm_start_it_is_not_worse_and_near_the_optimum(
    name, seed, options, monkeypatch
):
    monkeypatch.setattr(ops, "EXACT_LIMIT", 300)
    generator = torch.Generator().manual_seed(seed)
    x = WARM[name](torch.randn(40_000, generator=generator))
    start = x[torch.randperm(len(x), generator=generator)[:5]].unique()
    if "max_nonzero" in options:
        options = {"zero": True, **options}

    found = kmeans_1d(x, 6, start=start, **options)

    best = kmeans_1d(x, 6, limit=10**7, **options)
    assert best.excess <= 1e-12 * x.double().square().sum()
    assert best.distortion <= found.distortion * (1 + 1e-12)
    assert found.distortion <= best.distortion * 1.05
    assert (found.zeros is None) == ("max_nonzero" not in options)
    if "max_nonzero" not in options:
        values = torch.cat([start, start.new_zeros(int(options.get("zero", False)))])
        given = (x.double()[:, None] - values.double()).square().amin(1).sum()
        assert found.distortion <= given * (1 + 1e-12)
        values = found.centers
        if "zero" in options:
            values = torch.cat([values, values.new_zeros(1)])
        true = (x.double()[:, None] - values).square().amin(1).sum()
        assert true <= found.distortion * (1 + 1e-12)


def test_the_argument_is_not_written_to():
    x = torch.tensor([3.0, 1.0, 2.0, 9.0], requires_grad=True)
    kmeans_1d(x, 2)
    assert x.tolist() == [3.0, 1.0, 2.0, 9.0]


def test_the_description_of_zeros_tells_ties_apart():
    x = torch.tensor([2.0, 1.0, 2.0, 3.0, 1.0, 2.0])
    found = kmeans_1d(x, 3, zero=True, max_nonzero=2)
    assert found.centers.tolist() == [2.0, 3.0]
    assert found.distortion == 10.0
    assert found.zeros == (1.0, 2.0, 0, 1)


def test_zeros_may_begin_and_end_within_ties():
    x = torch.tensor([-2.0, -2.0, -2.0, 2.0, 2.0, 2.0, 0.0])
    found = kmeans_1d(x, 2, zero=True, max_nonzero=4)
    low, high, skip_low, skip_high = found.zeros
    assert (low, high) in {(-2.0, 0.0), (0.0, 2.0), (-2.0, 2.0)}
    assert found.distortion == pytest.approx(12.0)
    kept = (3 - skip_low) * (low == -2.0) + (3 - skip_high) * (high == 2.0) + 1
    assert kept >= 3

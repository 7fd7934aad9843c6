"""Convolutions as matrices, by their index formulas; the SVD, against SciPy."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from sklc.ops.svd import SVD
from sklc.ops.tensors import VIEWS, matricize, tensorize

SHAPES = [(4, 6), (5, 3, 2), (4, 3, 2, 5), (2, 3, 4, 2, 3), (1, 1), (3, 1, 2, 2)]


def place(index, shape, scheme):
    """Say where an entry of the weight stands in the matrix."""
    out, inputs, *offset = index
    kernel = shape[2:]
    if scheme == "scheme_2" and kernel:
        row, column, rest = out * kernel[0] + offset[0], inputs, 1
    else:
        row, column, rest = out, inputs, 0
    for at, size in zip(offset[rest:], kernel[rest:], strict=True):
        column = column * size + at
    return row, column


@pytest.mark.parametrize("scheme", VIEWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matricize_puts_every_entry_in_its_place(shape, scheme):
    weight = torch.arange(float(np.prod(shape))).reshape(shape)
    matrix = matricize(weight, scheme)

    assert matrix.ndim == 2
    assert matrix.numel() == weight.numel()
    for index in itertools.product(*map(range, shape)):
        assert matrix[place(index, shape, scheme)] == weight[index]


@pytest.mark.parametrize("scheme", VIEWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tensorize_inverts_matricize(shape, scheme):
    weight = torch.arange(float(np.prod(shape))).reshape(shape)
    back = tensorize(matricize(weight, scheme), weight.shape, scheme)

    assert torch.equal(back, weight)
    assert back.is_contiguous()


def test_the_shapes_are_those_of_the_papers():
    weight = torch.zeros(8, 3, 5, 7)
    assert matricize(weight).shape == (8, 3 * 5 * 7)
    assert matricize(weight, "scheme_1").shape == (8, 3 * 5 * 7)
    assert matricize(weight, "scheme_2").shape == (8 * 5, 3 * 7)
    assert VIEWS == ("scheme_1", "scheme_2")


def test_scheme_1_is_the_default_of_tensorize_too():
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert torch.equal(tensorize(matricize(weight), weight.shape), weight)


@pytest.mark.parametrize("scheme", VIEWS)
def test_matricize_takes_a_weight_that_is_not_contiguous(scheme):
    weight = torch.arange(120.0).reshape(5, 4, 3, 2).permute(3, 2, 1, 0)
    assert torch.equal(
        matricize(weight, scheme), matricize(weight.contiguous(), scheme)
    )


def gaussian(m, n, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n))


MATRICES = {
    "wide": gaussian(12, 30),
    "tall": gaussian(30, 12),
    "square": gaussian(20, 20),
    "row": gaussian(1, 9),
    "column": gaussian(9, 1),
    "one by one": np.array([[-3.0]]),
    "rank deficient wide": gaussian(12, 4) @ gaussian(4, 30),
    "rank deficient tall": gaussian(30, 4) @ gaussian(4, 12),
    "zero": np.zeros((6, 8)),
    "decaying": gaussian(15, 15) * 10.0 ** -np.arange(15.0),
    "tiny": 1e-20 * gaussian(8, 12),
}
PRECISION = {  # of the values, relative to the largest
    torch.float64: 1e-14,
    torch.float32: 1e-7,
    torch.bfloat16: 1e-7,
}


CASES = [
    pytest.param(torch.tensor(matrix, dtype=dtype), id=f"{name}-{dtype}")
    for name, matrix in MATRICES.items()
    for dtype in PRECISION
]


def reference(matrix):
    """Decompose what the tensor holds, in double precision, by SciPy."""
    exact = matrix.double().cpu().numpy()
    return scipy.linalg.svd(exact, full_matrices=False)


@pytest.mark.parametrize("matrix", CASES)
def test_the_singular_values_are_those_of_scipy(matrix, device):
    expected = reference(matrix)[1]
    values = SVD(matrix.to(device)).values

    assert values.dtype == torch.float64
    assert values.shape == (min(matrix.shape),)
    assert (values >= 0).all()
    assert (values.diff() <= 0).all()
    tolerance = 4 * PRECISION[matrix.dtype] * expected[0]
    np.testing.assert_allclose(values.cpu().numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("matrix", CASES)
def test_truncation_is_the_best_approximation_of_its_rank(matrix, device):
    left, values, right = reference(matrix)
    svd = SVD(matrix.to(device))
    eps = torch.finfo(matrix.dtype).eps
    for rank in {*range(4), min(matrix.shape) - 1, min(matrix.shape)}:
        a, b = (factor.double().cpu().numpy() for factor in svd.truncate(rank))
        best = (left[:, :rank] * values[:rank]) @ right[:rank]
        exact = matrix.double().numpy()
        error = np.linalg.norm(exact - a @ b)
        least = np.linalg.norm(exact - best)
        # rounding the factors moves each of the products by eps / 2 at most, twice
        rounding = 4 * eps * np.linalg.norm(values)
        assert error <= least + rounding
        assert least <= error + rounding


@pytest.mark.parametrize("matrix", CASES)
def test_the_factors_have_the_shape_and_dtype_of_what_they_factor(matrix, device):
    m, n = matrix.shape
    svd = SVD(matrix.to(device))
    for rank in {0, 1, min(m, n) - 1, min(m, n)}:
        left, right = svd.truncate(rank)
        assert left.shape == (m, rank)
        assert right.shape == (rank, n)
        for factor in left, right:
            assert factor.dtype == matrix.dtype
            assert factor.device == svd.matrix.device
            assert factor.is_contiguous()
            assert factor.isfinite().all()


@pytest.mark.parametrize("name", ["wide", "tall", "square", "row", "column"])
@pytest.mark.parametrize("dtype", PRECISION)
def test_the_factors_are_balanced_and_orthogonal(name, dtype, device):
    matrix = torch.tensor(MATRICES[name], dtype=dtype, device=device)
    svd = SVD(matrix)
    rank = min(3, *matrix.shape)
    left, right = (part.double() for part in svd.truncate(rank))

    expected = torch.diag(svd.values[:rank])
    # the factors are rounded to their dtype last, in float64 every operation is
    factor = 16 if dtype == torch.float64 else 4
    atol = factor * torch.finfo(dtype).eps * float(svd.values[0])
    torch.testing.assert_close(left.T @ left, expected, rtol=0, atol=atol)
    torch.testing.assert_close(right @ right.T, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("rank", [None, 0, 1, 2, 3, 4, 12])
@pytest.mark.parametrize("name", ["wide", "tall", "one by one", "column"])
def test_a_rank_that_is_known_changes_nothing(name, rank, device):
    matrix = torch.tensor(MATRICES[name], dtype=torch.float32, device=device)
    every, few = SVD(matrix), SVD(matrix, rank)
    size = min(rank or 0, *matrix.shape)
    assert len(few.values) >= size
    torch.testing.assert_close(few.values[:size], every.values[:size])
    a, b = (left @ right for left, right in (s.truncate(size) for s in (every, few)))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_few_vectors_are_found_alone():
    """With less work: no other values than those asked for."""
    matrix = torch.tensor(MATRICES["wide"], dtype=torch.float32)
    assert len(SVD(matrix, 2).values) == 2
    assert len(SVD(matrix, 3).values) == 12  # all are found as fast


@pytest.mark.parametrize("dtype", PRECISION)
def test_a_diagonal_matrix_is_its_own_decomposition(dtype):
    svd = SVD(torch.diag(torch.tensor([1.0, 9.0, 4.0], dtype=dtype)))
    left, right = svd.truncate(2)

    assert svd.values.tolist() == [9.0, 4.0, 1.0]
    assert (left @ right).tolist() == [[0, 0, 0], [0, 9, 0], [0, 0, 4]]


@pytest.mark.parametrize("dtype", PRECISION)
def test_the_matrix_is_not_written_to_and_may_want_gradients(dtype):
    matrix = torch.tensor(MATRICES["tall"], dtype=dtype, requires_grad=True)
    before = matrix.detach().clone()

    left, right = SVD(matrix).truncate(2)

    assert torch.equal(matrix, before)
    assert not left.requires_grad
    assert not right.requires_grad


@pytest.mark.parametrize("dtype", PRECISION)
def test_a_matrix_in_any_memory_order(dtype):
    matrix = torch.tensor(MATRICES["wide"], dtype=dtype)
    turned = matrix.T.contiguous().T
    strided = torch.stack([matrix, matrix], dim=2)[:, :, 0]
    expected = SVD(matrix)
    for other in turned, strided:
        torch.testing.assert_close(SVD(other).values, expected.values)
        a, b = SVD(other).truncate(3)
        c, d = expected.truncate(3)
        atol = 8 * torch.finfo(dtype).eps * float(expected.values[0])
        torch.testing.assert_close(a @ b, c @ d, rtol=0, atol=atol)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (torch.float32, 2e38),
        (torch.float32, 1e-30),
        (torch.bfloat16, 2e38),
        (torch.float64, 1e300),
        (torch.float64, 1e-300),
    ],
)
def test_the_ends_of_the_range_are_kept(dtype, size, wide, sign):
    matrix = torch.full((4, 6), sign * size, dtype=dtype)
    matrix[0] /= 2
    matrix = matrix if wide else matrix.T
    svd = SVD(matrix)
    left, right = svd.truncate(1)
    torch.testing.assert_close(left @ right, matrix, rtol=0.02, atol=0.0)
    expected = size * math.sqrt(6 * 3.25)
    assert float(svd.values[0]) == pytest.approx(expected, rel=0.01)

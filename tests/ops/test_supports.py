"""Supports as masks and gaps, against their definitions, symbol by symbol."""

import numpy as np
import pytest
import torch

from sklc.ops import bits, supports

RANDOM = np.random.default_rng(0)

#: Positions and the number of places.
SUPPORTS = {
    "none": ([], 40),
    "none of none": ([], 0),
    "the first": ([0], 40),
    "the last": ([39], 40),
    "one of eight": ([3], 8),  # an eighth: a mask
    "one of nine": ([3], 9),
    "first ones": ([0, 1, 2], 100),
    "dense": (range(40), 40),
    "every other": (range(0, 40, 2), 40),
    "every eighth": (range(0, 80, 8), 80),
    "every ninth": (range(0, 90, 9), 90),
    "every twentieth": (range(0, 900, 20), 900),
    "clusters": ([*range(25, 40), *range(400, 420)], 500),
    "irregular": ([0, 1, 5, 6, 20, 21, 22, 90, 91, 300], 301),
    "far": ([3, 10, 17, 5000, 30_000], 30_001),
    "exactly an escape": ([7, 15, 30, 62, 1085], 1100),
    "random": (sorted(RANDOM.permutation(5000)[:100]), 5000),
    "many": (np.flatnonzero(RANDOM.random(200_000) < 0.05), 200_000),
    "many and far": (
        np.concatenate([np.arange(0, 30_000, 5), [70_000, 74_096, 450_000]]),
        500_000,
    ),
}
everywhere = pytest.mark.parametrize("name", SUPPORTS)


def places(name, dtype=torch.int32, device="cpu"):
    positions, n = SUPPORTS[name]
    return torch.tensor([int(x) for x in positions], dtype=dtype, device=device), n


def symbols_by_hand(positions, width):
    """Write each gap as escapes and a rest, one symbol at a time."""
    symbols, place = [], 0
    for position in positions:
        gap = position - place
        while gap >= 2**width - 1:
            symbols.append(2**width - 1)
            gap -= 2**width - 1
        symbols.append(gap)
        place = position + 1
    return symbols


def size_by_hand(positions, n):
    """Return the bits of the layout, by its definition."""
    if len(positions) >= n / 8:
        return n
    gaps = np.diff(np.array(positions, dtype=np.int64), prepend=-1) - 1
    return min(w * int((gaps // (2**w - 1) + 1).sum()) for w in range(1, 33))


@everywhere
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_a_support_takes_the_bits_of_its_layout(name, dtype, device):
    positions, n = places(name, dtype, device)
    size = supports.nbits(positions, n)
    assert int(size) == size_by_hand(positions.tolist(), n)


@everywhere
def test_a_mask_takes_the_bits_of_its_support(name, device):
    positions, n = places(name)
    mask = torch.zeros(n, dtype=torch.bool)
    mask[positions.long()] = True
    size, kept = supports.nbits_of_mask(mask.to(device))
    assert int(size) == size_by_hand(positions.tolist(), n)
    assert int(kept) == len(positions)


@everywhere
def test_what_is_packed_takes_its_bits_and_comes_back(name):
    positions, n = places(name)
    width, symbols, packed = supports.pack(positions, n)

    assert symbols * max(width, 1) == size_by_hand(positions.tolist(), n)
    assert len(packed) == supports.n_bytes(width, symbols)
    assert len(packed) == -(-symbols * max(width, 1) // 8)
    back = supports.unpack(packed, width, symbols, np.int32)
    assert back.dtype == np.int32
    assert back.tolist() == positions.tolist()
    mask = supports.unpack_mask(packed, width, symbols, n)
    assert np.flatnonzero(mask).tolist() == positions.tolist()
    assert len(mask) == n
    again = supports.pack_mask(mask)
    assert again[:2] == (width, symbols)
    assert again[2].tolist() == packed.tolist()


@everywhere
def test_gaps_are_escapes_and_a_rest_and_a_mask_is_one_bit_a_place(name):
    positions, n = places(name)
    width, _, packed = supports.pack(positions, n)
    if width == supports.MASK:
        mask = np.isin(np.arange(n), positions.numpy())
        assert packed.tolist() == np.packbits(mask).tolist()
    else:
        symbols = symbols_by_hand(positions.tolist(), width)
        assert packed.tolist() == bits.pack(np.array(symbols, int), width).tolist()


def test_of_equal_widths_the_narrowest_is_used():
    assert supports.layout(torch.tensor([1]), 9) == (1, 2)  # as many bits as (2, 1)
    assert supports.layout(torch.tensor([2]), 9) == (2, 1)


@everywhere
def test_gaps_are_smaller_than_a_mask_where_they_are_used(name):
    positions, n = places(name)
    sparse = 8 * len(positions) < n
    assert (supports.layout(positions, n)[0] != supports.MASK) == sparse
    assert int(supports.nbits(positions, n)) <= (5 / 6 * n if sparse else n)


@pytest.mark.parametrize(
    ("position", "best"),
    [(0, (1, 1)), (2**31, (32, 1)), (2**32 - 2, (32, 1)), (2**32 - 1, (32, 2))],
)
def test_gaps_may_take_32_bits(position, best, device):
    positions = torch.tensor([position], device=device)
    n = 2**32 + 1
    assert int(supports.nbits(positions, n)) == best[0] * best[1]


@pytest.mark.parametrize("seed", range(20))
def test_any_support_is_sized_and_packed_alike_everywhere(seed, device):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60_000))
    share = rng.choice([0.001, 0.01, 0.1, 0.12, 0.13, 0.5])
    positions = torch.from_numpy(np.flatnonzero(rng.random(n) < share))
    width, symbols, packed = supports.pack(positions, n)
    size = symbols * max(width, 1)
    assert size == size_by_hand(positions.tolist(), n)
    assert int(supports.nbits(positions.to(device), n)) == size
    assert supports.unpack(packed, width, symbols).tolist() == positions.tolist()


@pytest.mark.parametrize("every", [3, 50])
def test_supports_of_millions_of_places(every, device):
    n = (1 << 22) + 5000
    mask = torch.zeros(n, dtype=torch.bool)
    mask[::every] = True
    mask[4000:1_000_000] = False
    positions = torch.from_numpy(np.flatnonzero(mask.numpy()))

    size, kept = supports.nbits_of_mask(mask.to(device))
    assert int(size) == size_by_hand(positions.numpy(), n)
    assert int(kept) == len(positions)
    width, symbols, packed = supports.pack_mask(mask.numpy())
    assert symbols * max(width, 1) == int(size)
    back = supports.unpack(packed, width, symbols)
    assert np.array_equal(back, positions.numpy())

"""Entropy coding: what goes in comes out, in as many bytes as theory says."""

import numpy as np
import pytest

from sklc.ops import rans, tables

RANDOM = np.random.default_rng(0)
STREAMS = {
    "nothing": np.empty(0, np.uint8),
    "one": np.array([7], np.uint8),
    "constant": np.full(10_000, 3, np.uint8),
    "uniform": RANDOM.integers(256, size=20_000).astype(np.uint8),
    "skewed": np.minimum(RANDOM.geometric(0.3, 30_000), 255).astype(np.uint8),
    "rare": (RANDOM.random(30_000) < 1e-4).astype(np.uint8),
    "short": RANDOM.integers(3, size=17).astype(np.uint8),
    "large": np.minimum(RANDOM.geometric(0.5, 400_000), 255).astype(np.uint8),
}


def table_of(symbols):
    counts = np.bincount(symbols, minlength=256)
    return rans.frequencies(counts) if len(symbols) else rans.frequencies(counts + 1)


def entropy_bytes(symbols):
    counts = np.bincount(symbols)
    shares = counts[counts > 0] / max(len(symbols), 1)
    return -len(symbols) * float(shares @ np.log2(shares)) / 8 if len(symbols) else 0.0


@pytest.mark.parametrize("name", STREAMS)
def test_symbols_come_back(name):
    symbols = STREAMS[name]
    table = table_of(symbols)
    assert table.sum() == rans.TOTAL
    packed = rans.encode(symbols, table)
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(rans.decode(packed, table, len(symbols)), symbols)
    np.testing.assert_array_equal(packed, rans.encode(symbols, table))
    lanes = 1 << int(packed[0]) if len(packed) else 0
    assert len(packed) <= 1.005 * entropy_bytes(symbols) + 4 * lanes + 16
    assert 4 * lanes <= max(4, 0.017 * len(packed), len(symbols) / 500)


def test_bytes_stay_what_they_were():
    """Files of old are read for ever."""
    symbols = np.array([0, 1, 2, 1, 1, 0, 1, 1], np.uint8)
    table = rans.frequencies(np.bincount(symbols))
    assert table.tolist() == [1024, 2560, 512]
    assert rans.encode(symbols, table).tolist() == EXPECTED


EXPECTED = [0, 0, 34, 73, 5]


def test_frequencies_are_positive_where_symbols_are():
    for counts in ([1] * 256, [10**9, *[1] * 255], [0, 5, 0], [1, 10**12], [3, 3, 3]):
        table = rans.frequencies(np.array(counts))
        assert table.sum() == rans.TOTAL
        assert ((table > 0) == (np.array(counts) > 0)).all()


@pytest.mark.parametrize("name", ["one", "skewed", "short", "constant"])
def test_damage_is_seen(name):
    symbols = STREAMS[name]
    table = table_of(symbols)
    packed = rans.encode(symbols, table)
    damaged = [packed[:-1], packed[:-2], packed[:3], np.append(packed, [0, 0])]
    damaged.append(packed[:0])
    more = packed.copy()
    more[0] += 1
    damaged.append(more)
    for other in damaged:
        with pytest.raises(ValueError, match="damaged"):
            rans.decode(other.astype(np.uint8), table, len(symbols))
    with pytest.raises(ValueError, match="damaged"):
        rans.decode(packed, table, 1 << 40)
    if name != "constant":  # whose every state is the same
        with pytest.raises(ValueError, match="damaged"):
            rans.decode(packed, table, len(symbols) - 1)


def test_a_flipped_bit_rarely_passes_and_never_harms():
    symbols = STREAMS["short"]
    table = table_of(symbols)
    packed = rans.encode(symbols, table)
    passed = 0
    for at in range(8 * len(packed)):
        other = packed.copy()
        other[at // 8] ^= 1 << at % 8
        try:
            found = rans.decode(other, table, len(symbols))
        except ValueError:
            continue
        passed += 1
        assert found.max() <= 2
    assert passed < len(packed)


@pytest.mark.parametrize("name", [n for n in STREAMS if n != "nothing"])
def test_tables_come_back(name):
    table = table_of(STREAMS[name])
    packed = tables.pack(table)
    found, rest = tables.unpack(np.append(packed, [1, 2]).astype(np.uint8), 256)
    np.testing.assert_array_equal(found, table)
    assert rest.tolist() == [1, 2]
    for end in range(len(packed)):
        with pytest.raises(ValueError, match="damaged"):
            tables.unpack(packed[:end], 256)
    other = packed.copy()
    other[-1] ^= 16
    with pytest.raises(ValueError, match="damaged"):
        tables.unpack(other, 256)

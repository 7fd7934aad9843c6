"""How the tensors of a code are stored: floats as they are, integers as bits.

A stream knows its size by a closed formula (:attr:`Stream.nbits`), and can be packed
into bytes and read back; a test holds the two together. Sizes are before entropy coding
and without the header (shapes, widths, counts), which packing returns beside the bytes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklc.ops import bits

Header = dict[str, Any]


class Stream(ABC):
    """One tensor on its way to bytes."""

    tensor: Tensor

    @property
    @abstractmethod
    def nbits(self) -> int:
        """Size in bits."""

    @abstractmethod
    def pack(self) -> tuple[Header, bits.Bytes]:
        """Return the bytes, and what must be known to read them."""

    @staticmethod
    @abstractmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        """Read back what :meth:`pack` wrote."""

    def header(self, **entries: Any) -> Header:
        """Return what all streams must know, and the entries of this kind."""
        return {
            "kind": type(self).__name__,
            "dtype": str(self.tensor.dtype).removeprefix("torch."),
            "shape": list(self.tensor.shape),
            **entries,
        }


def unpack(header: Header, packed: bits.Bytes) -> Tensor:
    """Read back any stream, from its header and bytes."""
    kinds = {kind.__name__: kind for kind in Stream.__subclasses__()}
    if header["kind"] not in kinds:
        msg = (
            f"Unknown kind of stream {header['kind']!r}, expected one of "
            f"{', '.join(sorted(kinds))}: import the module that defines it first, or "
            "upgrade sklc."
        )
        raise ValueError(msg)
    return kinds[header["kind"]].unpack(header, packed)


@dataclass(frozen=True, eq=False)
class Floats(Stream):
    """Floating-point numbers, in their own precision."""

    tensor: Tensor

    @property
    def nbits(self) -> int:
        return self.tensor.numel() * self.tensor.element_size() * 8

    def pack(self) -> tuple[Header, bits.Bytes]:
        flat = self.tensor.detach().cpu().contiguous().reshape(-1)
        return self.header(), flat.view(torch.uint8).numpy().copy()

    @staticmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        out = torch.empty(header["shape"], dtype=getattr(torch, header["dtype"]))
        out.reshape(-1).view(torch.uint8).numpy()[:] = packed
        return out


@dataclass(frozen=True, eq=False)
class Indices(Stream):
    """Numbers below `n_values`, each in the fewest bits that tell the values apart.

    With `zero`, the number that means zero, the others may take less room as positions
    and numbers of their own; the smaller of both layouts is used.
    """

    tensor: Tensor
    n_values: int
    zero: int | None = None

    @property
    def _plain(self) -> int:
        return self.tensor.numel() * bits.width_for(self.n_values)

    def _sparse(self) -> tuple[int, int, int]:
        """Return width and count of the gaps, and the bits of this layout."""
        if self.zero is None:
            return 0, 0, self._plain
        positions = np.flatnonzero(self._numpy() != self.zero)
        width, count = bits.gap_width(positions)
        size = width * count + len(positions) * bits.width_for(self.n_values - 1)
        return width, count, size

    def _numpy(self) -> np.ndarray:
        return self.tensor.detach().cpu().numpy().reshape(-1)

    @property
    def nbits(self) -> int:
        return min(self._plain, self._sparse()[-1])

    def pack(self) -> tuple[Header, bits.Bytes]:
        index = self._numpy()
        width, count, size = self._sparse()
        if size >= self._plain:
            return self.header(n_values=self.n_values), bits.pack(
                index, bits.width_for(self.n_values)
            )
        positions = np.flatnonzero(index != self.zero)
        others = index[positions]
        gaps = bits.pack_gaps(positions, width)
        numbers = bits.pack(
            others - (others > self.zero), bits.width_for(self.n_values - 1)
        )
        header = self.header(
            n_values=self.n_values,
            zero=self.zero,
            width=width,
            count=count,
            nonzeros=len(positions),
        )
        return header, np.concatenate([gaps, numbers])

    @staticmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        n, k = int(np.prod(header["shape"])), header["n_values"]
        if "width" in header:
            gap_bytes = -(-header["width"] * header["count"] // 8)
            positions = bits.unpack_gaps(packed, header["width"], header["count"])
            others = bits.unpack(
                packed[gap_bytes:], bits.width_for(k - 1), header["nonzeros"]
            )
            index = np.full(n, header["zero"], dtype=np.int64)
            index[positions] = others + (others >= header["zero"])
        else:
            index = bits.unpack(packed, bits.width_for(k), n)
        dtype = getattr(torch, header["dtype"])
        return torch.from_numpy(index).to(dtype).reshape(header["shape"])


@dataclass(frozen=True, eq=False)
class Positions(Stream):
    """Increasing positions, as gaps in the fixed width that takes the fewest bits."""

    tensor: Tensor

    @property
    def nbits(self) -> int:
        width, count = bits.gap_width(self.tensor.cpu().numpy())
        return width * count

    def pack(self) -> tuple[Header, bits.Bytes]:
        positions = self.tensor.cpu().numpy()
        width, count = bits.gap_width(positions)
        header = self.header(width=width, count=count)
        return header, bits.pack_gaps(positions, width)

    @staticmethod
    def unpack(header: Header, packed: bits.Bytes) -> Tensor:
        positions = bits.unpack_gaps(packed, header["width"], header["count"])
        return torch.from_numpy(positions).to(getattr(torch, header["dtype"]))

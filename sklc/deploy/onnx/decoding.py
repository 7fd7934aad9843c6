"""What decompresses a code in a graph: standard operators, all of them constant.

A runtime folds them when it loads the graph: the file is small, and the model runs as
the dense one does. There is no ``DequantizeLinear``, which runtimes fuse with the
matrix product that follows, activations rounded to 8 bits.
"""

from functools import partial, singledispatch
from typing import Any

import torch
from torch import Tensor

from sklc.codes import Code, Factored, Quantized, Scaled, Sparse, Sum
from sklc.codes.dtypes import dtype_of
from sklc.deploy.onnx.fragment import TYPES, Form, Fragment
from sklc.deploy.onnx.numbers import add_numbers, add_placed


def add_decoded(fragment: Fragment, code: Code) -> str:
    """Add what a code stands for, in the fewest bytes.

    Parameters
    ----------
    fragment : Fragment
    code : Code
        On the CPU. One of an unknown type is added as the dense weight; so is one of a
        subclass of a known type, which may decompress otherwise.

    Returns
    -------
    str
        The name of the weight.
    """
    known = _form.registry.get(type(code))
    forms: list[Form] = [lambda into: into.floats(code.dense())]
    if known and code.shape.numel():
        forms.insert(0, partial(known, code))
    return fragment.smallest(forms)


@singledispatch
def _form(code: Any, fragment: Fragment) -> str:
    """Add what a code stands for, and return its name."""
    raise NotImplementedError


@_form.register
def _quantized(code: Quantized, fragment: Fragment) -> str:
    values = code.codebook.detach()

    def with_zero(into: Fragment) -> str:
        return into.floats(torch.cat([values.new_zeros(len(values), 1), values], dim=1))

    def padded(into: Fragment) -> str:
        return into.add("Pad", into.floats(values), into.ints(0, 1, 0, 0))

    forms: list[Form] = [with_zero, padded]
    if not code.zero:
        forms = [lambda into: into.floats(values)]
    table = fragment.smallest(_few(forms, values.dtype))
    return _add_looked_up(fragment, table, len(values), code.n_values, code.index)


@_form.register
def _scaled(code: Scaled, fragment: Fragment) -> str:
    dtype = dtype_of(code.dtype)
    scale = code.scale.detach().to(dtype)[:, None]
    levels = torch.tensor(code.levels, dtype=dtype)

    def table(into: Fragment) -> str:
        return into.floats(scale * levels)

    def product(into: Fragment) -> str:
        return into.add("Mul", into.floats(scale), into.tensor(levels))

    found = fragment.smallest(_few([table, product], dtype))
    return _add_looked_up(fragment, found, len(scale), len(levels), code.index)


def _few(forms: list[Form], dtype: torch.dtype) -> list[Form]:
    """Return the forms of a table that runtimes have the operators for."""
    return forms if _wide(dtype) == dtype else forms[:1]


def _add_looked_up(
    fragment: Fragment, table: str, rows: int, n_values: int, index: Tensor
) -> str:
    """Add the values of a table of shape (rows, n_values), by their numbers."""
    numbers = index.numpy()
    if rows == 1:
        read = add_numbers(fragment, numbers, n_values)
        row = fragment.add("Reshape", table, fragment.ints(-1))
        return fragment.add("Gather", row, read)
    read = add_numbers(fragment, numbers.reshape(rows, -1), n_values)
    found = fragment.add("GatherElements", table, read, axis=1)
    return fragment.add("Reshape", found, fragment.ints(*index.shape))


@_form.register
def _sparse(code: Sparse, fragment: Fragment) -> str:
    if not len(code.index):
        return fragment.filled(0.0, code.shape, code.values.dtype)
    values, dtype = fragment.floats(code.values), code.values.dtype
    places = code.index.numpy()
    return add_placed(fragment, places, values, 0.0, code.shape, dtype)


@_form.register
def _factored(code: Factored, fragment: Fragment) -> str:
    if not code.rank:
        return fragment.filled(0.0, code.shape, code.left.dtype)
    dtype = code.left.dtype
    wide = _wide(dtype)
    left, right = (
        _cast(fragment, fragment.floats(factor.detach()), dtype, wide)
        for factor in (code.left, code.right)
    )
    product = _cast(fragment, fragment.add("MatMul", left, right), wide, dtype)
    if len(code.shape) == 2:
        return product
    if code.conv_scheme == "scheme_1":
        return fragment.add("Reshape", product, fragment.ints(*code.shape))
    out, inputs, first, *others = code.shape
    split = fragment.ints(out, first, inputs, *others)
    axes = [0, 2, 1, *range(3, len(code.shape))]
    return fragment.add("Transpose", fragment.add("Reshape", product, split), perm=axes)


@_form.register
def _sum(code: Sum, fragment: Fragment) -> str:
    first, *others = code.terms.values()
    dtype = _dtype(first)
    total, wide = add_decoded(fragment, first), dtype
    for term in others:  # rounded once, as the code itself does
        own = _dtype(term)
        wider = _wide(torch.promote_types(wide, own))
        added = _cast(fragment, add_decoded(fragment, term), own, wider)
        total = fragment.add("Add", _cast(fragment, total, wide, wider), added)
        wide = wider
    return _cast(fragment, total, wide, dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype to compute in, of which runtimes have all operators."""
    return torch.promote_types(dtype, torch.float32)


def _cast(fragment: Fragment, name: str, dtype: torch.dtype, to: torch.dtype) -> str:
    return name if dtype == to else fragment.add("Cast", name, to=TYPES[to])


def _dtype(code: Code) -> torch.dtype:
    return code.dense().dtype

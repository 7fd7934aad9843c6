"""The dtypes that tensors of a model may have, by name."""

import torch

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.bool, torch.complex64, torch.complex128),
    )
}
#: Names of all.
NAMES = tuple(_DTYPES)


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a dtype, as :func:`dtype_of` reads it."""
    return str(dtype).removeprefix("torch.")


def dtype_of(name: str) -> torch.dtype:
    """Return the dtype of a name, or raise a ValueError that lists the known."""
    if name not in _DTYPES:
        msg = f"Unknown dtype {name!r}, expected one of {', '.join(_DTYPES)}."
        raise ValueError(msg)
    return _DTYPES[name]

"""Tensors that claim to be on another device, so that a CPU tests what runs there."""

import torch


class Elsewhere(torch.Tensor):
    """A tensor in the memory of the CPU that does not say so."""

    is_cpu = False


#: Where the kernels of a tensor may run: as it is, or as on any other device.
PLACES = {"here": lambda x: x, "elsewhere": lambda x: x.as_subclass(Elsewhere)}

"""Pure functions on tensors: the numerical kernels that schemes and codes share."""

"""Graphs of ONNX that hold a compressed model, and decompress it when they load."""

import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from sklc.codes import Code
from sklc.deploy.model import CompressedModel
from sklc.layers import LayerInfo
from sklc.signature import Signature

__all__ = ["to_onnx"]


def to_onnx(
    model: CompressedModel | nn.Module,
    path: str | os.PathLike[str],
    X: Any = None,
    *,
    theta: Mapping[str, Code] | None = None,
    layers: Mapping[str, LayerInfo] | None = None,
    values: str | None = None,
) -> None:
    """Write a compressed model to a file of ONNX.

    The graph is the dense one, of any architecture that torch exports. In it every
    compressed weight is replaced by its code and by standard operators that decompress
    it, where that takes fewer bytes than the dense weight; and low-rank layers by two,
    where that takes fewer operations. Runtimes decompress when they load a file, once:
    it is small, but unless there are fewer operations it runs as fast as the dense one.

    The operators are those of opset 21: onnxruntime reads them from version 1.23 on.

    Parameters
    ----------
    model : CompressedModel or Module
        A module holds Δ(Θ), and its outputs become one output, ``variable``. It is not
        changed.
    path : str or path
        Replaced as a whole, or not at all.
    X : array, Tensor, or a dict or list of them, default=None
        A few samples as the module takes them; only shapes and dtypes matter. By
        default those of the fit. The inputs are called ``X``; if there are several, as
        the arguments of ``forward`` that they are, or ``X0``, ``X1`` and so on in a
        list.
    theta : dict of str to Code, default=None
        The compressed weights of a module, by parameter name.
    layers : dict of str to LayerInfo, default=None
        What is known of the layers of a module, to tell where a low-rank convolution
        takes fewer operations.
    values : {None, "float16"}, default=None
        ``"float16"`` rounds the values, codebooks and factors of codes where that saves
        bytes. What is computed has the same dtype as before.

    Raises
    ------
    ImportError
        If ``sklc[onnx]`` is not installed.
    ValueError
        If torch cannot export the model, or not as valid ONNX; if the shapes of its
        inputs are not known; or if the graph does not fit into one file of 2 GiB.
    TypeError
        If the labels of a classifier are neither str, int, float nor bool.

    Warns
    -----
    UserWarning
        If a weight is written dense because the graph does not have it in the form that
        the code describes; if float16 does not hold its numbers; if predictions follow
        from the output of the module by code of the user, and the output is exported;
        if an output gets another name (``label_``) because an input is called so; or if
        onnxruntime is known to fail (to version 1.32, on CPUs) at the graph of a layer:
        bfloat16, LSTM with ``proj_size``, EmbeddingBag of mode "mean", and transposed
        convolutions whose ``output_padding`` is not below their ``stride``.

    Examples
    --------
    >>> import torch
    >>> from sklc.codes import decompress
    >>> from sklc.deploy import to_onnx
    >>> from sklc.schemes import AdaptiveQuantization
    >>> module = torch.nn.Linear(20, 10)
    >>> theta = AdaptiveQuantization(k=2).compress({"weight": module.weight}, mu=1.0)
    >>> _ = module.load_state_dict(decompress(theta), strict=False)
    >>> to_onnx(module, "small.onnx", torch.zeros(5, 20), theta=theta)  # doctest: +SKIP
    """
    if isinstance(model, nn.Module):
        model = CompressedModel(
            model, dict(theta or {}), {}, dict(layers or {}), Signature()
        )
    try:
        from sklc.deploy.onnx.export import write

        write(model, path, X, values=values)
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxscript"):
            raise
        msg = f'{error.name} is not installed: pip install "sklc[onnx]".'
        raise ImportError(msg) from error

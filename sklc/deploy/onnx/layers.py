"""Low-rank weights as two layers, where that costs fewer operations than one."""

from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, helper

from sklc.codes import Factored
from sklc.costs import Flops
from sklc.deploy.onnx.fragment import Fragment
from sklc.deploy.onnx.graphs import replace_nodes
from sklc.layers import LayerInfo

_TRANSPOSED = {"perm": [1, 0]}


def add_layers(
    graph: GraphProto,
    fragment: Fragment,
    name: str,
    code: Factored,
    layer: LayerInfo | None,
) -> None:
    """Make two layers of each that multiplies by a weight, where it pays.

    Parameters
    ----------
    graph : GraphProto
        Afterwards, what reads the weight is what could not be made two layers.
    fragment : Fragment
        What the layers share is added to it.
    name : str
        Of the weight.
    code : Factored
    layer : LayerInfo or None
        What is known of its layer.
    """
    if not code.rank or not code.shape.numel():
        return
    columns = {
        node.output[0]
        for node in graph.node
        if node.op_type == "Transpose"
        and list(node.input) == [name]
        and _attributes(node) == _TRANSPOSED
    }
    nodes: list[NodeProto] = []
    changed = False
    for node in graph.node:
        pair = _pair(fragment, node, name, columns, code, layer)
        changed |= bool(pair)
        nodes += pair or [node]
    if changed:
        replace_nodes(graph, nodes)


def _pair(
    fragment: Fragment,
    node: NodeProto,
    name: str,
    columns: set[str],
    code: Factored,
    layer: LayerInfo | None,
) -> list[NodeProto]:
    """Return nodes to take the place of one; none if it is to stay."""
    if node.op_type == "Shape" and node.input[0] == name:  # for a bias of zeros
        how = _attributes(node)
        sizes = code.shape[how.get("start", 0) : how.get("end", len(code.shape))]
        return [helper.make_node("Constant", [], list(node.output), value_ints=sizes)]
    if len(node.input) < 2 or list(node.input).count(name) > 1:
        return []
    weight, how = node.input[1], _attributes(node)
    if weight not in {name, *columns}:
        return []
    if not _pays(code, layer, int(how.get("group", 1))):
        return []
    matrix, left, right = len(code.shape) == 2, code.left, code.right
    if node.op_type == "MatMul" and matrix:
        factors = fragment.floats(left), fragment.floats(right)
        if weight != name:
            last, first = (fragment.add("Transpose", f, **_TRANSPOSED) for f in factors)
            factors = first, last
        return _chain(fragment, node, factors, ({}, {}))
    if weight != name:
        return []
    if node.op_type == "Gemm" and matrix and not how.get("transA"):
        factors = fragment.floats(left), fragment.floats(right)
        if not how.get("transB"):
            return _chain(fragment, node, factors, ({}, how))
        return _chain(fragment, node, factors[::-1], ({"transB": 1}, how))
    convolves = node.op_type in ("Conv", "ConvTranspose") and not matrix
    if convolves and "output_shape" not in how:
        return _convolutions(fragment, node, code, how)
    return []


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {
        attribute.name: helper.get_attribute_value(attribute)
        for attribute in node.attribute
        if attribute.type != AttributeProto.GRAPH
    }


def _pays(code: Factored, layer: LayerInfo | None, groups: int) -> bool:
    """Whether two layers cost fewer operations than one.

    Where the sizes of what a convolution reads are not known, as if none changed.
    """
    cost = Flops()
    if layer is not None and layer.grids and not cost.unknown(code, layer):
        assert layer.uses is not None
        return cost(code, layer) < layer.uses * code.shape.numel()
    inner, outer = code.right.shape[1], code.left.shape[0]
    return code.rank * (groups * inner + outer) < code.shape.numel()


def _chain(
    fragment: Fragment,
    node: NodeProto,
    weights: tuple[str, str],
    attributes: tuple[dict[str, Any], dict[str, Any]],
) -> list[NodeProto]:
    """Return two nodes of the type of one, the second with its bias and output."""
    between = fragment.new_name()
    first = [node.input[0], weights[0]], [between]
    second = [between, weights[1], *node.input[2:]], list(node.output)
    return [
        helper.make_node(node.op_type, *ends, **how)
        for ends, how in zip((first, second), attributes, strict=True)
    ]


def _convolutions(
    fragment: Fragment, node: NodeProto, code: Factored, how: dict[str, Any]
) -> list[NodeProto]:
    """Return two convolutions for one.

    The right factor belongs to the inputs of a convolution and is the same in all
    groups; in a transposed one it belongs to the outputs.
    """
    out, inputs, *kernel = code.shape
    groups, rank, n_dims = int(how.get("group", 1)), code.rank, len(kernel)
    split = 1 if code.conv_scheme == "scheme_2" else 0  # dimensions that go left
    ones = [1] * n_dims
    left = fragment.floats(code.left)
    if split:
        shape = fragment.ints(out, kernel[0], rank)
        left = fragment.add("Reshape", left, shape)
        left = fragment.add("Transpose", left, perm=[0, 2, 1])
    left_kernel = kernel[:split] + ones[split:]
    left = fragment.add("Reshape", left, fragment.ints(out, rank, *left_kernel))
    right = fragment.floats(code.right)
    right_kernel = ones[:split] + kernel[split:]
    right = fragment.add("Reshape", right, fragment.ints(rank, inputs, *right_kernel))
    if groups > 1:
        right = fragment.add("Concat", *[right] * groups, axis=0)
    halves = {
        "left": _part(how, kernel, range(split)),
        "right": _part(how, kernel, range(split, n_dims)),
    }
    weights = right, left
    parts = halves["right"], halves["left"]
    if node.op_type == "ConvTranspose":
        weights, parts = weights[::-1], parts[::-1]
    return _chain(fragment, node, weights, parts)


def _part(how: dict[str, Any], kernel: list[int], own: range) -> dict[str, Any]:
    """Return the attributes of a convolution along some of its dimensions."""
    n_dims = len(kernel)
    neutral = {
        "strides": [1] * n_dims,
        "dilations": [1] * n_dims,
        "pads": [0] * 2 * n_dims,
        "output_padding": [0] * n_dims,
        "kernel_shape": [1] * n_dims,
    }
    return {
        name: [
            number if at % n_dims in own else neutral[name][at]
            for at, number in enumerate(value)
        ]
        if name in neutral
        else value
        for name, value in how.items()
    }

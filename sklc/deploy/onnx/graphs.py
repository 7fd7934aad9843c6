"""What is done with graphs whatever is in them."""

from collections.abc import Callable, Collection, Iterator

from onnx import GraphProto, ModelProto, NodeProto


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs that are attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nodes_within(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield all nodes of a graph, those of the graphs inside of them included."""
    for node in graph.node:
        yield node
        for inner in graphs_of(node):
            yield from nodes_within(inner)


def read_by(node: NodeProto) -> set[str]:
    """Return the names of values that a node, or a graph inside of it, reads."""
    found = set(node.input)
    for inner in graphs_of(node):
        found.update(*map(read_by, inner.node), (v.name for v in inner.output))
    return found


def names_in(graph: GraphProto) -> set[str]:
    """Return the names of all values."""
    found = {value.name for value in [*graph.input, *graph.initializer]}
    for node in nodes_within(graph):
        found.update(node.input, node.output)
    return found


def rename(graph: GraphProto, names: Callable[[str], str]) -> None:
    """Give values other names, also in the graphs inside of nodes."""
    for value in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        value.name = names(value.name)
    for node in graph.node:
        node.input[:] = map(names, node.input)
        node.output[:] = map(names, node.output)
        for inner in graphs_of(node):
            rename(inner, names)


def make_free(graph: GraphProto, names: Collection[str]) -> None:
    """Give values that are called so names that nothing has."""
    taken = {*names_in(graph), *names}

    def free(name: str) -> str:
        if name not in names:
            return name
        while name in taken:
            name += "_"
        return name

    rename(graph, free)


def prune(graph: GraphProto) -> None:
    """Remove what no output needs."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed |= read_by(node)
    replace_nodes(graph, kept[::-1])
    initializers = [held for held in graph.initializer if held.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)


def replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    """Make a graph consist of other nodes."""
    del graph.node[:]
    graph.node.extend(nodes)


def strip(model: ModelProto) -> None:
    """Remove what no runtime needs: notes, names of nodes, shapes of inner values."""
    model.ClearField("doc_string")
    del model.metadata_props[:]
    _strip_graph(model.graph)
    for function in model.functions:
        function.ClearField("doc_string")
        for field in (function.metadata_props, function.value_info):
            del field[:]
        for node in function.node:
            _strip_node(node)


def _strip_graph(graph: GraphProto) -> None:
    graph.ClearField("doc_string")
    for field in (graph.metadata_props, graph.value_info):
        del field[:]
    for named in [*graph.input, *graph.output, *graph.initializer]:
        named.ClearField("doc_string")
        del named.metadata_props[:]
    for node in graph.node:
        _strip_node(node)


def _strip_node(node: NodeProto) -> None:
    node.ClearField("doc_string")
    node.ClearField("name")
    del node.metadata_props[:]
    for attribute in node.attribute:
        attribute.ClearField("doc_string")
        if attribute.HasField("t"):
            attribute.t.ClearField("name")
            attribute.t.ClearField("doc_string")
    for inner in graphs_of(node):
        _strip_graph(inner)

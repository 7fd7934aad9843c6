"""Nodes and initializers in the making, which know their size."""

import hashlib
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper
from torch import Tensor

#: The type of a tensor in ONNX, by its dtype.
TYPES: dict[torch.dtype, int] = {
    torch.float64: TensorProto.DOUBLE,
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
    torch.bool: TensorProto.BOOL,
    torch.uint8: TensorProto.UINT8,
    torch.int8: TensorProto.INT8,
    torch.uint16: TensorProto.UINT16,
    torch.int16: TensorProto.INT16,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
}
#: The dtype of a tensor in torch, by its type.
DTYPES: dict[int, torch.dtype] = {kind: dtype for dtype, kind in TYPES.items()}


#: What adds a value to a fragment, and returns its name.
Form = Callable[["Fragment"], str]


class Fragment:
    """A part of a graph.

    What is there already is not added again: two codes that share a codebook share an
    initializer, and what is computed of it.

    Parameters
    ----------
    taken : container of str
        Names that it must not give to values.

    Attributes
    ----------
    nodes : list of NodeProto
    initializers : list of TensorProto
    n_bytes : int
        What both take in a file.
    half : bool
        Whether floats that are added may be rounded to float16.
    """

    def __init__(self, taken: Container[str] = ()) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.n_bytes = 0
        self.half = False
        self._taken = taken
        self._known: dict[Any, str] = {}
        self._count = 0

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output, and return the name of that."""
        key = op, inputs, repr(attributes)
        if key not in self._known:
            self._known[key] = self.new_name()
            self.put(op, inputs, self._known[key], **attributes)
        return self._known[key]

    def put(
        self, op: str, inputs: Sequence[str], output: str, **attributes: Any
    ) -> None:
        """Add a node whose output has a name already."""
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        self.n_bytes += _size(self.nodes[-1])

    def new_name(self) -> str:
        """Return a name that nothing has."""
        self._count += 1
        name = f"_{self._count}"
        return self.new_name() if name in self._taken else name

    def tensor(self, tensor: Tensor) -> str:
        """Add an initializer, and return its name."""
        flat = tensor.detach().contiguous().reshape(-1)
        content = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return self.content(TYPES[tensor.dtype], tuple(tensor.shape), content)

    def array(self, array: np.ndarray) -> str:
        """Add an initializer of numbers of NumPy, and return its name."""
        return self.tensor(torch.from_numpy(np.ascontiguousarray(array)))

    def ints(self, *values: int) -> str:
        """Add a vector of int64, such as a shape, and return its name."""
        return self.tensor(torch.tensor(values, dtype=torch.int64))

    def content(self, kind: int, shape: Sequence[int], content: bytes) -> str:
        """Add an initializer of a type of ONNX by its bytes, and return its name."""
        key = kind, tuple(shape), hashlib.sha256(content).digest()
        return self._stored(key, kind, shape, content, raw=True)

    def strings(self, texts: Sequence[str]) -> str:
        """Add a vector of strings, and return its name."""
        encoded = [text.encode() for text in texts]
        key = TensorProto.STRING, tuple(texts)
        return self._stored(key, TensorProto.STRING, [len(texts)], encoded)

    def _stored(self, key: Any, *content: Any, **how: Any) -> str:
        if key not in self._known:
            self._known[key] = self.new_name()
            held = helper.make_tensor(self._known[key], *content, **how)
            self.initializers.append(held)
            self.n_bytes += _size(held)
        return self._known[key]

    def floats(self, tensor: Tensor) -> str:
        """Add floats, in fewer bytes if they may be :attr:`half`, and return a name."""

        def rounded(fragment: Fragment) -> str:
            stored = fragment.tensor(tensor.to(torch.float16))
            return fragment.add("Cast", stored, to=TYPES[tensor.dtype])

        forms: list[Form] = [lambda fragment: fragment.tensor(tensor)]
        if self.half and tensor.dtype in (torch.float32, torch.float64):
            forms.append(rounded)
        return self.smallest(forms)

    def filled(self, value: float, shape: Sequence[int], dtype: torch.dtype) -> str:
        """Add a tensor of one value, and return its name."""
        one = helper.make_tensor("", TYPES[dtype], [1], [value])
        return self.add("ConstantOfShape", self.ints(*shape), value=one)

    def smallest(self, forms: Sequence["Form"]) -> str:
        """Add what takes the fewest bytes.

        Parameters
        ----------
        forms : sequence of callable
            Each adds its own to a fragment, and returns the name of the same value; of
            equals the first is taken.

        Returns
        -------
        str
            The name.
        """
        before = self._state()
        trials = []
        for form in forms:
            name = form(self)
            trials.append((name, self._state(), self._cut(before)))
        name, state, (nodes, initializers, known) = min(
            trials, key=lambda trial: trial[1][0]
        )
        self.nodes += nodes
        self.initializers += initializers
        self._known |= known
        self.n_bytes, self._count = state[:2]
        return name

    def _state(self) -> tuple[int, ...]:
        lengths = len(self.nodes), len(self.initializers), len(self._known)
        return self.n_bytes, self._count, *lengths

    def _cut(self, before: tuple[int, ...]) -> tuple[list[Any], list[Any], Any]:
        """Go back to a state, and return what has been added since."""
        self.n_bytes, self._count, n_nodes, n_initializers, n_known = before
        nodes, initializers = self.nodes[n_nodes:], self.initializers[n_initializers:]
        del self.nodes[n_nodes:], self.initializers[n_initializers:]
        since = [self._known.popitem() for _ in range(len(self._known) - n_known)]
        return nodes, initializers, dict(since[::-1])


def _size(message: NodeProto | TensorProto) -> int:
    """Return the bytes of a message inside of another: one, its length, and itself."""
    size: int = message.ByteSize()
    return 1 + (size.bit_length() + 6) // 7 + size

"""The outside of a model file: safetensors with one metadata key, and a checksum.

The file is eight bytes that say how long the head is, the head, and the arrays end to
end. The head is canonical JSON (keys sorted, no spaces, ASCII) with spaces up to a
multiple of eight bytes. It says where each array of bytes lies, and under ``"sklc"``,
as canonical JSON again, what they mean. So a model has exactly one file.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from sklc.exceptions import ModelFileError
from sklc.ops.bits import Bytes

FORMAT = 1
_KEY = "sklc"
_BLANK = "0" * 64
_MOST = 1 << 27  # bytes of a head


def to_bytes(header: Mapping[str, Any], arrays: Mapping[str, Bytes]) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    header : dict
        JSON-compatible.
    arrays : dict of str to ndarray of uint8
    """
    sizes = {name: len(array) for name, array in arrays.items()}
    data = b"".join(arrays[name].tobytes() for name in sorted(arrays))
    header = {**header, "format": FORMAT}
    blank = _head({**header, "checksum": _BLANK}, sizes)
    checksum = _checksum(blank, data)
    return _head({**header, "checksum": checksum}, sizes) + data


def parse(content: bytes) -> tuple[dict[str, Any], dict[str, Bytes]]:
    """Return what :func:`to_bytes` was given.

    Raises
    ------
    ModelFileError
        If a single bit is not what it was, or a newer version has written it.
    """
    try:
        end = 8 + int.from_bytes(content[:8], "little")
        head = json.loads(content[8:end]) if end - 8 <= _MOST else {}
        header = json.loads(head.pop("__metadata__")[_KEY])
        version = header.pop("format")
        sizes = {name: entry["shape"][0] for name, entry in head.items()}
        whole = all(type(size) is int and size >= 0 for size in sizes.values())
    except Exception as error:  # whatever a file may hold that somebody else wrote
        damaged(f"{error!r:.200}", error)
    if type(version) is not int or not 1 <= version <= FORMAT:
        msg = (
            f"has format {version!r}, and this version of sklc reads formats up to "
            f"{FORMAT}: upgrade sklc."
        )
        raise ModelFileError(msg)
    checksum = header.pop("checksum", None)
    try:
        found = _head({**header, "format": version, "checksum": checksum}, sizes)
        blank = _head({**header, "format": version, "checksum": _BLANK}, sizes)
    except Exception as error:
        damaged(f"{error!r:.200}", error)
    data = memoryview(content)[end:]
    if not whole or found != content[:end] or sum(sizes.values()) != len(data):
        damaged("its head is not as it is written")
    if checksum != _checksum(blank, data):
        damaged("its checksum is wrong")
    arrays, start = {}, 0
    for name in sorted(sizes):
        part = data[start : start + sizes[name]]
        arrays[name] = np.frombuffer(part, dtype=np.uint8)
        start += sizes[name]
    return header, arrays


def damaged(why: str, cause: Exception | None = None) -> NoReturn:
    """Raise the error of a file that is no model."""
    msg = f"is damaged, or no model of sklc ({why})."
    raise ModelFileError(msg) from cause


def _head(header: Mapping[str, Any], sizes: Mapping[str, int]) -> bytes:
    """Return what comes before the arrays."""
    entries: dict[str, Any] = {"__metadata__": {_KEY: _canonical(header)}}
    start = 0
    for name in sorted(sizes):
        end = start + sizes[name]
        entries[name] = {"data_offsets": [start, end], "dtype": "U8"}
        entries[name]["shape"] = [sizes[name]]
        start = end
    text = _canonical(entries)
    text += " " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text.encode("ascii")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(head: bytes, data: bytes | memoryview) -> str:
    found = hashlib.sha256(head)
    found.update(data)
    return found.hexdigest()

"""Files as accidents and attackers make them."""

import copy
import json

import numpy as np

from sklc.deploy.container import parse, to_bytes

#: What is put in the place of a part of a header.
LIES = [
    *(None, True, False, 0, 1, -1, 2, 3, 255, 256, 65536, 1 << 31, 1 << 40, 1 << 70),
    *(0.5, -1e308, "", "x", "float64", "float16", "uint8", "int64", "complex64"),
    *([], {}, [1], [0], [-1], [1 << 20, 1 << 20], [[]], [1 << 62], {"stream": "x"}),
    *("Floats", "Indices", "Positions", "Planes", "Symbols", "Pruned", "Arrangement"),
    *("Dense", "Sparse", "Factored", "Quantized", "Scaled", "Sum", "Code", "Stream"),
    *("softmax", "argmax", "net", "Ridge", "__class__", "os.system"),
]


def mutants(content, n, seed):
    """Yield `n` files that differ from a file; half of them have right checksums."""
    rng = np.random.default_rng(seed)
    makers = [flipped, cut, spliced, lied, lied, swapped, dropped, other_bytes]
    for number in range(n):
        mutant = makers[number % len(makers)](content, rng)
        if mutant is not None and mutant != content:
            yield mutant


def flipped(content, rng):
    mutant = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        mutant[rng.integers(len(mutant))] ^= 1 << int(rng.integers(8))
    return bytes(mutant)


def cut(content, rng):
    end = int(rng.integers(len(content)))
    return content[:end] + b"\0" * int(rng.integers(3) * 5)


def spliced(content, rng):
    a, b, size = (int(x) for x in rng.integers(len(content), size=3))
    size = size % 64
    mutant = bytearray(content)
    mutant[a : a + size] = content[b : b + size]
    return bytes(mutant)


def places(value):
    """Return all containers and keys in a JSON value."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        found.append((value, key))
        if isinstance(part, dict | list):
            found += places(part)
    return found


def lied(content, rng):
    """Write another value in the header, and the right checksum."""
    header, arrays = opened(content)
    all_places = places(header)
    for _ in range(rng.integers(1, 3)):
        owner, key = all_places[rng.integers(len(all_places))]
        lie = copy.deepcopy(LIES[rng.integers(len(LIES))])
        now = owner[key]
        near = type(now) is int and rng.random() < 0.5
        owner[key] = now + int(rng.integers(-2, 3)) if near else lie
    return closed(header, arrays)


def swapped(content, rng):
    """Swap two values of the header, or two arrays."""
    header, arrays = opened(content)
    if rng.random() < 0.3:
        one, two = rng.choice(list(arrays), 2)
        arrays[one], arrays[two] = arrays[two], arrays[one]
        return closed(header, arrays)
    all_places = places(header)
    (a, i), (b, j) = (all_places[k] for k in rng.integers(len(all_places), size=2))
    a[i], b[j] = copy.deepcopy(b[j]), copy.deepcopy(a[i])
    return closed(header, arrays)


def dropped(content, rng):
    """Leave out, or double, a part."""
    header, arrays = opened(content)
    owner, key = places(header)[rng.integers(len(places(header)))]
    if rng.random() < 0.2 and arrays:
        del arrays[str(rng.choice(list(arrays)))]
    elif isinstance(owner, dict):
        owner[f"{key}'" if rng.random() < 0.5 else "x"] = owner.pop(key)
    elif rng.random() < 0.5:
        del owner[key]
    else:
        owner.insert(key, copy.deepcopy(owner[key]))
    return closed(header, arrays)


def other_bytes(content, rng):
    """Change the bytes of a stream, and write the right checksum."""
    header, arrays = opened(content)
    names = [name for name in arrays if len(arrays[name])]
    name = str(rng.choice(names))
    array = arrays[name].copy()
    kind = rng.integers(4)
    if kind == 0:
        array = array[: rng.integers(len(array))]
    elif kind == 1:
        array = np.append(array, rng.integers(256, size=3).astype(np.uint8))
    elif kind == 2:
        array[:] = rng.integers(256, size=len(array))
    else:
        array[rng.integers(len(array))] ^= 1 << rng.integers(8)
    return closed(header, arrays | {name: array})


def opened(content):
    header, arrays = parse(content)
    return json.loads(json.dumps(header)), dict(arrays)


def closed(header, arrays):
    """Return a file; None, where it cannot be written as one."""
    try:
        return to_bytes(header, arrays)
    except (TypeError, ValueError):
        return None

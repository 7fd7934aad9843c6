"""Results: one JSON file of records, to which several processes may add."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Record = dict[str, Any]

#: What tells records apart.
KEY = "loss", "net", "scheme", "epochs", "method", "seed", "lr"


def key(record: Record) -> tuple:
    """Return what tells a record from others."""
    return tuple(record[name] for name in KEY)


def read(path: Path) -> list[Record]:
    """Return all records of a file; none if it does not exist."""
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def add(path: Path, record: Record) -> None:
    """Add a record to a file, in the place of one of its key."""
    with _alone(path):
        records = {key(old): old for old in read(path)}
        records[key(record)] = record
        _write(path, records.values())


def _write(path: Path, records: Iterable[Record]) -> None:
    """Write records, a line for each, so that the file is old or new, never half."""
    lines = sorted((str(key(record)), json.dumps(record)) for record in records)
    text = "[\n" + ",\n".join(line for _, line in lines) + "\n]\n"
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text, "utf-8")
    draft.replace(path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing to a file, for a while."""
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""Files that are replaced as a whole, by one process at a time."""

import contextlib
import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]


class Locked(OSError):
    """Another process, or another thread, has the file."""


class File:
    """A file to write, which nobody else writes meanwhile.

    Parameters
    ----------
    path : str or Path
        ``~`` is the home of the user, and what a link points to is written. Its folder
        is made if there is none.

    Raises
    ------
    OSError
        If it cannot be written: it is a folder, or in one that may not be written to.
    Locked
        If somebody else has it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(Path(path).expanduser()))
        if self.path.is_dir():
            msg = "it is a folder"
            raise IsADirectoryError(msg)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._beside("lock"))

    def _beside(self, kind: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{kind}")

    def write(self, content: bytes) -> None:
        """Replace the content, at once or not at all."""
        new = self._beside("new")  # maybe left by a process that was killed
        try:
            with new.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def read(self) -> bytes | None:
        """Return the content, or None if there is no file yet."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Let others have it."""
        if not self._lock.closed:
            with contextlib.suppress(OSError):
                self._beside("lock").unlink()
            self._lock.close()


def _locked(path: Path) -> IO[bytes]:
    """Return an open file with a lock, which ends when it is closed or we are."""
    while True:
        file = path.open("ab")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_at(file, path):  # whoever had it removes it in the end
                return file
        except BlockingIOError as error:
            file.close()
            raise Locked(*error.args) from error
        except OSError:  # a file system without locks
            return file
        file.close()


def _is_still_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file, at once or not at all; see :class:`File`.

    Raises
    ------
    OSError
        If it cannot be written, or somebody else is writing it.
    """
    try:
        file = File(path)
    except Locked as error:
        msg = f"{path} is being written by another process."
        raise OSError(msg) from error
    with contextlib.closing(file):
        file.write(content)

"""Files that are replaced as a whole, by one process at a time."""

import contextlib
import os
import stat
import uuid
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

    Beside it lie, as long as they are needed, ``.<name>.sklc-lock`` and
    ``.<name>.sklc-new``.

    Parameters
    ----------
    path : str or Path
        See :func:`target`. Its folder is made if there is none.

    Raises
    ------
    OSError
        If it cannot be written.
    Locked
        If somebody else has it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = target(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._beside("lock"))

    def _beside(self, kind: str) -> Path:
        return self.path.with_name(f".{self.path.name}.sklc-{kind}")

    def write(self, content: bytes) -> None:
        """Replace the content, at once or not at all; permissions stay."""
        new = self._beside("new")
        new.unlink(missing_ok=True)  # left by a process that was killed
        _put(content, self.path, new)

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


def target(path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written.

    Parameters
    ----------
    path : str or Path
        ``~`` is the home of the user, and what a link points to is written.

    Raises
    ------
    OSError
        If there is something else than a regular file, which stays as it is.
    """
    found = Path(os.path.realpath(Path(path).expanduser()))
    if found.is_dir():
        msg = f"{os.fspath(path)!r} is {found}, a folder and not a file"
        raise IsADirectoryError(msg)
    if found.exists() and not found.is_file():
        msg = f"{os.fspath(path)!r} is {found}, a device, a pipe or a socket"
        raise OSError(msg)
    return found


def replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file, at once or not at all; permissions stay.

    Of several who do it at once, the last one wins.

    Parameters
    ----------
    path : str or Path
        See :func:`target`. Its folder is made if there is none.
    content : bytes

    Raises
    ------
    OSError
        If it cannot be written.
    """
    found = target(path)
    found.parent.mkdir(parents=True, exist_ok=True)
    _put(content, found, found.with_name(f".{uuid.uuid4().hex}.sklc-new"))


def _put(content: bytes, path: Path, new: Path) -> None:
    """Write a file, and put it where another may be."""
    with new.open("xb") as file:
        try:
            with contextlib.suppress(FileNotFoundError):
                new.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            file.close()  # some systems move no open file
            new.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise


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

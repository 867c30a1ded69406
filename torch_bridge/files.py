"""Files that appear whole or not at all."""

import contextlib
import os
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then moved there.

    Args:
        path: the file; an existing one is replaced.
        content: all of its bytes.
    """
    target = Path(path)
    other = beside(target)
    try:
        other.write_bytes(content)
        os.replace(other, target)
    finally:
        other.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """Return where a file is written before it is moved to its place: in the same folder, hidden."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def require_writable(path: str | os.PathLike[str]) -> None:
    """Find out whether a file can be written, and leave no trace of the attempt.

    Raises:
        OSError: there is no such folder, or it is not writable, or the path is a folder.
    """
    target = Path(path)
    other = beside(target)
    try:
        if target.is_dir():
            raise IsADirectoryError("it is a folder")
        with other.open("xb"):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(f"cannot write the trace {target}: {reason}; choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            other.unlink(missing_ok=True)

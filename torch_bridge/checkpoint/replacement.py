"""Files and folders that appear whole or not at all, and never in the place of another one unasked."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch_bridge.files import beside


@contextmanager
def replacing(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Give the name of a new file or folder beside a place; at the end it is moved there.

    It is on the disk before it is moved, so that after a crash there is the old one or the new one, whole. A folder
    takes two moves: a crash between them leaves the old one where `set_aside` says.

    Args:
        path: the place.
        force: what is there is replaced.

    Raises:
        FileExistsError: something is there, and ``force`` is not given.
        OSError: it cannot be written there; nothing was changed.
    """
    target = Path(path)
    require_free(target, force)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into: make it first")
    new, old = beside(target), set_aside(target)
    try:
        yield new
        for each in (new, *new.rglob("*")) if new.is_dir() else (new,):
            _sync(each)
        require_free(target, force)
        if target.is_dir() and not target.is_symlink():  # which no folder can replace in one move
            _remove(old)
            os.rename(target, old)
            try:
                os.rename(new, target)
            except BaseException:
                os.rename(old, target)
                raise
        else:
            os.replace(new, target)
        _sync(target.parent)
        _remove(old)
    finally:
        _remove(new)


def set_aside(path: Path) -> Path:
    """Return where a folder is for the moment in which another one takes its place."""
    return path.with_name(f".{path.name}.old")


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def require_free(target: Path, force: bool) -> None:
    """Make sure that nothing is where a file or folder is to be written.

    Raises:
        FileExistsError: something is, and ``force`` is not given.
    """
    if not force and (target.exists() or target.is_symlink()):
        raise FileExistsError(f"{target} is there already: choose another name, or replace it by force")


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make sure that a path is a file, before it is read by name.

    Raises:
        OSError: there is none, it cannot be read, or it is a folder, a pipe or a device.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise OSError(f"{path} is {kind}: give a file")
    with open(path, "rb"):
        yield


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

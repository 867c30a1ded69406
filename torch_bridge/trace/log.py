"""Where frames are written and read: in memory, or in a file, as a run goes."""

import bisect
import contextlib
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch_bridge.files import beside, require_writable
from torch_bridge.trace.frames import Buffer

WINDOW = 2**18
"""Bytes that are read at once where less is asked for: the small frames of many steps."""


class Log(Protocol):
    """Bytes that are only added to; slots, reserved in between, are overwritten.

    Attributes:
        size: in bytes.
    """

    size: int

    def read(self, position: int, length: int) -> Buffer:
        """Return so many bytes, all of them."""

    def append(self, buffers: Sequence[Buffer], reserve: int = 0) -> int:
        """Add bytes and then so many zeros; return where they begin, or -1 in a fork, which does not write."""

    def overwrite(self, position: int, buffers: Sequence[Buffer]) -> None:
        """Replace reserved bytes."""

    def publish(self) -> None:
        """Let the file appear, if it is one."""

    def close(self) -> None:
        """Add no more."""

    def discard(self) -> None:
        """Remove the file if it did not appear."""


class MemoryLog:
    """A log in memory; what is read is a view."""

    def __init__(self, content: bytes = b"") -> None:
        self._starts = [0] if content else []
        self._chunks: list[bytes | bytearray] = [content] if content else []
        self.size = len(content)

    def read(self, position: int, length: int) -> Buffer:
        """See `Log`."""
        index = bisect.bisect_right(self._starts, position) - 1
        if length == 0 or index < 0:
            return b""
        chunk, start = self._chunks[index], position - self._starts[index]
        if isinstance(chunk, bytearray):  # it will be overwritten
            return bytes(chunk[start : start + length])
        return memoryview(chunk)[start : start + length]

    def append(self, buffers: Sequence[Buffer], reserve: int = 0) -> int:
        """See `Log`."""
        start = self.size
        for chunk in (b"".join(buffers), bytearray(reserve)):
            if chunk:
                self._starts.append(self.size)
                self._chunks.append(chunk)
                self.size += len(chunk)
        return start

    def overwrite(self, position: int, buffers: Sequence[Buffer]) -> None:
        """See `Log`."""
        index = bisect.bisect_right(self._starts, position) - 1
        chunk, start = self._chunks[index], position - self._starts[index]
        assert isinstance(chunk, bytearray)  # it was reserved
        for buffer in buffers:
            chunk[start : start + len(buffer)] = buffer
            start += len(buffer)

    def publish(self) -> None:
        """See `Log`."""

    def close(self) -> None:
        """See `Log`."""

    def discard(self) -> None:
        """See `Log`."""


class FileLog:
    """A log in a file, written through from the arrays' own memory, so that the end of the process loses nothing.

    The file appears under its name, and replaces one of that name, by `publish`: with the first whole step.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Prepare to write.

        Args:
            path: of the file.

        Raises:
            OSError: it cannot be written there; nothing was changed.
        """
        require_writable(path)
        self._path = Path(path).absolute()  # a script may change the folder
        self._beside: Path | None = beside(self._path)
        self._file = -1
        self._window: tuple[int, bytes] = (0, b"")
        self._process = os.getpid()
        self._failure: OSError | None = None
        self.size = 0

    @classmethod
    def reading(cls, path: str | os.PathLike[str]) -> "FileLog":
        """Open a file to be read."""
        log = cls.__new__(cls)
        log._path, log._beside, log._window, log._failure = Path(path), None, (0, b""), None
        log._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        log._process = -1
        log.size = os.fstat(log._file).st_size
        weakref.finalize(log, os.close, log._file)
        return log

    def read(self, position: int, length: int) -> Buffer:
        """See `Log`."""
        if length > WINDOW // 4:
            content = os.pread(self._file, length, position)
        else:
            start, window = self._window
            if not start <= position <= position + length <= start + len(window):
                start, window = position, os.pread(self._file, min(WINDOW, self.size - position), position)
                self._window = start, window
            content = window[position - start : position - start + length]
        if len(content) < length:
            raise ValueError(f"{self._path} is shorter than when it was opened: open it again")
        return content

    def append(self, buffers: Sequence[Buffer], reserve: int = 0) -> int:
        """See `Log`."""
        start = self.size
        if os.getpid() != self._process:  # a fork of the process that records has a run of its own
            return -1
        if self._failure is not None:
            raise self._failure
        try:
            if self._file < 0:
                assert self._beside is not None  # nothing was published yet
                flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
                self._file = os.open(self._beside, flags, 0o666)
                self._abandon = weakref.finalize(self, _abandon, self._file, self._beside, self._process)
            self.size += _write(self._file, buffers, start)
            if reserve:
                self.size += reserve
                os.ftruncate(self._file, self.size)
        except OSError as error:
            self._failure, self.size = error, start
            with contextlib.suppress(OSError):  # a frame that is cut would hide what follows; nothing does
                os.ftruncate(self._file, start)
            raise
        return start

    def overwrite(self, position: int, buffers: Sequence[Buffer]) -> None:
        """See `Log`."""
        if os.getpid() == self._process:
            self._window = (0, b"")
            _write(self._file, buffers, position)

    def publish(self) -> None:
        """See `Log`."""
        if self._beside is not None and os.getpid() == self._process:
            os.replace(self._beside, self._path)
            self._beside = None
            self._abandon.detach()
            weakref.finalize(self, os.close, self._file)

    def close(self) -> None:
        """See `Log`."""
        self._process = -1

    def discard(self) -> None:
        """See `Log`."""
        if self._beside is not None and self._file >= 0:
            self._abandon()


def _abandon(file: int, path: Path, process: int) -> None:
    os.close(file)
    if os.getpid() == process:
        path.unlink(missing_ok=True)


def _write(file: int, buffers: Sequence[Buffer], position: int) -> int:
    """Write all of some buffers, in as few calls as the system allows; return how many bytes they are."""
    start, left = position, [memoryview(buffer) for buffer in buffers if len(buffer)]
    while left:
        written = os.pwritev(file, left[:512], position)
        position += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left and written:
            left[0] = left[0][written:]
    return position - start


def open_log(path: str | os.PathLike[str]) -> Log:
    """Open a file to be read; a small one is read as a whole, and the file closed."""
    log = FileLog.reading(path)
    return MemoryLog(bytes(log.read(0, log.size))) if log.size <= WINDOW // 4 else log

"""From a trace file to the indices of its runs. Nothing in a file is trusted, and nothing in it is executed."""

from typing import Any

import numpy as np

from torch_bridge.trace.frames import FORMAT, SLOT, DamagedTraceError, Frame, NewerFormatError, frames
from torch_bridge.trace.header import check_header
from torch_bridge.trace.index import Index, read_tensor
from torch_bridge.trace.layout import Layout
from torch_bridge.trace.log import Log


def read_runs(log: Log) -> tuple[list[Index], bool]:
    """Return the runs of a file, and whether they came to their end.

    Args:
        log: the file.

    Raises:
        DamagedTraceError: the file is no trace or is damaged.
        NewerFormatError: it was written in a newer format.
    """
    reader = _Reader(log)
    for frame in frames(log.read, log.size):
        reader.take(frame)
    for index in reader.runs:
        check_header(index.static)
    return reader.runs, reader.complete


class _Reader:
    """Takes one frame after another.

    Attributes:
        runs: so far.
        complete: the end was read.
    """

    def __init__(self, log: Log) -> None:
        self.runs: list[Index] = []
        self.complete = False
        self._log = log
        self._begun = False

    def take(self, frame: Frame) -> None:
        kind = frame.facts["kind"]
        if self.complete or self._begun == (kind == "trace"):
            raise DamagedTraceError(f"a frame of kind {kind[:40]!r} is not at its place")
        if kind == "trace":
            self._begin(frame)
            return
        if kind == "end":
            self._end(frame)
            return
        take = {
            "run": self._run, "layout": self._layout, "step": self._step, "fill": self._fill, "more": self._more,
            "facts": self._facts, "ring": self._ring,
        }.get(kind)  # fmt: skip
        if take is None or frame.is_slots != (kind == "ring"):
            raise DamagedTraceError(f"there is no frame of kind {kind[:40]!r}")
        number = _natural(frame, "run")
        if number > len(self.runs) or (number == len(self.runs)) != (kind == "run"):
            raise DamagedTraceError(f"there is no run {number}")
        take(frame, Index(self._log) if kind == "run" else self.runs[number])

    def _begin(self, frame: Frame) -> None:
        version = _natural(frame, "format")
        if version > FORMAT:
            raise NewerFormatError(f"has trace format {version}, this torch_bridge reads up to {FORMAT}: upgrade it")
        if version < FORMAT:
            raise DamagedTraceError(f"there is no trace format {version}")
        self._begun = True

    def _end(self, frame: Frame) -> None:
        if frame.facts.get("steps") != [index.n_steps for index in self.runs]:
            raise DamagedTraceError("it has another number of steps than were recorded")
        self.complete = True

    def _run(self, frame: Frame, index: Index) -> None:
        name = frame.facts.get("name")
        if not isinstance(name, str) or name in [each.name for each in self.runs]:
            raise DamagedTraceError("a run has no name of its own")
        index.name, index.static = name, _static(frame)
        index.initial = {key: value for _, key, value in self._tensors(frame, ("initial",))}
        self.runs.append(index)

    def _layout(self, frame: Frame, index: Index) -> None:
        rooms = ("steps", "digests", "norms", "twins")
        layout = Layout.from_json(frame.facts.get("tensors"), rooms, varying=True)
        for room, key, dtype, shape in layout.tensors:
            if (room, dtype, shape) not in (("digests", "uint64", (2,)), ("norms", "float64", (3,))) and room in (
                "digests",
                "norms",
            ):
                raise DamagedTraceError(f"a digest or norm of {key[:80]!r} is none")
        index.layouts.append(layout)

    def _step(self, frame: Frame, index: Index) -> None:
        number = _natural(frame, "layout")
        self._check(index, number, frame.start, frame.size)
        index.add_step(frame.start, number)

    def _fill(self, frame: Frame, index: Index) -> None:
        if _natural(frame, "steps") != index.n_steps:
            raise DamagedTraceError("a quantity was added to other steps than there are")
        for _, key, value in self._tensors(frame, ("steps",)):
            index.fills[key] = index.n_steps, value

    def _more(self, frame: Frame, index: Index) -> None:
        for room, key, value in self._tensors(frame, ("initial", "extra")):
            (index.initial if room == "initial" else index.extra)[key] = value

    def _facts(self, frame: Frame, index: Index) -> None:
        index.static.update(_static(frame))

    def _ring(self, frame: Frame, index: Index) -> None:
        n_slots, capacity = _natural(frame, "slots"), _natural(frame, "capacity")
        if n_slots < 1 or capacity < SLOT.size or n_slots * capacity != frame.size:
            raise DamagedTraceError("slots are larger or smaller than their frame")
        index.add_ring(frame, n_slots, capacity)

    def _check(self, index: Index, number: int, start: int, size: int) -> None:
        """Require that the data of a step are what its layout says."""
        if number >= len(index.layouts):
            raise DamagedTraceError(f"there is no layout {number}")
        layout = index.layouts[number]
        if 8 * layout.n_sizes > size:
            raise DamagedTraceError(f"tensors of varying sizes lie in a frame of {size} bytes")
        sizes = np.frombuffer(self._log.read(start, 8 * layout.n_sizes), np.int64) if layout.n_sizes else np.zeros(0)
        layout.check(size, [int(n) for n in sizes])

    def _tensors(self, frame: Frame, rooms: tuple[str, ...]) -> Any:
        layout = Layout.from_json(frame.facts.get("tensors"), rooms)
        layout.check(frame.size)
        for (room, key), place in layout.places().items():
            yield room, key, read_tensor(self._log.read, frame.start, place)


def _natural(frame: Frame, name: str) -> int:
    value = frame.facts.get(name)
    if type(value) is not int or not 0 <= value < 2**63:
        raise DamagedTraceError(f"a frame of kind {frame.facts['kind'][:40]!r} has no {name}")
    return value


def _static(frame: Frame) -> dict[str, Any]:
    static = frame.facts.get("static")
    if not isinstance(static, dict):
        raise DamagedTraceError("a run has no header")
    return static

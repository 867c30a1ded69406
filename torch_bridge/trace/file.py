"""A trace file that is written as the run goes; it holds one run or several."""

import json
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from torch_bridge.trace.dtypes import storable
from torch_bridge.trace.frames import FORMAT, HEADER, MAGIC, SLOT, Frame, pack, pack_slot
from torch_bridge.trace.index import Array, Index
from torch_bridge.trace.layout import Layout, Tensor
from torch_bridge.trace.log import FileLog, Log, MemoryLog

Values = Mapping[tuple[str, str], Array]
"""Room and key -> array."""


class TraceFile:
    """A log to which runs are written, in a file or in memory.

    Attributes:
        path: of the file; None in memory.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, whole: bool = False) -> None:
        """Prepare to write.

        Args:
            path: of the file; it appears with the first whole step, and is readable from then on. None writes to
                memory.
            whole: the file appears whole or not at all, by `close`.

        Raises:
            OSError: it cannot be written there; nothing was changed.
        """
        self.path = path
        self._log: Log = MemoryLog() if path is None else FileLog(path)
        self._whole = whole
        self._runs: list[RunLog] = []

    def run(self, name: str) -> "RunLog":
        """Begin a run; it gets a number to its name if there is one of that name."""
        names = [run.index.name for run in self._runs]
        n, numbered = 1, name
        while numbered in names:
            n, numbered = n + 1, f"{name} {n + 1}"
        if not self._runs:
            self._log.append([MAGIC, *pack({"kind": "trace", "format": FORMAT})])
        self._runs.append(RunLog(self._log, len(self._runs), numbered, self._whole))
        return self._runs[-1]

    def close(self) -> None:
        """Write that the runs came to their end; nothing is written after that."""
        if self._runs:
            self._log.append(pack({"kind": "end", "steps": [run.index.n_steps for run in self._runs]}))
            self._log.publish()
        self._log.close()

    def __enter__(self) -> "TraceFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        self._log.discard()


class RunLog:
    """One run in a `TraceFile`.

    Attributes:
        index: where what was written lies.
    """

    def __init__(self, log: Log, number: int, name: str, whole: bool) -> None:
        """See `TraceFile.run`."""
        self.index = Index(log, name)
        self._log, self._number, self._whole = log, number, whole
        self._layouts: dict[tuple[Tensor, ...], int] = {}
        self._shapes: dict[tuple[str, str], tuple[int, ...]] = {}
        self._ring: Frame | None = None
        self._capacity = 0

    def begin(self, static: Mapping[str, Any], initial: Mapping[str, Array]) -> None:
        """Write the header and the initial state."""
        facts = {"kind": "run", "run": self._number, "name": self.index.name, "static": static}
        self._write_tensors(facts, {("initial", key): value for key, value in initial.items()})
        self.index.static = json.loads(json.dumps(static))
        self.index.initial = {key: np.array(value) for key, value in initial.items()}

    def step(self, values: Values, latest: Values | None = None, last: int = 0) -> None:
        """Write a step.

        Args:
            values: of the step.
            latest: what is kept for so long as the step is among the last.
            last: how many of those there are.
        """
        if latest:
            self._write_slot(latest, last + 1)
        number, data = self._laid_out(values)
        start = self._write({"kind": "step", "run": self._number, "layout": number}, data)
        if start < 0:
            return
        if not self._whole:
            self._log.publish()
        self.index.add_step(start, number)

    def fill(self, key: str, value: Array) -> None:
        """Give all steps so far a quantity that they lack."""
        facts = {"kind": "fill", "run": self._number, "steps": self.index.n_steps}
        self._write_tensors(facts, {("steps", key): value})
        self.index.fills[key] = self.index.n_steps, value

    def more(self, room: str, values: Mapping[str, Array]) -> None:
        """Write further initial state, or extra arrays, by the room's name."""
        if values:
            self._write_tensors({"kind": "more", "run": self._number}, {(room, key): v for key, v in values.items()})
            getattr(self.index, room).update(values)

    def facts(self, static: Mapping[str, Any]) -> None:
        """Write entries of the header that replace earlier ones."""
        if static:
            self._write({"kind": "facts", "run": self._number, "static": static}, [])
            self.index.static.update(static)

    def _write(self, facts: dict[str, Any], data: Any) -> int:
        """Write a frame; return where its data begin, or -1."""
        head, *data = pack(facts, data)
        start = self._log.append([head, *data])
        return start if start < 0 else start + len(head)

    def _write_tensors(self, facts: dict[str, Any], values: Values) -> None:
        arrays = {key: storable(key[1], value) for key, value in values.items()}
        layout = Layout((*key, array.dtype.name, array.shape) for key, array in arrays.items())
        self._write({**facts, "tensors": layout.to_json()}, layout.buffers(arrays))

    def _laid_out(self, values: Values) -> tuple[int, Any]:
        """The number of the layout that values of a step have, which is written when it is new, and their data."""
        arrays = {key: storable(key[1], value) for key, value in values.items()}
        tensors = tuple((*key, array.dtype.name, self._shape(key, array.shape)) for key, array in arrays.items())
        number = self._layouts.get(tensors)
        if number is None:
            number = self._layouts[tensors] = len(self.index.layouts)
            layout = Layout(tensors)
            self._write({"kind": "layout", "run": self._number, "tensors": layout.to_json()}, [])
            self.index.layouts.append(layout)
        return number, self.index.layouts[number].buffers(arrays)

    def _shape(self, key: tuple[str, str], shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape with -1 where it has been another one at another step."""
        known = self._shapes.setdefault(key, shape)
        if known != shape and len(known) == len(shape):
            known = tuple(n if n == m else -1 for n, m in zip(known, shape, strict=True))
            self._shapes[key] = known
        return known if len(known) == len(shape) else shape

    def _write_slot(self, values: Values, n_slots: int) -> None:
        step = self.index.n_steps
        number, data = self._laid_out(values)
        buffers = pack_slot(step, number, data)
        size = sum(len(buffer) for buffer in buffers)
        if self._ring is None or size > self._capacity:
            self._capacity = -(-max(size, self._capacity + self._capacity // 2) // 8) * 8  # steps may go on to grow
            facts = {"kind": "ring", "run": self._number, "slots": n_slots, "capacity": self._capacity}
            (head,) = pack(facts, slots=n_slots * self._capacity)
            start = max(self._log.append([head], reserve=n_slots * self._capacity), 0) + len(head)
            self._ring = Frame(facts, start, n_slots * self._capacity, True)
            self.index.add_ring(self._ring, n_slots, self._capacity)
        self._log.overwrite(self._ring.start + step % n_slots * self._capacity, buffers)


assert HEADER.size % 8 == 0  # so that tensors lie at multiples of 8
assert SLOT.size % 8 == 0

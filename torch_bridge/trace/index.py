"""Where a run's values lie in its log: a few bytes for each step, whatever a step holds."""

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from torch_bridge.trace.dtypes import DTYPES
from torch_bridge.trace.frames import DamagedTraceError, Frame, Read, slots
from torch_bridge.trace.layout import Layout, Place
from torch_bridge.trace.log import Log

Array = npt.NDArray[Any]


class Index:
    """Where the values of a run lie; it grows with the run.

    Attributes:
        name: of the run.
        static: its header.
        initial: its initial state.
        extra: see `Trace.extra`.
        layouts: of its steps, by number.
        fills: by key, up to which step it had one value, and which.
    """

    def __init__(self, log: Log, name: str = "", static: Mapping[str, Any] | None = None) -> None:
        """Begin.

        Args:
            log: what holds the values.
            name: of the run.
            static: its header.
        """
        self.name, self.static = name, dict(static or {})
        self.initial: dict[str, Array] = {}
        self.extra: dict[str, Array] = {}
        self.layouts: list[Layout] = []
        self.fills: dict[str, tuple[int, Array]] = {}
        self.log = log
        self._starts, self._numbers = array("q"), array("i")
        self._rings: list[tuple[Frame, int, int]] = []

    @property
    def n_steps(self) -> int:
        """How many steps there are."""
        return len(self._starts)

    def add_step(self, start: int, layout: int) -> None:
        """Add a step whose data begin at ``start``."""
        self._starts.append(start)
        self._numbers.append(layout)

    def add_ring(self, frame: Frame, n_slots: int, capacity: int) -> None:
        """Add slots, see `torch_bridge.trace.frames.slots`."""
        self._rings.append((frame, n_slots, capacity))

    def view(self) -> "View":
        """Return the steps so far; what is recorded later does not change them."""
        return View(self)

    def latest(self, n_steps: int) -> dict[int, tuple[int, bytes]]:
        """Return what the slots hold: of a step the number of its layout, and its data.

        Raises:
            DamagedTraceError: it is not what the layout says.
        """
        found = {}
        for frame, n_slots, capacity in self._rings:
            for step, layout, start, length in slots(self.log.read, frame, n_slots, capacity):
                if not n_steps - n_slots < step < n_steps:
                    continue
                data = bytes(self.log.read(start, length))
                if layout >= len(self.layouts) or 8 * self.layouts[layout].n_sizes > length:
                    raise DamagedTraceError(f"one of the last steps has the layout {layout}")
                self.layouts[layout].check(length, _sizes(self.layouts[layout], data))
                found[step] = layout, data
        return found


class View:
    """The steps of a run, as an `Index` had them at one time.

    Attributes:
        n_steps: how many they are.
        n_bytes: of the log, by then.
        keys: of all quantities, in the order of their first steps.
        digested: those of which some step has a digest, likewise.
        normed: those of which some step has norms, likewise.
    """

    def __init__(self, index: Index) -> None:
        """Take the steps so far."""
        self.n_steps = index.n_steps
        self._log, self.n_bytes = index.log, index.log.size
        self._layouts, self._fills = list(index.layouts), dict(index.fills)
        self._starts = np.array(index._starts, np.int64)
        self._numbers = np.array(index._numbers, np.int64)
        self._ring = index.latest(self.n_steps)
        used, first = np.unique(self._numbers, return_index=True)
        in_order = [self._layouts[number] for number in used[np.argsort(first)]]
        self.digested = tuple(dict.fromkeys(key for each in in_order for key in each.keys("digests")))
        self.normed = tuple(dict.fromkeys(key for each in in_order for key in each.keys("norms")))
        by_layout = [[key for room, key, *_ in each.tensors if room in ("steps", "digests")] for each in in_order]
        by_layout.insert(1, list(self._fills))  # which every step before has as well
        self.keys = tuple(dict.fromkeys(key for keys in by_layout for key in keys))

    def value(self, room: str, key: str, step: int) -> Array | None:
        """Return a value of a step, or None where the step lacks it."""
        layout = self._layouts[self._numbers[step]]
        if (room, key) in layout:
            return self._at(layout, int(self._starts[step]), room, key)
        if room != "steps":
            return None
        if step in self._ring:
            number, data = self._ring[step]
            layout = self._layouts[number]
            if (room, key) in layout:
                view, place = memoryview(data), layout.places(_sizes(layout, data))[room, key]
                return read_tensor(lambda start, length: view[start : start + length], 0, place)
        until, fill = self._fills.get(key, (0, None))
        return fill if step < until else None

    def steps_with(self, room: str, key: str) -> npt.NDArray[np.bool_]:
        """Return which steps have a value, ``(n_steps,)``."""
        have = np.array([(room, key) in layout for layout in self._layouts], bool)
        rows: npt.NDArray[np.bool_] = have[self._numbers] if self.n_steps else np.zeros(0, bool)
        if room == "steps":
            rows[: self._fills.get(key, (0,))[0]] = True
            for step, (number, _) in self._ring.items():
                rows[step] |= have[number]
        return rows

    def present(self, key: str) -> npt.NDArray[np.bool_]:
        """Return which steps have a quantity, as a value or as a digest, ``(n_steps,)``."""
        return self.steps_with("steps", key) | self.steps_with("digests", key)

    def is_everywhere(self, key: str) -> bool:
        """Return True if every step has a quantity, as a value or as a digest."""
        have = [("steps", key) in layout or ("digests", key) in layout for layout in self._layouts]
        counts = np.bincount(self._numbers, minlength=len(have))[np.array(have, bool)].sum() if have else 0
        return bool(counts == self.n_steps) or bool(self.present(key).all())

    def twin(self, step: int) -> dict[str, Array]:
        """Return the float64 twin of a step."""
        layout = self._layouts[self._numbers[step]]
        found = {key: self.value("twins", key, step) for key in layout.keys("twins")}
        return {key: value for key, value in found.items() if value is not None}

    def steps_with_twins(self) -> list[int]:
        """Return the steps that have a twin."""
        have = np.array([any(True for _ in layout.keys("twins")) for layout in self._layouts], bool)
        return np.flatnonzero(have[self._numbers]).tolist() if self.n_steps else []

    def shapes(self, room: str, key: str, steps: Array) -> Array:
        """Return the shapes that a value has at some steps which have it, int64 ``(n, ndim)``."""
        layouts = [self._layouts[number] for number in set(self._numbers[steps].tolist())]
        places = [layout.place(room, key) for layout in layouts]
        shapes = [place.shape for place in places if place is not None]
        if len(shapes) < len(places):
            values = (self.value(room, key, int(step)) for step in steps)
            shapes = [value.shape for value in values if value is not None]
        return np.array(shapes, np.int64).reshape(len(shapes), -1)

    def dtype(self, room: str, key: str) -> np.dtype[Any] | None:
        """Return the type of a value's elements, at the first step that has it."""
        for layout in self._layouts:
            for each, name, dtype, _ in layout.tensors if (room, key) in layout else ():
                if (each, name) == (room, key):
                    return DTYPES[dtype]
        return self._fills[key][1].dtype if key in self._fills else None

    def _at(self, layout: Layout, start: int, room: str, key: str) -> Array:
        place = layout.place(room, key)
        if place is None:
            sizes = _sizes(layout, self._log.read(start, 8 * layout.n_sizes))
            place = layout.places(sizes)[room, key]
        return read_tensor(self._log.read, start, place)


def read_tensor(read: Read, start: int, place: Place) -> Array:
    """Return a tensor from the data of a frame that begin at ``start``; it cannot be written to."""
    if place.size == 0:
        return np.zeros(place.shape, place.dtype)
    return np.frombuffer(read(start + place.offset, place.size), place.dtype).reshape(place.shape)


def _sizes(layout: Layout, data: Any) -> list[int]:
    sizes: list[int] = np.frombuffer(data, np.int64, layout.n_sizes).tolist()
    return sizes

"""From the steps of a run to its Trace, in memory or in a file that grows with the run."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from torch_bridge.trace.digest import digest
from torch_bridge.trace.file import RunLog, TraceFile
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.trace import Array, Step, Trace, trace_of


class TraceBuilder:
    """Writes the steps of a run, one after another.

    Attributes:
        static: plain data for ``Trace.static``; it may be changed as the run goes.
        initial: the state before the first step; to be set before the first step is added.
        n_steps: how many steps there are.
    """

    def __init__(
        self,
        static: Mapping[str, Any],
        *,
        keep: Keep | None = None,
        file: TraceFile | None = None,
        name: str = "",
    ) -> None:
        """Begin a run.

        Args:
            static: plain data for ``Trace.static``.
            keep: what is kept of each step; None keeps everything.
            file: where it is written; None keeps it in memory.
            name: of the run in the file.
        """
        self.static = dict(static)
        self.initial: dict[str, Array] = {}
        self.n_steps = 0
        self.name = name
        self._keep = keep or Keep()
        self._file = file or TraceFile()
        self._run: RunLog | None = None
        self._written: dict[str, str] = {}

    def append(self, step: Step, twin: Step | None = None) -> None:
        """Add one step; arrays are copied, or written.

        Args:
            step: its quantities.
            twin: the same step in float64, see `Trace.twins`.
        """
        run = self._begun()
        t, keep = self.n_steps, self._keep
        values: dict[tuple[str, str], Array] = {}
        latest: dict[tuple[str, str], Array] = {}
        for key, value in step.items():
            value = np.asarray(value)
            if not keep.digests(key, value):
                values["steps", key] = value
                continue
            values["digests", key] = digest(value)
            if keep.norms:
                values["norms", key] = norms(value)
            if keep.in_full(t):
                values["steps", key] = value
            if keep.last is not None:
                latest["steps", key] = value
        for key, value in (twin or {}).items():
            values["twins", key] = np.asarray(value)
        run.step(values, latest, keep.last or 0)
        self.n_steps += 1
        if self.writes_facts(self.n_steps):
            self._write_facts(run)

    @staticmethod
    def writes_facts(n_steps: int) -> bool:
        """Return True if what changed in `static` is written after so many steps: 1, 2, 4, 8, ...

        A run without an end is known by the latest of them.
        """
        return n_steps & (n_steps - 1) == 0

    def stood_still(self, key: str, value: Array) -> None:
        """Add a quantity to the initial state and to all steps so far, which it passed unchanged."""
        self._begun().more("initial", {key: np.array(value)})
        self.fill(key, value)

    def fill(self, key: str, value: Array) -> None:
        """Give all steps so far a quantity that they lack."""
        if self.n_steps:
            self._begun().fill(key, np.array(value))

    def build(self, extra: Mapping[str, Array] | None = None) -> Trace:
        """Return the trace of the steps so far.

        Args:
            extra: for ``Trace.extra``.
        """
        run = self._begun()
        self._write_facts(run)
        run.more("extra", extra or {})
        return trace_of(run.index)

    def close(self, extra: Mapping[str, Array] | None = None) -> None:
        """Write what became known since; the file itself is closed by whoever opened it."""
        if self._run is not None:
            self._write_facts(self._run)
            self._run.more("extra", extra or {})

    def _begun(self) -> RunLog:
        if self._run is None:
            self._run = self._file.run(self.name)
            self._run.begin(self.static, self.initial)
            self._written = _texts(self.static)
        return self._run

    def _write_facts(self, run: RunLog) -> None:
        texts = _texts(self.static)
        run.facts({key: json.loads(text) for key, text in texts.items() if self._written.get(key) != text})
        self._written = texts


def norms(value: Array) -> Array:
    """Return the 2-norm, the largest magnitude and the mean of an array, float64 ``(3,)``."""
    flat = value.reshape(-1)
    is_complex = np.iscomplexobj(value)
    squares = total = largest = 0.0
    for start in range(0, flat.size, _BLOCK):  # a block in double fits the caches
        wide = flat[start : start + _BLOCK].astype(np.complex128 if is_complex else np.float64)
        size = np.abs(wide) if is_complex else wide
        largest = float(np.maximum(largest, np.maximum(size.max(), -size.min())))  # NaN stays
        squares += float(np.einsum("i,i->", size, size))  # BLAS would take the cores from others
        total += float(wide.real.sum())
    return np.array([np.sqrt(squares), largest, total / flat.size if flat.size else 0.0])


_BLOCK = 2**15


def _texts(static: Mapping[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in static.items()}

"""Trace: what a training run did, step by step. The one thing that crosses between the frameworks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from torch_bridge.trace.columns import Column, Lazy
from torch_bridge.trace.digest import digest
from torch_bridge.trace.file import RunLog, TraceFile
from torch_bridge.trace.frames import DamagedTraceError, NewerFormatError
from torch_bridge.trace.index import Index
from torch_bridge.trace.log import open_log
from torch_bridge.trace.phases import causal_order, name_of, phase_of, phases_of
from torch_bridge.trace.reader import read_runs

Array: TypeAlias = npt.NDArray[Any]

Step: TypeAlias = Mapping[str, Array]
"""The quantities of one step, arrays such as ``"gradient/0.weight"``. Keys are ``phase/name``, or ``phase``."""


Rows: TypeAlias = Array | Column
"""A quantity over the steps of a run: an array, or what reads one."""


def in_phase(values: Step, phase: str) -> dict[str, Array]:
    """Return the quantities of one phase by name: ``{"0.weight": ...}`` of ``{"gradient/0.weight": ...}``."""
    return {name_of(key): value for key, value in values.items() if phase_of(key) == phase}


@dataclass(frozen=True)
class Trace:
    """A recorded run.

    Attributes:
        static: what does not change from step to step, plain data fit for JSON: versions, platform, hyperparameters of
            every group, schedulers, average and clipping as far as they are known, names, shapes and dtypes, seeds;
            on a replay, its drive. ``"recipe"`` is a `torch_bridge.translate.recipe.Recipe` as data; ``"quantities"``,
            ``"numbers"`` and ``"state"`` name the phases of its optimizer.
        initial: the state before the first step, ``"parameter/NAME"``, ``"buffer/NAME"`` (those that never change as
            well), and what the optimizer held, such as ``"momentum_buffer/NAME"``.
        steps: ``"phase/name"`` -> array of shape ``(n_steps, *shape)``; of a recorded run a `Column`, which reads from
            the file what it is asked for. A digested quantity has only the steps that were kept, see `kept`.
        kept: for a digested quantity, int64 ``(k,)``: the steps whose full values are the k rows in `steps`.
        digests: for a digested quantity, uint64 ``(n_steps, 2)``: the hash of each step's value.
        norms: for a digested quantity, float64 ``(n_steps, 3)``: 2-norm, largest magnitude and mean of each step's
            value.
        present: bool ``(n_steps,)`` for a quantity that some steps lack (a gradient of None); their rows are zero.
        extra: arrays that belong to the run but not to a step, such as its data or its rounding envelope.
        twins: for some steps, by number, the same step evaluated in float64 from the same state, batch, buffers and
            dropout masks: ``"loss"``; ``"gradient/NAME"`` as ``backward()`` leaves it; ``"buffer/NAME"`` as the forward
            pass leaves it; and, where layers were recorded,
            ``"input/MODULE"``, ``"forward/MODULE"``, ``"narrow/forward/MODULE"`` and ``"backward/MODULE"``, see
            `torch_bridge.recording.layer_watch.LayerWatch`. ``static["twins"]`` names the steps and layers, their
            kinds and the sources of their inputs, and the reasons why steps have no twin.
        name: of the run, in a file that holds several.
        complete: False for a recording that was ended before its end, by ``kill -9`` or a power cut.
    """

    static: Mapping[str, Any]
    initial: Step
    steps: Mapping[str, Rows]
    kept: Mapping[str, Array] = field(default_factory=dict)
    digests: Mapping[str, Rows] = field(default_factory=dict)
    norms: Mapping[str, Rows] = field(default_factory=dict)
    present: Mapping[str, Array] = field(default_factory=dict)
    extra: Mapping[str, Array] = field(default_factory=dict)
    twins: Mapping[int, Step] = field(default_factory=dict)
    name: str = ""
    complete: bool = True

    def __repr__(self) -> str:
        """Say what was recorded, without a value; ``torch-bridge show`` says more."""
        optimizer, n_steps = self.static.get("recipe", {}).get("optimizer", ""), self.static.get("n_steps", 0)
        phases = dict.fromkeys(map(phase_of, self.keys))
        parts = [self.name, self.static.get("side", ""), optimizer, f"{n_steps} steps of {', '.join(phases)}"]
        return f"<Trace: {'; '.join(part for part in parts if part)}>"

    @property
    def n_steps(self) -> int:
        """Number of recorded steps."""
        return int(self.static["n_steps"])

    @property
    def keys(self) -> list[str]:
        """Every quantity's key, in causal order of the phases, then in the order of recording."""
        return causal_order(self.phases, self.steps)

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of a step in causal order, see `torch_bridge.trace.phases`."""
        return phases_of(self.static)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The phases that hold one number for each parameter group."""
        return tuple(self.static.get("numbers", ("learning_rate",)))

    @property
    def state(self) -> tuple[str, ...]:
        """The phases that hold what the optimizer keeps for each parameter, under torch's keys."""
        return tuple(self.static.get("state", ()))

    def value(self, key: str, step: int) -> Array | None:
        """Return a quantity at a step, or None where the step lacks it or only its digest was kept."""
        rows = self.steps.get(key)
        if isinstance(rows, Column):
            return rows.at_step(step)
        if rows is None or not self.has(key, step):
            return None
        if key not in self.kept:
            return np.asarray(rows[step])
        (row,) = np.nonzero(self.kept[key] == step)
        return np.asarray(rows[row[0]]) if row.size else None

    def has(self, key: str, step: int) -> bool:
        """Return True if the run had this quantity at this step, be it as a value or as a digest."""
        return key in self.steps and bool(self.present[key][step] if key in self.present else True)

    def digest(self, key: str, step: int) -> Array | None:
        """Return the 128-bit digest of a quantity at a step, or None where the step lacks it."""
        if key in self.digests and (row := _at(self.digests[key], step)) is not None:
            return row if self.has(key, step) else None
        value = self.value(key, step)
        return None if value is None else digest(value)

    def same_bits(self, other: "Trace", key: str, step: int) -> bool:
        """Return True if both runs lack a quantity at a step, or both have it with the same digest."""
        mine, theirs = self.digest(key, step), other.digest(key, step)
        return mine is theirs if mine is None or theirs is None else bool(np.array_equal(mine, theirs))

    def step(self, step: int) -> dict[str, Array]:
        """Return every full value of one step."""
        values = {key: self.value(key, step) for key in self.steps}
        return {key: value for key, value in values.items() if value is not None}

    def before(self, step: int) -> dict[str, Array]:
        """Return the state in which a step began: parameters, buffers, what existed of optimizer state and averages.

        Buffers are those that the step's first differentiated forward pass found.

        Raises:
            ValueError: the trace holds only digests of that state; `torch_bridge.restore` can rebuild it.
        """
        state = dict(self.initial)
        for key in self.steps:
            if phase_of(key) not in ("parameter", *self.state, "buffer", "average"):
                continue
            earlier = np.flatnonzero(self.present[key][:step]) if key in self.present else np.arange(step)[-1:]
            if earlier.size:
                value = self.value(key, int(earlier[-1]))
                if value is None and phase_of(key) in ("buffer", "average"):
                    state.pop(key, None)  # nothing but itself, and evaluation, depends on it
                    continue
                if value is None:
                    raise ValueError(
                        f"the trace holds only a digest of {key} at step {earlier[-1]}: rebuild it with "
                        "torch_bridge.restore(trace), or record with keep=Keep('full')"
                    )
                state[key] = value
        for key in self.steps:
            if phase_of(key) == "buffer_before" and (value := self.value(key, step)) is not None:
                state[f"buffer/{name_of(key)}"] = value
        return state

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as a file of one run; it appears whole or not at all. The same trace gives the same bytes.

        Args:
            path: file to write; an existing one is replaced.
        """
        with TraceFile(path, whole=True) as file:
            self._write(file.run(self.name))

    def _write(self, run: RunLog) -> None:
        run.begin({key: value for key, value in self.static.items() if key != "n_steps"}, self.initial)
        first = {key: int(np.argmax(self.present[key])) for key in self.steps if key in self.present}
        keys = sorted(self.steps, key=lambda key: first.get(key, 0))  # as whoever reads the file will find them
        for step in range(self.n_steps):
            values: dict[tuple[str, str], Array] = {}
            for key in keys:
                for room, rows in (("digests", self.digests), ("norms", self.norms)):
                    if key in rows and (row := _at(rows[key], step)) is not None:
                        values[room, key] = row
                if (value := self.value(key, step)) is not None:
                    values["steps", key] = value
            values |= {("twins", key): np.asarray(value) for key, value in self.twins.get(step, {}).items()}
            run.step(values)
        run.more("extra", self.extra)

    @classmethod
    def load(cls, path: str | os.PathLike[str], run: str | None = None) -> "Trace":
        """Open a trace file. Steps are read when they are asked for; here every checksum is compared.

        Args:
            path: of the file.
            run: the name of a run; None takes the only one.

        Returns:
            The run. Of a recording that did not come to its end, it holds the steps that were written whole.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no trace, is damaged, was written in a newer format, holds no whole step, or holds
                several runs and none, or another one, is named.
        """
        runs = cls.load_all(path)
        if run is None and len(runs) == 1:
            return next(iter(runs.values()))
        if run is None:
            raise ValueError(
                f"{path} holds {len(runs)} runs: name one with run= (--run), of {', '.join(map(repr, runs))}"
            )
        if run not in runs:
            raise ValueError(f"{path} holds no run {run!r}: there are {', '.join(map(repr, runs))}")
        return runs[run]

    @classmethod
    def load_all(cls, path: str | os.PathLike[str]) -> dict[str, "Trace"]:
        """Open a trace file, and return each of its runs by its name, in the order of their first steps.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: see `load`.
        """
        try:
            indices, complete = read_runs(open_log(path))
            runs = [trace_of(index, complete) for index in indices if index.n_steps]
        except DamagedTraceError as error:
            raise ValueError(f"{path} is not a trace written by torch_bridge, or is damaged: {error}") from error
        except NewerFormatError as error:
            raise ValueError(f"{path} {error}") from error
        if not runs:
            raise ValueError(f"{path} holds no whole step: the recording ended before its first step was written")
        return {trace.name: trace for trace in runs}


def trace_of(index: Index, complete: bool = True) -> Trace:
    """Return the trace of the steps that an index knows by now.

    Args:
        index: of the run.
        complete: the run came to its end.
    """
    view = index.view()
    static: dict[str, Any] = {**index.static, "n_steps": view.n_steps}
    if not complete:
        sentence = (
            f"the recording did not come to its end: here are the {view.n_steps} steps that were written whole; what "
            "was found of clipping and schedulers, and notes, may be those of an earlier step"
        )
        static["not_recorded"] = [*static.get("not_recorded", ()), sentence]
    every = np.arange(view.n_steps)
    digested = set(view.digested)
    partly = [key for key in view.keys if not view.is_everywhere(key)]

    def column(room: str, key: str) -> Rows:
        steps = view.steps_with("steps", key).nonzero()[0] if room == "steps" and key in digested else every
        return Column(view, room, key, steps)

    return Trace(
        static=static,
        initial=dict(index.initial),
        steps=Lazy(view.keys, lambda key: column("steps", key)),
        kept=Lazy(view.digested, lambda key: view.steps_with("steps", key).nonzero()[0]),
        digests=Lazy(view.digested, lambda key: column("digests", key)),
        norms=Lazy(view.normed, lambda key: column("norms", key)),
        present=Lazy(partly, view.present),
        extra=dict(index.extra),
        twins=Lazy(view.steps_with_twins(), view.twin, keep=False),
        name=index.name,
        complete=complete,
    )


def _at(rows: Rows, step: int) -> Array | None:
    return rows.at_step(step) if isinstance(rows, Column) else np.asarray(rows[step])

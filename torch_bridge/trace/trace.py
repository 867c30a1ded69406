"""Trace: what a training run did, step by step. The one thing that crosses between the frameworks."""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from torch_bridge.files import write_whole
from torch_bridge.trace.digest import digest
from torch_bridge.trace.phases import causal_order, name_of, phase_of, phases_of

Array: TypeAlias = npt.NDArray[Any]

Step: TypeAlias = Mapping[str, Array]
"""The quantities of one step, arrays such as ``"gradient/0.weight"``. Keys are ``phase/name``, or ``phase``."""

FORMAT = 1  # of the file; a reader rejects a newer one

_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16, "I32": np.int32,
    "U32": np.uint32, "I64": np.int64, "U64": np.uint64, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "F32": np.float32, "F64": np.float64, "C64": np.complex64,
}  # fmt: skip


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
        steps: ``"phase/name"`` -> array of shape ``(n_steps, *shape)``. A digested quantity has only the steps that
            were kept, see `kept`.
        kept: for a digested quantity, int64 ``(k,)``: the steps whose full values are the k rows in `steps`.
        digests: for a digested quantity, uint64 ``(n_steps, 2)``: the hash of each step's value.
        norms: for a digested quantity, float64 ``(n_steps, 3)``: 2-norm, largest magnitude and mean of each step's
            value.
        present: bool ``(n_steps,)`` for a quantity that some steps lack (a gradient of None); their rows are zero.
        extra: arrays that belong to the run but not to a step, such as its data or its rounding envelope.
        twins: for some steps, by number, the same step evaluated in float64 from the same state, batch, buffers and
            dropout masks: ``"loss"``; ``"gradient/NAME"`` as ``backward()`` leaves it; ``"buffer/NAME"`` as the forward
            pass leaves it; and, where layers were recorded,
            the output of each leaf module, ``"forward/MODULE"``, and ``"narrow/forward/MODULE"``, the same output as
            the run itself had it. ``static["twins"]`` names the steps and layers, and the reasons why steps have no
            twin.
    """

    static: Mapping[str, Any]
    initial: Step
    steps: Mapping[str, Array]
    kept: Mapping[str, Array] = field(default_factory=dict)
    digests: Mapping[str, Array] = field(default_factory=dict)
    norms: Mapping[str, Array] = field(default_factory=dict)
    present: Mapping[str, Array] = field(default_factory=dict)
    extra: Mapping[str, Array] = field(default_factory=dict)
    twins: Mapping[int, Step] = field(default_factory=dict)

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
        if not self.has(key, step):
            return None
        if key in self.digests:
            return np.asarray(self.digests[key][step])
        return digest(self.steps[key][step])

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
            earlier = [t for t in range(step) if self.has(key, t)] if key in self.present else [step - 1] * (step > 0)
            if earlier:
                value = self.value(key, earlier[-1])
                if value is None and phase_of(key) in ("buffer", "average"):
                    state.pop(key, None)  # nothing but itself, and evaluation, depends on it
                    continue
                if value is None:
                    raise ValueError(
                        f"the trace holds only a digest of {key} at step {earlier[-1]}: rebuild it with "
                        "torch_bridge.restore(trace), or record with digest_every=None"
                    )
                state[key] = value
        for key in self.steps:
            if phase_of(key) == "buffer_before" and (value := self.value(key, step)) is not None:
                state[f"buffer/{name_of(key)}"] = value
        return state

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as safetensors with a JSON header; the file appears whole or not at all.

        Args:
            path: file to write; an existing one is replaced.
        """
        tensors = dict(self._flat())
        twin_order = [f"{step}/{key}" for step, twin in self.twins.items() for key in twin]
        static = {**self.static, "order": list(self.steps), "twin_order": twin_order}
        metadata = {"format": str(FORMAT), "static": json.dumps(static)}
        write_whole(path, safetensors.numpy.save(tensors, metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read a trace that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no trace, is cut short, or was written in a newer format.
        """
        blob = Path(path).read_bytes()
        try:
            (length,) = struct.unpack("<Q", blob[:8])
            metadata = json.loads(blob[8 : 8 + length])["__metadata__"]
            version, static = int(metadata["format"]), json.loads(metadata["static"])
            tensors = safetensors.deserialize(blob)  # type: ignore[no-untyped-call]
        except (struct.error, ValueError, KeyError, UnicodeDecodeError, safetensors.SafetensorError) as error:
            raise ValueError(f"{path} is not a trace written by torch_bridge, or is damaged: {error}") from error
        if version > FORMAT:
            raise ValueError(f"{path} has trace format {version}, this torch_bridge reads up to {FORMAT}: upgrade it")
        rooms: dict[str, dict[str, Array]] = {}
        for name, tensor in tensors:
            room, _, key = name.partition("/")
            array = np.frombuffer(bytes(tensor["data"]), _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
            rooms.setdefault(room, {})[key] = array
        rooms["steps"] = {key: rooms["steps"][key] for key in static.pop("order")}  # safetensors sorts by dtype
        twins: dict[int, dict[str, Array]] = {}
        for key in static.pop("twin_order", ()):
            step, _, name = key.partition("/")
            twins.setdefault(int(step), {})[name] = rooms["twins"][key]
        return cls(static=static, twins=twins, **{room: rooms.get(room, {}) for room in _ROOMS})

    def _flat(self) -> Iterator[tuple[str, Array]]:
        for room in _ROOMS:
            for key, array in getattr(self, room).items():
                yield f"{room}/{key}", np.asarray(array, order="C")
        for step, twin in self.twins.items():
            for key, array in twin.items():
                yield f"twins/{step}/{key}", np.asarray(array, order="C")


_ROOMS = ("initial", "steps", "kept", "digests", "norms", "present", "extra")

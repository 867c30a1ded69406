"""One step of a recorded run and what the port held before it, as one file of arrays."""

import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from torch_bridge.files import write_whole
from torch_bridge.trace.trace import Array, Step, Trace

FORMAT = 1  # of the file


@dataclass(frozen=True)
class SavedStep:
    """One step, to be evaluated by itself.

    Attributes:
        trace: the run of this step alone: its initial state is the one before the step.
        phase: the phase of the difference.
        name: its layer, parameter or group.
        step: the number of the step in the whole run.
        carried: the leaves of the port's own state before the step; None for one that is no array.
        batch: the leaves of the port's batch.
        structure: of the batch: dicts, lists and tuples, with the leaves' numbers; None if it is something else.
        indices: the port's own examples, where their order is the difference.
    """

    trace: Trace
    phase: str
    name: str
    step: int
    carried: tuple[Array | None, ...] = ()
    batch: tuple[Array, ...] = ()
    structure: Any = None
    indices: Array | None = None

    @property
    def whole_batch(self) -> Any:
        """The batch, rebuilt.

        Raises:
            ValueError: it is no nest of dicts, lists and tuples.
        """
        if self.structure is None:
            raise ValueError("the batch is of a type of its own, which this file cannot hold: give show(..., batch=)")
        return _rebuilt(self.structure, self.batch)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into an ``.npz``, whole or not at all; nothing in it is pickled."""
        arrays = {f"initial/{key}": value for key, value in self.trace.initial.items()}
        arrays |= {f"step/{key}": value for key, value in self.trace.step(0).items()}
        arrays |= {f"twin/{key}": value for key, value in self.trace.twins.get(0, {}).items()}
        arrays |= {f"carried/{i}": leaf for i, leaf in enumerate(self.carried) if leaf is not None}
        arrays |= {f"batch/{i}": leaf for i, leaf in enumerate(self.batch)}
        if self.indices is not None:
            arrays["indices"] = self.indices
        header = {
            "format": FORMAT, "static": dict(self.trace.static), "phase": self.phase, "name": self.name,
            "step": self.step, "n_carried": len(self.carried), "structure": self.structure, "keys": list(arrays),
            "dtypes": [str(np.asarray(array).dtype) for array in arrays.values()],
        }  # fmt: skip
        out = io.BytesIO()
        columns: dict[str, Any] = {"header": np.array(json.dumps(header)), **_numbered(arrays.values())}
        np.savez(out, **columns)
        write_whole(path, out.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SavedStep":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it was written by a newer version.
        """
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] > FORMAT:
                raise ValueError(f"{path} has format {header['format']}, this torch_bridge reads up to {FORMAT}")
            arrays = {
                key: _typed(file[f"array{i}"], dtype)
                for i, (key, dtype) in enumerate(zip(header["keys"], header["dtypes"], strict=True))
            }
        rooms: dict[str, dict[str, Array]] = {}
        for key, array in arrays.items():
            room, _, name = key.partition("/")
            rooms.setdefault(room, {})[name] = array
        carried, batch = rooms.get("carried", {}), rooms.get("batch", {})
        return cls(
            one_step(header["static"], rooms.get("initial", {}), rooms.get("step", {}), rooms.get("twin", {})),
            header["phase"],
            header["name"],
            header["step"],
            tuple(carried.get(str(i)) for i in range(header["n_carried"])),
            tuple(batch.values()),
            header["structure"],
            rooms.get("indices", {}).get(""),
        )


def one_step(static: Mapping[str, Any], initial: Step, step: Step, twin: Step) -> Trace:
    """Return the trace of a run of one step."""
    return Trace(
        static={**static, "n_steps": 1},
        initial=dict(initial),
        steps={key: np.asarray(value)[None] for key, value in step.items()},
        twins={0: dict(twin)} if twin else {},
    )


@dataclass
class _Leaves:
    """Counts leaves."""

    found: list[Any] = field(default_factory=list)


def structure_of(batch: Any) -> tuple[Any, tuple[Array, ...]]:
    """Return the nest of a batch with numbers for its leaves, and the leaves; None for a nest of another kind."""
    leaves = _Leaves()
    structure = _structure(batch, leaves)
    return structure, tuple(np.asarray(leaf) for leaf in leaves.found) if structure is not None else ()


def _structure(node: Any, leaves: _Leaves) -> Any:
    if type(node) in (list, tuple):
        inner = [_structure(each, leaves) for each in node]
        return None if None in inner else {"kind": type(node).__name__, "inner": inner}
    if type(node) is dict and all(isinstance(key, str) for key in node):
        inner = [_structure(each, leaves) for each in node.values()]
        return None if None in inner else {"kind": "dict", "keys": list(node), "inner": inner}
    if not hasattr(node, "dtype") and not isinstance(node, int | float | bool):
        return None
    try:
        array = np.asarray(node)
    except TypeError:  # a random key
        return None
    leaves.found.append(array)
    return {"kind": "leaf", "number": len(leaves.found) - 1}


def _rebuilt(structure: Any, leaves: tuple[Array, ...]) -> Any:
    if structure["kind"] == "leaf":
        return leaves[structure["number"]]
    inner = [_rebuilt(each, leaves) for each in structure["inner"]]
    if structure["kind"] == "dict":
        return dict(zip(structure["keys"], inner, strict=True))
    return tuple(inner) if structure["kind"] == "tuple" else inner


def _numbered(arrays: Iterable[Any]) -> dict[str, Array]:
    """Arrays by number; of types that NumPy does not know, their bits."""
    found = {}
    for i, array in enumerate(arrays):
        array = np.asarray(array)
        found[f"array{i}"] = array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array
    return found


def _typed(array: Array, dtype: str) -> Array:
    known = getattr(ml_dtypes, dtype, None)
    return array if known is None or str(array.dtype) == dtype else array.view(known)

"""One batch of a loader, and the tensors in nested containers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch_bridge.trace.trace import Array
from torch_bridge.translate.tensors import to_numpy


@dataclass(eq=False)
class Batch:
    """A batch that a loader gave.

    Attributes:
        indices: of its examples; None where they cannot be known.
        leaves: by name, where there are no indices.
        structure: of the leaves, see `torch_bridge.trace.batch.leaves_of`.
        tensors: those in it, by which a call of the model with them is recognized.
        taken: whether a step has used it.
    """

    indices: Array | None
    leaves: dict[str, Array] = field(default_factory=dict)
    structure: Any = None
    tensors: list[Any] = field(default_factory=list)
    taken: bool = False

    @property
    def size(self) -> int:
        """The number of examples."""
        first = self.indices if self.indices is not None else next(iter(self.leaves.values()))
        return len(first) if np.ndim(first) else 1


def tensors_of(value: Any) -> Iterator[Any]:
    """Go through the tensors in nested containers, and in the fields of plain objects."""
    if hasattr(value, "untyped_storage"):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_of(each)
    elif hasattr(value, "__dict__") and not callable(value):
        for each in vars(value).values():
            if hasattr(each, "untyped_storage"):
                yield each


def as_array(value: Any) -> Array | None:
    """Return a leaf as an array of its own, which the script cannot change; None for what is no array of numbers."""
    array = to_numpy(value) if hasattr(value, "detach") else np.array(value)
    return array if array.dtype.kind in "biufcV" else None  # V: bfloat16


def has_storage(tensor: Any) -> bool:
    """Return True for a tensor whose memory can be compared with another's."""
    return not tensor.is_sparse and tensor.layout.__str__() == "torch.strided"

"""How the tensors of a frame lie in its data, described once for all the steps that are alike."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from torch_bridge.trace.dtypes import DTYPES, raw
from torch_bridge.trace.frames import Buffer, DamagedTraceError

Tensor: TypeAlias = tuple[str, str, str, tuple[int, ...]]
"""Room, key, dtype and shape; -1 in a shape is given by each step for itself."""

ROOMS = ("initial", "steps", "digests", "norms", "twins", "extra")
ALIGNMENT = 8
_LARGEST = 2**48


@dataclass(frozen=True)
class Place:
    """Where a tensor lies in the data of a frame, whose shape is fixed.

    Attributes:
        offset: in bytes from the start of the data.
        dtype: of its elements.
        shape: of the tensor.
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Layout:
    """The tensors of a frame: at first an int64 for each -1 in their shapes, then each tensor, from a multiple of 8 on.

    Attributes:
        tensors: in their order; those with a -1 in their shape come last, so that the others lie at fixed places.
        n_sizes: how many sizes each step gives.
        size: of the data, in bytes; without -1 only.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        """Place the tensors."""
        self.tensors = tuple(sorted(tensors, key=lambda tensor: -1 in tensor[3]))  # sorted() keeps the order of equals
        self.n_sizes = sum(tensor[3].count(-1) for tensor in self.tensors)
        self._places: dict[tuple[str, str], Place] = {}
        self._varying: list[Tensor] = []
        end = 8 * self.n_sizes
        for room, key, dtype, shape in self.tensors:
            if -1 in shape:
                self._varying.append((room, key, dtype, shape))
                continue
            place = Place(_aligned(end), DTYPES[dtype], shape)
            self._places[room, key] = place
            end = place.offset + place.size
        self.size = end
        self._known = {tensor[:2] for tensor in self.tensors}

    def __contains__(self, tensor: tuple[str, str]) -> bool:
        """Whether a room has a key."""
        return tensor in self._known

    def keys(self, room: str) -> Iterator[str]:
        """Go through the keys of a room."""
        return (key for each, key, *_ in self.tensors if each == room)

    def place(self, room: str, key: str) -> Place | None:
        """Return where a tensor of fixed shape lies; None for another one."""
        return self._places.get((room, key))

    def places(self, sizes: Sequence[int] = ()) -> dict[tuple[str, str], Place]:
        """Return where each tensor lies.

        Args:
            sizes: those that the step gives.
        """
        if not self._varying:
            return self._places
        places, end, left = dict(self._places), self.size, iter(sizes)
        for room, key, dtype, shape in self._varying:
            place = Place(_aligned(end), DTYPES[dtype], tuple(next(left) if n == -1 else n for n in shape))
            places[room, key] = place
            end = place.offset + place.size
        return places

    def buffers(self, arrays: Mapping[tuple[str, str], npt.NDArray[Any]]) -> list[Buffer]:
        """Return the data of a frame: the arrays' own memory, and what lies between."""
        sizes = []
        for room, key, _, shape in self._varying:
            sizes += [n for n, fixed in zip(arrays[room, key].shape, shape, strict=True) if fixed == -1]
        buffers: list[Buffer] = [np.array(sizes, np.int64).tobytes()]
        end = 8 * self.n_sizes
        for room, key, *_ in self.tensors:
            buffer = raw(arrays[room, key])
            buffers += [bytes(_aligned(end) - end), buffer]
            end = _aligned(end) + len(buffer)
        return [buffer for buffer in buffers if len(buffer)]

    def check(self, size: int, sizes: Sequence[int] = ()) -> None:
        """Require that the tensors are all the data of a frame.

        Args:
            size: of the data, in bytes.
            sizes: those that the step gives.

        Raises:
            DamagedTraceError: they are more or less.
        """
        if any(n < 0 for n in sizes):
            raise DamagedTraceError("a tensor has a negative size")
        places = self.places(sizes).values()
        for place in places:
            _check_shape(place.shape)
        end = max((place.offset + place.size for place in places), default=8 * self.n_sizes)
        if end != size:
            raise DamagedTraceError(f"tensors of {end} bytes lie in a frame of {size}")

    def to_json(self) -> list[Any]:
        """Return the tensors as plain data."""
        return [[room, key, dtype, list(shape)] for room, key, dtype, shape in self.tensors]

    @classmethod
    def from_json(cls, data: Any, rooms: Sequence[str], varying: bool = False) -> "Layout":
        """Return the layout that `to_json` described.

        Args:
            data: plain data.
            rooms: the rooms that there may be.
            varying: whether there may be a -1.

        Raises:
            DamagedTraceError: it describes none.
        """
        if not isinstance(data, list):
            raise DamagedTraceError("tensors are not a list")
        tensors = []
        for entry in data:
            if not isinstance(entry, list) or len(entry) != 4 or not all(isinstance(each, str) for each in entry[:3]):
                raise DamagedTraceError("a tensor is not room, key, dtype and shape")
            room, key, dtype, shape = entry
            if room not in rooms or dtype not in DTYPES:
                raise DamagedTraceError(f"a tensor has room {room[:40]!r} and dtype {dtype[:40]!r}")
            if not isinstance(shape, list) or len(shape) > 32 or not all(type(n) is int for n in shape):
                raise DamagedTraceError(f"the shape of {key[:80]!r} is no list of sizes")
            if min(shape, default=0) < -1 or (-1 in shape and not varying):
                raise DamagedTraceError(f"the shape of {key[:80]!r} has a negative size")
            _check_shape(n for n in shape if n != -1)
            tensors.append((room, key, dtype, tuple(shape)))
        if len({tensor[:2] for tensor in tensors}) < len(tensors):
            raise DamagedTraceError("a tensor is there twice")
        return cls(tensors)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _check_shape(shape: Iterable[int]) -> None:
    product = 1
    for n in shape:
        product *= max(n, 1)
        if product > _LARGEST:
            raise DamagedTraceError("a tensor is larger than any memory")

"""The array that a draw fills: its dtype, under torch's rules, and the order of its elements in memory."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATING = {np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16), BFLOAT16}

# torch's names, for its messages.
TORCH_NAMES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}

# C++'s names, for the messages that quote a C++ type.
CPP_NAMES = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "int64": "long",
    "int32": "int",
    "int16": "short",
    "int8": "signed char",
    "uint8": "unsigned char",
    "bool": "bool",
}

Shape = int | Sequence[int]
MemoryOrder = Sequence[int] | Literal["channels_last"] | None


def as_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a NumPy dtype; the name ``"bfloat16"`` is understood."""
    return BFLOAT16 if isinstance(dtype, str) and dtype == "bfloat16" else np.dtype(dtype)


def largest(dtype: np.dtype[Any]) -> float:
    """Return the largest finite number of a floating dtype."""
    return 2.0**127 * (2 - 2**-7) if dtype == BFLOAT16 else float(np.finfo(dtype).max)


def digits(dtype: np.dtype[Any]) -> int:
    """Return the number of bits of a floating dtype's significand, the hidden one included."""
    return 8 if dtype == BFLOAT16 else int(np.finfo(dtype).nmant) + 1


def floating_dtype(dtype: DTypeLike, kernel: str) -> np.dtype[Any]:
    """Return a floating dtype, or raise what torch raises in the named kernel."""
    dtype = as_dtype(dtype)
    if dtype not in FLOATING:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{TORCH_NAMES.get(dtype.name, dtype.name)}'")
    return dtype


def as_shape(shape: Shape) -> tuple[int, ...]:
    """Return a tuple; a lone integer is one dimension, as in torch."""
    shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(size) for size in shape)
    if any(size < 0 for size in shape):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {next(s for s in shape if s < 0)}: "
            f"[{', '.join(map(str, shape))}]"
        )
    return shape


def element_count(shape: Shape) -> int:
    """Return the number of elements of a shape."""
    return math.prod(as_shape(shape))


def dimension_order(shape: Shape, memory_order: MemoryOrder) -> tuple[int, ...]:
    """Return the dimensions from the slowest to the fastest in memory.

    Args:
        shape: of the array.
        memory_order: such a permutation; ``"channels_last"``, torch's memory format for 4 or 5 dimensions; None for
            row-major order.

    Raises:
        ValueError: not a permutation.
        RuntimeError: ``"channels_last"`` for another number of dimensions.
    """
    ndim = len(as_shape(shape))
    if memory_order is None:
        return tuple(range(ndim))
    if memory_order == "channels_last":
        if ndim not in (4, 5):
            raise RuntimeError(f"required rank {4 if ndim < 4 else 5} tensor to use channels_last format")
        return (0, *range(2, ndim), 1)
    order = tuple(int(d) for d in memory_order)
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"memory_order must order the dimensions 0 to {ndim - 1}, but got {order}")
    return order


def is_row_major(shape: Shape, memory_order: MemoryOrder) -> bool:
    """Say whether torch would call such a tensor contiguous: dimensions of size 1 do not count."""
    shape = as_shape(shape)
    order = [d for d in dimension_order(shape, memory_order) if shape[d] != 1]
    return order == sorted(order) or 0 in shape


def arrange(values: NDArray[Any], shape: Shape, memory_order: MemoryOrder) -> NDArray[Any]:
    """Shape a flat array whose elements are in memory order."""
    shape = as_shape(shape)
    if memory_order is None:
        return values.reshape(shape)
    order = dimension_order(shape, memory_order)
    in_memory = values.reshape([shape[d] for d in order])
    return in_memory.transpose(np.argsort(order)) if order else in_memory  # argsort: the inverse


def cast(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round float64 values to a dtype as torch does: by way of float32 to bfloat16 and float16."""
    if dtype == np.float64:
        return values
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float32).astype(dtype, copy=False)

"""Integers: ``torch.randint`` and ``Tensor.random_``."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.random.dtypes import (
    CPP_NAMES,
    FLOATING,
    TORCH_NAMES,
    MemoryOrder,
    Shape,
    arrange,
    as_dtype,
    digits,
    element_count,
    largest,
)
from torch_bridge.random.mersenne_twister import State, draw_32, draw_64

WIDE_RANGE = 2**28  # from here on torch spends two words on a number
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def draw_integers(
    state: State,
    low: int,
    high: int | None,
    shape: Shape,
    dtype: DTypeLike = np.int64,
    memory_order: MemoryOrder = None,
) -> tuple[NDArray[Any], State]:
    """Draw integers in ``[low, high)``: ``torch.randint`` and ``Tensor.random_(low, high)``.

    Equation::

        out = low + word mod (high - low)      word of 32 bits; of 64 if high - low >= 2**28

    Args:
        state: where the stream stands.
        low: least value.
        high: bound above, not reached. None: the dtype's largest value is the largest drawn; for a floating dtype,
            2 to the number of its significand's bits.
        shape: of the result.
        dtype: any that torch draws: int64, int32, int16, int8, uint8, bool, and the floating ones. For those the
            bounds first move inwards until rounding cannot leave ``[low, high)``.
        memory_order: see `torch_bridge.random.dtypes.dimension_order`.

    Returns:
        The array and the next state.

    Raises:
        RuntimeError: ``low >= high``, or a bound that the dtype cannot hold; torch's messages.
        ValueError: a bound outside int64.

    Warns:
        UserWarning: a floating dtype cannot hold every integer of the range.

    Exactness: bitwise.

    Source: ``aten/src/ATen/native/DistributionTemplates.h``, ``random_from_to_impl``, torch 2.13.0.

    Example:
        >>> from torch_bridge.random.mersenne_twister import seeded
        >>> draw_integers(seeded(0), 0, 10, 5)[0]  # torch.manual_seed(0); torch.randint(0, 10, (5,))
        array([4, 9, 3, 0, 3])
    """
    dtype = _drawable(as_dtype(dtype))
    if not all(INT64_MIN <= bound <= INT64_MAX for bound in (low, high) if bound is not None):
        raise ValueError("Overflow when unpacking long long")
    count = element_count(shape)
    if high is None and low == INT64_MIN:
        wide, state = draw_64(state, count)
        return arrange(_wrapped(wide, 0, dtype), shape, memory_order), state
    low, last = _inclusive_range(low, high, dtype)
    if count == 0:
        return arrange(np.empty(0, dtype), shape, memory_order), state
    width = last - low + 1
    if width < WIDE_RANGE:
        narrow, state = draw_32(state, count)
        values = _wrapped(narrow % np.uint32(width), low, dtype)
    else:
        wide, state = draw_64(state, count)
        values = _wrapped(wide % np.uint64(width) if width < 2**64 else wide, low, dtype)
    return arrange(values, shape, memory_order), state


def draw_any_integers(
    state: State, shape: Shape, dtype: DTypeLike = np.int64, memory_order: MemoryOrder = None
) -> tuple[NDArray[Any], State]:
    """Draw integers from the whole range of a dtype: ``Tensor.random_()`` without bounds.

    Equation::

        int64:                  word64 mod 2**63             int32, int16, int8:  word mod 2**31, 2**15, 2**7
        uint8, bool:            word mod 2**8, 2             float64:             word64 mod (2**53 + 1)
        float32, 16, bfloat16:  word mod (2**24 + 1, 2**11 + 1, 2**8 + 1)

    Args:
        state: where the stream stands.
        shape: of the result.
        dtype: as in `draw_integers`.
        memory_order: see `torch_bridge.random.dtypes.dimension_order`.

    Returns:
        The array and the next state.

    Raises:
        NotImplementedError: a dtype that torch does not draw.

    Exactness: bitwise.

    Source: ``aten/src/ATen/core/TransformationHelper.h``, ``uniform_int``, torch 2.13.0.
    """
    dtype = _drawable(as_dtype(dtype))
    count = element_count(shape)
    last = 2 ** digits(dtype) if dtype in FLOATING else _integer_limits(dtype)[1]
    if dtype in (np.int64, np.float64):
        wide, state = draw_64(state, count)
        return arrange((wide % np.uint64(last + 1)).astype(dtype), shape, memory_order), state
    narrow, state = draw_32(state, count)
    return arrange((narrow % np.uint32(last + 1)).astype(dtype), shape, memory_order), state


def _wrapped(offsets: NDArray[np.unsignedinteger[Any]], low: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``low + offsets`` in the two's complement of int64, cast to a dtype."""
    values = (offsets.astype(np.uint64) + np.uint64(low % 2**64)).view(np.int64)
    return values if dtype == np.int64 else values.astype(dtype)


def _drawable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.name not in TORCH_NAMES:
        raise NotImplementedError(f"\"random_kernel_cpu\" not implemented for '{dtype.name}'")
    return dtype


def _integer_limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    if dtype == np.bool_:
        return 0, 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _inclusive_range(low: int, high: int | None, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Check the bounds as torch does and return the least and the largest integer to draw."""
    floating = dtype in FLOATING
    if high is None:
        last = 2 ** digits(dtype) if floating else _integer_limits(dtype)[1]
        low = _moved_up(low, dtype) if floating else low
    else:
        if low >= high:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        if floating:
            low, high = _moved_up(low, dtype), _moved_down(high, dtype)
            if low >= high:
                raise RuntimeError(
                    "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, "
                    f"but got from={low} >= to={high}"
                )
        last = high - 1
    least, most = (-largest(dtype), largest(dtype)) if floating else _integer_limits(dtype)
    name = CPP_NAMES[dtype.name]
    for label, bound in (("from", low), ("to - 1", last)):
        if not least <= bound <= most:
            raise RuntimeError(f"{label} is out of bounds for {name}")
        if floating and abs(bound) > 2 ** digits(dtype):
            warnings.warn(
                f"{label} is out of bounds [-(2^{digits(dtype)}), 2^{digits(dtype)}]. Due to precision limitations "
                f"{name} can support discrete uniform distribution only within this range.",
                stacklevel=4,
            )
    return low, last


def _moved_up(low: int, dtype: np.dtype[Any]) -> int:
    """Move a lower bound to the next number of the dtype, if rounding could fall below it."""
    above = _through(low + 1, dtype)
    if above < low:
        low = above + (1 << (max(abs(low + 1).bit_length() - 1, 0) - digits(dtype) + 1))
    return low


def _moved_down(high: int, dtype: np.dtype[Any]) -> int:
    """Move an upper bound to the next lower number of the dtype, if rounding could reach it."""
    below = _through(high - 1, dtype)
    if below >= high:
        high = below - (1 << (max(abs(high - 1).bit_length() - 1, 0) - digits(dtype) + 1))
    return high


def _through(value: int, dtype: np.dtype[Any]) -> int:
    """Round an integer to a floating dtype and back, as x86-64 does: what int64 cannot hold becomes its minimum."""
    with np.errstate(over="ignore"):
        there = float(np.float64(value) if dtype == np.float64 else np.int64(value).astype(np.float32).astype(dtype))
    return int(there) if -(2.0**63) <= there < 2.0**63 else INT64_MIN

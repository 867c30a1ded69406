"""Uniform numbers: ``torch.rand`` and ``Tensor.uniform_``."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from torch_bridge.random.dtypes import (
    CPP_NAMES,
    TORCH_NAMES,
    MemoryOrder,
    Shape,
    arrange,
    element_count,
    floating_dtype,
    largest,
)
from torch_bridge.random.fma import fma32, fma64
from torch_bridge.random.mersenne_twister import State, draw_32, draw_64


def draw_unit_32(state: State, count: int) -> tuple[NDArray[np.float32], State]:
    """Draw float32 numbers in ``[0, 1)``: the low 24 bits of a word, times ``2**-24``."""
    words, state = draw_32(state, count)
    return (words & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24), state


def draw_unit_64(state: State, count: int) -> tuple[NDArray[np.float64], State]:
    """Draw float64 numbers in ``[0, 1)``: the low 53 bits of a 64-bit word, times ``2**-53``."""
    words, state = draw_64(state, count)
    return (words & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53, state


def draw_uniform(
    state: State,
    shape: Shape,
    low: float = 0.0,
    high: float = 1.0,
    dtype: DTypeLike = np.float32,
    memory_order: MemoryOrder = None,
) -> tuple[NDArray[Any], State]:
    """Draw uniform numbers in ``[low, high)``.

    Equation::

        out = fl(u * fl(high - low) + low)      one rounding; a result equal to high becomes low

    with ``u`` of `draw_unit_64` for float64, of `draw_unit_32` for the others. bfloat16 and float16 are calculated
    in float32 and rounded.

    Args:
        state: where the stream stands.
        shape: of the result.
        low: least value.
        high: bound above, not reached.
        dtype: float32, float64, bfloat16 or float16.
        memory_order: see `torch_bridge.random.dtypes.dimension_order`: numbers are drawn in the order in which the
            elements lie in memory.

    Returns:
        The array and the next state: one word an element further, two for float64.

    Raises:
        RuntimeError: ``low > high``, or a bound or their difference outside the dtype's range; torch's messages.
        NotImplementedError: a dtype that is not floating.

    Exactness: bitwise on x86-64 CPUs with FMA.

    Source: ``aten/src/ATen/native/cpu/DistributionTemplates.h``, ``uniform_kernel``, torch 2.13.0.

    Example:
        >>> from torch_bridge.random.mersenne_twister import seeded
        >>> draw_uniform(seeded(0), 3)[0]  # torch.manual_seed(0); torch.rand(3)
        array([0.4962566 , 0.7682218 , 0.08847743], dtype=float32)
    """
    dtype = floating_dtype(dtype, "check_uniform_bounds")
    low, high = float(low), float(high)
    check_bounds(low, high, dtype)
    count = element_count(shape)
    plain = low == 0.0 and high == 1.0  # u * 1 + 0 is u
    if dtype == np.float64:
        wide, state = draw_unit_64(state, count)
        if not plain:
            wide = fma64(wide, high - low, low)
            wide[wide == high] = low
        return arrange(wide, shape, memory_order), state
    unit, state = draw_unit_32(state, count)
    if not plain:
        low32, high32 = np.float32(low), np.float32(high)
        unit = fma32(unit, high32 - low32, low32)
    values: NDArray[Any] = unit.astype(dtype, copy=False)
    values[values == dtype.type(high)] = dtype.type(low)
    return arrange(values, shape, memory_order), state


def check_bounds(low: float, high: float, dtype: np.dtype[Any]) -> None:
    """Raise what ``uniform_`` raises for bad bounds."""
    limit = largest(dtype)
    for name, bound in (("from", low), ("to", high)):
        if not -limit <= bound <= limit:
            raise RuntimeError(f"{name} is out of bounds for {CPP_NAMES[dtype.name]}")
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    if high - low > limit:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{TORCH_NAMES[dtype.name]}>::max(), "
            f"but found to={high:g} and from={low:g} which result in to-from to exceed the limit"
        )

"""The element types that a trace holds, by name, and arrays as bytes."""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

DTYPES: dict[str, np.dtype[Any]] = {
    dtype.name: dtype
    for dtype in map(
        np.dtype,
        (
            np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
            np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex64, np.complex128,
            ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
        ),
    )
}  # fmt: skip
"""Little-endian; the name is NumPy's."""


def storable(key: str, value: Any) -> npt.NDArray[Any]:
    """Return a value as an array in C order that a trace can hold; it is copied only if it has to be.

    Raises:
        ValueError: a trace holds no such elements.
    """
    array = np.asarray(value, order="C")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.name not in DTYPES:
        raise ValueError(f"{key} has elements of type {array.dtype}; a trace holds {', '.join(DTYPES)}")
    return array


def same_bits(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> bool:
    """Return True if two arrays have one dtype and shape and no bit differs: -0.0 is not 0.0, a NaN is itself."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    bits = f"u{left.dtype.itemsize}" if left.dtype.itemsize <= 8 else "u8"
    ours, theirs = (np.ascontiguousarray(each).reshape(-1).view(bits) for each in (left, right))
    return bool(np.array_equal(ours, theirs))


def raw(array: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of an array in C order, without a copy."""
    return array.reshape(-1).view(np.uint8).data

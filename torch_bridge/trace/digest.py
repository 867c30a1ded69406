"""A fingerprint of an array in 128 bits."""

import numpy as np
import numpy.typing as npt
import xxhash


def digest(array: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Return the xxh3-128 hash of an array's bytes in C order, as ``uint64`` of shape ``(2,)``, high word first.

    Two arrays of one dtype and shape have one digest if and, but for a chance of 2**-128, only if they agree in every
    bit: -0.0 and 0.0 differ, and so do NaNs of different payload. Hashed on the host: inside XLA a hash costs more
    than the update it watches.

    Args:
        array: any array; JAX arrays are copied to the host.
    """
    high_low = xxhash.xxh3_128_intdigest(np.ascontiguousarray(array).view(np.uint8).data)
    return np.array([high_low >> 64, high_low & (2**64 - 1)], np.uint64)

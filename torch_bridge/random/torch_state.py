"""The 5056 bytes of ``torch.get_rng_state()``, read and written."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torch_bridge.random.mersenne_twister import WORDS, State

# Little-endian, and padded as a C struct of torch's build is.
LAYOUT = np.dtype(
    {
        "names": [
            "seed",
            "left",
            "seeded",
            "next",
            "key",
            "x",
            "normal",
            "rho",
            "has_normal",
            "normal32",
            "has_normal32",
        ],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", WORDS), "<f8", "<f8", "<f8", "<i4", "<f4", "?"],
        "offsets": [0, 8, 12, 16, 24, 5016, 5024, 5032, 5040, 5048, 5052],
        "itemsize": 5056,
    }
)


def to_bytes(state: State) -> NDArray[np.uint8]:
    """Write a state as torch writes it.

    Args:
        state: any `State`.

    Returns:
        uint8 array of shape ``(5056,)``; ``torch.set_rng_state(torch.from_numpy(array))`` takes it.

    Exactness: bitwise.

    Source: ``at::CPUGeneratorImplState``, torch 2.13.0.
    """
    record = np.zeros((), LAYOUT)
    record["seed"], record["seeded"], record["key"], record["next"] = state.seed, 1, state.key, state.position
    # torch counts what is left of a block plus one, and 1 before the first block is made.
    record["left"] = WORDS + 1 - state.position if state.position else 1
    if state.normal is not None:
        record["normal"], record["has_normal"] = state.normal, 1
    return np.frombuffer(record.tobytes(), np.uint8).copy()


def from_bytes(data: ArrayLike | bytes) -> State:
    """Read a state that torch, or `to_bytes`, wrote.

    Args:
        data: uint8 array of shape ``(5056,)``, a CPU ``torch.ByteTensor``, or as many bytes.

    Returns:
        The `State`.

    Raises:
        TypeError: not bytes.
        RuntimeError: another size, or words that no generator of torch's writes.

    Exactness: bitwise.

    Example:
        >>> from torch_bridge.random.mersenne_twister import seeded
        >>> from_bytes(to_bytes(seeded(7))).seed
        7
    """
    array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else np.asarray(data)
    if array.dtype != np.uint8:
        raise TypeError("RNG state must be a torch.ByteTensor")
    if array.size != LAYOUT.itemsize:
        raise RuntimeError(
            f"Expected a CPUGeneratorImplState of size {LAYOUT.itemsize} "
            f"but found the input RNG state size to be {array.size}"
        )
    record = np.frombuffer(array.tobytes(), LAYOUT)[0]
    position, left = int(record["next"]), int(record["left"])
    if not record["seeded"] or left != (WORDS + 1 - position if position else 1):
        raise RuntimeError("Invalid mt19937 state")
    key = record["key"].astype(np.uint32)
    key.flags.writeable = False
    return State(int(record["seed"]), key, position, float(record["normal"]) if record["has_normal"] else None)

"""The stream itself: MT19937 as torch seeds and reads it, as pure functions on an immutable state."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = 624  # the size of the twister's state, and of the block of outputs that one twist makes
SHIFT = 397
DEFAULT_SEED = 67280421310721  # c10/core/GeneratorImpl.h, default_rng_seed_val
FEW_BLOCKS = 8  # above this, NumPy's compiled loop repays the copy of the state into it


class State(NamedTuple):
    """The whole state of torch's CPU generator. Never changed in place: a draw returns the next one.

    Attributes:
        seed: the seed as torch reports it, in ``[0, 2**64)``; the stream depends on its low 32 bits only.
        key: uint32, shape ``(624,)``, read-only: the twister's words.
        position: how many words of `key` are used up; 0 just after seeding, when none is usable and a twist is due,
            as it is at 624.
        normal: the second value of a Box-Muller pair, kept for the next call, or None. Seeding drops it.
    """

    seed: int
    key: NDArray[np.uint32]
    position: int
    normal: float | None = None


def seeded(seed: int = DEFAULT_SEED) -> State:
    """Return the state after ``torch.manual_seed(seed)``.

    Equation::

        key[0] = seed mod 2**32
        key[i] = 1812433253 * (key[i-1] xor (key[i-1] >> 30)) + i     mod 2**32

    Args:
        seed: integer in ``[-2**63, 2**64)``; a negative one counts from ``2**64`` down, as in torch.

    Returns:
        A `State` without a cached normal.

    Raises:
        RuntimeError: not an integer, with torch's message.
        ValueError: outside that range, likewise.

    Exactness: bitwise.

    Source: ``at::mt19937::init_with_uint32``, torch 2.13.0; Matsumoto and Nishimura (1998).

    Example:
        >>> seeded(-1).seed == 2**64 - 1
        True
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
        raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
    seed = int(seed)
    if not -(2**63) <= seed < 2**64:
        raise ValueError("Overflow when unpacking long long")
    seed %= 2**64
    twister = np.random.MT19937(0)
    twister._legacy_seeding(seed % 2**32)  # NumPy's name for the equation above
    return State(seed, _frozen(twister.state["state"]["key"]), 0)


def draw_32(state: State, count: int) -> tuple[NDArray[np.uint32], State]:
    """Draw 32-bit words: ``generator->random()``, `count` times.

    Args:
        state: where the stream stands.
        count: how many; 0 moves nothing.

    Returns:
        uint32 array of shape ``(count,)``, and the state after it.

    Exactness: bitwise.

    Example:
        >>> words, _ = draw_32(seeded(5489), 1)  # the reference implementation's first output
        >>> int(words[0])
        3499211612
    """
    if count == 0:
        return np.empty(0, np.uint32), state
    key, position = state.key, state.position or WORDS
    if count > FEW_BLOCKS * WORDS:
        words, key, position = _draw_many(key, position, count)
    else:
        blocks, wanted = [], count
        while wanted > WORDS - position:  # strictly: torch twists when a word is needed, not when the last is used
            blocks.append(_temper(key[position:]))
            wanted -= WORDS - position
            key, position = _twist(key), 0
        blocks.append(_temper(key[position : position + wanted]))
        position += wanted
        words = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return words, state._replace(key=key, position=position)


def draw_64(state: State, count: int) -> tuple[NDArray[np.uint64], State]:
    """Draw 64-bit words, each of two 32-bit ones, the first on top: ``generator->random64()``.

    Args:
        state: where the stream stands.
        count: how many.

    Returns:
        uint64 array of shape ``(count,)``, and the state ``2 * count`` words later.

    Exactness: bitwise.
    """
    words, state = draw_32(state, 2 * count)
    pairs = words.reshape(-1, 2).astype(np.uint64)
    return (pairs[:, 0] << np.uint64(32)) | pairs[:, 1], state


def _frozen(words: NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
    key = np.array(words, np.uint32)
    key.flags.writeable = False
    return key


def _mixed(high: NDArray[np.uint32], low: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Join the top bit of one word to the rest of the next and multiply by the twister's matrix."""
    joined = (high & np.uint32(0x80000000)) | (low & np.uint32(0x7FFFFFFF))
    return (joined >> np.uint32(1)) ^ ((low & np.uint32(1)) * np.uint32(0x9908B0DF))


def _twist(key: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Make the next 624 words: ``new[i] = old[i + 397] xor mixed(old[i], old[i + 1])``, indices mod 624.

    From ``i = 227`` on, ``i + 397`` points at a new word; hence slices of 227, each of which reads the last.
    """
    lag = WORDS - SHIFT
    new = np.empty_like(key)
    mixed = _mixed(key[:-1], key[1:])
    new[:lag] = key[SHIFT:] ^ mixed[:lag]
    new[lag : 2 * lag] = new[:lag] ^ mixed[lag : 2 * lag]
    new[2 * lag : -1] = new[lag : SHIFT - 1] ^ mixed[2 * lag :]
    new[-1:] = new[SHIFT - 1 : SHIFT] ^ _mixed(key[-1:], new[:1])
    return _frozen(new)


def _temper(key: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Turn the twister's words into its outputs."""
    words: NDArray[np.uint32] = key ^ (key >> np.uint32(11))
    words ^= (words << np.uint32(7)) & np.uint32(0x9D2C5680)
    words ^= (words << np.uint32(15)) & np.uint32(0xEFC60000)
    words ^= words >> np.uint32(18)
    return words


def _draw_many(
    key: NDArray[np.uint32], position: int, count: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], int]:
    twister = np.random.MT19937(0)
    # As a list: NumPy reads 624 array elements one by one, twenty times slower.
    twister.state = {"bit_generator": "MT19937", "state": {"key": key.tolist(), "pos": position}}
    words: NDArray[np.uint64] = twister.random_raw(count)
    after = twister.state["state"]
    return words.astype(np.uint32), _frozen(after["key"]), int(after["pos"])

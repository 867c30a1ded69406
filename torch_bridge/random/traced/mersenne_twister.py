"""The words of the stream as a scan over arrays: seeding, twisting and tempering inside a compiled program."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from torch_bridge.random.mersenne_twister import SHIFT, WORDS, State


class TracedState(NamedTuple):
    """The state of a stream, as arrays.

    Attributes:
        key: uint32, shape ``(624,)``: the twister's words.
        position: int32 scalar: how many of them are used up; 0 just after seeding, when a twist is due, as at 624.
    """

    key: jax.Array
    position: jax.Array


def from_host(state: State) -> TracedState:
    """Turn a host state into arrays; its seed and its cached normal stay behind."""
    return TracedState(jnp.asarray(state.key), jnp.int32(state.position))


def to_host(state: TracedState, seed: int = 0) -> State:
    """Turn concrete arrays into a host state; `seed` is what it will report as its own."""
    key = np.array(state.key, np.uint32)
    key.flags.writeable = False
    return State(seed, key, int(state.position))


@jax.jit
def seeded(seed: ArrayLike) -> TracedState:
    """Return the state after ``torch.manual_seed(seed)``, by the low 32 bits of an integer, traced or not.

    Exactness: bitwise.
    """

    def next_word(word: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        word = jnp.uint32(1812433253) * (word ^ (word >> 30)) + i
        return word, word

    first = jnp.asarray(seed).astype(jnp.uint32)
    _, rest = lax.scan(next_word, first, jnp.arange(1, WORDS, dtype=jnp.uint32))
    return TracedState(jnp.concatenate([first[None], rest]), jnp.int32(0))


@functools.partial(jax.jit, static_argnums=1)
def draw_32(state: TracedState, count: int) -> tuple[jax.Array, TracedState]:
    """Draw 32-bit words.

    Args:
        state: where the stream stands.
        count: how many, static.

    Returns:
        uint32 array of shape ``(count,)`` and the next state.

    Exactness: bitwise.
    """
    if count == 0:
        return jnp.empty(0, jnp.uint32), state

    def next_block(key: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        key = _twist(key)
        return key, key

    _, later = lax.scan(next_block, state.key, None, length=-(-count // WORDS))
    keys = jnp.concatenate([state.key[None], later])
    start = jnp.where(state.position == 0, WORDS, state.position)
    words = _temper(lax.dynamic_slice(keys.reshape(-1), (start,), (count,)))
    end = start + count
    block = (end - 1) // WORDS  # a block that is just used up is not yet followed by the next
    return words, TracedState(keys[block], end - WORDS * block)


@jax.jit
def draw_seed(state: TracedState) -> tuple[jax.Array, TracedState]:
    """Draw what torch seeds with: the low word of ``torch.empty((), dtype=torch.int64).random_()``.

    A stream depends on no more of its seed. Iterating a DataLoader draws one, a RandomSampler without a generator
    another.

    Returns:
        uint32 scalar and the state two words further.

    Exactness: bitwise, modulo ``2**32``.
    """
    words, state = draw_32(state, 2)
    return words[1], state


def _mixed(high: jax.Array, low: jax.Array) -> jax.Array:
    joined = (high & jnp.uint32(0x80000000)) | (low & jnp.uint32(0x7FFFFFFF))
    mixed: jax.Array = (joined >> 1) ^ ((low & 1) * jnp.uint32(0x9908B0DF))
    return mixed


def _twist(key: jax.Array) -> jax.Array:
    """Make the next 624 words; see the host's."""
    lag = WORDS - SHIFT
    mixed = _mixed(key[:-1], key[1:])
    first = key[SHIFT:] ^ mixed[:lag]
    second = first ^ mixed[lag : 2 * lag]
    third = second[: WORDS - 1 - 2 * lag] ^ mixed[2 * lag :]
    last = second[SHIFT - 1 - lag : SHIFT - lag] ^ _mixed(key[-1:], first[:1])
    return jnp.concatenate([first, second, third, last])


def _temper(words: jax.Array) -> jax.Array:
    words = words ^ (words >> 11)
    words = words ^ ((words << 7) & jnp.uint32(0x9D2C5680))
    words = words ^ ((words << 15) & jnp.uint32(0xEFC60000))
    return jnp.bitwise_xor(words, words >> 18)

"""The order of an epoch inside ``jax.jit``: a hundred differently shuffled runs in one program."""

import functools

import jax

from torch_bridge.random.traced import TracedState, draw_32, draw_permutation, draw_seed, seeded


@functools.partial(jax.jit, static_argnums=(1, 2))
def shuffled_epoch(state: TracedState, n: int, own_generator: bool = False) -> tuple[jax.Array, TracedState]:
    """Draw the order of one whole epoch of ``DataLoader(dataset, shuffle=True)``.

    Args:
        state: the default stream; with `own_generator`, the stream of the generator given to the loader.
        n: samples in the dataset, static, 1 or more.
        own_generator: whether the loader was given a generator, static. Without one, an epoch draws a base seed and a
            sampler's seed, and the permutation comes from a stream of its own; with one, a base seed, the permutation,
            and another permutation that is not used.

    Returns:
        int32 array of shape ``(n,)``: cut it into batches by ``[: n // b * b].reshape(-1, b)``; and the next state.

    Exactness: bitwise, for an epoch that is iterated to its end.

    Example:
        >>> import jax
        >>> from torch_bridge.random import traced
        >>> def run(seed):
        ...     draw = lambda state, _: shuffled_epoch(state, 4)[::-1]
        ...     return jax.lax.scan(draw, traced.seeded(seed), None, length=2)[1]
        >>> jax.vmap(run)(jax.numpy.arange(3)).shape  # seeds, epochs, samples
        (3, 2, 4)
    """
    _, state = draw_seed(state)
    if own_generator:
        order, state = draw_permutation(state, n)
        _, state = draw_32(state, n - 1)
        return order, state
    seed, state = draw_seed(state)
    return draw_permutation(seeded(seed), n)[0], state

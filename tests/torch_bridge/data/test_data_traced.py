import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.sampling import one_in
from torch_bridge.data import DataLoader
from torch_bridge.data.traced import shuffled_epoch
from torch_bridge.random import Generator, default_generator, fork_rng, manual_seed, traced


@pytest.mark.parametrize("n", one_in(3, [1, 2, 50, 1000]))
@pytest.mark.parametrize("own_generator", [False, True])
def test_epochs_of_many_seeds(n, own_generator):
    def run(seed):
        def epoch(state, _):
            order, state = shuffled_epoch(state, n, own_generator)
            return state, order

        return jax.lax.scan(epoch, traced.seeded(seed), None, length=3)

    states, orders = jax.jit(jax.vmap(run))(jnp.arange(4))
    with fork_rng():
        for seed in range(4):
            stream = manual_seed(seed)
            if own_generator:
                stream = Generator(seed)
            loader = DataLoader(range(n), 7, shuffle=True, generator=stream if own_generator else None)
            for epoch in range(3):
                np.testing.assert_array_equal(orders[seed, epoch], np.concatenate(list(loader)))
            assert stream is default_generator or own_generator
            np.testing.assert_array_equal(states.key[seed], stream.state.key)
            assert int(states.position[seed]) == stream.state.position

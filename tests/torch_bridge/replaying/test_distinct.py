"""A compiled function that hands out each array once, against the function itself."""

import jax
import jax.numpy as jnp
import numpy as np

from torch_bridge.replaying.distinct import compiled


def step(state, batch):
    moved = state["x"] + batch
    return {"x": moved, "n": state["n"] + 1}, {"parameter": moved, "gradient": batch, "rate": 0.5, "none": None}


def test_results_are_those_of_the_function():
    state = {"x": jnp.arange(3.0), "n": jnp.array(0)}
    program = compiled(step)
    for size in (3, 3, 1):  # another shape is another program
        batch = jnp.full(size, 2.0)
        (found, seen), (expected, expected_seen) = program(state, batch), step(state, batch)
        assert jax.tree.structure((found, seen)) == jax.tree.structure((expected, expected_seen))
        for mine, other in zip(jax.tree.leaves((found, seen)), jax.tree.leaves((expected, expected_seen)), strict=True):
            np.testing.assert_array_equal(mine, other)
        assert seen["parameter"] is found["x"]
        assert seen["gradient"] is batch


def test_programs_of_other_shapes_keep_their_own_places():
    """A function whose result repeats for one shape and not for another."""

    def function(x):
        return (x, x + 1) if x.size > 1 else (x + 1, x + 2)

    program = compiled(function)
    for values in ([1.0, 2.0], [1.0], [3.0, 4.0], [5.0]):
        x = jnp.array(values)
        for mine, other in zip(program(x), function(x), strict=True):
            np.testing.assert_array_equal(mine, other)

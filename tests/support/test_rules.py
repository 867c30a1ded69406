"""The plain optax chains that the checker is tried on: torch's recipes in double, and what a wrong constant shows."""

import jax
import numpy as np
import optax
import pytest
import torch

from tests.support.ports.rules import RECIPES

STEPS = 9
SHAPES = ((4, 3), (7,))


def distances(recipe, constants=None):
    """By step, from torch's parameters of the step before: relative distance of the parameters' changes, in double."""
    random = np.random.default_rng(0)
    leaves = [torch.tensor(random.standard_normal(shape), requires_grad=True) for shape in SHAPES]
    rules = recipe.torch(leaves)
    distance = []
    with jax.enable_x64(True):
        chain = recipe.optax(constants, wide=True)
        params = [leaf.detach().numpy().copy() for leaf in leaves]
        state = chain.init(params)
        update = jax.jit(chain.update)
        for _ in range(STEPS):
            gradients = [random.standard_normal(shape) for shape in SHAPES]
            for leaf, g in zip(leaves, gradients, strict=True):
                leaf.grad = torch.tensor(g)
            before = [leaf.detach().numpy().copy() for leaf in leaves]
            rules.step()
            updates, state = update(gradients, state, before)
            after = optax.apply_updates(before, updates)
            ours, theirs = (
                np.concatenate([np.ravel(a - b) for a, b in zip(side, before, strict=True)])
                for side in (after, [leaf.detach().numpy() for leaf in leaves])
            )
            distance.append(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    return distance


@pytest.mark.parametrize("name", RECIPES)
def test_the_plain_chain_is_torchs_function(name):
    assert max(distances(RECIPES[name])) < 1e-13


@pytest.mark.parametrize("name", ["clip, momentum, decay", "cosine schedule"])
def test_a_constant_off_by_a_millionth_is_another_function(name):
    for constant, wrong in RECIPES[name].wrong(1e-6).items():
        first = 1 if constant == "momentum" else 0  # an empty buffer has no factor to show
        by_step = distances(RECIPES[name], wrong)
        assert by_step[first] > 1e-11, constant
        assert max(by_step[:first], default=0.0) < 1e-13

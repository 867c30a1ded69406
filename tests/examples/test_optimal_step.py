"""The fourth example prints the norms that torch's own run of the notebook has, without torch; its Adam is torch's."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from tests.examples.run_without import printed
from tests.support.torch_runs import differing_bits
from torch_bridge.square_root import torch_root

LINE = re.compile(r"Direction for (\S+): (\S+)")


def steps_of_the_notebook():
    """The notebook's cells, as they stand, from manual_seed(0): the parameters before and after each step."""
    torch.manual_seed(0)
    x, y = torch.randn(1000, 10), torch.randn(1000, 1)
    fc1, fc2 = torch.nn.Linear(10, 5), torch.nn.Linear(5, 1)
    named = {f"{name}.{part}": getattr(layer, part) for name, layer in (("fc1", fc1), ("fc2", fc2))
             for part in ("weight", "bias")}  # fmt: skip
    optimizer = torch.optim.Adam(named.values(), lr=0.001)
    for _ in range(100):
        for i in range(0, 1000, 32):
            loss = torch.nn.functional.mse_loss(fc2(torch.relu(fc1(x[i : i + 32]))), y[i : i + 32])
            optimizer.zero_grad()
            loss.backward()
            yield i, named
            optimizer.step()


def norms_of_the_notebook():
    """At batch 0 of each epoch."""
    for i, named in steps_of_the_notebook():
        if i == 0:
            yield {name: param.grad.norm().item() for name, param in named.items()}


@pytest.mark.thorough
def test_adam_on_the_notebooks_gradients_is_torchs():
    """3,200 updates from torch's gradients: before each of them no bit of any parameter differs."""
    before, gradients = [], []
    for _, named in steps_of_the_notebook():
        before.append({name: param.detach().numpy().copy() for name, param in named.items()})
        gradients.append({name: param.grad.numpy().copy() for name, param in named.items()})
    assert len(before) == 3200
    tx = funcsgd.adam(0.001, sqrt=torch_root())

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (optax.apply_updates(params, updates), state), params

    start = jax.tree.map(jnp.asarray, before[0])
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *gradients)
    _, ours = jax.jit(lambda p, g: jax.lax.scan(step, (p, tx.init(p)), g))(start, stacked)
    for name, values in ours.items():
        assert differing_bits([values], [np.stack([of_step[name] for of_step in before])]) == 0


@pytest.mark.thorough
def test_the_notebooks_norms_without_torch():
    lines = printed("04_optimal_step.py", ["torch"]).splitlines()
    theirs = list(norms_of_the_notebook())
    found = [LINE.fullmatch(line) for line in lines]
    ours = [(match[1], float(match[2])) for match in found if match]
    assert len(ours) == 4 * 4
    for epoch, start in zip((0, 1, 2, 99), range(0, 16, 4), strict=True):
        # Rounding alone: a unit in the seventh digit at first, and what 3,168 updates of Adam make of it.
        assert dict(ours[start : start + 4]) == pytest.approx(theirs[epoch], rel=1e-5 if epoch < 99 else 1e-2)

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
    """The notebook's cells, as they stand, from manual_seed(0): each mini-batch and the parameters before its step."""
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
            yield (x[i : i + 32], y[i : i + 32]), named, i == 0
            optimizer.step()


def norms_of_the_notebook():
    """At batch 0 of each epoch."""
    for _, named, first in steps_of_the_notebook():
        if first:
            yield {name: param.grad.norm().item() for name, param in named.items()}


def padded(x, y):
    """A mini-batch of 32 rows with their weights: the last of an epoch has 8."""
    weights = np.zeros((32, 1), np.float32)
    weights[: len(x)] = 1 / len(x)
    return *(np.resize(rows.numpy(), (32, rows.shape[1])) for rows in (x, y)), weights


def loss_fn(p, batch):
    x, y, weights = batch
    hidden = jax.nn.relu(x @ p["fc1.weight"].T + p["fc1.bias"])
    return (weights * (hidden @ p["fc2.weight"].T + p["fc2.bias"] - y) ** 2).sum()


def alpha_in_torch(params, following, x, y):
    """alpha* along the step between two recorded parameters, in float64: of h(a) = loss(params + a * d) at 0."""
    p, q = ({k: torch.tensor(v).double() for k, v in of_step.items()} for of_step in (params, following))
    d = {k: (q[k] - p[k]) / 0.001 for k in p}

    def along(a):
        w = {k: p[k] + a * d[k] for k in p}
        hidden = torch.relu(x.double() @ w["fc1.weight"].T + w["fc1.bias"])
        return ((hidden @ w["fc2.weight"].T + w["fc2.bias"] - y.double()) ** 2).mean()

    slope, zero = torch.func.grad(along), torch.zeros((), dtype=torch.float64)
    return float(-slope(zero) / torch.func.grad(slope)(zero))


@pytest.mark.exhaustive
def test_adam_on_the_notebooks_gradients_is_torchs_with_alpha_along_its_own_step():
    """3,200 updates from torch's gradients: before each of them no bit of any parameter differs."""
    batches, before, gradients = [], [], []
    for batch, named, _ in steps_of_the_notebook():
        batches.append(batch)
        before.append({name: param.detach().numpy().copy() for name, param in named.items()})
        gradients.append({name: param.grad.numpy().copy() for name, param in named.items()})
    assert len(before) == 3200
    tx = optax.chain(funcsgd.adam(0.001, sqrt=torch_root()), funcsgd.curvature.observe_quadratic_step(0.001))

    def step(carry, given):
        params, state = carry
        g, batch = given

        def of_batch(p):
            return loss_fn(p, batch)

        updates, state = tx.update(g, state, params, value=of_batch(params), grad=g, value_fn=of_batch)
        return (optax.apply_updates(params, updates), state), (params, state[-1].info.step_size)

    start = jax.tree.map(jnp.asarray, before[0])
    stacked = (
        jax.tree.map(lambda *x: jnp.stack(x), *gradients),
        jax.tree.map(lambda *x: jnp.stack(x), *(padded(*batch) for batch in batches)),
    )
    _, (ours, alphas) = jax.jit(lambda p, given: jax.lax.scan(step, (p, tx.init(p)), given))(start, stacked)
    for name, values in ours.items():
        assert differing_bits([values], [np.stack([of_step[name] for of_step in before])]) == 0
    for k in (0, 1, 31, 1000, 3198):  # the 31st mini-batch has 8 rows
        assert float(alphas[k]) == pytest.approx(alpha_in_torch(before[k], before[k + 1], *batches[k]), rel=1e-3)


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

"""What a user of both packages writes, for type checkers that see them as they are installed."""

import jax
import jax.numpy as jnp
import optax

import funcsgd
import torch_bridge
from funcsgd.averages import averaged_params, ema, with_average
from funcsgd.curvature import hvp
from funcsgd.schedules import CosineAnnealingLR, tabulate
from torch_bridge import data, random


def loss_fn(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    x, y = batch
    return jnp.mean((x @ params["weight"].T + params["bias"] - y) ** 2)


rule: optax.GradientTransformationExtraArgs = funcsgd.sgd(
    tabulate(CosineAnnealingLR(0.1, T_max=10), 10), momentum=0.9, nesterov=True
)
tx: optax.GradientTransformation = with_average(rule, ema(0.9))
params = {"weight": jnp.zeros((1, 4)), "bias": jnp.zeros(1)}
state: optax.OptState = tx.init(params)
batch = jnp.ones((8, 4)), jnp.ones((8, 1))
gradients = jax.grad(loss_fn)(params, batch)
updates, state = tx.update(gradients, state, params)
params = optax.apply_updates(params, updates)
rate: jax.Array | list[jax.Array] = funcsgd.get_learning_rate(state)
product = hvp(lambda p: loss_fn(p, batch), params, gradients)
averaged = averaged_params(state)

random.manual_seed(0)
loader = data.DataLoader(range(100), batch_size=32, shuffle=True)
for indices in loader.index_batches():
    assert len(indices) <= 32


def judge(path: str) -> bool:
    report: torch_bridge.Report = torch_bridge.check(torch_bridge.Trace.load(path), tx, loss_fn=loss_fn, data=batch)
    reveal: str = report.verdict
    return report.ok and bool(reveal)

"""What a check costs beside the JAX run that it checks: a perceptron of a million parameters, 200 steps, twins at 5."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn

import funcsgd
import torch_bridge

STEPS, BATCH, WIDTHS, ROUNDS = 200, 64, (784, 1000, 256, 10), 3


def recorded() -> tuple[torch_bridge.Trace, Any]:
    torch.manual_seed(0)
    n_in, wide, narrow, n_out = WIDTHS
    model = nn.Sequential(
        nn.Linear(n_in, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, n_out)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    x, y = torch.randn(STEPS * BATCH, n_in), torch.randint(0, n_out, (STEPS * BATCH,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), BATCH, shuffle=True)
    twins = torch_bridge.Twins(every=100, layers=False)  # the first three steps, and two more
    recorder = torch_bridge.record(model, optimizer, loader=loader, twins=twins)
    for inputs, target in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), target).backward()
        optimizer.step()
    return recorder.trace(), (x.numpy(), y.numpy().astype(np.int32))


def loss_function() -> Callable[[Any, Any], jax.Array]:
    """A new function each time, so that nothing is compiled already."""

    def loss_fn(params: Any, batch: Any) -> jax.Array:
        h, y = batch
        for layer in (0, 2):
            h = jax.nn.relu(h @ params[f"{layer}.weight"].T + params[f"{layer}.bias"])
        logits = h @ params["4.weight"].T + params["4.bias"]
        losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return losses.mean()

    return loss_fn


def run(trace: torch_bridge.Trace, data: Any, loss_fn: Callable[[Any, Any], jax.Array], tx: Any) -> None:
    """The JAX run itself: a loop over one jitted step, as a user writes it."""
    params = {key[10:]: jnp.asarray(value) for key, value in trace.initial.items() if key.startswith("parameter/")}
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any, batch: Any) -> Any:
        loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    for t in range(trace.n_steps):
        indices = trace.steps["data"][t]
        params, state, _ = step(params, state, tuple(array[indices] for array in data))
    jax.block_until_ready(params)


def main() -> None:
    trace, data = recorded()
    print(f"{sum(np.prod(s) for s in trace.static['shapes'].values()):,} parameters, {trace.n_steps} steps, "
          f"twins at {sorted(trace.twins)}")  # fmt: skip
    for name in ("funcsgd.sgd", "plain optax"):
        times: dict[str, list[float]] = {"run": [], "check": []}
        for _ in range(ROUNDS):
            if name == "funcsgd.sgd":
                tx: Any = funcsgd.sgd(0.05, momentum=0.9, weight_decay=1e-4)
            else:
                tx = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.05, momentum=0.9))
            loss_fn = loss_function()
            start = time.perf_counter()
            run(trace, data, loss_fn, tx)
            middle = time.perf_counter()
            report = torch_bridge.check(trace, tx, loss_fn=loss_fn, data=data)
            times["run"].append(middle - start)
            times["check"].append(time.perf_counter() - middle)
            assert report.verdict == "same function", report
        ratio = median(whole / own for own, whole in zip(times["run"], times["check"], strict=True))
        own, whole = median(times["run"]), median(times["check"])
        print(f"{name:12s} run {own:.2f} s, check {whole:.2f} s, ratio {ratio:.1f} (compilation counted in both)")


if __name__ == "__main__":
    main()

"""How much of an accuracy is luck: a hundred seeds of one PyTorch run in one compiled program, without torch.

Each seed has what torch would give it after ``torch.manual_seed(seed)``: the initial weights, and every epoch's
shuffle. The run is the one of ``torch-bridge demo``; its seed 0 was recorded from PyTorch and is here one of a hundred.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd import train
from funcsgd.training import BatchOrder
from torch_bridge import init, random
from torch_bridge.data import DataLoader
from torch_bridge.data.traced import shuffled_epoch
from torch_bridge.demo import golden, recipe
from torch_bridge.random import traced
from torch_bridge.replaying.envelope import distance

SEEDS = np.arange(100)
trace = golden.load()
x, y = golden.digits(trace)
n, size = recipe.N_TRAIN, recipe.BATCH_SIZE
x_train, y_train, x_held, y_held = jnp.asarray(x[:n]), jnp.asarray(y[:n]), x[n:], y[n:]
tx = recipe.rule()


def initial_weights(generator):  # of Sequential(Linear(64, 32), ReLU(), Linear(32, 10))
    n_in, n_hidden, n_out = recipe.LAYERS
    layers = init.linear(n_in, n_hidden, generator=generator), {}, init.linear(n_hidden, n_out, generator=generator)
    return init.sequential(*layers)


order = BatchOrder(lambda stream: shuffled_epoch(stream, n), n, size)  # the last batch is a short one


@jax.jit
@jax.vmap
def run(seed):
    generator = traced.Generator(seed)
    start = initial_weights(generator)
    first, _ = order.draw(generator.state)
    params = train(recipe.loss_fn, tx, start, (x_train, y_train), order, recipe.EPOCHS, key=generator.state).params
    accuracy = jnp.mean(recipe.logits(params, x_held).argmax(1) == y_held)
    return start, first, params, accuracy


compiled = run.lower(SEEDS).compile()
begin = time.perf_counter()
start, firsts, params, accuracies = jax.block_until_ready(compiled(SEEDS))
seconds = time.perf_counter() - begin

for seed in SEEDS:  # what the program drew is what the host's stream draws: torch's, in every bit
    weights = initial_weights(random.manual_seed(seed))
    assert all(np.array_equal(start[name][seed], weights[name]) for name in weights)
    assert np.array_equal(firsts[seed], np.concatenate(list(DataLoader(range(n), size, shuffle=True))))
print(f"initial weights and first order of {len(SEEDS)} seeds: equal to the host generator's in every bit")

torch_params = {name: trace.value(f"parameter/{name}", recipe.N_STEPS - 1) for name in params}
away = max(distance(torch_params[k], params[k][0]) / np.linalg.norm(torch_params[k]) for k in params)
print(f"seed 0, after {recipe.N_STEPS} steps: weights at most {away:.1e} away from PyTorch's, relative to their 2-norm")

mean, spread = np.mean(accuracies), np.std(accuracies, ddof=1)
print(f"held-out accuracy of all seeds: {mean:.2%} +- {spread:.2%} (standard deviation), ", end="")
print(f"from {np.min(accuracies):.1%} to {np.max(accuracies):.1%}")
print(f"{len(SEEDS)} runs of {recipe.N_STEPS} steps in {seconds:.2f} s, {seconds / len(SEEDS) * 1e3:.0f} ms each")

"""The lecture's progressive strategy, "Mixing Techniques": one technique at a time, each validated before the next.

Plain SGD, then momentum, weight decay, cosine annealing and an EMA of the weights, in the lecture's order and with its
numbers, on scikit-learn's digits. Every stage runs under the same thirty seeds (initial weights and batches), all in
one compiled program, so that each addition is judged by paired differences. Writes 07_mixing_techniques.png.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from sklearn.datasets import load_digits

import funcsgd
from funcsgd import schedules

SEEDS, EPOCHS, BATCH, N = 30, 100, 32, 1197
STAGES = ["SGD", "+ momentum", "+ weight decay", "+ cosine annealing", "+ EMA"]
COLOURS = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00"]  # Okabe and Ito's, for all eyes
digits = load_digits()
mixed = np.random.default_rng(0).permutation(len(digits.target))
x, y = (digits.data[mixed] / 16).astype(np.float32), digits.target[mixed]
training, held_out = (x[:N], y[:N]), (x[N:], y[N:])
order = funcsgd.training.batch_order(N, BATCH)
cosine = schedules.per_epoch(schedules.tabulate(schedules.cosine_annealing_lr(0.1, T_max=100), EPOCHS), -(-N // BATCH))


def initial_weights(key):  # torch's default for Linear: uniform within 1 / sqrt(fan in)
    def layer(key, n_in, n_out):
        draws = jax.random.uniform(key, (n_in + 1, n_out), minval=-1, maxval=1) / n_in**0.5
        return {"w": draws[1:], "b": draws[0]}

    first, second = jax.random.split(key)
    return layer(first, 64, 32), layer(second, 32, 10)


def logits(params, x):
    hidden, out = params
    return jax.nn.relu(x @ hidden["w"] + hidden["b"]) @ out["w"] + out["b"]


def loss_fn(params, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch[0]), batch[1]).mean()


def evaluate(params, sets):
    training, held_out = sets
    error = jnp.mean(logits(params, held_out[0]).argmax(1) != held_out[1])
    return {"training loss": loss_fn(params, training), "held-out loss": loss_fn(params, held_out), "error": error}


def run(point, training, held_out):
    stage, (weights, batches) = point["stage"], jax.random.split(jax.random.key(point["seed"]))
    rule = funcsgd.sgd(
        lambda step: jnp.where(stage >= 3, cosine(step), 0.1),
        momentum=jnp.where(stage >= 1, 0.9, 0.0),
        weight_decay=jnp.where(stage >= 2, 1e-4, 0.0),
    )
    rule = funcsgd.averages.with_average(
        rule, funcsgd.averages.ema(0.999, 0.001)
    )  # it follows the weights and never touches them
    options = {"key": batches, "evaluate": evaluate, "validation": (training, held_out)}
    epochs = funcsgd.train(loss_fn, rule, initial_weights(weights), training, order, EPOCHS, **options).history.epochs
    return epochs.evaluation, epochs.averaged


points = funcsgd.training.grid(stage=np.arange(4), seed=np.arange(SEEDS))
weights, averages = jax.tree.map(
    lambda v: np.asarray(v).reshape(4, SEEDS, EPOCHS), funcsgd.sweep(run, points, training, held_out, at_once=SEEDS)
)
curves = {name: np.concatenate([weights[name], averages[name][-1:]]) for name in weights}  # (stage, seed, epoch)

print(f"after {EPOCHS} epochs, mean of {SEEDS} seeds; change from the stage before, paired, with its 95 % interval:")
print(f"{'':20} {'training loss':>13} {'held-out loss':>13} {'held-out error':>14}   change of the error")
for k, stage in enumerate(STAGES):
    line = f"{stage:20}" + "".join(
        f"{curves[name][k, :, -1].mean():14.4f}" for name in ("training loss", "held-out loss")
    )
    line += f"{curves['error'][k, :, -1].mean():14.2%}"
    if k:
        change = 100 * (curves["error"][k, :, -1] - curves["error"][k - 1, :, -1])
        line += f"    {change.mean():+.2f} +- {1.96 * change.std(ddof=1) / SEEDS**0.5:.2f} points"
    print(line)

figure = Figure(figsize=(12, 4.6), layout="constrained")
panels = zip(figure.subplots(1, 3), ("training loss", "held-out loss", "error"), strict=True)
for axes, name in panels:
    for values, stage, colour in zip(curves[name], STAGES, COLOURS, strict=True):
        mean, error = values.mean(0), 1.96 * values.std(0, ddof=1) / SEEDS**0.5
        epochs, scale = np.arange(1, EPOCHS + 1), 100 if name == "error" else 1
        axes.fill_between(epochs, scale * (mean - error), scale * (mean + error), color=colour, alpha=0.2, linewidth=0)
        axes.plot(epochs, scale * mean, color=colour, linewidth=1.6, label=stage)
    axes.set(xlabel="epoch", ylabel={"error": "held-out error, %"}.get(name, f"{name}, nats"), yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
handles = axes.get_legend_handles_labels()
figure.legend(
    *handles, loc="outside lower center", ncols=5, frameon=False, title=f"mean of {SEEDS} seeds, with its 95 % interval"
)
path = Path(__file__).with_suffix(".png")
figure.savefig(path, dpi=130)
print(f"drawn: {path.name}")

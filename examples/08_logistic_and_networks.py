"""Empirical and held-out risk of the lecture's two models, logistic regression and a network, as the data grow.

The task is to tell even digits from odd ones by binary cross-entropy. First the full gradient: logistic regression has
no closed form, but scikit-learn's solver finds the same minimum. Then mini-batches, twenty seeds at once, each with
training digits of its own: the network drives its empirical risk to almost nothing and its held-out risk does not
follow; more data close the gap, here faster than the lecture's bound promises. Writes 08_logistic_and_networks.png.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import funcsgd

SEEDS, UPDATES, BATCH, POOL = 20, 2500, 32, 1197
SIZES = [75, 150, 300, 600, 1197]
MODELS = {"logistic regression": ([65, 1], "#0072B2"), "network of 32 hidden units": ([65, 32, 1], "#D55E00")}
digits = load_digits()
mixed = np.random.default_rng(0).permutation(len(digits.target))
# A constant feature of 1 takes the intercept in, as in the lecture.
x = np.column_stack((digits.data[mixed] / 16, np.ones(len(mixed)))).astype(np.float32)
y = (digits.target[mixed] % 2).astype(np.float32)
pool, held_out = (x[:POOL], y[:POOL]), (x[POOL:], y[POOL:])


def risk(weights, batch):
    z, y = batch
    for w in weights[:-1]:
        z = jax.nn.relu(z @ w)
    return optax.sigmoid_binary_cross_entropy((z @ weights[-1])[:, 0], y).mean()


# Logistic regression by the full gradient, on L + decay / 2 |w|^2, beside scikit-learn's solver.
decay, zero = 1e-3, [jnp.zeros((65, 1))]
steepest = funcsgd.sgd(0.2, momentum=0.9, weight_decay=decay)
(ours,) = funcsgd.train(risk, steepest, zero, pool, epochs=10_000).params
solver = LogisticRegression(C=1 / (POOL * decay), fit_intercept=False, tol=1e-8, max_iter=10_000).fit(*pool)
for name, w in (("10,000 full gradients", ours), ("scikit-learn's solver", jnp.asarray(solver.coef_.T, jnp.float32))):
    print(f"logistic regression, {name}: empirical risk {risk([w], pool):.6f}, held-out {risk([w], held_out):.6f}")

rule = funcsgd.sgd(0.1, momentum=0.9)


def compare(name, n, curve):
    """Empirical and held-out risk of all seeds: at the end, (seeds, 2), or after each epoch, (seeds, epochs, 2)."""
    layers, order = MODELS[name][0], funcsgd.training.batch_order(n, BATCH)

    def run(seed, pool, held_out):
        own, *keys = jax.random.split(jax.random.key(seed), 1 + len(layers))
        training = jax.tree.map(lambda all_: all_[jax.random.permutation(own, POOL)[:n]], pool)
        shapes = zip(keys[1:], layers, layers[1:], strict=False)
        weights = [jax.random.normal(key, shape) / shape[0] ** 0.5 for key, *shape in shapes]

        def both(weights, sets):
            return jnp.stack([risk(weights, batch) for batch in sets])

        sets = training, held_out
        options = {"key": keys[0], "evaluate": both if curve else None, "validation": sets}
        done = funcsgd.train(risk, rule, weights, training, order, UPDATES // -(-n // BATCH), **options)
        return done.history.epochs.evaluation if curve else both(done.params, sets)

    return np.asarray(funcsgd.sweep(run, np.arange(SEEDS), pool, held_out))


def interval(values):
    return 1.96 * values.std(0, ddof=1) / SEEDS**0.5


figure = Figure(figsize=(12, 4.4), layout="constrained")
*panels, sizes = figure.subplots(1, 3, width_ratios=[1, 1, 1.15])
for axes, (name, (_, colour)) in zip(panels, MODELS.items(), strict=True):
    risks = compare(name, 300, curve=True)
    for k, (which, style) in enumerate((("empirical", "--"), ("held-out", "-"))):
        mean, error = risks[..., k].mean(0), interval(risks[..., k])
        epochs = np.arange(1, len(mean) + 1)
        axes.fill_between(epochs, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
        axes.plot(epochs, mean, style, color=colour, linewidth=1.6, label=f"{which} risk")
    axes.set(
        xlabel="epoch",
        ylabel="risk, nats",
        yscale="log",
        ylim=(1e-4, 2),
    )
    axes.set_title(f"{name}, n = 300", fontsize=10)
    axes.legend(frameon=False, loc="lower left")

print(f"\n{'training digits':>27}" + "".join(f"{n:>18}" for n in SIZES))
for name, (_, colour) in MODELS.items():
    ends = [compare(name, n, curve=False) for n in SIZES]
    cells = [f"{end[:, 0].mean():9.4f} / {end[:, 1].mean():.4f}" for end in ends]
    print(f"{name:27}" + "".join(f"{cell:>18}" for cell in cells))
    gaps = np.stack([end[:, 1] - end[:, 0] for end in ends], axis=1)
    slope = np.polyfit(np.log(SIZES), np.log(gaps.mean(0)), 1)[0]
    label = f"{name}: fits $n^{{{slope:.2f}}}$"
    sizes.errorbar(SIZES, gaps.mean(0), interval(gaps), fmt="o", color=colour, capsize=3, label=label)
guide = gaps.mean(0)[0] * (SIZES[0] / np.array(SIZES)) ** 0.5
sizes.plot(SIZES, guide, color="#555555", linewidth=1.2, label="rate of the lecture's bound, $n^{-1/2}$")
sizes.set(xlabel="training digits n", ylabel="held-out minus empirical risk, nats", xscale="log", yscale="log")
sizes.set_xticks(SIZES, map(str, SIZES))
sizes.xaxis.set_minor_locator(NullLocator())
sizes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
sizes.yaxis.set_minor_locator(NullLocator())
sizes.legend(frameon=False, fontsize=8)
for axes in (*panels, sizes):
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
path = Path(__file__).with_suffix(".png")
figure.savefig(path, dpi=130)
print(f"\nempirical / held-out risk, means of {SEEDS} seeds; drawn: {path.name}")

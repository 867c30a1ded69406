"""The notebook on the optimal step: alpha* = -d'g / d'Hd for every mini-batch of 100 epochs, as a small net trains.

The notebook's heading says SGD, its code runs Adam, and it prints the directions' norms but never alpha*. Here are both
optimizers and momentum, with alpha* along -g, along Adam's own step and along the momentum buffer. Data and weights are
those that torch draws after manual_seed(0), without torch. Writes 04_optimal_step.png beside this file.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from funcsgd import adam, sgd, train
from funcsgd.curvature import observe_quadratic_step, scale_by_quadratic_linesearch
from torch_bridge import init, random

EPOCHS, BATCH_SIZE = 100, 32
torch_random = random.manual_seed(0)
data = {"x": torch_random.randn(1000, 10), "y": torch_random.randn(1000, 1)}
params = init.under("fc1", init.linear(10, 5)) | init.under("fc2", init.linear(5, 1))
steps = -(-1000 // BATCH_SIZE)  # the last batch has 8
batches = np.append(np.arange(1000), np.full(steps * BATCH_SIZE - 1000, -1)).reshape(steps, BATCH_SIZE)


def mean_squared_error(p, batch):
    hidden = jax.nn.relu(batch["x"] @ p["fc1.weight"].T + p["fc1.bias"])
    return ((hidden @ p["fc2.weight"].T + p["fc2.bias"] - batch["y"]) ** 2).mean()


runs = {  # with the learning rate that alpha* is to be compared with
    "-g, Adam 0.001": (optax.chain(observe_quadratic_step(uphill=True), adam(1e-3)), None, "#0072B2"),
    "Adam's step, Adam 0.001": (optax.chain(adam(1e-3), observe_quadratic_step(1e-3)), 1e-3, "#56B4E9"),
    "-g, SGD 0.1": (optax.chain(sgd(0.1, momentum=None), observe_quadratic_step(0.1)), 0.1, "#D55E00"),
    "-buffer, momentum 0.9, SGD 0.01": (optax.chain(sgd(0.01, 0.9), observe_quadratic_step(0.01)), 0.01, "#009E73"),
    "-g, steps of 0.3 alpha*, at most 0.5": (
        optax.chain(scale_by_quadratic_linesearch(relaxation=0.3, max_step=0.5, uphill=True)), None, "#CC79A7",
    ),
}  # fmt: skip
histories = {}
for name, (tx, _, _) in runs.items():
    run = train(
        mean_squared_error, tx, params, data, batches, EPOCHS,
        record=lambda step: (optax.tree.get(step.opt_state, "info"), jax.tree.map(jnp.linalg.norm, step.grads)),
    )  # fmt: skip
    histories[name] = jax.device_get(run.history)

norms = histories["-g, Adam 0.001"].recorded[1]
for epoch in (0, 1, 2, 99):
    print(f"Epoch {epoch}, Batch 0:")
    for name in params:
        print(f"Direction for {name}: {norms[name][epoch * steps]}")
print(f"\n{'alpha*':38}    5 %  median    95 %    over lr    < 0   d'Hd <= 0   loss of the last epoch")
for name, (_, learning_rate, _) in runs.items():
    info, loss = histories[name].recorded[0], histories[name].epochs.loss[-1]
    low, median, high = np.nanquantile(info.step_size, [0.05, 0.5, 0.95])
    over = f"{median / learning_rate:9.1f}" if learning_rate else f"{'':9}"
    behind, concave = (info.step_size < 0).mean(), info.nonpositive_curvature.mean()
    print(f"{name:38}{low:7.3f} {median:7.3f} {high:7.3f}  {over} {behind:6.1%} {concave:11.1%} {loss:13.4f}")

figure = Figure(figsize=(11, 8), layout="constrained")
(ax_norms, ax_trace), (ax_histogram, ax_loss) = figure.subplots(2, 2)
for name, style in zip(params, ("-", "--", "-.", ":"), strict=True):
    ax_norms.plot(norms[name][::steps], color="0.2", linestyle=style, linewidth=1.4, label=name)
ax_norms.set(title="norm of -g on the first batch, by parameter (Adam)", ylabel="norm", yscale="log")
ax_norms.legend(frameon=False, fontsize=9)
bins = np.geomspace(1e-3, 1e2, 61)
for name, (_, learning_rate, colour) in runs.items():
    if name != "Adam's step, Adam 0.001":  # the same run as the first
        ax_loss.plot(histories[name].epochs.loss, color=colour, linewidth=1.6)
    ax_trace.plot([], color=colour, linewidth=1.6, label=name)  # for the legend
    alpha = histories[name].recorded[0].step_size.reshape(EPOCHS, steps)
    if "steps of" not in name:  # which does not observe
        low, median, high = np.nanquantile(alpha, [0.25, 0.5, 0.75], axis=1)
        ax_trace.plot(median, color=colour, linewidth=1.6)
        ax_trace.fill_between(np.arange(EPOCHS), low, high, color=colour, alpha=0.15, linewidth=0)
        ax_histogram.hist(alpha.ravel(), bins, histtype="step", color=colour, linewidth=1.6)
    if learning_rate:
        ax_histogram.axvline(learning_rate, color=colour, linestyle=":", linewidth=1.6)
ax_trace.set(title="alpha*: median and middle half of each epoch", ylabel="alpha*", yscale="log", ylim=(0.03, 3))
ax_histogram.set(title="alpha* of all mini-batches (dotted: learning rate)", xlabel="alpha*", xscale="log")
ax_histogram.set_ylabel("mini-batches")
ax_loss.set(title="mean loss of each epoch", ylabel="mean squared error", ylim=(0.88, 1.4))
for axes in (ax_norms, ax_trace, ax_histogram, ax_loss):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
for axes in (ax_norms, ax_trace, ax_loss):
    axes.set_xlabel("epoch")
figure.legend(*ax_trace.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
path = Path(__file__).with_suffix(".png")
figure.savefig(path, dpi=130)
print(f"drawn: {path.name}")

"""The lecture's Minimal Working Example: momentum, weight decay, cosine annealing and EMA on a linear regression.

Runs without torch: data, initial weights and batches are drawn as torch draws them after manual_seed(42), and the
averages of the parameters are those of AveragedModel. Where torch is installed the lecture's own script runs beside it
(minimal_working_example_in_torch.py), and every printed number is compared. Writes 03_minimal_working_example.png.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import funcsgd
from funcsgd import averages, schedules
from torch_bridge import data, init, random

EPOCHS, STEPS_PER_EPOCH = 50, 25
stream = random.manual_seed(42)
w_true, b_true, features = stream.randn(5, 1), stream.randn(1), stream.randn(1000, 5)
# features @ w_true, its five products added in the order of torch's matrix library (measured on x86-64 with AVX-512).
p = (features * w_true.T).T[..., None]
first = (features[:, 1:2].astype(np.float64) * w_true[1] + p[0]).astype(np.float32)  # a fused multiply-add
targets = (first + p[3]) + (p[2] + p[4]) + b_true + np.float32(0.5) * stream.randn(1000, 1)
train_set = data.ArrayDataset(features[:800], targets[:800])
val_set = data.ArrayDataset(features[800:], targets[800:])
train_loader = data.DataLoader(train_set, batch_size=32, shuffle=True)
val_loader = data.DataLoader(val_set, batch_size=64)

params = jax.tree.map(jnp.asarray, init.linear(5, 1))
schedule = schedules.cosine_annealing_lr(0.1, T_max=EPOCHS, eta_min=0.001)
learning_rate = schedules.per_epoch(schedules.tabulate(schedule, EPOCHS), STEPS_PER_EPOCH)
sgd = funcsgd.sgd(learning_rate, momentum=0.9, weight_decay=1e-4)
tx = averages.with_average(sgd, averages.ema(0.99, 0.01))  # the lecture's 0.99 * avg + 0.01 * param


def mean_squared_error(params, batch):
    x, y = batch
    return ((x @ params["weight"].T + params["bias"] - y) ** 2).mean()


batches = []
for _ in range(EPOCHS):
    batches.append(train_loader.index_batches())
    for _ in range(2):  # the lecture validates the model and its average: each pass over the loader moves the stream
        val_loader.index_batches(pad=-1)
run = funcsgd.train(
    mean_squared_error,
    tx,
    params,
    train_set.arrays,
    np.stack(batches),
    evaluate=mean_squared_error,
    validation=val_set.arrays,
)
params, average = run.params, averages.averaged_params(run.state.opt_state)
epochs = run.history.epochs
history = np.stack([epochs.loss, epochs.evaluation, epochs.averaged], axis=1)

rates = schedule.table(EPOCHS + 1)
lines = []
for epoch in range(5, EPOCHS + 1, 5):
    lines.append(f"Epoch {epoch}/{EPOCHS}, LR: {rates[epoch]:.4f}")
    names = ("Train Loss", "Val Loss", "EMA Val Loss")
    lines += [f"  {name}: {value:.6f}" for name, value in zip(names, history[epoch - 1], strict=True)]

lines += ["", "True weights vs. Learned weights:"]
weights = zip(w_true.ravel(), np.asarray(params["weight"][0]), np.asarray(average["weight"][0]), strict=True)
lines += [f"  w{i}: True={t:.4f}, Model={m:.4f}, EMA={e:.4f}" for i, (t, m, e) in enumerate(weights)]
model_bias, ema_bias = params["bias"].item(), average["bias"].item()
lines.append(f"  bias: True={b_true.item():.4f}, Model={model_bias:.4f}, EMA={ema_bias:.4f}")
print("\n".join(lines))

if importlib.util.find_spec("torch"):
    from minimal_working_example_in_torch import run

    other = [f"{theirs!r} for {ours!r}" for ours, theirs in zip(lines, run(), strict=True) if ours != theirs]
    print("\nPyTorch prints", "\n".join(other) or "the same.")
if importlib.util.find_spec("matplotlib"):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    losses, rate = figure.subplots(2, 1)
    for values, label in zip(zip(*history, strict=True), ("Train Loss", "Val Loss", "EMA Val Loss"), strict=True):
        losses.plot(values, label=label)
    losses.set(xlabel="Epoch", ylabel="Loss", title="Training and Validation Loss")
    losses.legend(frameon=False)
    rate.plot(rates[1:])
    rate.set(xlabel="Epoch", ylabel="Learning Rate", title="Learning Rate Schedule")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)

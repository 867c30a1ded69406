"""The learning rate schedules of the lecture, drawn: step decay, exponential decay, 1/t decay, cosine annealing.

Each curve is a table of float64 learning rates, calculated by torch's own recurrence, that an optimizer reads inside
jit. Writes 02_schedules.png beside this file.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from funcsgd.schedules import constant_lr, cosine_annealing_lr, exponential_lr, inverse_time_lr, step_lr, tabulate

EPOCHS = 100
schedules = {
    "constant": constant_lr(0.1, factor=1.0),
    "step decay, a tenth every 30": step_lr(0.1, step_size=30, gamma=0.1),
    "exponential decay, 0.95 each": exponential_lr(0.1, gamma=0.95),
    "1/t decay, 0.1 / (1 + 0.1 k)": inverse_time_lr(0.1, beta=0.1),
    "cosine annealing to 0.001": cosine_annealing_lr(0.1, T_max=EPOCHS, eta_min=0.001),
}

figure = Figure(figsize=(11, 4), layout="constrained")
linear, logarithmic = figure.subplots(1, 2)
for name, schedule in schedules.items():
    table = schedule.table(EPOCHS)
    inside = np.asarray(tabulate(schedule, EPOCHS)(jnp.arange(EPOCHS)))
    assert np.array_equal(inside, table.astype(np.float32)), name  # one cast, as when torch meets float32 parameters
    for axes in (linear, logarithmic):
        axes.plot(table, label=name, linewidth=1.8, drawstyle="steps-post")
    print(f"{name:30} first {table[0]:.4f}   middle {table[EPOCHS // 2]:.6f}   last {table[-1]:.6f}")

for axes in (linear, logarithmic):
    axes.set_xlabel("epoch")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
linear.set_ylabel("learning rate")
logarithmic.set_yscale("log")
figure.legend(*linear.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
path = Path(__file__).with_suffix(".png")
figure.savefig(path, dpi=130)
print(f"drawn: {path.name}")

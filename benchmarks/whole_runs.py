"""Whole runs in one program beside the same loops in torch: ``python -m benchmarks.whole_runs``.

Run it from the repository's root, on a machine with nothing else to do (``taskset -c 0,1`` for two cores).

- ``linear regression``: a notebook's 10,000 steps of the full gradient over 10 samples, float64.
- ``minimal working example``: a lecture's 50 epochs of 25 batches with momentum, weight decay, cosine annealing, an
  average, and two validations an epoch, float32; torch's side is ``examples/minimal_working_example_in_torch.py``. Ours
  draws torch's batches inside the program; that they are torch's in every bit is checked here, before any timing.
- ``sweep``: 1,000 configurations of each. torch's time is that of a single run, times 1,000.

Columns: median milliseconds of torch and of ours, once compiled; torch's over ours; the same with ``unroll=4``; torch's
over a first call of ours with new functions, tracing and compilation included.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch

import funcsgd
from benchmarks.timing import alternating_medians
from funcsgd import averages, schedules, sweep, train
from funcsgd.training import BatchOrder, Run, grid
from torch_bridge import data, init, random
from torch_bridge.data.traced import shuffled_epoch
from torch_bridge.random import traced

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import minimal_working_example_in_torch as example

STEPS, EPOCHS, PER_EPOCH, SEED, CONFIGURATIONS = 10_000, 50, 25, 42, 1000
IN_A_ROW = 20
Contender = Callable[[], object]

x = np.linspace((0, 1, 2), (1, 2, 3), 10)
y = x @ [3.0, 6.0, 9.0] + 3.0 + random.Generator(0).randn(10)


def notebook_in_torch() -> torch.Tensor:
    inputs, targets = torch.tensor(x), torch.tensor(y)
    weights, bias = (torch.zeros(n, dtype=torch.float64, requires_grad=True) for n in (3, 1))
    optimizer = torch.optim.SGD([weights, bias], lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = ((torch.add(torch.matmul(inputs, weights), bias) - targets) ** 2).sum()
        loss.backward()
        optimizer.step()
    return loss.detach()


def notebook(unroll: int = 1) -> Callable[[], Run]:
    """The same run; each call makes functions of its own, which nothing has been compiled for."""

    def sum_of_squares(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        return ((batch[0] @ params["w"] + params["b"] - batch[1]) ** 2).sum()

    rule, params = funcsgd.sgd(0.01), {"w": jnp.zeros(3), "b": jnp.zeros(1)}
    return lambda: train(sum_of_squares, rule, params, (x, y), epochs=STEPS, unroll=unroll)


def notebook_sweep() -> Contender:
    def run(point: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        def sum_of_squares(params: jax.Array, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
            return ((batch[0] @ params[:3] + params[3] - batch[1]) ** 2).sum()

        rule = funcsgd.sgd(point["learning_rate"])
        return train(sum_of_squares, rule, jnp.zeros(4), batch, epochs=STEPS).history.loss[-1]

    points = grid(learning_rate=np.geomspace(1e-4, 1e-2, CONFIGURATIONS))
    return lambda: sweep(run, points, (x, y))


def mean_squared_error(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    return ((batch[0] @ params["weight"].T + params["bias"] - batch[1]) ** 2).mean()


def draw(stream: traced.TracedState) -> tuple[jax.Array, traced.TracedState]:
    """The order of an epoch of the example: the training loader's, then what iterating the other one twice draws."""
    order, stream = shuffled_epoch(stream, 800)
    for _ in range(2):
        _, stream = traced.draw_seed(stream)
    return order, stream


class Example:
    """What the lecture's script has made when its training begins."""

    def __init__(self) -> None:
        stream = random.manual_seed(SEED)
        weights, bias, inputs = stream.randn(5, 1), stream.randn(1), stream.randn(1000, 5)
        targets = inputs @ weights + bias + np.float32(0.5) * stream.randn(1000, 1)
        self.train, self.held_out = (inputs[:800], targets[:800]), (inputs[800:], targets[800:])
        self.params = init.linear(5, 1)
        self.stream = stream.state

    def run(self, unroll: int = 1) -> Callable[[], Run]:
        """The whole script; like `notebook`, with functions of its own."""

        def loss_fn(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
            return mean_squared_error(params, batch)

        schedule = schedules.cosine_annealing_lr(0.1, T_max=EPOCHS, eta_min=0.001)
        rate = schedules.per_epoch(schedules.tabulate(schedule, EPOCHS), PER_EPOCH)
        sgd = funcsgd.sgd(rate, momentum=0.9, weight_decay=1e-4)
        rule = averages.with_average(sgd, averages.ema(0.99, 0.01))
        order = BatchOrder(draw, 800, 32)
        key = traced.from_host(self.stream)
        shown = {"evaluate": mean_squared_error, "validation": self.held_out, "unroll": unroll}
        return lambda: train(loss_fn, rule, self.params, self.train, order, EPOCHS, key=key, **shown)

    def sweep(self) -> Contender:
        """1,000 rules on one order, drawn by torch_bridge's loader on the host."""

        def run(point: dict[str, jax.Array], training: object, held_out: object, batches: jax.Array) -> jax.Array:
            schedule = schedules.cosine_annealing_lr(point["learning_rate"], T_max=EPOCHS, eta_min=0.001)
            rate = schedules.per_epoch(schedule, PER_EPOCH)
            sgd = funcsgd.sgd(rate, momentum=point["momentum"], weight_decay=point["weight_decay"])
            rule = averages.with_average(sgd, averages.ema(0.99, 0.01))
            shown = {"evaluate": mean_squared_error, "validation": held_out}
            epochs = train(mean_squared_error, rule, self.params, training, batches, **shown).history.epochs
            return jnp.stack([epochs.loss, epochs.evaluation, epochs.averaged])

        points = grid(
            learning_rate=np.geomspace(0.001, 0.1, 10),
            momentum=np.linspace(0.0, 0.9, 10),
            weight_decay=np.geomspace(1e-5, 1e-1, 10),
        )
        batches = orders_by_the_host(self)
        return lambda: sweep(run, points, self.train, self.held_out, batches)


def orders_by_the_host(start: Example) -> np.ndarray:
    """All epochs' batches, from torch_bridge's loaders."""
    random.default_generator.state = start.stream
    training, held_out = data.DataLoader(range(800), 32, shuffle=True), data.DataLoader(range(200), 64)
    orders = []
    for _ in range(EPOCHS):
        orders.append(training.index_batches())
        for _ in range(2):
            held_out.index_batches(pad=-1)
    return np.stack(orders)


def orders_by_torch() -> np.ndarray:
    """All epochs' batches, from torch's loaders in the lecture's script."""
    example.objects()  # seeds torch, and leaves its stream where the training begins
    training = torch.utils.data.DataLoader(range(800), 32, shuffle=True)
    held_out = torch.utils.data.DataLoader(range(200), 64)
    orders = []
    for _ in range(EPOCHS):
        orders.append(torch.stack(list(training)).numpy())
        for _ in range(2):
            list(held_out)
    return np.stack(orders)


def orders_in_the_program(start: Example) -> np.ndarray:
    """All epochs' batches, as the compiled program draws them."""
    one = jax.jit(lambda stream: jax.lax.scan(lambda s, _: draw(s)[::-1], stream, None, length=EPOCHS)[1])
    return np.asarray(one(traced.from_host(start.stream))).reshape(EPOCHS, PER_EPOCH, 32)


def first_call(make: Callable[[], Contender], rounds: int) -> float:
    """Median seconds of a first call, which traces and compiles."""
    seconds = []
    for _ in range(rounds):
        run = make()
        before = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - before)
    return float(np.median(seconds))


def in_a_row(run: Contender) -> Contender:
    """Several runs of a few milliseconds each, to stand beside one of torch's that takes a hundred times as long."""

    def runs() -> None:
        for _ in range(IN_A_ROW):
            jax.block_until_ready(run())

    return runs


def compare(name: str, theirs: Contender, make: Callable[..., Contender], rounds: int) -> float:
    """Print a line of the table; return torch's seconds."""
    contenders = {"torch": theirs, "ours": in_a_row(make()), "unrolled": in_a_row(make(unroll=4))}
    medians = alternating_medians(contenders, rounds, warmup=1)
    torch_s, ours, fast = medians["torch"], medians["ours"] / IN_A_ROW, medians["unrolled"] / IN_A_ROW
    first = first_call(make, rounds)
    print(
        f"{name:24} {torch_s * 1e3:9.1f} {ours * 1e3:8.2f} {torch_s / ours:7.0f}x {torch_s / fast:9.0f}x"
        f" {torch_s / first:9.1f}x"
    )
    return torch_s


def compare_sweep(name: str, torch_s: float, run: Contender, rounds: int) -> None:
    jax.block_until_ready(run())
    seconds = alternating_medians({"ours": lambda: jax.block_until_ready(run())}, rounds, warmup=1)["ours"]
    print(f"{name:24} {torch_s * CONFIGURATIONS:9.0f} s {seconds:8.3f} s {torch_s * CONFIGURATIONS / seconds:7.0f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__} with {torch.get_num_threads()} threads, jax {jax.__version__}")
    start = Example()
    theirs = orders_by_torch()
    assert np.array_equal(orders_by_the_host(start), theirs)
    assert np.array_equal(orders_in_the_program(start), theirs)
    print(f"batches of {EPOCHS} epochs: torch's, the loader's without torch, and the program's: equal in every bit")
    print(f"{'':24} {'torch, ms':>9} {'ours':>8} {'ratio':>8} {'unroll=4':>10} {'first call':>10}")
    with jax.enable_x64(True):
        notebook_s = compare("linear regression", notebook_in_torch, notebook, rounds)
    example_s = compare("minimal working example", example.run, start.run, rounds)
    print(f"{CONFIGURATIONS} configurations; torch: one run, times {CONFIGURATIONS}")
    with jax.enable_x64(True):
        compare_sweep("linear regression", notebook_s, notebook_sweep(), rounds)
    compare_sweep("minimal working example", example_s, start.sweep(), rounds)


if __name__ == "__main__":
    main()

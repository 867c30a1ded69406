"""What recording a torch run costs, in time, memory and disk: python -m benchmarks.recording.

The names of parts, ``steps``, ``twins``, ``memory``, ``diff``, run those alone.
"""

import contextlib
import copy
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import torch_bridge
from torch_bridge import Keep
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.file import TraceFile


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 768), nn.ReLU(), nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 10))


def small_convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(64, 10),
    )  # fmt: skip


def convolutions() -> nn.Module:
    """1.15 M parameters."""
    sizes, layers = (3, 64, 128, 256, 256), []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 180), nn.ReLU(), nn.Linear(180, 10))


Step = Callable[[], None]


def training_step(make: Callable[[], nn.Module], x: torch.Tensor, optimizer: str = "SGD", **options: object) -> Step:
    """Return one step of training; with options it is recorded by them, in memory by a new recorder every 20 steps."""
    torch.manual_seed(0)
    model, y = make(), torch.arange(len(x)) % 10
    made = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    if optimizer == "Adam":
        made = torch.optim.Adam(model.parameters(), lr=1e-3)
    recorders: list[torch_bridge.Recorder] = []
    steps = 0

    def step() -> None:
        nonlocal steps
        if options and (not recorders or ("path" not in options and steps % 20 == 0)):  # or memory would fill
            for old in recorders:
                old.close()
            recorders[:] = [torch_bridge.record(model, made, **options)]
        steps += 1
        made.zero_grad()
        F.cross_entropy(model(x), y).backward()
        made.step()

    return step


def in_double(make: Callable[[], nn.Module], x: torch.Tensor) -> Step:
    """Return a copy of the model into double, and its forward and backward pass there."""
    torch.manual_seed(0)
    model, y = make(), torch.arange(len(x)) % 10

    def evaluate() -> None:
        F.cross_entropy(copy.deepcopy(model).double()(x.double()), y).backward()

    return evaluate


def alternating_cpu_medians(contenders: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of a call: on one thread they do not depend on what else the machine does."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, call in contenders.items():
            before = time.process_time()
            call()
            seconds[name].append(time.process_time() - before)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def table(name: str, seconds: dict[str, float]) -> None:
    print(name)
    for row, value in seconds.items():
        print(f"  {row:40s} {value * 1e3:8.2f} ms {value / seconds['torch alone']:6.2f} of torch's step")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def steps() -> None:
    """Recording to a file, in each mode; without float64 twins."""
    for optimizer in ("SGD", "Adam"):
        with folder() as place:
            kinds = {
                "full": Keep(),
                "digest, every 100th in full": Keep("digest", every=100),
                "digest, no gradients": Keep("digest", gradients=False),
                "digest, no gradients, no norms": Keep("digest", gradients=False, norms=False),
                "ring of 10": Keep("ring", last=10),
            }
            x = torch.randn(64, 3, 32, 32)
            contenders = {"torch alone": training_step(convolutions, x, optimizer)}
            for number, (kind, keep) in enumerate(kinds.items()):
                options = {"keep": keep, "twins": False, "path": place / f"{number}.trace"}
                contenders[kind] = training_step(convolutions, x, optimizer, **options)
            table(f"convolutions, 1.15 M parameters, batch 64, {optimizer}", alternating_cpu_medians(contenders, 15))


def twins() -> None:
    """What float64 twins add, in memory."""
    for name, make, shape in (
        ("perceptron, 1.0 M parameters, batch 32", perceptron, (32, 784)),
        ("convolutions with BatchNorm and dropout, batch 32", small_convolutions, (32, 3, 32, 32)),
    ):
        x, often = torch.randn(*shape), 10**9
        seconds = alternating_cpu_medians(
            {
                "torch alone": training_step(make, x),
                "recorded, no twins": training_step(make, x, twins=False),
                "a twin at every step": training_step(make, x, twins=torch_bridge.Twins(first=often, layers=False)),
                "and its layers": training_step(make, x, twins=torch_bridge.Twins(first=often)),
                "a copy in double, by hand": in_double(make, x),
            },
            rounds=15,
        )
        table(name, seconds)
        for row in ("a twin at every step", "and its layers"):
            added = seconds[row] - seconds["recorded, no twins"]
            print(f"  added by {row}, over the same by hand: {added / seconds['a copy in double, by hand']:.2f}")


def resident() -> float:
    """Return the megabytes of memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory() -> None:
    """How memory grows over a run of 1 M parameters that is written to a file."""
    for name, keep, n_steps in (
        ("digest, no gradients", Keep("digest", gradients=False), 2000),
        ("ring of 10", Keep("ring", last=10), 2000),
        ("full", Keep(), 300),
    ):
        with folder() as place:
            path = place / "run.trace"
            step = training_step(perceptron, torch.randn(8, 784), keep=keep, twins=False, path=path)
            for _ in range(20):
                step()
            before = resident()
            for _ in range(n_steps):
                step()
            grown, size = resident() - before, path.stat().st_blocks * 512 / 1e6
            print(f"{name:28s} {n_steps} steps: memory grew by {grown:.1f} MB, the file has {size:.0f} MB")


def diff(n_steps: int = 100_000) -> None:
    """Two runs of 10^5 steps compared, step by step."""
    with folder() as place:
        for name in ("a", "b"):
            with TraceFile(place / name) as file:
                made = TraceBuilder({}, keep=Keep("digest", gradients=False), file=file)
                weights = np.zeros(1000, np.float32)
                for t in range(n_steps):
                    weights = weights + np.float32(1e-3 if name == "a" or t < n_steps - 10 else 2e-3)
                    made.append({"loss": np.float32(t), "gradient/w": weights + 1, "parameter/w": weights})
                made.close()
        compare = torch_bridge.compare  # imported before memory is measured
        before, start = resident(), time.perf_counter()
        left, right = (torch_bridge.Trace.load(place / name) for name in ("a", "b"))
        opened = time.perf_counter()
        first = compare(left, right).first
        done = time.perf_counter()
        held, size = resident() - before, sum((place / name).stat().st_size for name in ("a", "b")) / 1e6
        assert first is not None
        print(f"{n_steps} steps, files of {size:.0f} MB together, the first difference at step {first.step}:")
        print(f"  opened in {opened - start:.1f} s, compared in {done - opened:.1f} s, {held:.1f} MB held")


def main() -> None:
    torch.set_num_threads(1)
    for part in (steps, twins, memory, diff):
        if len(sys.argv) == 1 or part.__name__ in sys.argv:
            part()


if __name__ == "__main__":
    main()

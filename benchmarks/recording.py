"""What recording a torch run costs, and what its float64 twins add: python -m benchmarks.recording."""

import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

import torch_bridge

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "perceptron, 1.0 M parameters, batch 32": (
        lambda: nn.Sequential(nn.Linear(784, 768), nn.ReLU(), nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 10)),
        (32, 784),
    ),
    "convolutions with BatchNorm and dropout, batch 32": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(64, 10),
        ),
        (32, 3, 32, 32),
    ),
}  # fmt: skip


def training_step(
    make: Callable[[], nn.Module], x: torch.Tensor, twins: torch_bridge.Twins | bool | None
) -> Callable[[], None]:
    """Return one step of training; watched, unless ``twins`` is None, with a new recorder every 20 steps."""
    torch.manual_seed(0)
    model, y = make(), torch.arange(len(x)) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    recorders: list[torch_bridge.Recorder] = []
    steps = 0

    def step() -> None:
        nonlocal steps
        if twins is not None and steps % 20 == 0:  # or the trace would fill the memory
            for old in recorders:
                old.close()
            recorders[:] = [torch_bridge.record(model, optimizer, twins=twins)]
        steps += 1
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def in_double(make: Callable[[], nn.Module], x: torch.Tensor) -> Callable[[], None]:
    """Return a copy of the model into double, and its forward and backward pass there."""
    torch.manual_seed(0)
    model, y = make(), torch.arange(len(x)) % 10

    def evaluate() -> None:
        F.cross_entropy(copy.deepcopy(model).double()(x.double()), y).backward()

    return evaluate


def alternating_cpu_medians(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of a call: on one thread they do not depend on what else the machine does."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, call in contenders.items():
            before = time.process_time()
            call()
            seconds[name].append(time.process_time() - before)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def main() -> None:
    for name, (make, shape) in NETWORKS.items():
        x = torch.randn(*shape)
        seconds = alternating_cpu_medians(
            {
                "torch alone": training_step(make, x, None),
                "recorded, no twins": training_step(make, x, False),
                "a twin at every step": training_step(make, x, torch_bridge.Twins(first=10**9, layers=False)),
                "and its layers": training_step(make, x, torch_bridge.Twins(first=10**9)),
                "a copy in double, by hand": in_double(make, x),
            },
            rounds=15,
        )
        print(name)
        for row, value in seconds.items():
            print(f"  {row:28s} {value * 1e3:8.2f} ms {value / seconds['torch alone']:6.2f} of torch's step")
        for row in ("a twin at every step", "and its layers"):
            added = seconds[row] - seconds["recorded, no twins"]
            print(f"  added by {row}, over the same by hand: {added / seconds['a copy in double, by hand']:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

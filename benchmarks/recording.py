"""What recording a torch run costs, and what its float64 twins add: python -m benchmarks.recording."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

import torch_bridge
from benchmarks.timing import alternating_medians

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


def main() -> None:
    every = torch_bridge.Twins(first=10**9)
    for name, (make, shape) in NETWORKS.items():
        x = torch.randn(*shape)
        seconds = alternating_medians(
            {
                "torch alone": training_step(make, x, None),
                "recorded, no twins": training_step(make, x, False),
                "recorded, a twin at every step": training_step(make, x, every),
                "the same without layers": training_step(make, x, torch_bridge.Twins(first=10**9, layers=False)),
                "a copy in double, forward and backward": in_double(make, x),
            },
            rounds=8,
            warmup=1,
        )
        print(name)
        for row, value in seconds.items():
            print(f"  {row:40s} {value * 1e3:8.2f} ms {value / seconds['torch alone']:6.2f}")
        by_hand = seconds["a copy in double, forward and backward"]
        for row in ("recorded, a twin at every step", "the same without layers"):
            added = seconds[row] - seconds["recorded, no twins"]
            print(f"  what twins add, over the same by hand ({row}): {added / by_hand:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()

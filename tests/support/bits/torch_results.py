"""torch's parameters at the end of each scenario: calculated, or read from a file that another Python wrote."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.bits.programs import LEARNING_RATES, NUMBERS, draw
from tests.support.bits.scenarios import Scenario


def torch_result(scenario: Scenario) -> dict[str, list[np.ndarray]]:
    """torch.optim.SGD, its for-loop implementation, on the same parameters and gradients."""
    import torch

    data = draw(scenario.plan(), scenario.dtype)
    options: dict[str, Any] = {name: NUMBERS.get(name, True) for name in scenario.flags}
    result = {}
    for kind, values in data.params.items():
        tensors = [torch.tensor(p, requires_grad=True) for p in values]
        optimizer = torch.optim.SGD(tensors, lr=LEARNING_RATES[0], foreach=False, **options)
        for rate, of_step in zip(LEARNING_RATES, data.gradients, strict=True):
            if scenario.how == "schedules":
                optimizer.param_groups[0]["lr"] = rate
            for tensor, g in zip(tensors, of_step[kind], strict=True):
                tensor.grad = torch.tensor(g)
            optimizer.step()
        result[kind] = [tensor.detach().numpy() for tensor in tensors]
    return result


def write(path: Path, scenarios: Iterable[Scenario]) -> None:
    """Write the results of these scenarios into an .npz file."""
    arrays = {
        f"{scenario}/{kind}/{i}": leaf
        for scenario in scenarios
        for kind, leaves in torch_result(scenario).items()
        for i, leaf in enumerate(leaves)
    }
    np.savez(path, **arrays)


def read(path: Path, scenario: Scenario) -> dict[str, list[np.ndarray]]:
    """Read one scenario's result."""
    with np.load(path) as file:
        return {
            kind: [file[f"{scenario}/{kind}/{i}"] for i in range(len(shapes))]
            for kind, shapes in scenario.plan().items()
        }

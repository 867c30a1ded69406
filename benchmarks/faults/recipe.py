"""A recipe: a PyTorch training, recorded once, and its right port."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import torch

import torch_bridge
from tests.support.planted.numbers import Numbers
from torch_bridge.trace.trace import in_phase
from torch_bridge.translate.recipe_data import recorded_recipe

Wrong = Mapping[str, Callable[[jax.Array], jax.Array]]
"""Layer -> what a port makes of its output."""


@dataclass(frozen=True)
class Parts:
    """What a torch script has before its loop."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    schedulers: Sequence[tuple[Any, bool]] = ()  # with True if it is stepped with each epoch
    average: Any = None
    clip: Callable[[Any], Any] = lambda parameters: None


@dataclass(frozen=True)
class Recipe:
    """A training in torch and in JAX.

    Attributes:
        name: of it.
        numbers: its rule in numbers.
        parts: makes what the torch script has before its loop.
        loss: ``loss(wrong, **options)`` is the port's loss function, with layers' outputs replaced.
        examples: inputs and targets.
        layers: the names of layers, in causal order.
        classes: how many labels there are; 0 for targets that are numbers.
        targets: how many targets an example has.
        buffers: the port has a model state.
        forward: faults of the forward pass of this net: name -> options of ``loss``, the layer, the entries that name
            it.
        epochs: how many of three batches each.
    """

    name: str
    numbers: Numbers
    parts: Callable[[], Parts]
    loss: Callable[..., Callable[..., Any]]
    examples: tuple[np.ndarray, np.ndarray]
    layers: tuple[str, ...]
    classes: int = 0
    targets: int = 1
    buffers: bool = False
    forward: Mapping[str, tuple[Mapping[str, Any], str, tuple[str, ...]]] = field(default_factory=dict)
    epochs: int = 3

    @property
    def images(self) -> bool:
        """True if the inputs are images."""
        return self.examples[0].ndim == 4

    def batch(self, step: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The examples of a batch; an index that is too large is the last one, as in JAX."""
        del step
        x, y = self.examples
        indices = np.minimum(indices, len(x) - 1)
        return x[indices], y[indices]

    @functools.cached_property
    def right_loss(self) -> Callable[..., Any]:
        """The right port's loss function."""
        return self.loss({})

    @functools.cached_property
    def trace(self) -> torch_bridge.Trace:
        """The recorded run."""
        torch.manual_seed(0)
        parts = self.parts()
        x, y = (torch.tensor(values) for values in self.examples)
        y = y.long() if self.classes else y
        dataset = torch.utils.data.TensorDataset(x, y)
        loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
        with torch_bridge.record(parts.model, parts.optimizer, loader=loader, average=parts.average) as recorder:
            for _ in range(self.epochs):
                for inputs, targets in loader:
                    parts.optimizer.zero_grad()
                    parts.criterion(parts.model(inputs), targets).backward()
                    parts.clip(parts.model.parameters())
                    parts.optimizer.step()
                    if parts.average is not None:
                        parts.average.update_parameters(parts.model)
                    for scheduler, by_epoch in parts.schedulers:
                        scheduler.step() if not by_epoch else None
                for scheduler, by_epoch in parts.schedulers:
                    scheduler.step() if by_epoch else None
        return recorder.trace()

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parameters' shapes by name."""
        return {name: value.shape for name, value in in_phase(self.trace.initial, "parameter").items()}

    def leaves(self, which: str) -> frozenset[str]:
        """The parameters that a fault is in: ``all``, ``vectors``, ``matrices``, those that ``decay``, or the first
        matrix.
        """
        vectors = {name for name, shape in self.shapes.items() if len(shape) < 2}
        matrices = [name for name in self.shapes if name not in vectors]
        sets = {"all": set(self.shapes), "vectors": vectors, "matrices": set(matrices), "first matrix": matrices[:1]}
        sets["decay"] = sets["matrices"] if self.numbers.spared else sets["all"]
        return frozenset(sets[which])

    def groups(self, which: str) -> frozenset[str]:
        """The torch optimizer's groups of those parameters."""
        leaves = self.leaves(which)
        return frozenset(str(i) for i, names in enumerate(self._groups) if leaves & set(names))

    @functools.cached_property
    def _groups(self) -> list[tuple[str, ...]]:
        return [group.names for group in recorded_recipe(self.trace.static).groups]

"""What every family of ports has: an ordinary torch script, its JAX port, and the faults the port can be given.

``family.script(seed)`` is the torch side; ``family.port(**options)`` is a pure ``loss_fn(params, batch)`` whose
parameters carry torch's names in torch's layouts. Its options are the fields of `Layers`; with none of them the port is
the same function. Widths are read from the parameters, so one port serves every width.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from tests.support.ports.layers import Layers

Precision = Literal["float32", "autocast", "bfloat16"]
Params = Mapping[str, jax.Array]
Batch = tuple[jax.Array, ...]
LossFn = Callable[[Params, Batch], jax.Array]
TorchBatch = tuple[torch.Tensor, ...]


def mean_loss(criterion: nn.Module, model: nn.Module, batch: TorchBatch) -> torch.Tensor:
    """The loss as most scripts write it."""
    inputs, target = batch
    return criterion(model(inputs), target)


@dataclasses.dataclass(frozen=True)
class Script:
    """What an ordinary training script has made before its loop."""

    model: nn.Module
    criterion: nn.Module
    loader: torch.utils.data.DataLoader
    optimizer: torch.optim.SGD
    precision: Precision = "float32"
    form: Callable[[nn.Module, nn.Module, TorchBatch], torch.Tensor] = mean_loss

    def loss(self, model: nn.Module, batch: TorchBatch) -> torch.Tensor:
        """The loss of `model`, which may be a copy of the script's own in double."""
        dtype = next(model.parameters()).dtype
        batch = tuple(x.to(dtype) if x.is_floating_point() else x for x in batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "autocast" and dtype == torch.float32):
            return self.form(self.criterion, model, batch)

    def batches(self) -> Iterator[TorchBatch]:
        """The loader's batches, epoch after epoch."""
        while True:
            yield from (tuple(batch) for batch in self.loader)

    def train(self, steps: int) -> Iterator[TorchBatch]:
        """The loop; each batch is given out between backward() and step(), when the gradients are there to be seen."""
        for _, batch in zip(range(steps), self.batches(), strict=False):
            self.optimizer.zero_grad()
            self.loss(self.model, batch).backward()
            yield batch
            self.optimizer.step()


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture on both sides.

    ``make_model(width)`` and ``make_data(generator, samples, blank)`` are torch's; ``blank`` is a share of samples that
    are zero everywhere, which puts pre-activations without a bias at exactly zero.
    ``faults`` names the options of the port that make it wrong; ``imprecise`` those that only make it less precise: the
    same function in exact arithmetic. ``wide`` and ``large_batch`` make reductions of 1e5 elements and more.
    """

    name: str
    make_model: Callable[[int], nn.Module]
    make_data: Callable[[torch.Generator, int, float], TorchBatch]
    write: Callable[[Layers], LossFn]
    faults: Mapping[str, Mapping[str, Any]]
    imprecise: Mapping[str, Mapping[str, Any]]
    width: int
    wide: int
    large_batch: int
    form: Callable[[nn.Module, nn.Module, TorchBatch], torch.Tensor] = mean_loss
    momentum: float = 0.9

    def script(
        self,
        seed: int = 0,
        *,
        batch_size: int = 16,
        learning_rate: float = 0.05,
        width: int | None = None,
        precision: Precision = "float32",
        samples: int | None = None,
        smoothing: float = 0.0,
        blank: float = 0.0,
        offset: float = 0.0,
    ) -> Script:
        """The torch side, drawn from `seed`; three batches of data unless `samples` says otherwise.

        `offset` is added to inputs that are floating-point: data with a mean far from zero, such as kelvins.
        """
        torch.manual_seed(seed)
        model = self.make_model(width or self.width)
        model = model.bfloat16() if precision == "bfloat16" else model
        data = self.make_data(torch.Generator().manual_seed(seed + 1), samples or 3 * batch_size, blank)
        data = tuple(x + offset if x.is_floating_point() else x for x in data)
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=self.momentum, weight_decay=5e-4)
        return Script(model, nn.CrossEntropyLoss(label_smoothing=smoothing), loader, optimizer, precision, self.form)

    def port(self, **options: Any) -> LossFn:
        """The JAX side: ``loss_fn(params, batch)``."""
        return self.write(Layers(**options))


def parameters(model: nn.Module, dtype: Any = None) -> dict[str, jax.Array]:
    """Torch's parameters under torch's names; `dtype` None keeps their own."""
    return {name: to_jax(value, dtype) for name, value in model.named_parameters()}


def to_jax(tensor: torch.Tensor, dtype: Any = None) -> jax.Array:
    """A tensor as an array; `dtype` is for floating values alone."""
    if not tensor.is_floating_point():
        return jnp.asarray(tensor.numpy().astype(np.int32))
    if tensor.dtype == torch.bfloat16:
        return jnp.asarray(tensor.detach().float().numpy(), dtype or jnp.bfloat16)
    return jnp.asarray(tensor.detach().numpy(), dtype)

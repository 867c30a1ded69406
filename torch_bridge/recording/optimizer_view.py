"""What an optimizer shows: its parameters by name, their gradients as it uses them, its state."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.trace.trace import Array
from torch_bridge.translate.optim import group_hyperparameters, parameter_names
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch


class OptimizerView:
    """Reads an optimizer; it may be given further parameter groups in mid-run.

    Attributes:
        optimizer: what it reads.
    """

    def __init__(self, optimizer: "torch.optim.Optimizer", model: "torch.nn.Module") -> None:
        """Find the names.

        Args:
            optimizer: a ``torch.optim.SGD``.
            model: its ``named_parameters()`` name the parameters, unless the optimizer has names of its own.

        Raises:
            TypeError: the optimizer is not torch.optim.SGD.
            ValueError: the optimizer has a parameter that the model lacks.
        """
        import torch

        if type(optimizer) is not torch.optim.SGD:
            raise TypeError(f"record watches torch.optim.SGD, but got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self._model = model
        self._names = parameter_names(optimizer, model.named_parameters())
        self._told = {name for names in self._names for name in names}

    def parameters(self) -> "Iterator[tuple[dict[str, Any], str, torch.nn.Parameter]]":
        """Go through group, name and parameter."""
        self._refresh()
        for group, names in zip(self.optimizer.param_groups, self._names, strict=False):
            for name, parameter in zip(names, group["params"], strict=False):
                yield group, name, parameter

    def groups(self) -> list[tuple[list[str], dict[str, Any]]]:
        """Return the names and the hyperparameters of each group."""
        return [
            (names, group_hyperparameters(group))
            for names, group in zip(self._names, self.optimizer.param_groups, strict=False)
        ]

    def grown(self) -> list[str]:
        """Return the names of the parameters that were added to the optimizer since this was last asked."""
        self._refresh()
        names = [name for names in self._names for name in names]
        added = [name for name in names if name not in self._told]
        self._told.update(added)
        return added

    def _refresh(self) -> None:
        if [len(names) for names in self._names] == [len(group["params"]) for group in self.optimizer.param_groups]:
            return
        try:
            self._names = parameter_names(self.optimizer, self._model.named_parameters())
        except ValueError:  # not of this model
            known = {id(parameter): name for name, parameter in self._model.named_parameters()}
            self._names = [
                [known.get(id(parameter), f"group{index}.{position}") for position, parameter in enumerate(g["params"])]
                for index, g in enumerate(self.optimizer.param_groups)
            ]

    def state(self) -> dict[str, Array]:
        """Return the parameters and the momentum buffers that exist, by key."""
        state = {f"parameter/{name}": to_numpy(parameter) for _, name, parameter in self.parameters()}
        for _, name, parameter in self.parameters():
            buffer = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                state[f"momentum/{name}"] = to_numpy(dense(buffer))
        return state

    def quantities(self, unclipped: dict[str, Array] | None, say: Callable[[str], None]) -> dict[str, Array]:
        """Return what the optimizer is about to use: rates, momenta in force, gradients, with weight decay.

        Args:
            unclipped: the gradients as ``backward()`` left them, by name, where a script changes them afterwards.
            say: is told in a sentence what is recorded otherwise than it is.
        """
        import torch

        values: dict[str, Array] = {}
        for index, group in enumerate(self.optimizer.param_groups):
            values[f"learning_rate/{index}"] = np.asarray(float(group["lr"]))
            values[f"momentum_in_force/{index}"] = np.asarray(float(group["momentum"]))
        for group, name, parameter in self.parameters():
            if parameter.grad is None:
                continue
            if parameter.grad.is_sparse:
                say(f"the gradient of {name} is sparse; the trace holds it as a dense array")
            with torch.no_grad():
                gradient = self.unscaled(dense(parameter.grad))
                values[f"gradient/{name}"] = to_numpy(gradient)
                if unclipped is not None:
                    values[f"clip/{name}"] = values[f"gradient/{name}"]
                    values[f"gradient/{name}"] = unclipped.pop(name, values[f"gradient/{name}"])
                if group["weight_decay"] != 0:
                    signed = -gradient if group["maximize"] else gradient
                    values[f"weight_decay/{name}"] = to_numpy(signed.add(parameter, alpha=group["weight_decay"]))
        return values

    def is_skipping(self) -> bool:
        """Return True if a GradScaler found infinities and has the optimizer leave out the step."""
        found = getattr(self.optimizer, "found_inf", None)
        return found is not None and bool(found)

    def unscaled(self, gradient: "torch.Tensor") -> "torch.Tensor":
        """Return a gradient as the optimizer uses it: a fused one divides by the GradScaler's scale itself."""
        scale = getattr(self.optimizer, "grad_scale", None)
        return gradient if scale is None else gradient / scale.to(gradient.device, gradient.dtype)


def dense(tensor: "torch.Tensor") -> "torch.Tensor":
    """Return a tensor that is not sparse."""
    return tensor.to_dense() if tensor.is_sparse else tensor

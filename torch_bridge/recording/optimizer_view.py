"""An optimizer's quantities: its parameters by name, their gradients as it uses them, its state."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.trace.dtypes import same_bits
from torch_bridge.trace.phases import FIRST, LAST
from torch_bridge.trace.trace import Array
from torch_bridge.translate.optimizers import adapter_of
from torch_bridge.translate.parameters import bare_parameters, parameter_names
from torch_bridge.translate.read import read_groups
from torch_bridge.translate.recipe import Group
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch

RESERVED = (*FIRST, *LAST)
"""Names that keys of an optimizer's state must not have in a trace."""


class OptimizerView:
    """Reads an optimizer; it may be given further parameter groups in mid-run.

    Attributes:
        optimizer: what it reads.
        adapter: of its class; of an unknown one the keys of its state are found as they appear.
    """

    def __init__(self, optimizer: "torch.optim.Optimizer", model: "torch.nn.Module") -> None:
        """Find the names.

        Args:
            optimizer: any torch optimizer.
            model: its ``named_parameters()`` name the parameters, without the prefixes of wrappers such as
                ``torch.compile``'s, unless the optimizer has names of its own.

        Raises:
            TypeError: it is no optimizer.
            ValueError: the optimizer has a parameter that the model lacks.
        """
        self.adapter = adapter_of(optimizer)
        self.optimizer = optimizer
        self._model = model
        self._names = parameter_names(optimizer, bare_parameters(model))
        self._told = {name for names in self._names for name in names}

    def parameters(self) -> "Iterator[tuple[dict[str, Any], str, torch.nn.Parameter]]":
        """Go through group, name and parameter."""
        self._refresh()
        for group, names in zip(self.optimizer.param_groups, self._names, strict=False):
            for name, parameter in zip(names, group["params"], strict=False):
                yield group, name, parameter

    def named(self) -> "list[tuple[str, torch.nn.Parameter]]":
        """Return names and parameters."""
        return [(name, parameter) for _, name, parameter in self.parameters()]

    def groups(self) -> list[Group]:
        """Return the names and the hyperparameters of each group."""
        return read_groups(self.optimizer, self._names, self.adapter)

    def grown(self) -> list[str]:
        """Return the names of the parameters that were added to the optimizer since the last call."""
        self._refresh()
        names = [name for names in self._names for name in names]
        added = [name for name in names if name not in self._told]
        self._told.update(added)
        return added

    def _refresh(self) -> None:
        if [len(names) for names in self._names] == [len(group["params"]) for group in self.optimizer.param_groups]:
            return
        try:
            self._names = parameter_names(self.optimizer, bare_parameters(self._model))
        except ValueError:  # not of this model
            known = {id(parameter): name for name, parameter in bare_parameters(self._model)}
            self._names = [
                [known.get(id(parameter), f"group{index}.{position}") for position, parameter in enumerate(g["params"])]
                for index, g in enumerate(self.optimizer.param_groups)
            ]

    def state(self, known: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Return the parameters, and what the optimizer holds for each of them, by key.

        Args:
            known: earlier values. An array of it that no bit differs from is returned itself, and nothing is copied.
        """
        known = known or {}
        named = list(self.parameters())
        state = {(key := f"parameter/{name}"): _copied(parameter, known.get(key)) for _, name, parameter in named}
        for _, name, parameter in named:
            for entry_key, entry in self.optimizer.state.get(parameter, {}).items():
                if _is_array(entry) and self._is_state(entry_key):
                    key = f"{entry_key}/{name}"
                    state[key] = _copied(entry, known.get(key))
        return state

    def _is_state(self, key: str) -> bool:
        """Whether a key of the optimizer's state is recorded; of an unknown optimizer every one is."""
        if key in self.adapter.state:
            return True
        if self.adapter.rule is not None or key in RESERVED or "/" in key:
            return False
        adapter = self.adapter
        self.adapter = replace(adapter, state=(*adapter.state, key), quantities=(*adapter.quantities, key))
        return True

    def quantities(self, unclipped: dict[str, Array] | None, note: Callable[[str], None]) -> dict[str, Array]:
        """Return what the optimizer is about to use: its numbers, gradients, and what it computes of them first.

        Args:
            unclipped: the gradients as ``backward()`` left them, by name, where a script changes them afterwards.
            note: takes a sentence on what is recorded in another form.
        """
        import torch

        values: dict[str, Array] = {}
        for index, group in enumerate(self.optimizer.param_groups):
            for number in self.adapter.numbers:
                if number.option in group:
                    values[f"{number.quantity}/{index}"] = np.asarray(float(number.of(group)))
        for group, name, parameter in self.parameters():
            if parameter.grad is None:
                continue
            if parameter.grad.is_sparse:
                note(f"the gradient of {name} is sparse; the trace holds it as a dense array")
            with torch.no_grad():
                gradient = self.unscaled(dense(parameter.grad))
                values[f"gradient/{name}"] = to_numpy(gradient)
                if unclipped is not None:
                    values[f"clip/{name}"] = values[f"gradient/{name}"]
                    values[f"gradient/{name}"] = unclipped.pop(name, values[f"gradient/{name}"])
                for quantity, value in self.adapter.shown(group, parameter, gradient).items():
                    values[f"{quantity}/{name}"] = to_numpy(value)
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


def _is_array(entry: Any) -> bool:
    """Whether a value of an optimizer's state is a tensor or a number."""
    return hasattr(entry, "detach") or isinstance(entry, int | float)


def _copied(entry: Any, known: Array | None) -> Array:
    """A copy of a tensor, or of a number; or what is known, if it is the same in every bit."""
    if not hasattr(entry, "detach"):
        array = np.asarray(entry)
        return known if known is not None and same_bits(array, known) else array
    if known is not None and same_bits(to_numpy(dense(entry), copy=False), known):
        return known
    return to_numpy(dense(entry))

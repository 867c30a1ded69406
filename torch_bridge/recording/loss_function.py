"""Loss and gradients in float64 by a function of the user's, on a copy of the model."""

import copy
from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, Any

from torch_bridge.recording.patch import BACKWARD, without_recording
from torch_bridge.trace.trace import Array
from torch_bridge.translate.parameters import bare_name, unwrapped
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch


class LossFunction:
    """A user's ``loss(model, batch)``, to be evaluated from the state in which a step began."""

    def __init__(self, loss: "Callable[[Any, Any], torch.Tensor]", model: "torch.nn.Module", batch: Any) -> None:
        """Note the state before the model is called: buffers and random streams.

        Args:
            loss: ``loss(model, batch)`` -> scalar.
            model: of the run, as it is or compiled.
            batch: of the step.
        """
        from torch_bridge.recording.float64 import Generators

        self._loss, self._model, self._batch = loss, model, batch
        self._buffers = {name: buffer.detach().clone() for name, buffer in unwrapped(model).named_buffers()}
        self._generators = Generators(parameter.device for parameter in model.parameters())
        self._states = self._generators.states()

    def evaluated(
        self, named_parameters: "Iterable[tuple[str, torch.Tensor]]", changing: Container[str]
    ) -> dict[str, Array]:
        """Return loss, gradients and buffers in float64, by key.

        Args:
            named_parameters: those of the optimizer, which have not been stepped yet.
            changing: the names of the buffers that change in the run.
        """
        import torch

        with without_recording(), self._generators.kept(), torch.enable_grad():
            twin = copy.deepcopy(unwrapped(self._model)).double()
            for name, buffer in twin.named_buffers():
                buffer.copy_(self._buffers[name])
            _drop_hooks(twin)
            twin.zero_grad()
            self._generators.restore(self._states)
            loss = self._loss(twin, _widened(self._batch))
            BACKWARD.own(loss)
        names = {id(parameter): name for name, parameter in named_parameters}
        evaluated = {"loss": to_numpy(loss.detach().reshape(()))}
        for parameter, copied in zip(self._model.parameters(), twin.parameters(), strict=True):
            if id(parameter) in names and copied.grad is not None:
                evaluated[f"gradient/{names[id(parameter)]}"] = to_numpy(copied.grad.to_dense())
        named = {bare_name(twin, name): buffer for name, buffer in twin.named_buffers()}
        evaluated |= {f"buffer/{name}": to_numpy(buffer) for name, buffer in named.items() if name in changing}
        return evaluated


def _widened(value: Any) -> Any:
    import torch

    from torch_bridge.recording.float64 import rebuilt, wide_dtype

    return value.to(wide_dtype(value.dtype)) if isinstance(value, torch.Tensor) else rebuilt(value, _widened)


def _drop_hooks(model: "torch.nn.Module") -> None:
    """Remove the script's hooks; torch's own, such as those of weight_norm, compute what is called weights."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                if not str(getattr(type(hook), "__module__", "")).startswith("torch."):
                    del hooks[key]

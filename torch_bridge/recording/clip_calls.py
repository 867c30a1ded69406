"""The calls of clip_grad_norm_ and clip_grad_value_ on an optimizer's gradients."""

import types
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from torch_bridge.recording.patch import CLIP_NORM, CLIP_VALUE, TOTAL_NORM
from torch_bridge.translate.read import read_clip
from torch_bridge.translate.recipe import Clip, Untranslated

if TYPE_CHECKING:
    import torch


class ClipCalls:
    """Hears them, where nobody gave their arguments."""

    def __init__(
        self,
        parameters: "Callable[[], Sequence[tuple[str, torch.Tensor]]]",
        guarded: Callable[[Callable[..., Any]], Callable[..., Any]],
        before: Callable[[Collection[int]], None],
    ) -> None:
        """Listen.

        Args:
            parameters: returns those of the optimizer, with their names.
            guarded: makes a function into a hook that never raises.
            before: is called before a call with the ids of the parameters whose gradients it changes.
        """
        self._parameters, self._before, self._note = parameters, before, guarded(self._note_call)
        self._norm: dict[str, Any] = {}
        self._of_step: list[Clip | Untranslated] = []
        self._kinds: list[Clip | Untranslated] = []
        self._n_clipped = 0
        listeners = ((TOTAL_NORM, self._on_total), (CLIP_NORM, self._on_norm), (CLIP_VALUE, self._on_value))
        self._undo = [patch.add_listener(listener) for patch, listener in listeners]

    def close(self) -> None:
        """Listen no more."""
        while self._undo:
            self._undo.pop()()

    def drop(self) -> None:
        """Forget the calls since the last step."""
        self._of_step = []

    def take(self) -> None:
        """Hear that the optimizer uses the gradients."""
        self._n_clipped += bool(self._of_step)
        if len(self._of_step) > 1:
            self._kinds.append(_not_one("gradients are clipped by several calls before one step"))
        self._kinds += [kind for kind in self._of_step if kind not in self._kinds]
        self.drop()

    def found(self, n_steps: int) -> Clip | Untranslated | None:
        """Return the clipping of the run, after so many steps."""
        if not self._kinds:
            return None
        strange = next((kind for kind in self._kinds if isinstance(kind, Untranslated)), None)
        if strange is not None:
            return strange
        if len(self._kinds) > 1:
            return _not_one("the arguments of the clipping change from step to step")
        if self._n_clipped < n_steps:
            return _not_one(f"gradients are clipped before {self._n_clipped} of {n_steps} steps")
        return self._kinds[0]

    def _on_total(self, call: Any, args: Any, kwargs: Any) -> Any:
        names = ("tensors", "norm_type", "error_if_nonfinite", "foreach")
        self._norm = dict(zip(names, args, strict=False)) | kwargs
        self._norm.pop("tensors", None)
        return call(*args, **kwargs)

    def _on_norm(self, call: Any, args: Any, kwargs: Any) -> Any:
        given = dict(zip(("parameters", "max_norm"), args, strict=False)) | kwargs
        options = {"max_norm": given.get("max_norm")}
        if self._norm.get("norm_type", 2.0) != 2.0:
            options["norm_type"] = self._norm["norm_type"]
        if self._norm.get("error_if_nonfinite"):
            options["error_if_nonfinite"] = True
        self._note(given.get("parameters"), options)
        return call(*args, **kwargs)

    def _on_value(self, call: Any, args: Any, kwargs: Any) -> Any:
        given = dict(zip(("parameters", "clip_value"), args, strict=False)) | kwargs
        if isinstance(given.get("parameters"), types.GeneratorType):
            parameters = list(given["parameters"])  # it can be gone through only once
            again = (parameter for parameter in parameters)
            args, kwargs = ((again, *args[1:]), kwargs) if args else (args, {**kwargs, "parameters": again})
            given["parameters"] = parameters
        self._note(given.get("parameters"), {"clip_value": given.get("clip_value")})
        return call(*args, **kwargs)

    def _note_call(self, parameters: Any, options: dict[str, Any]) -> None:
        given = [parameters] if hasattr(parameters, "untyped_storage") else list(parameters)
        names = {id(parameter): name for name, parameter in self._parameters()}
        used = {id(parameter) for _, parameter in self._parameters() if parameter.grad is not None}
        clipped = {id(parameter) for parameter in given if parameter.grad is not None}
        if not used & clipped:
            return
        self._before(clipped)
        if used != clipped:
            kind: Clip | Untranslated = _not_one(
                "the gradients clipped are not those of all the optimizer's parameters"
            )
        else:
            numbers = {key: value if isinstance(value, bool) else float(value) for key, value in options.items()}
            kind = read_clip(numbers, [names[id(parameter)] for parameter in given if id(parameter) in names])
        self._of_step.append(kind)


def _not_one(reason: str) -> Untranslated:
    return Untranslated("clip", reason, "ValueError")

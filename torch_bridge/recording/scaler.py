"""The effects of a GradScaler on an optimizer's gradients and steps."""

from collections.abc import Callable
from typing import Any

from torch_bridge.recording.patch import SCALER_STEP, UNSCALE


class ScalerSteps:
    """Hooks on a GradScaler, for when it unscales the gradients of one optimizer, or leaves out a step.

    Attributes:
        stepped: to be set by the optimizer's own hook: a step that sets it was not left out.
    """

    def __init__(self, optimizer: Any, *, unscaled: Callable[[], None], skipped: Callable[[], None]) -> None:
        """Attach the hooks.

        Args:
            optimizer: whose steps.
            unscaled: is called after its gradients were unscaled in place.
            skipped: is called after a step in which the scaler did not call the optimizer.
        """
        self.stepped = False
        self._optimizer, self._unscaled, self._skipped = optimizer, unscaled, skipped
        self._undo = [UNSCALE.add_listener(self._on_unscale), SCALER_STEP.add_listener(self._on_step)]

    def close(self) -> None:
        """Remove the hooks."""
        while self._undo:
            self._undo.pop()()

    def _on_unscale(self, call: Any, args: Any, kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        if self._is_own(args, kwargs):
            self._unscaled()
        return result

    def _on_step(self, call: Any, args: Any, kwargs: Any) -> Any:
        self.stepped = False
        result = call(*args, **kwargs)
        if self._is_own(args, kwargs) and not self.stepped:
            self._skipped()
        return result

    def _is_own(self, args: Any, kwargs: Any) -> bool:
        """Whether the arguments of a method, after the scaler itself, hold the optimizer."""
        return kwargs.get("optimizer", args[1] if len(args) > 1 else None) is self._optimizer

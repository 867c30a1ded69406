"""What a GradScaler does to an optimizer's gradients and steps."""

from collections.abc import Callable
from typing import Any

from torch_bridge.recording.patch import SCALER_STEP, UNSCALE


class ScalerSteps:
    """Hears a GradScaler unscale the gradients of one optimizer, and leave out its steps.

    Attributes:
        stepped: to be set by the optimizer's own hook: a step that sets it was not left out.
    """

    def __init__(self, optimizer: Any, *, unscaled: Callable[[], None], skipped: Callable[[], None]) -> None:
        """Listen.

        Args:
            optimizer: whose steps.
            unscaled: is called after its gradients were unscaled in place.
            skipped: is called after a step in which the scaler did not call the optimizer.
        """
        self.stepped = False
        self._optimizer, self._unscaled, self._skipped = optimizer, unscaled, skipped
        self._undo = [UNSCALE.hear(self._hear_unscale), SCALER_STEP.hear(self._hear_step)]

    def close(self) -> None:
        """Listen no more."""
        while self._undo:
            self._undo.pop()()

    def _hear_unscale(self, call: Any, args: Any, kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        if self._is_own(args, kwargs):
            self._unscaled()
        return result

    def _hear_step(self, call: Any, args: Any, kwargs: Any) -> Any:
        self.stepped = False
        result = call(*args, **kwargs)
        if self._is_own(args, kwargs) and not self.stepped:
            self._skipped()
        return result

    def _is_own(self, args: Any, kwargs: Any) -> bool:
        """Of the arguments of a method, the scaler first."""
        return kwargs.get("optimizer", args[1] if len(args) > 1 else None) is self._optimizer

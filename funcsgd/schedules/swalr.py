"""The schedule that goes with stochastic weight averaging: from where the run is to a fixed learning rate."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from funcsgd.schedules.formula import Scalar, choose, cos, known, maximum, minimum
from funcsgd.schedules.recurrence import Group, Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class SWALR(Schedule):
    """Go from the learning rate in force to ``swa_lr``, and stay there while weights are averaged.

    Equation, with ``t = min(1, epoch / anneal_epochs)``::

        alpha = t   or, cos,   (1 - cos(pi * t)) / 2
        lr = swa_lr * alpha + before * (1 - alpha)
        before = (lr - previous_alpha * swa_lr) / (1 - previous_alpha)      in the table, at every epoch anew
        before = base_lr                                                    closed form

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        swa_lr: last learning rate.
        anneal_epochs: number of epochs until then; integer from 0.
        anneal_strategy: shape of the way.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Raises:
        ValueError: with torch's messages, for values that torch refuses.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/swa_utils.py``, ``SWALR``, torch 2.13.0.

    Example:
        >>> SWALR(0.5, swa_lr=0.25, anneal_epochs=2, anneal_strategy="linear").table(4)
        array([0.5  , 0.375, 0.25 , 0.25 ])
    """

    from_base = False
    swa_lr: Scalar
    anneal_epochs: Scalar = 10
    anneal_strategy: Literal["cos", "linear"] = "cos"

    def validate(self) -> None:
        """Raise torch's errors."""
        if self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {self.anneal_strategy}")
        if known(self.anneal_epochs) and (not isinstance(self.anneal_epochs, int) or self.anneal_epochs < 0):
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {self.anneal_epochs}")

    def bind(self, group: Group) -> Any:
        """Write the last learning rate to the group."""
        group["swa_lr"] = self.swa_lr
        return super().bind(group)

    def get_lr(self, run: Recurrence) -> Any:
        """``SWALR.get_lr``, which counts steps, not epochs, and finds where it began from where it is."""
        step = run.step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        swa_lr = run.group["swa_lr"]
        prev_alpha = self._alpha(step - 1)
        prev_lr = swa_lr if prev_alpha == 1 else (run.lr - prev_alpha * swa_lr) / (1 - prev_alpha)
        alpha = self._alpha(step)
        return swa_lr * alpha + prev_lr * (1 - alpha)

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """The interpolation itself; torch has no closed form."""
        step = choose(self.anneal_epochs == 0, lambda: maximum(1, epoch), lambda: epoch)
        alpha = self._alpha(step)
        return self.swa_lr * alpha + base_lr * (1 - alpha)

    def _alpha(self, step: Any) -> Any:
        """The progress of the annealing, 0 to 1."""
        t = maximum(0, minimum(1, step / maximum(1, self.anneal_epochs)))
        return t if self.anneal_strategy == "linear" else (1 - cos(math.pi * t)) / 2

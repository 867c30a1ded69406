"""Schedules that drop at given epochs and stay level in between: step decay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from funcsgd.schedules.formula import Scalar
from funcsgd.schedules.recurrence import Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class StepLR(Schedule):
    """Step decay: multiply by ``gamma`` every ``step_size`` epochs.

    Equation::

        lr = lr * gamma     where epoch % step_size == 0, from epoch 1
        lr = base_lr * gamma ** (epoch // step_size)                    closed form

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        step_size: number of epochs between two drops; integer from 1.
        gamma: factor of a drop.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Raises:
        ZeroDivisionError: from ``table``, at epoch 1, for a ``step_size`` of 0, as in torch.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``StepLR``, torch 2.13.0.

    Differs from ``optax.exponential_decay(..., staircase=True)`` in: the table, which multiplies instead of taking
    powers.

    Example:
        >>> StepLR(0.5, step_size=2, gamma=0.5).table(5)
        array([0.5  , 0.5  , 0.25 , 0.25 , 0.125])
    """

    has_closed_form = True
    scales = True
    step_size: Scalar
    gamma: Scalar = 0.1

    def get_lr(self, run: Recurrence) -> Any:
        """``StepLR.get_lr``."""
        if run.last_epoch == 0 or run.last_epoch % self.step_size != 0:
            return run.lr
        return run.lr * self.gamma

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``StepLR._get_closed_form_lr``."""
        return base_lr * self.gamma ** (epoch // self.step_size)


@dataclass(frozen=True)
class MultiStepLR(Schedule):
    """Multiply by ``gamma`` at each milestone.

    Equation::

        lr = lr * gamma ** k        where k of the milestones are this epoch
        lr = base_lr * gamma ** k   where k of the milestones have been reached        closed form

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        milestones: epochs, in any order. One that is given twice counts twice; 0 takes effect at once.
        gamma: factor of a drop.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``MultiStepLR``, torch 2.13.0.

    Differs from ``optax.piecewise_constant_schedule`` in: one factor for all milestones; repeated milestones.

    Example:
        >>> MultiStepLR(0.5, milestones=[1, 3, 3], gamma=0.5).table(5)
        array([0.5   , 0.25  , 0.25  , 0.0625, 0.0625])
    """

    has_closed_form = True
    scales = True
    milestones: Sequence[Scalar]
    gamma: Scalar = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        super().__post_init__()

    def get_lr(self, run: Recurrence) -> Any:
        """``MultiStepLR.get_lr``; torch looks the epoch up in a Counter of the milestones."""
        repeats = self.milestones.count(run.last_epoch)
        return run.lr * self.gamma**repeats if repeats else run.lr

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``MultiStepLR._get_closed_form_lr``; the sum is torch's bisection."""
        return base_lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)

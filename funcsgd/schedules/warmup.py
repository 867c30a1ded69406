"""Schedules that begin low and go to the base learning rate: warmup."""

from dataclasses import dataclass
from typing import Any

from funcsgd.schedules.formula import Scalar, known, minimum
from funcsgd.schedules.recurrence import Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class ConstantLR(Schedule):
    """A fraction of the base learning rate for ``total_iters`` epochs; all of it, always, with a factor of 1.0.

    Equation::

        lr = base_lr * factor       before epoch total_iters
        lr = lr * (1.0 / factor)    at epoch total_iters, and level from there

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        factor: in [0, 1].
        total_iters: number of epochs. With 0 the table never returns to the base learning rate, and the closed form
            never leaves it, as in torch.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Raises:
        ValueError: ``factor`` is out of range. ZeroDivisionError: from ``table`` at epoch ``total_iters``, for a
            factor of 0.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``ConstantLR``, torch 2.13.0.

    Differs from ``optax.constant_schedule`` in: the factor, and the return from it.

    Example:
        >>> ConstantLR(0.5, factor=0.5, total_iters=2).table(4)
        array([0.25, 0.25, 0.5 , 0.5 ])
    """

    has_closed_form = True
    scales = True
    factor: Scalar = 1.0 / 3
    total_iters: Scalar = 5

    def validate(self) -> None:
        """Raise torch's error for a factor outside [0, 1]."""
        if known(self.factor) and (self.factor > 1.0 or self.factor < 0):
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")

    def get_lr(self, run: Recurrence) -> Any:
        """``ConstantLR.get_lr``."""
        if run.last_epoch == 0:
            return run.lr * self.factor
        if run.last_epoch != self.total_iters:
            return run.lr
        return run.lr * (1.0 / self.factor)

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``ConstantLR._get_closed_form_lr``."""
        return base_lr * (self.factor + (epoch >= self.total_iters) * (1 - self.factor))


@dataclass(frozen=True)
class LinearLR(Schedule):
    """A straight line from one fraction of the base learning rate to another, then level.

    Equation, with ``s`` and ``t`` for the factors and ``T`` for ``total_iters``::

        lr = base_lr * s                                            at epoch 0
        lr = lr * (1.0 + (t - s) / (T * s + (epoch - 1) * (t - s)))   to epoch T
        lr = base_lr * (s + (t - s) * min(T, epoch) / T)            closed form

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        start_factor: in (0, 1].
        end_factor: in [0, 1].
        total_iters: number of epochs on the line. With 0 the table stays at ``start_factor``, as in torch, and the
            closed form divides by zero.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Raises:
        ValueError: a factor is out of range, with torch's message.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``LinearLR``, torch 2.13.0.

    Differs from ``optax.linear_schedule`` in: fractions of a base learning rate in place of values; the table.

    Example:
        >>> LinearLR(0.5, start_factor=0.25, total_iters=3).table(5)
        array([0.125, 0.25 , 0.375, 0.5  , 0.5  ])
    """

    has_closed_form = True
    scales = True
    start_factor: Scalar = 1.0 / 3
    end_factor: Scalar = 1.0
    total_iters: Scalar = 5

    def validate(self) -> None:
        """Raise torch's errors for factors out of range."""
        if known(self.start_factor) and (self.start_factor > 1.0 or self.start_factor <= 0):
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if known(self.end_factor) and (self.end_factor > 1.0 or self.end_factor < 0):
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")

    def get_lr(self, run: Recurrence) -> Any:
        """``LinearLR.get_lr``."""
        if run.last_epoch == 0:
            return run.lr * self.start_factor
        if run.is_initial or run.last_epoch > self.total_iters:
            return run.lr
        return run.lr * (
            1.0
            + (self.end_factor - self.start_factor)
            / (self.total_iters * self.start_factor + (run.last_epoch - 1) * (self.end_factor - self.start_factor))
        )

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``LinearLR._get_closed_form_lr``."""
        return base_lr * (
            self.start_factor
            + (self.end_factor - self.start_factor) * minimum(self.total_iters, epoch) / self.total_iters
        )

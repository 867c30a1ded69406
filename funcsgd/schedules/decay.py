"""Schedules that fall a little at every epoch: exponential and polynomial decay."""

from dataclasses import dataclass
from typing import Any

from funcsgd.schedules.formula import Scalar, minimum
from funcsgd.schedules.recurrence import Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class ExponentialLR(Schedule):
    """Exponential decay: multiply by ``gamma`` at every epoch.

    Equation::

        lr = lr * gamma                     from epoch 1
        lr = base_lr * gamma ** epoch       closed form

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        gamma: factor of an epoch.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Exactness: table bitwise; traced call `rounding`: the rounding of ``gamma`` to the dtype counts ``epoch`` times.

    Source: ``torch/optim/lr_scheduler.py``, ``ExponentialLR``, torch 2.13.0.

    Differs from ``optax.exponential_decay`` in: the table, which multiplies instead of taking powers.

    Example:
        >>> ExponentialLR(0.5, gamma=0.5).table(4)
        array([0.5   , 0.25  , 0.125 , 0.0625])
    """

    has_closed_form = True
    scales = True
    gamma: Scalar

    def get_lr(self, run: Recurrence) -> Any:
        """``ExponentialLR.get_lr``."""
        return run.lr if run.is_initial else run.lr * self.gamma

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``ExponentialLR._get_closed_form_lr``."""
        return base_lr * self.gamma**epoch


@dataclass(frozen=True)
class PolynomialLR(Schedule):
    """A power of the share of epochs that remain, down to 0 at ``total_iters``, then level.

    Equation, with ``T`` for ``total_iters``::

        lr = lr * ((1.0 - epoch / T) / (1.0 - (epoch - 1) / T)) ** power      from epoch 1 to T
        lr = base_lr * (1.0 - min(T, epoch) / T) ** power                     closed form

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        total_iters: number of epochs. With 0 the table stays at the base learning rate, as in torch, and the closed
            form divides by zero.
        power: 1.0 is a straight line.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``PolynomialLR``, torch 2.13.0.

    Differs from ``optax.polynomial_schedule`` in: it ends at 0; the table.

    Example:
        >>> PolynomialLR(0.5, total_iters=4, power=2.0).table(6)
        array([0.5    , 0.28125, 0.125  , 0.03125, 0.     , 0.     ])
    """

    has_closed_form = True
    scales = True
    total_iters: Scalar = 5
    power: Scalar = 1.0

    def get_lr(self, run: Recurrence) -> Any:
        """``PolynomialLR.get_lr``."""
        if run.is_initial or run.last_epoch > self.total_iters:
            return run.lr
        decay_factor = (
            (1.0 - run.last_epoch / self.total_iters) / (1.0 - (run.last_epoch - 1) / self.total_iters)
        ) ** self.power
        return run.lr * decay_factor

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``PolynomialLR._get_closed_form_lr``."""
        reached = minimum(self.total_iters, epoch)
        if isinstance(reached, int | float):
            return base_lr * (1.0 - reached / self.total_iters) ** self.power
        # XLA divides by a constant as it multiplies by its reciprocal, and T / T may fall short of 1; this ends at 0.
        return base_lr * ((self.total_iters - reached) / self.total_iters) ** self.power

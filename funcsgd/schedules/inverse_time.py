"""1/t decay, the schedule that torch's users write with ``LambdaLR`` most."""

from dataclasses import dataclass
from typing import Any

from funcsgd.hyperparameters import check_nonnegative
from funcsgd.schedules.formula import Scalar
from funcsgd.schedules.recurrence import Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class InverseTimeLR(Schedule):
    """1/t decay: with strong convexity, the rate at which SGD reaches the minimum itself.

    Equation::

        lr = base_lr * (1 / (1 + beta * epoch))

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        beta: non-negative decay rate, per epoch.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Raises:
        ValueError: ``beta`` is negative.

    Exactness: table bitwise; traced call `rounding`.

    Source: Robbins and Monro, A Stochastic Approximation Method, 1951. torch has no class for it; the bits are those
    of ``LambdaLR(optimizer, lambda epoch: 1.0 / (1.0 + beta * epoch))``.

    Example:
        >>> InverseTimeLR(0.5, beta=1.0).table(4)
        array([0.5       , 0.25      , 0.16666667, 0.125     ])
    """

    beta: Scalar

    def validate(self) -> None:
        """Raise for a negative decay rate."""
        check_nonnegative("Invalid beta value", self.beta)

    def get_lr(self, run: Recurrence) -> Any:
        """``LambdaLR.get_lr`` with this function."""
        return self.closed_form(run.base_lr, run.last_epoch)

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """The product of two roundings that ``LambdaLR`` makes of it, rather than a quotient."""
        return base_lr * (1.0 / (1.0 + self.beta * epoch))

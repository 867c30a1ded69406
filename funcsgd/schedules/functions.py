"""Schedules given by a function of the epoch, and the one that torch's users write with it most: 1/t decay."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jax.typing import ArrayLike

from funcsgd.hyperparameters import check_nonnegative
from funcsgd.schedules.recurrence import Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class LambdaLR(Schedule):
    """See `lambda_lr`."""

    lr_lambda: Callable[[Any], Any]

    def validate(self) -> None:
        """Raise unless ``lr_lambda`` is one function."""
        _check_function(self.lr_lambda)

    def get_lr(self, run: Recurrence) -> Any:
        """``LambdaLR.get_lr``."""
        return run.base_lr * self.lr_lambda(run.last_epoch)

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """The same."""
        return base_lr * self.lr_lambda(epoch)


def lambda_lr(
    learning_rate: ArrayLike,
    lr_lambda: Callable[[Any], Any],
    last_epoch: int = -1,
    *,
    initial_lr: ArrayLike | None = None,
) -> Schedule:
    """The base learning rate times any function of the epoch.

    Equation::

        lr = base_lr * lr_lambda(epoch)

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        lr_lambda: function of the epoch, from 0. For the table it is given an int, and should return a Python number;
            under ``jit`` it is given a traced int32, and must not branch on it (``jnp.where`` may; `tabulate` need
            not).
        last_epoch: -1, or the epoch to resume after; see `Schedule`.
        initial_lr: the learning rate that the run began with, to resume; see `Schedule`.

    Returns:
        A `Schedule`.

    Raises:
        TypeError: ``lr_lambda`` is not a function. ValueError: it is a list of other than one.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``LambdaLR``, torch 2.13.0.

    Differs from torch's in: a list of functions is refused; give each parameter group a schedule of its own.

    Example:
        >>> schedule = lambda_lr(0.5, lambda epoch: 0.5 ** (epoch // 2))
        >>> schedule.table(5)
        array([0.5  , 0.5  , 0.25 , 0.25 , 0.125])
    """
    return LambdaLR(learning_rate=learning_rate, lr_lambda=lr_lambda, last_epoch=last_epoch, initial_lr=initial_lr)


@dataclass(frozen=True, kw_only=True)
class MultiplicativeLR(Schedule):
    """See `multiplicative_lr`."""

    from_base = False
    lr_lambda: Callable[[int], float]

    def validate(self) -> None:
        """Raise unless ``lr_lambda`` is one function."""
        _check_function(self.lr_lambda)

    def get_lr(self, run: Recurrence) -> Any:
        """``MultiplicativeLR.get_lr``."""
        return run.lr if run.is_initial else run.lr * self.lr_lambda(run.last_epoch)


def multiplicative_lr(
    learning_rate: ArrayLike,
    lr_lambda: Callable[[int], float],
    last_epoch: int = -1,
    *,
    initial_lr: ArrayLike | None = None,
) -> Schedule:
    """The previous learning rate times any function of the epoch.

    Equation::

        lr = lr * lr_lambda(epoch)          from epoch 1

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        lr_lambda: function of the epoch, an int from 1, that returns a Python number.
        last_epoch: -1, or the epoch to resume after; see `Schedule`.
        initial_lr: the learning rate that the run began with, to resume; see `Schedule`.

    Returns:
        A `Schedule` with a table and without a closed form: inside ``jit``, read it by `tabulate`.

    Raises:
        TypeError: ``lr_lambda`` is not a function. ValueError: it is a list of other than one. NotImplementedError:
            the schedule is called.

    Exactness: table bitwise.

    Source: ``torch/optim/lr_scheduler.py``, ``MultiplicativeLR``, torch 2.13.0.

    Differs from torch's in: a list of functions is refused; give each parameter group a schedule of its own.

    Example:
        >>> multiplicative_lr(0.5, lambda epoch: 0.5 if epoch == 2 else 1.0).table(4)
        array([0.5 , 0.5 , 0.25, 0.25])
    """
    return MultiplicativeLR(
        learning_rate=learning_rate, lr_lambda=lr_lambda, last_epoch=last_epoch, initial_lr=initial_lr
    )


@dataclass(frozen=True, kw_only=True)
class InverseTimeLR(Schedule):
    """See `inverse_time_lr`."""

    beta: Any

    def validate(self) -> None:
        """Raise for a negative decay rate."""
        check_nonnegative("Invalid beta value", self.beta)

    def get_lr(self, run: Recurrence) -> Any:
        """``LambdaLR.get_lr`` with this function."""
        return self.closed_form(run.base_lr, run.last_epoch)

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """The product of two roundings that ``LambdaLR`` makes of it, rather than a quotient."""
        return base_lr * (1.0 / (1.0 + self.beta * epoch))


def inverse_time_lr(
    learning_rate: ArrayLike, beta: ArrayLike, last_epoch: int = -1, *, initial_lr: ArrayLike | None = None
) -> Schedule:
    """1/t decay: with strong convexity, the rate at which SGD reaches the minimum itself.

    Equation::

        lr = base_lr * (1 / (1 + beta * epoch))

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        beta: non-negative decay rate, per epoch.
        last_epoch: -1, or the epoch to resume after; see `Schedule`.
        initial_lr: the learning rate that the run began with, to resume; see `Schedule`.

    Returns:
        A `Schedule`.

    Raises:
        ValueError: ``beta`` is negative.

    Exactness: table bitwise; traced call `rounding`.

    Source: Robbins and Monro, A Stochastic Approximation Method, 1951. torch has no class for it; the bits are those
    of ``LambdaLR(optimizer, lambda epoch: 1.0 / (1.0 + beta * epoch))``.

    Example:
        >>> inverse_time_lr(0.5, beta=1.0).table(4)
        array([0.5       , 0.25      , 0.16666667, 0.125     ])
    """
    return InverseTimeLR(learning_rate=learning_rate, beta=beta, last_epoch=last_epoch, initial_lr=initial_lr)


def _check_function(lr_lambda: Any) -> None:
    if isinstance(lr_lambda, list | tuple) and len(lr_lambda) != 1:
        raise ValueError(f"Expected 1 lr_lambdas, but got {len(lr_lambda)}")
    if not callable(lr_lambda):
        raise TypeError(f"lr_lambda should be a function, but got {type(lr_lambda).__name__}")

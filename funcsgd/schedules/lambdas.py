"""Schedules given by a function of the epoch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from funcsgd.schedules.recurrence import Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class LambdaLR(Schedule):
    """The base learning rate times any function of the epoch.

    Equation::

        lr = base_lr * lr_lambda(epoch)

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        lr_lambda: function of the epoch, from 0. For the table it is given an int, and should return a Python number;
            under ``jit`` it is given a traced int32, and must not branch on it (``jnp.where`` may; `tabulate` need
            not).
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Raises:
        TypeError: ``lr_lambda`` is not a function. ValueError: it is a list of other than one.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``LambdaLR``, torch 2.13.0.

    Differs from torch's in: a list of functions is refused; give each parameter group a schedule of its own.

    Example:
        >>> schedule = LambdaLR(0.5, lambda epoch: 0.5 ** (epoch // 2))
        >>> schedule.table(5)
        array([0.5  , 0.5  , 0.25 , 0.25 , 0.125])
    """

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


@dataclass(frozen=True)
class MultiplicativeLR(Schedule):
    """The previous learning rate times any function of the epoch.

    Equation::

        lr = lr * lr_lambda(epoch)          from epoch 1

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        lr_lambda: function of the epoch, an int from 1, that returns a Python number.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    There is a table and no closed form: inside ``jit``, read it by `tabulate`.

    Raises:
        TypeError: ``lr_lambda`` is not a function. ValueError: it is a list of other than one. NotImplementedError:
            the schedule is called.

    Exactness: table bitwise.

    Source: ``torch/optim/lr_scheduler.py``, ``MultiplicativeLR``, torch 2.13.0.

    Differs from torch's in: a list of functions is refused; give each parameter group a schedule of its own.

    Example:
        >>> MultiplicativeLR(0.5, lambda epoch: 0.5 if epoch == 2 else 1.0).table(4)
        array([0.5 , 0.5 , 0.25, 0.25])
    """

    from_base = False
    lr_lambda: Callable[[int], float]

    def validate(self) -> None:
        """Raise unless ``lr_lambda`` is one function."""
        _check_function(self.lr_lambda)

    def get_lr(self, run: Recurrence) -> Any:
        """``MultiplicativeLR.get_lr``."""
        return run.lr if run.is_initial else run.lr * self.lr_lambda(run.last_epoch)


def _check_function(lr_lambda: Any) -> None:
    if isinstance(lr_lambda, list | tuple) and len(lr_lambda) != 1:
        raise ValueError(f"Expected 1 lr_lambdas, but got {len(lr_lambda)}")
    if not callable(lr_lambda):
        raise TypeError(f"lr_lambda should be a function, but got {type(lr_lambda).__name__}")

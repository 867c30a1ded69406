"""Cosine annealing, once down and up again without end, or down and restarted."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcsgd.schedules.formula import Scalar, choose, cos, known
from funcsgd.schedules.recurrence import Group, Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class CosineAnnealingLR(Schedule):
    """Half a cosine from the base learning rate down to ``eta_min`` at ``T_max``; then up again, and so on.

    Equation, with ``m`` for ``eta_min`` and ``T`` for ``T_max``::

        lr = (1 + cos(pi * epoch / T)) / (1 + cos(pi * (epoch - 1) / T)) * (lr - m) + m
        lr = lr + (base_lr - m) * (1 - cos(pi / T)) / 2                     at epoch T + 1, 3 T + 1, ...
        lr = m + (base_lr - m) * (1 + cos(pi * epoch / T)) / 2              closed form

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        T_max: number of epochs from the top to the bottom.
        eta_min: lowest learning rate.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    Around ``T_max`` the recurrence divides by numbers close to 0, so past it the table drifts away from the closed
    form, in torch as here: measured over 400 values of ``T_max``, by at most 7e-15 of the base learning rate until
    ``T_max`` and 3e-11 in 10,000 epochs.

    Raises:
        ZeroDivisionError: from ``table``, at epoch 1, for a ``T_max`` of 0, as in torch.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``CosineAnnealingLR``, torch 2.13.0; Loshchilov and Hutter, SGDR, 2017.

    Differs from ``optax.cosine_decay_schedule`` in: (1) it does not stop at ``T_max``; (2) ``eta_min`` is a learning
    rate, not a fraction; (3) the table.

    Example:
        >>> CosineAnnealingLR(0.5, T_max=4).table(9).round(3)
        array([0.5  , 0.427, 0.25 , 0.073, 0.   , 0.073, 0.25 , 0.427, 0.5  ])
    """

    has_closed_form = True
    T_max: Scalar
    eta_min: Scalar = 0.0

    def get_lr(self, run: Recurrence) -> Any:
        """``CosineAnnealingLR.get_lr``, without the branch for a scheduler that was unpickled at its first step."""
        if run.is_initial:
            return run.lr
        if (run.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            return run.lr + (run.base_lr - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
        return (1 + math.cos(math.pi * run.last_epoch / self.T_max)) / (
            1 + math.cos(math.pi * (run.last_epoch - 1) / self.T_max)
        ) * (run.lr - self.eta_min) + self.eta_min

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``CosineAnnealingLR._get_closed_form_lr``."""
        if not isinstance(epoch, int | float):
            epoch = epoch % (2 * self.T_max)  # the same angle, near 0, where float32 has bits for it
        return self.eta_min + (base_lr - self.eta_min) * (1 + cos(math.pi * epoch / self.T_max)) / 2


@dataclass
class _WarmRestarts(Recurrence):
    """The steps of ``CosineAnnealingWarmRestarts``, which keep their place in the period and count no steps."""

    T_cur: int = -1
    T_i: int = 1
    T_mult: int = 1

    def step(self) -> None:
        """``CosineAnnealingWarmRestarts.step``."""
        if self.last_epoch < 0:
            self.last_epoch = self.T_cur = 0
        else:
            self.last_epoch += 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        self.group["lr"] = self.get_lr(self)


@dataclass(frozen=True)
class CosineAnnealingWarmRestarts(Schedule):
    """Half a cosine from the base learning rate to ``eta_min``, again and again, each ``T_mult`` times as long.

    Equation, ``T_cur`` epochs into a period of ``T_i``::

        lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * T_cur / T_i)) / 2

    Args:
        learning_rate: the optimizer's; see `Schedule`.
        T_0: length of the first period in epochs; integer from 1.
        T_mult: integer from 1.
        eta_min: lowest learning rate.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`. The table then takes the first period for the
            present one, as torch does; the closed form does not.

    It may be called with fractions of an epoch: ``schedule(step / steps_per_epoch)`` is torch's
    ``scheduler.step(epoch + i / iters)``.

    Raises:
        ValueError: a period is not a positive integer; the schedule is called with a negative number.

    Exactness: table bitwise; called with a Python number, bitwise that of torch's ``step(epoch)``; traced call
    `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``CosineAnnealingWarmRestarts``, torch 2.13.0; Loshchilov and Hutter,
    SGDR, 2017.

    Differs from torch's ``step(epoch)`` in: a traced call finds every restart. torch, and a call with a Python number,
    take a logarithm whose rounding misses some: with ``T_0=1, T_mult=3``, epoch 121 gets ``eta_min``. torch's
    ``step()``, and so the table, has them all.

    Example:
        >>> schedule = CosineAnnealingWarmRestarts(0.5, T_0=2, T_mult=2)
        >>> schedule.table(7).round(3)
        array([0.5  , 0.25 , 0.5  , 0.427, 0.25 , 0.073, 0.5  ])
        >>> round(schedule(0.5), 3)
        0.427
    """

    T_0: Scalar
    T_mult: Scalar = 1
    eta_min: Scalar = 0.0

    def validate(self) -> None:
        """Raise torch's errors for periods that are not positive integers."""
        if known(self.T_0) and (self.T_0 <= 0 or not isinstance(self.T_0, int)):
            raise ValueError(f"Expected positive integer T_0, but got {self.T_0}")
        if known(self.T_mult) and (self.T_mult < 1 or not isinstance(self.T_mult, int)):
            raise ValueError(f"Expected integer T_mult >= 1, but got {self.T_mult}")
        if known(self.eta_min) and not isinstance(self.eta_min, float | int):
            raise ValueError(f"Expected float or int eta_min, but got {self.eta_min} of type {type(self.eta_min)}")

    def start(self, group: Group) -> _WarmRestarts:
        """Construct, with a place in the period beside the epoch."""
        run = _WarmRestarts(
            group,
            self.bind(group),
            self.last_epoch,
            self.get_lr,
            T_cur=self.last_epoch,
            T_i=self.T_0,
            T_mult=self.T_mult,
        )
        run.initial_step()
        return run

    def get_lr(self, run: Recurrence) -> Any:
        """``CosineAnnealingWarmRestarts.get_lr``."""
        assert isinstance(run, _WarmRestarts)
        return self._anneal(run.base_lr, run.T_cur, run.T_i)

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """``CosineAnnealingWarmRestarts.step(epoch)``: torch's logarithm for a number, exact restarts for an array."""
        if known(self.T_0, self.T_mult) and isinstance(epoch, int | float):
            return self._anneal(base_lr, *self._place(epoch))
        epoch, period = jnp.asarray(epoch, float), jnp.asarray(self.T_0, float)
        within, grown = jax.lax.fori_loop(0, 31, self._restart, (epoch, jnp.broadcast_to(period, epoch.shape)))
        T_cur = choose(self.T_mult == 1, lambda: epoch % period, lambda: within)
        return self._anneal(base_lr, T_cur, choose(self.T_mult == 1, lambda: period, lambda: grown))

    def _anneal(self, base_lr: Any, T_cur: Any, T_i: Any) -> Any:
        return self.eta_min + (base_lr - self.eta_min) * (1 + cos(math.pi * T_cur / T_i)) / 2

    def _place(self, epoch: float) -> tuple[float, float]:
        """``T_cur`` and ``T_i`` as ``step(epoch)`` finds them."""
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        if epoch < self.T_0:
            return epoch, self.T_0
        if self.T_mult == 1:
            return epoch % self.T_0, self.T_0
        n = int(math.log((epoch / self.T_0 * (self.T_mult - 1) + 1), self.T_mult))
        return epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1), self.T_0 * self.T_mult**n

    def _restart(self, _: Any, place: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Leave one period behind, if it is over. 31 doublings are more than an int32 count can need."""
        T_cur, T_i = place
        over = T_cur >= T_i
        return jnp.where(over, T_cur - T_i, T_cur), jnp.where(over, T_i * self.T_mult, T_i)

"""Cyclical learning rates: up and down between two bounds, and momentum the other way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from funcsgd.schedules.formula import Scalar, choose, floor
from funcsgd.schedules.recurrence import Group, Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class CyclicLR(Schedule):
    """A triangular wave between two learning rates; ``.momentum`` is the wave between two momenta, upside down.

    Equation, with ``s`` rising from 0 to 1 in ``step_size_up`` steps and falling again in ``step_size_down``::

        lr       = base_lr + (max_lr - base_lr) * s * f
        momentum = max_momentum - (max_momentum - base_momentum) * s * f
        f = 1, 1 / 2 ** (cycle - 1), gamma ** step or scale_fn(cycle or step); cycles count from 1

    Args:
        base_lr: lower bound; it replaces the optimizer's learning rate, which is therefore no argument.
        max_lr: upper bound.
        step_size_up: number of steps, batches as a rule, from the lower bound to the upper.
        step_size_down: number of steps back; None for as many.
        mode: ``f``, in the order above; unused with ``scale_fn``.
        gamma: for ``"exp_range"``.
        scale_fn: function of an int for the table, of a traced array under ``jit``.
        scale_mode: what ``scale_fn`` is given: the ``"cycle"`` or, under any other word, the step.
        cycle_momentum: on by default, as in torch, where it switches the momentum of ``SGD(momentum=0)`` on: give
            ``.momentum`` to the optimizer as well.
        base_momentum: lower bound of the momentum, reached with ``max_lr``.
        max_momentum: upper bound of the momentum, reached with ``base_lr``.
        last_epoch: by keyword; see `Schedule`.
        initial_lr: by keyword; what the optimizer already held as ``group["initial_lr"]``, if anything: torch takes the
            first learning rate from it, and the closed form does not.

    It counts steps; its ``.momentum`` is None without ``cycle_momentum``.

    Raises:
        ValueError: an unknown mode. ZeroDivisionError: ``step_size_up`` is 0.

    Exactness: tables bitwise; traced calls `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``CyclicLR``, torch 2.13.0; Smith, Cyclical Learning Rates, 2017.

    Example:
        >>> schedule = CyclicLR(0.25, 0.75, step_size_up=2, base_momentum=0.5, max_momentum=1.0)
        >>> schedule.table(6)
        array([0.25, 0.5 , 0.75, 0.5 , 0.25, 0.5 ])
        >>> schedule.momentum.table(6)
        array([1.  , 0.75, 0.5 , 0.75, 1.  , 0.75])
    """

    learning_rate: None = field(default=None, init=False, repr=False)
    base_lr: Scalar
    max_lr: Scalar
    step_size_up: Scalar = 2000
    step_size_down: Scalar | None = None
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: Scalar = 1.0
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: Literal["cycle", "iterations"] = "cycle"
    cycle_momentum: bool = True
    base_momentum: Scalar = 0.8
    max_momentum: Scalar = 0.9

    def validate(self) -> None:
        """Raise torch's error for an unknown mode."""
        if self.mode not in ("triangular", "triangular2", "exp_range") and self.scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")

    def cycles_momentum(self) -> bool:
        """Return ``cycle_momentum``."""
        return self.cycle_momentum

    def bind(self, group: Group) -> Any:
        """Write the lower bound over the group's learning rate and the upper one over its momentum."""
        if self.last_epoch == -1:
            group["lr"] = self.base_lr
            if self.cycle_momentum:
                group |= {"momentum": self.max_momentum}
                group |= {"max_momentum": self.max_momentum, "base_momentum": self.base_momentum}
        else:
            group.setdefault("initial_lr", self.base_lr)  # where the run's own construction left it
        return super().bind(group)

    def start(self, group: Group) -> Recurrence:
        """Construct: the first step takes the group's initial learning rate for the lower bound, later ones ours."""
        run = super().start(group)
        assert isinstance(run, Recurrence)
        run.base_lr = self.base_lr
        return run

    def get_lr(self, run: Recurrence) -> Any:
        """``CyclicLR.get_lr``."""
        scale, amplitude = self._wave(run.last_epoch)
        if self.cycle_momentum:
            run.group["momentum"] = self.closed_form_momentum(run.last_epoch)
        return run.base_lr + (self.max_lr - run.base_lr) * scale * amplitude

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """The same, with our own lower bound."""
        scale, amplitude = self._wave(epoch)
        return self.base_lr + (self.max_lr - self.base_lr) * scale * amplitude

    def closed_form_momentum(self, epoch: Any) -> Any:
        """The momentum that ``CyclicLR.get_lr`` sets."""
        scale, amplitude = self._wave(epoch)
        return self.max_momentum - (self.max_momentum - self.base_momentum) * scale * amplitude

    def _wave(self, epoch: Any) -> tuple[Any, Any]:
        """Height in the triangle, 0 to 1, and amplitude of this cycle."""
        up = self.step_size_up * 1.0  # a float in torch, too
        down = up if self.step_size_down is None else self.step_size_down * 1.0
        total_size = up + down
        ratio = up / total_size
        if isinstance(epoch, int | float):
            cycle = floor(1 + epoch / total_size)
            x = 1.0 + epoch / total_size - cycle
        else:  # the same without cancellation, which would cost float32 a bit of x whenever the cycles double
            cycle = 1 + epoch // total_size
            x = epoch % total_size / total_size
        scale = choose(x <= ratio, lambda: x / ratio, lambda: (x - 1) / (ratio - 1))
        if self.scale_fn is not None:
            return scale, self.scale_fn(cycle if self.scale_mode == "cycle" else epoch)
        if self.mode == "triangular2":
            return scale, 1 / (2.0 ** (cycle - 1))
        return scale, self.gamma**epoch if self.mode == "exp_range" else 1.0

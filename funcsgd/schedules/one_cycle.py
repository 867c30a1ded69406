"""The 1cycle policy: one rise, one long fall, and momentum the other way."""

import math
from dataclasses import InitVar, dataclass, field
from typing import Any, Literal

from funcsgd.schedules.formula import Scalar, choose, cos, known, minimum
from funcsgd.schedules.recurrence import Group, Recurrence
from funcsgd.schedules.schedule import Schedule


@dataclass(frozen=True)
class OneCycleLR(Schedule):
    """Up from ``max_lr / div_factor`` to ``max_lr`` and down to almost nothing; ``.momentum`` down and up.

    Equation, for a phase from ``a`` at step ``start`` to ``b`` at step ``end``::

        p = (step - start) / (end - start)
        value = b + (a - b) / 2.0 * (cos(pi * p) + 1)   or, linear,   (b - a) * p + a
        end = pct_start * N - 1, [three phases: 2 * pct_start * N - 2,] N - 1       with N for total_steps

    Args:
        max_lr: the top. The initial learning rate follows from it, and is no argument.
        total_steps: number of steps, batches as a rule, in the cycle. Or give the next two.
        epochs: times ``steps_per_epoch`` is ``total_steps``.
        steps_per_epoch: number of updates in an epoch.
        pct_start: share of the steps on the way up; a float in [0, 1].
        anneal_strategy: shape of each phase.
        cycle_momentum: on by default, as in torch, where it switches the momentum of ``SGD(momentum=0)`` on: give
            ``.momentum`` to the optimizer as well.
        base_momentum: momentum at the top of the learning rate.
        max_momentum: momentum at both ends.
        div_factor: ``max_lr`` over the initial learning rate.
        final_div_factor: initial over the last learning rate.
        three_phase: come back to the initial learning rate as fast as up, before the fall.
        last_epoch: by keyword; see `Schedule`.

    It counts steps; its ``.momentum`` is None without ``cycle_momentum``. Step ``total_steps`` is one more than the
    cycle has, and extrapolates: a linear fall ends below 0 there. A traced count stays at it.

    Raises:
        ValueError: with torch's messages, for values that torch refuses; from ``table``, and from a call with a Python
            number, beyond step ``total_steps``. ZeroDivisionError: ``pct_start * total_steps`` is 1.

    Exactness: tables bitwise; traced calls `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``OneCycleLR``, torch 2.13.0; Smith and Topin, Super-Convergence, 2018.

    Differs from ``optax.cosine_onecycle_schedule`` in: phases end one step earlier; momentum; the table.

    Example:
        >>> schedule = OneCycleLR(1.0, total_steps=5, pct_start=0.4, div_factor=4.0, anneal_strategy="linear")
        >>> schedule.table(5)
        array([2.50000e-01, 1.00000e+00, 6.66675e-01, 3.33350e-01, 2.50000e-05])
        >>> schedule.momentum.table(5).round(3)
        array([0.95 , 0.85 , 0.883, 0.917, 0.95 ])
    """

    learning_rate: None = field(default=None, init=False, repr=False)
    initial_lr: None = field(default=None, init=False, repr=False)
    max_lr: Scalar
    total_steps: Scalar = None
    epochs: InitVar[Scalar | None] = None
    steps_per_epoch: InitVar[Scalar | None] = None
    pct_start: Scalar = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: Scalar = 0.85
    max_momentum: Scalar = 0.95
    div_factor: Scalar = 25.0
    final_div_factor: Scalar = 1e4
    three_phase: bool = False

    def __post_init__(self, epochs: Scalar | None, steps_per_epoch: Scalar | None) -> None:
        if self.total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
            for name, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
                if known(value) and (not isinstance(value, int) or value <= 0):
                    raise ValueError(f"Expected positive integer {name}, but got {value}")
            object.__setattr__(self, "total_steps", epochs * steps_per_epoch)
        super().__post_init__()

    def validate(self) -> None:
        """Raise torch's errors, in torch's order."""
        if known(self.total_steps) and (self.total_steps <= 0 or not isinstance(self.total_steps, int)):
            raise ValueError(f"Expected positive integer total_steps, but got {self.total_steps}")
        if known(self.pct_start) and (
            self.pct_start < 0 or self.pct_start > 1 or not isinstance(self.pct_start, float)
        ):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {self.pct_start}")
        if self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {self.anneal_strategy}")

    def cycles_momentum(self) -> bool:
        """Return ``cycle_momentum``."""
        return self.cycle_momentum

    def bind(self, group: Group) -> Any:
        """Write all bounds to the group. A loaded optimizer's group already holds them."""
        initial_lr = self.max_lr / self.div_factor
        bounds = {"initial_lr": initial_lr, "max_lr": self.max_lr, "min_lr": initial_lr / self.final_div_factor}
        if self.cycle_momentum:
            bounds |= {"momentum": self.max_momentum}
            bounds |= {"max_momentum": self.max_momentum, "base_momentum": self.base_momentum}
        group |= bounds if self.last_epoch == -1 else {key: group.get(key, bounds[key]) for key in bounds}
        return super().bind(group)

    def get_lr(self, run: Recurrence) -> Any:
        """``OneCycleLR.get_lr``: bounds are read from the group, where another scheduler may have changed them."""
        if self.cycle_momentum:
            run.group["momentum"] = self._anneal(run.group, "momentum", run.last_epoch)
        return self._anneal(run.group, "lr", run.last_epoch)

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """The same, with our own bounds."""
        return self._anneal(self._own_group(), "lr", epoch)

    def closed_form_momentum(self, epoch: Any) -> Any:
        """The momentum that ``OneCycleLR.get_lr`` sets."""
        return self._anneal(self._own_group(), "momentum", epoch)

    def _own_group(self) -> Group:
        group = self.param_group()
        self.bind(group)
        return group

    def _phases(self) -> list[tuple[Any, dict[str, tuple[str, str]]]]:
        """Last step of each phase, and from where to where."""
        rise = {"lr": ("initial_lr", "max_lr"), "momentum": ("max_momentum", "base_momentum")}
        first = self.pct_start * self.total_steps - 1
        if not self.three_phase:
            fall = {"lr": ("max_lr", "min_lr"), "momentum": ("base_momentum", "max_momentum")}
            return [(first, rise), (self.total_steps - 1, fall)]
        back = {"lr": ("max_lr", "initial_lr"), "momentum": ("base_momentum", "max_momentum")}
        fall = {"lr": ("initial_lr", "min_lr"), "momentum": ("max_momentum", "max_momentum")}
        return [(first, rise), (2 * self.pct_start * self.total_steps - 2, back), (self.total_steps - 1, fall)]

    def _anneal(self, group: Group, key: str, step: Any) -> Any:
        if isinstance(step, int | float) and known(self.total_steps) and step > self.total_steps:
            raise ValueError(f"Tried to step {step} times. The specified number of total steps is {self.total_steps}")
        step = minimum(step, self.total_steps)

        def phase(index: int, start_step: Any) -> Any:
            end_step, bounds = self._phases()[index]
            start, end = (group[name] for name in bounds[key])

            def value() -> Any:
                pct = (step - start_step) / (end_step - start_step)
                if self.anneal_strategy == "linear":
                    return (end - start) * pct + start
                return end + (start - end) / 2.0 * (cos(math.pi * pct) + 1)

            if index == len(self._phases()) - 1:
                return value()
            return choose(step <= end_step, value, lambda: phase(index + 1, end_step))

        return phase(0, 0.0)

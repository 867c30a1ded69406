"""Schedules made of schedules: one after another, or all at once."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from funcsgd.schedules.formula import Scalar, choose, known, maximum
from funcsgd.schedules.recurrence import Group, Stepper
from funcsgd.schedules.schedule import Schedule


@dataclass
class Nest:
    """Steppers that share a group: what SequentialLR and ChainedScheduler have in common, a lack of ``get_lr`` too."""

    children: list[Stepper]

    def initial_step(self) -> None:
        """Let it be a step like any other."""
        self.step()

    def step(self) -> None:
        """``ChainedScheduler.step``."""
        for child in self.children:
            child.step()

    def update_lr(self, epoch: int) -> None:
        """Raise, as torch does at the milestone: neither class can jump to an epoch."""
        del epoch
        raise NotImplementedError

    def undo(self) -> None:
        """Take one epoch back everywhere."""
        for child in self.children:
            child.undo()


@dataclass
class _Sequence(Nest):
    """``SequentialLR`` at work."""

    milestones: Sequence[int]
    last_epoch: int

    def step(self) -> None:
        """``SequentialLR.step``."""
        self.last_epoch += 1
        index = bisect_right(self.milestones, self.last_epoch)
        if index > 0 and self.milestones[index - 1] == self.last_epoch:
            self.children[index].update_lr(0)
        else:
            self.children[index].step()


@dataclass(frozen=True)
class _Composition(Schedule):
    """A schedule with others inside; they share one learning rate, as torch's share one optimizer."""

    from_base = False
    schedulers: Sequence[Schedule]

    def __post_init__(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "schedulers", tuple(self.schedulers))
        for index, schedule in enumerate(self.schedulers):
            if getattr(schedule, "needs_metric", False):
                raise ValueError(
                    f"{name} does not support `ReduceLROnPlateau` scheduler as it requires additional kwargs to be "
                    f"specified when calling `step`, but got one at index {index} in the given schedulers sequence."
                )
            if not isinstance(schedule, Schedule):
                raise TypeError(f"{name} at index {index} should be a schedule, but got {type(schedule).__name__}.")
        for shared in ("learning_rate", "initial_lr"):
            values = [getattr(schedule, shared) for schedule in (self, *self.schedulers)]
            given = [value for value in values if value is not None]
            numbers = {value for value in given if isinstance(value, int | float)}
            if len(numbers) > 1:
                raise ValueError(f"{name} expects all schedulers to share one {shared}, but got {sorted(numbers)}")
            object.__setattr__(self, shared, given[0] if given else None)
        super().__post_init__()

    def bind(self, group: Group) -> Any:
        """Nothing to write: torch's nests leave that to the schedulers inside."""
        return group.get("initial_lr", group["lr"])

    def is_known(self) -> bool:
        """Return True if no hyperparameter, of the schedules inside too, is a tracer."""
        return super().is_known() and all(schedule.is_known() for schedule in self.schedulers)

    def cycles_momentum(self) -> bool:
        """Return True if one of the schedules does."""
        return any(schedule.cycles_momentum() for schedule in self.schedulers)


@dataclass(frozen=True)
class SequentialLR(_Composition):
    """One schedule after another, each counting from its milestone.

    Equation::

        lr = schedulers[i](epoch - milestones[i - 1])       i = number of milestones reached

    Args:
        learning_rate: the optimizer's; the schedules inside must agree on it, as torch's must share an optimizer. Those
            that overwrite the learning rate have none.
        schedulers: at least one, in the order of their construction in torch.
        milestones: epochs at which the next schedule takes over; one fewer than schedules.
        last_epoch, initial_lr: by keyword, to resume; see `Schedule`.

    The table keeps what torch makes of the equation: at a milestone `MultiplicativeLR` multiplies the learning rate in
    force and `SWALR` starts from it, a step late; a nest in first place starts one epoch ahead. There is a closed form
    where torch follows the equation: sorted milestones, nothing resumed, and no nests, `MultiplicativeLR` or `SWALR`
    inside.

    Raises:
        ValueError: with torch's messages, for counts that do not fit; the schedules' learning rates differ.
            NotImplementedError: from ``table``, for a nest in a later place, at its milestone, as in torch; from a
            call, where there is no closed form.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``SequentialLR``, torch 2.13.0.

    Differs from ``optax.join_schedules`` in: the table.

    Example:
        >>> from funcsgd.schedules import ConstantLR, ExponentialLR
        >>> warmup, decay = ConstantLR(0.5, factor=0.5, total_iters=9), ExponentialLR(0.5, gamma=0.5)
        >>> SequentialLR(0.5, [warmup, decay], milestones=[2]).table(5)
        array([0.25 , 0.25 , 0.5  , 0.25 , 0.125])
    """

    milestones: Sequence[Scalar]

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        super().__post_init__()

    def validate(self) -> None:
        """Raise torch's errors."""
        if not self.schedulers:
            raise ValueError("SequentialLR expects at least one scheduler, but got no scheduler.")
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                f"milestone points, but got number of schedulers {len(self.schedulers)} and the number of milestones "
                f"to be equal to {len(self.milestones)}"
            )

    def start(self, group: Group) -> Stepper:
        """``SequentialLR.__init__``: construct all, take their steps back, and let one step again."""
        children = [schedule.start(group) for schedule in self.schedulers]
        group["lr"] = group["initial_lr"]
        run = _Sequence(children, self.milestones, self.last_epoch + 1)
        run.undo()
        children[bisect_right(self.milestones, 0)].initial_step()
        return run

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """Each schedule's closed form from its milestone on, counted from there."""
        starts = [maximum(milestone, 0) for milestone in self.milestones]
        ordered = not known(*starts) or starts == sorted(starts)
        resumed = any(schedule.last_epoch != -1 for schedule in (self, *self.schedulers))
        if resumed or not ordered or not all(schedule.from_base for schedule in self.schedulers):
            return super().closed_form(base_lr, epoch)
        group = self.param_group()
        bases = [schedule.bind(group) for schedule in self.schedulers]

        def piece(index: int, start: Any) -> Any:
            def here() -> Any:
                return self.schedulers[index].closed_form(bases[index], maximum(epoch - start, 0))

            if index == len(starts):
                return here()
            return choose(epoch >= starts[index], lambda: piece(index + 1, starts[index]), here)

        return piece(0, 0)


@dataclass(frozen=True)
class ChainedScheduler(_Composition):
    """All schedules at once: each changes the learning rate that the one before it left.

    Equation, for schedules that multiply::

        lr = base_lr * factor_1(epoch) * factor_2(epoch) * ...

    Args:
        schedulers: at least one, in the order of their construction in torch.
        learning_rate: by keyword; see `Schedule`. None takes that of the schedules inside, which must agree.

    In the table the schedules take turns as in torch, so that one that does not look at the present learning rate
    (`LambdaLR`, `CyclicLR`, ...) overwrites those before it. There is a closed form where all multiply by a factor of
    the epoch: `StepLR`, `MultiStepLR`, `ConstantLR`, `LinearLR`, `ExponentialLR` and `PolynomialLR`, none of them
    resumed.

    Raises:
        ValueError: no schedules, or their learning rates differ. NotImplementedError: from a call, where there is no
            closed form.

    Exactness: table bitwise; traced call `rounding`.

    Source: ``torch/optim/lr_scheduler.py``, ``ChainedScheduler``, torch 2.13.0.

    Example:
        >>> from funcsgd.schedules import ConstantLR, ExponentialLR
        >>> ChainedScheduler([ConstantLR(0.5, factor=0.5, total_iters=2), ExponentialLR(0.5, gamma=0.5)]).table(4)
        array([0.25  , 0.125 , 0.125 , 0.0625])
    """

    learning_rate: Scalar | None = field(default=None, kw_only=True)
    last_epoch: int = field(default=-1, init=False, repr=False)
    initial_lr: Scalar | None = field(default=None, init=False, repr=False)

    def validate(self) -> None:
        """Raise torch's error."""
        if not self.schedulers:
            raise ValueError("ChainedScheduler expects at least one scheduler to be chained, but got no scheduler.")

    def start(self, group: Group) -> Nest:
        """``ChainedScheduler.__init__``."""
        return Nest([schedule.start(group) for schedule in self.schedulers])

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """The product of the factors."""
        if not all(schedule.scales and schedule.last_epoch == -1 for schedule in self.schedulers):
            return super().closed_form(base_lr, epoch)
        for schedule in self.schedulers:
            base_lr = base_lr * schedule.closed_form(1.0, epoch)
        return base_lr

"""A torch scheduler at work, without torch: on the host, in Python doubles, one step after another.

torch's schedulers are objects that read and write their optimizer's ``param_group``. The learning rates they set
follow from the order of those reads and writes, quirks included, so this keeps the order and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Group: TypeAlias = dict[str, Any]
"""torch's ``param_group``: "lr", "initial_lr", "momentum" and what cyclic schedulers keep beside them."""


class Stepper(Protocol):
    """The part of a scheduler that `SequentialLR` and `ChainedScheduler` need of those inside them."""

    def initial_step(self) -> None:
        """Do what the end of torch's constructor does, and what SequentialLR does again."""

    def step(self) -> None:
        """Advance one epoch and set the group's learning rate."""

    def update_lr(self, epoch: int) -> None:
        """Jump to an epoch, as SequentialLR does at a milestone."""

    def undo(self) -> None:
        """Take back the count, not the learning rate, of the constructor's step."""


@dataclass
class Recurrence:
    """One scheduler on one parameter group: the mutable half of ``torch.optim.lr_scheduler.LRScheduler``.

    Attributes:
        group: shared with every other scheduler in a nest.
        base_lr: the group's initial learning rate as this scheduler found it.
        last_epoch: the epoch whose learning rate is in the group.
        get_lr: the next learning rate, from this object; torch's method of that name.
        closed_form: ``(base_lr, epoch) -> learning rate``, or None where torch's class has none.
        step_count: steps made since `initial_step`, that one included.
        is_initial: True during `initial_step`.
    """

    group: Group
    base_lr: float
    last_epoch: int
    get_lr: Callable[["Recurrence"], float]
    closed_form: Callable[[float, int], float] | None = None
    step_count: int = 0
    is_initial: bool = False

    @property
    def lr(self) -> Any:
        """The group's learning rate, whoever set it."""
        return self.group["lr"]

    def initial_step(self) -> None:
        """Restart the step count and make one step, marked as initial."""
        self.step_count = 0
        self.is_initial = True
        self.step()
        self.is_initial = False

    def step(self) -> None:
        """Advance one epoch by the recurrence."""
        self.step_count += 1
        self.last_epoch += 1
        self.group["lr"] = self.get_lr(self)

    def update_lr(self, epoch: int) -> None:
        """Jump to an epoch by the closed form, or by the recurrence where there is none; `step_count` is unchanged."""
        self.last_epoch = epoch
        self.group["lr"] = self.get_lr(self) if self.closed_form is None else self.closed_form(self.base_lr, epoch)

    def undo(self) -> None:
        """Take one epoch back."""
        self.last_epoch -= 1

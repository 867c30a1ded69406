"""Schedules: pure functions of a count, with a table of the values that torch's scheduler sets."""

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from funcsgd.hyperparameters import check_nonnegative
from funcsgd.schedules.formula import Scalar, known, number
from funcsgd.schedules.recurrence import Group, Recurrence, Stepper

_NO_CLOSED_FORM = "{} has no closed form; tabulate(schedule, n) reads torch's own values inside jit"


@dataclass(frozen=True)
class Schedule:
    """A learning rate as a function of the number of ``scheduler.step()`` calls made so far, from 0.

    Its subclasses are named after torch's. Where those take an optimizer, these take its learning rate. A schedule is
    frozen and may be read in three ways:

    - ``schedule(count)`` with an array or tracer, as an optax schedule: the closed form in the default float dtype, to
      a few roundings of the largest value; a power multiplies the rounding error of its base by its exponent.
    - ``schedule(count)`` with a Python number: the closed form in Python doubles, torch's ``_get_closed_form_lr`` in
      every bit where there is one.
    - ``schedule.table(n)``: torch's own recurrence, in every bit. It drifts from the closed form: in 10,000 epochs, as
      measured, by 1e-13 of the largest value at most; 3e-11 for `CosineAnnealingLR`.

    Args:
        learning_rate: the optimizer's ``lr`` when the scheduler is made; None for the schedules that overwrite it. A
            Python number, a 0-d array or a tracer, like every other hyperparameter.
        last_epoch: -1 to start. To resume after epoch ``k``: ``k``, with ``learning_rate`` the one in force at ``k``;
            a count of 0 then is epoch ``k + 1``.
        initial_lr: the learning rate that the run began with, torch's ``group["initial_lr"]``. Needed to resume.
    """

    learning_rate: Scalar
    _: KW_ONLY
    last_epoch: int = -1
    initial_lr: Scalar | None = None

    has_closed_form: ClassVar[bool] = False
    """torch's class has one, and SequentialLR uses it at a milestone."""
    from_base: ClassVar[bool] = True
    """The value follows from the base learning rate and the epoch, whatever the group holds."""
    scales: ClassVar[bool] = False
    """The recurrence multiplies the group's learning rate by a factor that does not depend on it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, number(field.name, getattr(self, field.name)))
        if self.learning_rate is not None:
            check_nonnegative("Invalid learning rate", self.learning_rate)
        self.validate()
        if self.is_known():  # what torch's constructor would raise in its first step is raised here
            with jax.ensure_compile_time_eval():
                self.start(self.param_group())

    def __call__(self, count: Any) -> Any:
        """Return the closed form at ``count``: a float for a Python number, otherwise an array of its shape."""
        base_lr, first = self.bind(self.param_group()), self.last_epoch + 1
        if isinstance(count, int | float):
            return self.closed_form(base_lr, count + first)
        return _like(self.closed_form(base_lr, _wide(count) + first), count)

    def table(self, n: int) -> npt.NDArray[np.float64]:
        """Return the learning rates in force during epochs 0 to n-1, in every bit those of torch.

        Args:
            n: number of epochs, from 0; a step of torch's scheduler lies between two of them.

        Returns:
            float64, shape ``(n,)``, on the host.

        Raises:
            ValueError: a hyperparameter is a tracer, so that the host cannot calculate. Besides, what torch's
                scheduler raises while it is stepped ``n - 1`` times, of torch's type and with torch's message.
        """
        return self._values("lr", n)

    @property
    def momentum(self) -> "MomentumSchedule | None":
        """The momentum that the schedule cycles along with the learning rate; None where it leaves momentum alone."""
        return MomentumSchedule(self) if self.cycles_momentum() else None

    # A schedule's description of itself. Names are those of torch's methods where there is one.

    def validate(self) -> None:
        """Raise what torch's constructor raises; values that are not `known` pass."""

    def is_known(self) -> bool:
        """Return True if no hyperparameter is a tracer."""
        return known(*(getattr(self, field.name) for field in fields(self)))

    def cycles_momentum(self) -> bool:
        """Return True if the schedule sets the group's momentum."""
        return False

    def get_lr(self, run: Recurrence) -> Any:
        """Return the next learning rate by torch's recurrence."""
        raise NotImplementedError

    def closed_form(self, base_lr: Any, epoch: Any) -> Any:
        """Return the learning rate at an epoch, counted from 0."""
        raise NotImplementedError(_NO_CLOSED_FORM.format(type(self).__name__))

    def closed_form_momentum(self, epoch: Any) -> Any:
        """Return the momentum at an epoch, counted from 0."""
        raise NotImplementedError(_NO_CLOSED_FORM.format(f"the momentum of {type(self).__name__}"))

    def param_group(self) -> Group:
        """Return the optimizer's parameter group as the scheduler finds it."""
        group = {"lr": self.learning_rate}
        return group if self.initial_lr is None else group | {"initial_lr": self.initial_lr}

    def bind(self, group: Group) -> Any:
        """Write to the group what torch's constructor writes, and return the base learning rate it reads."""
        if self.last_epoch == -1:
            group.setdefault("initial_lr", group["lr"])
        elif "initial_lr" not in group:
            raise KeyError(
                "param 'initial_lr' is not specified in param_groups[0] when resuming scheduler with last_epoch >= 0. "
                "Pass initial_lr, the learning rate that the run began with."
            )
        return group["initial_lr"]

    def start(self, group: Group) -> Stepper:
        """Construct the scheduler on a group, as torch does: bind, then one initial step."""
        closed_form = self.closed_form if self.has_closed_form else None
        run = Recurrence(group, self.bind(group), self.last_epoch, self.get_lr, closed_form)
        run.initial_step()
        return run

    def _values(self, key: str, n: int) -> npt.NDArray[np.float64]:
        if not self.is_known():
            raise ValueError("a table is calculated on the host, and this schedule has a traced hyperparameter")
        values = np.empty(n)
        with jax.ensure_compile_time_eval():  # so that a user's jax.numpy function is a number inside jit, too
            group = self.param_group()
            run = self.start(group)
            for epoch in range(n):
                if epoch:
                    run.step()
                values[epoch] = float(group[key])
        return values


@dataclass(frozen=True)
class MomentumSchedule:
    """The momentum of a schedule that cycles it; read like the schedule itself.

    Attributes:
        schedule: the one that sets learning rate and momentum together.
    """

    schedule: Schedule

    def __call__(self, count: Any) -> Any:
        """Return the closed form at ``count``: a float for a Python number, otherwise an array of its shape."""
        first = self.schedule.last_epoch + 1
        if isinstance(count, int | float):
            return self.schedule.closed_form_momentum(count + first)
        return _like(self.schedule.closed_form_momentum(_wide(count) + first), count)

    def table(self, n: int) -> npt.NDArray[np.float64]:
        """Return the momenta in force during epochs 0 to n-1, as `Schedule.table` does."""
        return self.schedule._values("momentum", n)


def _wide(count: Any) -> jax.Array:
    """The count as JAX's default integer: in 64-bit mode a quotient of int32, as optimizers count, would be float32."""
    count = jnp.asarray(count)
    return jnp.asarray(count, int) if jnp.issubdtype(count.dtype, jnp.integer) else count


def _like(value: Any, count: Any) -> jax.Array:
    """A floating array of the count's shape, also where the formula did not use the count."""
    return jnp.broadcast_to(jnp.asarray(value, jnp.result_type(value, float)), jnp.shape(count))

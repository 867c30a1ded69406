"""torch.optim.lr_scheduler -> funcsgd's schedulers: the same learning rates, epoch by epoch."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from funcsgd import schedules
from funcsgd.schedules import ChainedScheduler, OneCycleLR, ReduceLROnPlateau, Schedule
from torch_bridge.translate.optimizers import adapter_of, learning_rate_of
from torch_bridge.translate.scheduler_progress import as_list, epochs_done
from torch_bridge.translate.stepping import is_torchs, look_ahead, names_of

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

Turns: TypeAlias = list[Schedule | ReduceLROnPlateau]
"""Schedulers of one parameter group that are stepped one after another, in that order."""


VERIFIED = 50
"""The number of torch's next epochs with which a schedule is compared before it is returned."""


def schedules_from_torch(scheduler: "LRScheduler | Sequence[LRScheduler]") -> list[Schedule]:
    """Translate a scheduler into one schedule for each parameter group, counted from the scheduler's construction.

    Args:
        scheduler: any scheduler of ``torch.optim.lr_scheduler`` but ReduceLROnPlateau, nested ones too, and SWALR; in
            whatever state it is, as long as its formula leads there: torch's next 50 epochs are compared, by stepping
            a copy. `from_torch` with the optimizer takes any other state too. Several that are stepped one after
            another, in the order of their steps, are a `ChainedScheduler`.

    Returns:
        A list, one `Schedule` a group: ``schedule.table(n)`` is what the scheduler sets, in every bit, had it been
        stepped from its beginning. `epochs_done` returns where it stands.

    Raises:
        TypeError: there is no equivalent; the message names the class.
        ValueError: the learning rate in force, or one of the next 50, is not the one that the schedule has.

    Exactness: bitwise.
    """
    schedulers = as_list(scheduler)
    check_together(schedulers)
    found = []
    for each in turns_from_torch(schedulers):
        schedule = chained(each)
        if schedule is None or watches_metric(each):
            raise TypeError(
                "ReduceLROnPlateau watches a metric, so it is no schedule: give it to from_torch with its optimizer"
            )
        found.append(schedule)
    done = epochs_done(schedulers)
    optimizer, names = schedulers[0].optimizer, names_of(schedulers)
    for index, (schedule, group) in enumerate(zip(found, optimizer.param_groups, strict=True)):
        if (expected := schedule.table(done + 1)[done]) != float(group["lr"]):
            raise ValueError(
                f"the learning rate of group {index} is {float(group['lr'])!r}, but {names} would have set "
                f"{float(expected)!r} at epoch {done}: something else changed it, or several schedulers take turns "
                "(give all of them, in the order of their steps, or give the optimizer to from_torch, which goes on "
                "from any learning rate)"
            )
    rate = learning_rate_of(adapter_of(optimizer))
    rates = look_ahead(optimizer, schedulers, done, VERIFIED)[rate]
    for index, (schedule, torchs) in enumerate(zip(found, rates.T, strict=True)):
        length = min(len(torchs), table_length(schedule, done + len(torchs)) - done)
        ours = schedule.table(done + length)[done:]
        if (differs := np.flatnonzero(ours != torchs[:length])).size:
            k = int(differs[0])
            raise ValueError(
                f"{names} is in a state that its formula does not lead to: at epoch {done + k} torch sets the learning "
                f"rate of group {index} to {float(torchs[k])!r}, the formula to {float(ours[k])!r}; give the "
                "optimizer to from_torch, which goes on from any state"
            )
    return found


def check_owner(schedulers: Sequence[Any], optimizer: Any) -> None:
    """Raise ValueError if a scheduler sets the learning rate of another optimizer."""
    for scheduler in schedulers:
        if not callable(getattr(scheduler, "step", None)):
            raise TypeError(f"a scheduler has a method step, but {type(scheduler).__name__} has none")
        if getattr(scheduler, "optimizer", optimizer) is not optimizer:
            raise ValueError(
                f"{type(scheduler).__name__} sets the learning rate of another optimizer than the one given: give both "
                "of the same run"
            )
        if not is_torchs(scheduler) and any(kind.__name__ == "ReduceLROnPlateau" for kind in type(scheduler).__mro__):
            raise TypeError(
                f"{type(scheduler).__name__} is a ReduceLROnPlateau of your own, which watches a metric in a way that "
                "cannot be known: use torch's class"
            )


def check_together(schedulers: Sequence[Any]) -> None:
    """Raise ValueError for SWALR among others: scripts step it in place of them, not after them."""
    if len(schedulers) > 1 and any(type(scheduler).__name__ == "SWALR" for scheduler in schedulers):
        raise ValueError(
            f"{names_of(schedulers)} in a list are stepped one after another in every epoch, but scripts step SWALR in "
            "place of the others once it has taken over: describe to from_torch which is stepped when, "
            "step_schedulers=lambda epoch, schedulers: schedulers[epoch >= swa_start].step(), or give it SWALR alone "
            "from then on"
        )


def turns_from_torch(schedulers: "Sequence[LRScheduler]") -> list[Turns]:
    """Translate schedulers that are stepped one after another; a list of translations for each parameter group.

    Raises:
        TypeError: there is no equivalent. ValueError: a group was added after the scheduler was made.
    """
    groups = range(len(schedulers[0].optimizer.param_groups))
    for scheduler in schedulers:
        if (first := len(getattr(scheduler, "base_lrs", groups))) < len(groups):
            raise ValueError(
                f"{type(scheduler).__name__} was made when the optimizer had {first} parameter groups, and has no "
                f"formula for group {first}, which was added later: make the scheduler after the last add_param_group, "
                "or give the optimizer to from_torch, which follows it as torch does"
            )
    return [[_translate(scheduler, index) for scheduler in schedulers] for index in groups]


def chained(turns: Turns) -> Schedule | None:
    """Return the schedules among schedulers as one; None where there are none."""
    schedules = [scheduler for scheduler in turns if isinstance(scheduler, Schedule)]
    return ChainedScheduler(schedules) if len(schedules) > 1 else next(iter(schedules), None)


def watches_metric(turns: Turns) -> bool:
    """Return True if one of the schedulers is a ReduceLROnPlateau."""
    return any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in turns)


def table_length(schedule: Schedule, epochs: int) -> int:
    """Return how many of ``epochs`` a schedule can be tabulated for: OneCycleLR ends with its cycle."""
    inner = schedule.schedulers if isinstance(schedule, ChainedScheduler) else ()
    ends = [int(each.total_steps) + 1 for each in (schedule, *inner) if isinstance(each, OneCycleLR)]
    return min([epochs, *ends])


def _translate(scheduler: "LRScheduler", index: int) -> Any:
    translate = _TRANSLATIONS.get(type(scheduler).__name__)
    if translate is None or not is_torchs(scheduler):
        raise TypeError(
            f"{type(scheduler).__name__} has no equivalent among funcsgd's schedules; there are those of "
            f"{', '.join(_TRANSLATIONS)}"
        )
    return translate(scheduler, index)


def plateau_from_torch(scheduler: Any, index: int) -> ReduceLROnPlateau:
    """Translate a ReduceLROnPlateau for a parameter group; a group added later has the default lower bound."""
    group = scheduler.optimizer.param_groups[index]
    names = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")
    options = {name: getattr(scheduler, name) for name in names}
    learning_rate = float(group.get("initial_lr", group["lr"]))
    bounds = scheduler.min_lrs
    if len(bounds) != (count := len(scheduler.optimizer.param_groups)):
        if scheduler.default_min_lr is None:
            raise ValueError(
                f"ReduceLROnPlateau has {len(bounds)} lower bounds for {count} parameter groups, one of which was "
                "added later; torch raises too: set min_lrs of the scheduler"
            )
        bounds = [scheduler.default_min_lr] * count
    return ReduceLROnPlateau(learning_rate, min_lr=bounds[index], **options)


def _base(scheduler: Any, index: int) -> float:
    return float(scheduler.base_lrs[index])


def _plain(function: Callable[..., Schedule], *names: str) -> Callable[[Any, int], Schedule]:
    """A class whose attributes are its arguments."""

    def translate(scheduler: Any, index: int) -> Schedule:
        return function(_base(scheduler, index), **{name: getattr(scheduler, name) for name in names})

    return translate


def _lambda(function: Callable[..., Schedule]) -> Callable[[Any, int], Schedule]:
    return lambda scheduler, index: function(_base(scheduler, index), scheduler.lr_lambdas[index])


def _multi_step(scheduler: Any, index: int) -> Schedule:
    milestones = sorted(scheduler.milestones.elements())  # a Counter: duplicates count twice
    return schedules.MultiStepLR(_base(scheduler, index), milestones, scheduler.gamma)


def _cyclic(scheduler: Any, index: int) -> Schedule:
    group = scheduler.optimizer.param_groups[index]
    up, down = _cycle(scheduler.total_size, scheduler.step_ratio)
    momenta = _momenta(scheduler, group)
    initial_lr, base_lr = float(group["initial_lr"]), _base(scheduler, index)
    return schedules.CyclicLR(
        base_lr,
        float(scheduler.max_lrs[index]),
        up,
        down,
        mode=scheduler.mode,
        gamma=scheduler.gamma,
        scale_fn=scheduler._scale_fn_custom,
        scale_mode=scheduler.scale_mode,
        cycle_momentum=scheduler.cycle_momentum,
        initial_lr=None if initial_lr == base_lr else initial_lr,
        **momenta,
    )


def _momenta(scheduler: Any, group: Mapping[str, Any]) -> dict[str, Any]:
    names = ("base_momentum", "max_momentum") if scheduler.cycle_momentum else ()
    return {name: float(group[name]) for name in names}


def _cycle(total_size: float, step_ratio: float) -> tuple[float, float]:
    """The way up and the way down, whose sum and quotient torch keeps."""
    for up in _near(total_size * step_ratio):
        for down in _near(total_size - up):
            if float(up) + float(down) == total_size and float(up) / total_size == step_ratio:
                return up, down
    raise ValueError(f"no way up and down gives CyclicLR's total_size={total_size!r} and step_ratio={step_ratio!r}")


def _one_cycle(scheduler: Any, index: int) -> Schedule:
    group = scheduler.optimizer.param_groups[index]
    max_lr, initial_lr, min_lr = (float(group[name]) for name in ("max_lr", "initial_lr", "min_lr"))
    phases, total = scheduler._schedule_phases, scheduler.total_steps
    momenta = _momenta(scheduler, group)
    return schedules.OneCycleLR(
        max_lr,
        total,
        pct_start=_solve(
            "pct_start", (phases[0]["end_step"] + 1) / total, lambda p: p * total - 1, phases[0]["end_step"]
        ),
        anneal_strategy=scheduler._anneal_func_type,
        cycle_momentum=scheduler.cycle_momentum,
        div_factor=_solve("div_factor", max_lr / initial_lr, lambda f: max_lr / f, initial_lr),
        final_div_factor=_solve("final_div_factor", initial_lr / min_lr, lambda f: initial_lr / f, min_lr),
        three_phase=len(phases) == 3,
        **momenta,
    )


def _solve(name: str, guess: float, function: Callable[[float], float], value: float) -> float:
    """The argument, as simple a number as may be, that gives what torch keeps of it."""
    for candidate in _near(guess):
        if function(float(candidate)) == value:
            return float(candidate)
    raise ValueError(f"no {name} gives OneCycleLR's {value!r}; it was changed after the construction")


def _near(guess: float) -> Iterator[float]:
    """Numbers around a quotient that rounding may have moved: short ones first, then its neighbours."""
    if math.isclose(guess, round(guess), rel_tol=1e-9):
        yield round(guess)
    for digits in range(1, 16):
        yield float(f"{guess:.{digits}g}")
    below = above = guess
    yield guess
    for _ in range(4):
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
        yield from (below, above)


def _swalr(scheduler: Any, index: int) -> Schedule:
    strategy: Literal["linear", "cos"] = "linear" if scheduler.anneal_func.__name__ == "_linear_anneal" else "cos"
    swa_lr = float(scheduler.optimizer.param_groups[index]["swa_lr"])
    return schedules.SWALR(_base(scheduler, index), swa_lr, scheduler.anneal_epochs, strategy)


def _sequential(scheduler: Any, index: int) -> Schedule:
    inner = [_translate(child, index) for child in scheduler._schedulers]
    return schedules.SequentialLR(_initial(scheduler, index), inner, scheduler._milestones)


def _chained(scheduler: Any, index: int) -> Schedule:
    inner = [_translate(child, index) for child in scheduler._schedulers]
    return schedules.ChainedScheduler(inner, learning_rate=_initial(scheduler, index))


def _initial(scheduler: Any, index: int) -> float:
    return float(scheduler.optimizer.param_groups[index]["initial_lr"])


_TRANSLATIONS: dict[str, Callable[[Any, int], Schedule | ReduceLROnPlateau]] = {
    "LambdaLR": _lambda(schedules.LambdaLR),
    "MultiplicativeLR": _lambda(schedules.MultiplicativeLR),
    "StepLR": _plain(schedules.StepLR, "step_size", "gamma"),
    "MultiStepLR": _multi_step,
    "ConstantLR": _plain(schedules.ConstantLR, "factor", "total_iters"),
    "LinearLR": _plain(schedules.LinearLR, "start_factor", "end_factor", "total_iters"),
    "ExponentialLR": _plain(schedules.ExponentialLR, "gamma"),
    "PolynomialLR": _plain(schedules.PolynomialLR, "total_iters", "power"),
    "CosineAnnealingLR": _plain(schedules.CosineAnnealingLR, "T_max", "eta_min"),
    "CosineAnnealingWarmRestarts": _plain(schedules.CosineAnnealingWarmRestarts, "T_0", "T_mult", "eta_min"),
    "CyclicLR": _cyclic,
    "OneCycleLR": _one_cycle,
    "ReduceLROnPlateau": plateau_from_torch,
    "SWALR": _swalr,
    "SequentialLR": _sequential,
    "ChainedScheduler": _chained,
}

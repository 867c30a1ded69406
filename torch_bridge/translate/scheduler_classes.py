"""torch's scheduler classes, one by one, as funcsgd's schedules: from their attributes back to their arguments."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from funcsgd import schedules
from funcsgd.schedules import ReduceLROnPlateau, Schedule
from torch_bridge.translate.stepping import is_torchs

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler


def translate_scheduler(scheduler: "LRScheduler", index: int) -> Any:
    """Return what a scheduler does to a parameter group.

    Args:
        scheduler: of one of torch's classes, nested ones too.
        index: of the group.

    Returns:
        A `Schedule`, or a `ReduceLROnPlateau`.

    Raises:
        TypeError: the class has no equivalent.
    """
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
    inner = [translate_scheduler(child, index) for child in scheduler._schedulers]
    return schedules.SequentialLR(_initial(scheduler, index), inner, scheduler._milestones)


def _chained(scheduler: Any, index: int) -> Schedule:
    inner = [translate_scheduler(child, index) for child in scheduler._schedulers]
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

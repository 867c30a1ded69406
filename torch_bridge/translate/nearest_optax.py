"""The nearest thing in plain optax, and how it differs: what a port from memory would have written."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from funcsgd.schedules import ReduceLROnPlateau, Schedule
from torch_bridge.translate.lr_scheduler import Turns, chained
from torch_bridge.translate.optimizers import Adapter

FROZEN = "a frozen parameter has no momentum buffer in optax: once thawed, it starts anew"

_FORMULA = "the learning rate follows a formula in float32, torch's a recurrence in float64: the last bits differ"


def nearest_rule(
    adapter: Adapter,
    options: Mapping[str, Any],
    turns: Turns,
    steps_per_epoch: int,
    name_of: Callable[[Callable[..., Any]], str],
) -> tuple[str, list[str]]:
    """Return optax source for the rule nearest to a torch optimizer's of one group, and how it differs.

    Args:
        adapter: of the optimizer.
        options: torch's hyperparameters; a string stands for one that is scheduled.
        turns: the schedulers of the group.
        steps_per_epoch: as in `torch_bridge.from_torch`.
        name_of: see `nearest_schedule`.
    """
    if adapter.nearest is None:
        return "optax.identity()", [f"optax has nothing like {adapter.name}: parameters stay as they are"]
    schedule, rate = chained(turns), repr(options["lr"])
    notes: list[str] = []
    if schedule is not None:
        rate, notes = nearest_schedule(schedule, name_of)
        rate = rate if steps_per_epoch == 1 else f"lambda count: ({rate})(count // {steps_per_epoch})"
    plateaus = [scheduler for scheduler in turns if isinstance(scheduler, ReduceLROnPlateau)]
    if plateaus and schedule is None:
        rate = repr(plateaus[0].learning_rate)
    nearest = adapter.nearest({**options, "lr": rate})
    stages, notes = [*nearest.before, nearest.rule], [*notes, *nearest.differences]
    for plateau in plateaus:
        code, words = _nearest_plateau(plateau, schedule, steps_per_epoch)
        stages += code
        notes += words
    return f"optax.chain({', '.join(stages)})" if len(stages) > 1 else nearest.rule, notes


def _nearest_plateau(
    plateau: ReduceLROnPlateau, schedule: Schedule | None, steps_per_epoch: int
) -> tuple[list[str], list[str]]:
    p = vars(plateau)
    rtol, atol = (p["threshold"], 0.0) if p["threshold_mode"] == "rel" else (0.0, p["threshold"])
    if not p["factor"] > 0 or not p["threshold"] > 0 or rtol > 1 or p["patience"] < 0:
        return [], ["optax.contrib.reduce_on_plateau rejects these values: the learning rate is not reduced"]
    notes = ["optax uses the first value that it is given, when no epoch is over yet"]
    if steps_per_epoch > 1:
        notes.append("optax uses, in the last update of an epoch, the mean of the values given in all its updates")
    notes.append("optax multiplies the finished update by a scale in its dtype, torch the learning rate in float64")
    if p["mode"] == "max":
        notes.append("optax minimises: its value is minus the metric")
        if p["threshold_mode"] == "rel":
            notes.append("below zero a relative threshold lies on the other side")
    if p["eps"] > 0:
        notes.append(f"optax makes reductions by less than eps, {p['eps']:g}, too")
    if schedule is not None and not _all_scale(schedule):
        notes.append(f"a reduction outlasts what {type(schedule).__name__} makes of the reduced learning rate in torch")
    if schedule is not None and p["min_lr"] > 0:
        notes.append("optax bounds the scale, not the scheduled learning rate")
    options = {"factor": p["factor"], "patience": p["patience"] + 1, "rtol": rtol, "atol": atol}
    more = {"cooldown": p["cooldown"], "accumulation_size": steps_per_epoch}
    more["min_scale"] = p["min_lr"] / p["learning_rate"] if p["learning_rate"] else 0.0
    listed = ", ".join(f"{key}={value!r}" for key, value in (options | more).items())
    return [f"optax.contrib.reduce_on_plateau({listed})"], notes


def _all_scale(schedule: Schedule) -> bool:
    """Whether a schedule multiplies the learning rate by factors that do not depend on it."""
    inner: tuple[Schedule, ...] = vars(schedule).get("schedulers", ())
    return all(map(_all_scale, inner)) if inner else schedule.scales


def nearest_clipping(name: str, options: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return optax source for the stage nearest to a clipping of funcsgd's, and how it differs."""
    if name == "clip_grad_value":
        return f"optax.clip({options['clip_value']!r})", []
    notes = ["optax.clip_by_global_norm divides by the norm, torch multiplies by the reciprocal of the norm plus 1e-6"]
    if float(options.get("norm_type", 2.0)) != 2.0:
        notes.append(f"optax has the 2-norm only, not norm_type={options['norm_type']!r}")
    return f"optax.clip_by_global_norm({options['max_norm']!r})", notes


def nearest_average(name: str, options: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return optax source for the function nearest to an average of funcsgd's, and how it differs."""
    if name == "swa":
        step_size = "1 / (n_averaged + 1)"
        notes = ["torch adds (x - a) / (n + 1) to the average, optax weighs a and x: the last bits differ"]
    else:
        weight = 1 - options["decay"] if options.get("weight") is None else options["weight"]
        step_size = repr(weight)
        notes = ["optax.incremental_update lets a product be fused into the sum, where torch rounds both"]
        if options.get("lerp"):
            notes = ["torch adds weight * (x - a) to the average, optax weighs a and x: the last bits differ"]
        if not math.isclose(options["decay"] + weight, 1):
            notes.append(f"optax's weights add up to 1, these to {options['decay'] + weight:g}")
    return (
        "def follow(params, average, n_averaged):  # after each update\n"
        f"    return optax.incremental_update(params, average, {step_size}) if n_averaged else params"
    ), notes


def nearest_schedule(schedule: Schedule, name_of: Callable[[Callable[..., Any]], str]) -> tuple[str, list[str]]:
    """Return optax source for the schedule nearest to one of funcsgd's, and how it differs, a sentence each.

    Args:
        schedule: of `funcsgd.schedules`.
        name_of: gives the functions of the recipe the names that the source calls them by.
    """
    name, s = type(schedule).__name__, vars(schedule)
    base = s.get("learning_rate")
    if name == "StepLR":
        return f"optax.exponential_decay({base}, {s['step_size']}, {s['gamma']}, staircase=True)", [_FORMULA]
    if name == "ExponentialLR":
        return f"optax.exponential_decay({base}, 1, {s['gamma']})", [_FORMULA]
    if name == "MultiStepLR":
        steps = {milestone: s["gamma"] for milestone in s["milestones"]}
        twice = ["a milestone that is given twice counts once"] if len(steps) < len(s["milestones"]) else []
        return f"optax.piecewise_constant_schedule({base}, {steps})", [_FORMULA, *twice]
    if name == "ConstantLR":
        return f"optax.join_schedules([optax.constant_schedule({base * s['factor']}), " \
               f"optax.constant_schedule({base})], [{s['total_iters']}])", []  # fmt: skip
    if name == "LinearLR":
        start, end = base * s["start_factor"], base * s["end_factor"]
        return f"optax.linear_schedule({start}, {end}, {s['total_iters']})", [_FORMULA]
    if name == "PolynomialLR":
        notes = [_FORMULA]
        if s["power"] % 1:
            notes.append(f"optax may give NaN after {s['total_iters']} epochs: rounding takes the root below 0")
        return f"optax.polynomial_schedule({base}, 0.0, {s['power']}, {s['total_iters']})", notes
    if name == "CosineAnnealingLR":
        notes = [_FORMULA, f"optax stays at the bottom after {s['T_max']} epochs, torch rises again"]
        return f"optax.cosine_decay_schedule({base}, {s['T_max']}, alpha={s['eta_min'] / base if base else 0.0})", notes
    if name == "CosineAnnealingWarmRestarts":
        cycles = [s["T_0"] * s["T_mult"] ** k for k in range(8)]
        listed = ", ".join(
            f"dict(init_value={base}, peak_value={base}, warmup_steps=0, decay_steps={n}, end_value={s['eta_min']})"
            for n in cycles
        )
        return f"optax.sgdr_schedule([{listed}])", [_FORMULA, f"optax stops restarting after {len(cycles)} periods"]
    if name == "OneCycleLR":
        call = f"optax.{'cosine' if s['anneal_strategy'] == 'cos' else 'linear'}_onecycle_schedule"
        notes = [_FORMULA, "optax ends each phase one step later"]
        arguments = f"{s['total_steps']}, {s['max_lr']}, {s['pct_start']}"
        if s["anneal_strategy"] == "cos":
            arguments += f", {s['div_factor']}, {s['final_div_factor']}"
        return f"{call}({arguments})", notes
    if name == "LambdaLR":
        return f"lambda count: {base} * {name_of(s['lr_lambda'])}(count)", [
            _FORMULA,
            "under jit the function receives a traced count and may not branch on it",
        ]
    if name == "SequentialLR":
        pieces = [nearest_schedule(inner, name_of) for inner in s["schedulers"]]
        words = [sentence for _, notes in pieces for sentence in notes]
        return f"optax.join_schedules([{', '.join(code for code, _ in pieces)}], {list(s['milestones'])})", words
    if name == "ChainedScheduler" and _all_scale(schedule) and base:
        pieces = [nearest_schedule(inner, name_of) for inner in s["schedulers"]]
        product = " * ".join(f"({code})(count)" for code, _ in pieces)
        words = [sentence for _, notes in pieces for sentence in notes]
        return f"lambda count: {product} / {base ** (len(pieces) - 1)!r}", words
    return f"optax.constant_schedule({base if base is not None else s.get('base_lr')})", [
        f"optax has nothing like {name}: the learning rate stays where it began"
    ]

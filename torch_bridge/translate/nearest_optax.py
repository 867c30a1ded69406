"""The nearest thing in plain optax, and how it differs: what a port from memory would have written."""

from collections.abc import Callable
from typing import Any

from funcsgd.schedules import Schedule

_FORMULA = "the learning rate follows a formula in float32, torch's a recurrence in float64: the last bits differ"


def sgd_differences(options: dict[str, Any]) -> list[str]:
    """Return how ``optax.sgd`` differs from torch.optim.SGD with these hyperparameters, a sentence each."""
    said = []
    if options["momentum"] != 0:
        said.append("optax.trace lets momentum * buffer be fused into the sum, where torch rounds it first")
    if options["dampening"] != 0:
        said.append(f"optax has no dampening: gradients enter the buffer in full, not by {1 - options['dampening']:g}")
    if isinstance(options["momentum"], str):
        said.append("optax.sgd's momentum is a constant: the cycling of momentum is lost")
    if options["weight_decay"] != 0 and options["maximize"]:
        said.append("the sign must be turned before the decay is added, or the decay is turned as well")
    return said


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
        return f"optax.polynomial_schedule({base}, 0.0, {s['power']}, {s['total_iters']})", [_FORMULA]
    if name == "CosineAnnealingLR":
        said = [_FORMULA, f"optax stays at the bottom after {s['T_max']} epochs, torch rises again"]
        return f"optax.cosine_decay_schedule({base}, {s['T_max']}, alpha={s['eta_min'] / base if base else 0.0})", said
    if name == "CosineAnnealingWarmRestarts":
        cycles = [s["T_0"] * s["T_mult"] ** k for k in range(8)]
        listed = ", ".join(
            f"dict(init_value={base}, peak_value={base}, warmup_steps=0, decay_steps={n}, end_value={s['eta_min']})"
            for n in cycles
        )
        return f"optax.sgdr_schedule([{listed}])", [_FORMULA, f"optax stops restarting after {len(cycles)} periods"]
    if name == "OneCycleLR":
        call = f"optax.{'cosine' if s['anneal_strategy'] == 'cos' else 'linear'}_onecycle_schedule"
        said = [_FORMULA, "optax ends each phase one step later", "optax does not cycle the momentum"]
        arguments = f"{s['total_steps']}, {s['max_lr']}, {s['pct_start']}"
        if s["anneal_strategy"] == "cos":
            arguments += f", {s['div_factor']}, {s['final_div_factor']}"
        return f"{call}({arguments})", said
    if name == "LambdaLR":
        return f"lambda count: {base} * {name_of(s['lr_lambda'])}(count)", [
            _FORMULA,
            "under jit the function meets a traced count and may not branch on it",
        ]
    if name == "SequentialLR":
        pieces = [nearest_schedule(inner, name_of) for inner in s["schedulers"]]
        words = [sentence for _, said in pieces for sentence in said]
        return f"optax.join_schedules([{', '.join(code for code, _ in pieces)}], {list(s['milestones'])})", words
    return f"optax.constant_schedule({base if base is not None else s.get('base_lr')})", [
        f"optax has nothing like {name}: the learning rate stays where it began"
    ]

"""Clipping: what both sides make of a gradient that is far too large."""

from collections.abc import Iterator

import numpy as np

from torch_bridge.judge.ideal import clipped
from torch_bridge.judge.preflight.both_rules import Rules, apart
from torch_bridge.judge.preflight.finding import Finding, number
from torch_bridge.judge.preflight.probes import SMALL
from torch_bridge.trace.trace import Array
from torch_bridge.translate.recipe import Clip

LARGE_AT = 2
"""The step at which the gradient is large. Those before it are small: a rule that divides by the size of the gradients
shows it, too."""

LARGE = 1e3
"""By how much it exceeds the limit of the side that clips, or 1."""


def clipping_findings(rules: Rules) -> Iterator[Finding]:
    """Name what the port does to a large gradient, if torch does something else; the rules agree on small ones."""
    clip = rules.recipe.clip
    if clip is not None and not isinstance(clip, Clip):
        return
    n = LARGE_AT + 2
    if rules.probe.n_steps < n:
        return
    gradients = rules.probe.gradients.copy()
    gradients[LARGE_AT] *= LARGE / SMALL * _limit(clip)
    after = _clipped(rules, gradients, clip)
    torch, jax = _changes(rules, after, n), rules.run(gradients)[:n]
    if not (apart(rules, torch, jax)[LARGE_AT:] > 1).any():
        return
    norm = float(np.linalg.norm(gradients[LARGE_AT]))
    left = _norm_left(rules, gradients, jax, n)
    torch_left = float(np.linalg.norm(after[LARGE_AT]))
    torchs = "no clipping" if clip is None else ", ".join(f"{k}={v}" for k, v in clip.arguments.items())
    ports = "clips otherwise" if left is None else f"a norm of {number(left)} is left"
    if left is not None and left > 0.999 * norm:
        ports = "no clipping"
        if clip is None:  # neither side clips
            return
    remedy = (
        "Take the clipping out of the port's rule."
        if clip is None
        else "Put `funcsgd.clip_grad_norm` or `funcsgd.clip_grad_value` with torch's arguments before the rule."
    )
    yield Finding(
        "clipping",
        f"Of a gradient whose norm is {number(norm)} torch ({torchs}) leaves {number(torch_left)}; the port: {ports}.",
        remedy,
        torchs,
        ports,
    )


def _limit(clip: Clip | None) -> float:
    if clip is None:
        return 1.0
    return float(clip.arguments.get("max_norm", clip.arguments.get("clip_value", 1.0)))


def _clipped(rules: Rules, gradients: Array, clip: Clip | None) -> Array:
    """The gradients as torch clips them, over all leaves whose tensors it is given."""
    if clip is None:
        return gradients
    given = [i for i, leaf in enumerate(rules.probe.leaves) if set(leaf.names) & set(clip.order)]
    after = gradients.copy()
    for row in after:
        named = {str(i): row[i].copy() for i in given}
        for name, value in clipped(named, clip.arguments, list(named)).items():
            row[int(name)] = value
    return after


def _changes(rules: Rules, gradients: Array, n: int) -> Array:
    found = np.zeros((n, *rules.probe.params.shape))
    for group in {leaf.group for leaf in rules.probe.leaves}:
        mine = [i for i, leaf in enumerate(rules.probe.leaves) if leaf.group == group]
        found[:, mine] = rules.torchs(mine, gradients, rules.numbers[mine, :n], {})
    return found


def _norm_left(rules: Rules, gradients: Array, jax: Array, n: int) -> float | None:
    """The norm to which the port scales the large gradient; None if it does something else to it."""
    large = gradients[LARGE_AT]
    norm = float(np.linalg.norm(large))

    def off(factor: float) -> float:
        scaled = gradients.copy()
        scaled[LARGE_AT] = large * factor
        return float(apart(rules, _changes(rules, scaled, n), jax)[LARGE_AT].max())

    if off(1.0) <= 1:
        return norm
    powers = np.linspace(-9, 0, 37)
    best = min(powers, key=lambda power: off(10.0**power))
    width = powers[1] - powers[0]
    for _ in range(24):  # thirds of the interval around the best
        width *= 0.6
        best = min((best - width, best, best + width), key=lambda power: off(10.0**power))
    return norm * 10.0**best if off(10.0**best) <= 10 else None

"""Faults of averages of gradients and of their squares."""

from dataclasses import replace

import jax.numpy as jnp
import optax

from tests.support.planted.numbers import Numbers, Planted
from tests.support.planted.stages import averages

AVERAGE, SQUARE, STEP = ("beta1", "exp_avg"), ("beta2", "exp_avg_sq"), ("eps", "parameter")


def _has(n: Numbers) -> bool:
    return n.betas is not None and not n.amsgrad


def _of(shows, step=0, **options) -> Planted:
    """Averages with options, each a function of the recipe or a value."""

    def make(n: Numbers):
        return dict(inner=averages(n.betas, n.eps, **{k: f(n) for k, f in options.items()}))

    return Planted(make, _has, shows, step)


def _optax(shows, step=0, **options) -> Planted:
    """optax's own with other numbers."""

    def make(n: Numbers):
        given = {"b1": n.betas[0], "b2": n.betas[1], "eps": n.eps} | {k: f(n) for k, f in options.items()}
        return dict(inner=optax.scale_by_adam(**given))

    return Planted(make, _has, shows, step)


def _reaches(n: Numbers) -> bool:
    """A lower bound that no root comes near is none."""
    return _has(n) and n.eps >= 1e-4


MOMENTS = {
    "bias-correction-missing": _of(STEP, corrected=lambda n: (False, False)),
    "first-bias-correction-missing": _of(STEP, corrected=lambda n: (False, True)),
    "second-bias-correction-missing": _of(STEP, corrected=lambda n: (True, False)),
    "bias-correction-late": _of(STEP, shift=lambda n: 1),
    "bias-correction-early": _of(STEP, 1, shift=lambda n: -1),
    "eps-in-root": _optax(STEP, eps=lambda n: 0.0, eps_root=lambda n: n.eps),
    "eps-before-correction": _of(
        STEP, quotient=lambda n: lambda m, v, c1, c2: m / c1 * jnp.sqrt(c2) / (jnp.sqrt(v) + n.eps)),
    "eps-missing": _optax(STEP, eps=lambda n: 0.0),
    "eps-as-minimum": _of(
        STEP, quotient=lambda n: lambda m, v, c1, c2: m / c1 / jnp.maximum(jnp.sqrt(v / c2), n.eps)),
    "root-missing": _of(STEP, quotient=lambda n: lambda m, v, c1, c2: m / c1 / (v / c2 + n.eps)),
    "root-before-correction": _of(STEP, quotient=lambda n: lambda m, v, c1, c2: m / c1 / (jnp.sqrt(v) / c2 + n.eps)),
    "first-average-missing": _optax(AVERAGE, b1=lambda n: 0.0),
    "sign-of-average": _of(STEP, quotient=lambda n: lambda m, v, c1, c2: jnp.sign(m)),
    "betas-swapped": _optax(AVERAGE, b1=lambda n: n.betas[1], b2=lambda n: n.betas[0]),
    "beta2-is-beta1": _optax(SQUARE, b2=lambda n: n.betas[0]),
    "first-average-undamped": _of(AVERAGE, first=lambda n: lambda m, g: n.betas[0] * m + g),
    "second-average-centred": _of(
        SQUARE, second=lambda n: lambda v, g, m: n.betas[1] * v + (1 - n.betas[1]) * (g - m) ** 2),
    "second-average-of-magnitudes": _of(
        SQUARE, second=lambda n: lambda v, g, m: n.betas[1] * v + (1 - n.betas[1]) * jnp.abs(g)),
    "moments-nesterov": _optax(STEP, nesterov=lambda n: True),
    "beta1-value": _optax(AVERAGE, b1=lambda n: n.betas[0] + 0.05),
    "beta2-value": _optax(SQUARE, b2=lambda n: n.betas[1] - 0.02),
    "eps-value": _optax(STEP, eps=lambda n: 3 * n.eps),
    "amsgrad-missing": Planted(
        lambda n: dict(inner=averages(n.betas, n.eps)), lambda n: n.amsgrad, ("max_exp_avg_sq", "parameter"), 1),
    "amsgrad-of-corrected": Planted(
        lambda n: dict(inner=optax.scale_by_amsgrad(*n.betas, eps=n.eps)), lambda n: n.amsgrad,
        ("max_exp_avg_sq", "parameter")),
}  # fmt: skip
MOMENTS["eps-as-minimum"] = replace(MOMENTS["eps-as-minimum"], when=_reaches)
"""Entry -> the port with that fault."""

"""The expected risk at any step, exactly: at one step by repeated squaring, or along a whole run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from funcsgd.noisy_quadratic.model import NoisyQuadratic
from funcsgd.noisy_quadratic.moments import (
    Moments,
    Steps,
    after,
    moments_after_first,
    moments_at_start,
    one_step,
    risk,
    then,
)
from funcsgd.noisy_quadratic.rule import Rule


def risk_at(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike, step: ArrayLike) -> jax.Array:
    """Return the expected risk after a number of steps, at the cost of the number's logarithm.

    Equation: ``risk(x_k)`` of the moments of ``x_k = A**(k - 1) x_1 + noise``, where ``A**(k - 1)`` and the noise's
    covariance are composed of the steps' powers 1, 2, 4, ...

    Args:
        model: of ``d`` coordinates.
        rule: scalars; unstable rules too, as long as their risk is finite.
        batch_size: positive scalar.
        step: non-negative integer below 2**31, traced if you like; 0 is the start.

    Returns:
        Scalar.

    Exactness: exact up to rounding, which grows with the logarithm of ``step``.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> model = nq.from_spectrum([1.0], c=0.0)
        >>> float(nq.risk_at(model, nq.Rule(0.5), 1, 2))  # 0.5 * (0.5**2)**2
        0.03125
    """
    step = jnp.asarray(step)

    def doubling(carry: tuple[Moments, Steps], bit: jax.Array) -> tuple[tuple[Moments, Steps], None]:
        moments, steps = carry
        taken = (step - 1) >> bit & 1 == 1
        moments = jax.tree.map(lambda new, old: jnp.where(taken, new, old), after(steps, moments), moments)
        return (moments, then(steps, steps)), None

    start = moments_after_first(model, rule, batch_size), one_step(model, rule, batch_size)
    (moments, _), _ = jax.lax.scan(doubling, start, jnp.arange(31))
    return jnp.where(step > 0, risk(model, rule, moments), risk(model, rule, moments_at_start(model, rule)))


def risk_curve(
    model: NoisyQuadratic,
    rule: Rule,
    batch_size: ArrayLike,
    n_steps: int,
    learning_rates: ArrayLike | None = None,
) -> jax.Array:
    """Return the expected risk after each of the first steps.

    Args:
        model: of ``d`` coordinates.
        rule: scalars.
        batch_size: positive scalar.
        n_steps: positive.
        learning_rates: shape ``(n_steps,)``, in place of the rule's own: the ``table`` of any schedule. The learning
            rate stays outside the momentum buffer, as in torch.

    Returns:
        Shape ``(n_steps + 1,)``; element ``k`` is the risk after ``k`` steps.

    Exactness: exact up to rounding.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> from funcsgd.schedules import step_lr
        >>> model = nq.from_spectrum([1.0])
        >>> rates = step_lr(0.5, step_size=5, gamma=0.1).table(10)
        >>> curve = nq.risk_curve(model, nq.Rule(0.5), 10, 10, rates)
        >>> bool(curve[10] < nq.steady_state(model, nq.Rule(0.5), 10).risk)
        True
    """
    rates = jnp.broadcast_to(
        jnp.asarray(rule.learning_rate if learning_rates is None else learning_rates, model.h.dtype), (n_steps,)
    )

    def step(moments: Moments, learning_rate: jax.Array) -> tuple[Moments, jax.Array]:
        moments = after(one_step(model, replace(rule, learning_rate=learning_rate), batch_size), moments)
        return moments, risk(model, rule, moments)

    first = moments_after_first(model, replace(rule, learning_rate=rates[0]), batch_size)
    _, later = jax.lax.scan(step, first, rates[1:])
    start = risk(model, rule, moments_at_start(model, rule))
    return jnp.concatenate([jnp.stack([start, risk(model, rule, first)]), later])

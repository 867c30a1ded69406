"""A step of the rule as a linear map on moments, and the composition of such maps.

On a quadratic each coordinate is a linear recursion of its own. Its state is

    x = (w - limit, b, a - limit)            parameters, momentum buffer, average of the parameters

about ``limit``, the limit of the rule without noise: the optimum, or nearer 0 under weight decay. A step is ``x = (I -
D) x + n * noise``. What a risk needs of ``x`` is its mean and its second moments.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from funcsgd.noisy_quadratic.model import NoisyQuadratic
from funcsgd.noisy_quadratic.rule import Rule


class Moments(NamedTuple):
    """Moments of the state: ``mean`` of shape ``(3, d)``, ``second``, E[x x'], of shape ``(3, 3, d)``."""

    mean: jax.Array
    second: jax.Array


class Steps(NamedTuple):
    """The effect of one step, or several, on moments: ``mean = A mean`` and ``second = A second A' + N``.

    Attributes:
        matrix: A, shape ``(3, 3, d)``.
        noise: N, shape ``(3, 3, d)``: the covariance that the noise of these steps leaves behind.
    """

    matrix: jax.Array
    noise: jax.Array


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the products of matrices ``(3, 3, d)`` with matrices or vectors ``(3, d)``, coordinate by coordinate."""
    return jnp.stack([jnp.sum(jnp.stack([x * y for x, y in zip(row, b, strict=True)]), 0) for row in a])


def congruence(a: jax.Array, m: jax.Array) -> jax.Array:
    """Return ``a m a'``, coordinate by coordinate."""
    return product(a, product(a, m).swapaxes(0, 1))


def then(first: Steps, second: Steps) -> Steps:
    """Return the steps ``first``, followed by ``second``."""
    return Steps(product(second.matrix, first.matrix), congruence(second.matrix, first.noise) + second.noise)


def after(steps: Steps, moments: Moments) -> Moments:
    """Return the moments that ``steps`` make of ``moments``."""
    mean, second = moments
    return Moments(product(steps.matrix, mean), congruence(steps.matrix, second) + steps.noise)


def limit(model: NoisyQuadratic, rule: Rule) -> jax.Array:
    """Return the limit of the rule without noise, shape ``(d,)``: ``h / (h + weight_decay) * optimum``."""
    return model.h / (model.h + rule.weight_decay) * model.optimum


def curvature(model: NoisyQuadratic, rule: Rule) -> jax.Array:
    """Return the curvature in effect for the rule, shape ``(d,)``: ``h**-power * (h + weight_decay)``."""
    return model.h**-rule.power * (model.h + rule.weight_decay)


def decrement(model: NoisyQuadratic, rule: Rule) -> jax.Array:
    """Return ``D = I - A`` of a step, shape ``(3, 3, d)``: written down so that nothing near 1 is subtracted."""
    q = curvature(model, rule)
    weights = _direction(rule, q)
    zero, one = jnp.zeros_like(q), jnp.ones_like(q)
    alpha, keep = rule.learning_rate, 1 - rule.ema_decay
    parameters = [alpha * weights[0], alpha * weights[1], zero]
    buffer = [-(1 - rule.dampening) * q, (1 - rule.momentum) * one, zero]
    average = [keep * (parameters[0] - 1), keep * parameters[1], keep * one]
    return jnp.array([parameters, buffer, average])


def noise(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike) -> jax.Array:
    """Return the covariance of ``n * noise``, shape ``(3, 3, d)``."""
    scale = model.h**-rule.power * jnp.sqrt(model.c / batch_size)
    weight = _direction(rule, jnp.ones_like(scale))[0]
    parameters = -rule.learning_rate * weight * scale
    n = jnp.stack([parameters, (1 - rule.dampening) * scale, (1 - rule.ema_decay) * parameters])
    return n[:, None] * n[None]


def one_step(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike) -> Steps:
    """Return what any step but the first does."""
    return Steps(jnp.eye(3, dtype=model.h.dtype)[..., None] - decrement(model, rule), noise(model, rule, batch_size))


def moments_at_start(model: NoisyQuadratic, rule: Rule) -> Moments:
    """Return the moments at step 0: the average starts at the parameters, the buffer at 0."""
    away = model.start - limit(model, rule)
    mean = jnp.stack([away, jnp.zeros_like(away), away])
    return Moments(mean, mean[:, None] * mean[None])


def moments_after_first(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike) -> Moments:
    """Return the moments at step 1: the first gradient enters undamped, the first parameters are copied."""
    first = replace(rule, dampening=0.0, ema_decay=0.0)
    return after(one_step(model, first, batch_size), moments_at_start(model, rule))


def risk(model: NoisyQuadratic, rule: Rule, moments: Moments) -> jax.Array:
    """Return the expected loss of the average: ``0.5 * sum(h * E[(a - optimum)**2])``."""
    shift = limit(model, rule) - model.optimum
    return 0.5 * jnp.sum(model.h * (moments.second[2, 2] + 2 * shift * moments.mean[2] + shift**2))


def _direction(rule: Rule, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Weights, in the direction of a step, of a gradient ``q * (w - limit)`` and of the old buffer."""
    kept, momentum = (1 - rule.dampening) * q, jnp.full_like(q, rule.momentum)
    if rule.nesterov:
        return q + momentum * kept, momentum**2
    return kept, momentum

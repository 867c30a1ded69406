"""The limit of a rule: its steady state by the discrete Lyapunov equation, its rate, and the limit of its stability."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from funcsgd.noisy_quadratic.model import NoisyQuadratic
from funcsgd.noisy_quadratic.moments import curvature, decrement, limit, noise
from funcsgd.noisy_quadratic.rule import Rule


class SteadyState(NamedTuple):
    """The limit of a rule after many steps, coordinate by coordinate.

    Attributes:
        risk: scalar, the expected loss; infinite where a coordinate is unstable.
        mean: shape ``(d,)``, the expected parameters: the optimum, or nearer 0 under weight decay.
        variance: shape ``(d,)``, of the average of the parameters (of the parameters themselves at ema_decay 0);
            infinite in unstable coordinates.
        stable: bool, shape ``(d,)``.
    """

    risk: jax.Array
    mean: jax.Array
    variance: jax.Array
    stable: jax.Array


def steady_state(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike = 1) -> SteadyState:
    """Return the exact steady state of a rule on a model.

    Equation, for each coordinate's recursion ``x = (I - D) x + n * noise`` with N the covariance of ``n * noise``::

        S = (I - D) S (I - D)' + N           the discrete Lyapunov equation
        D S + S D' - D S D' = N              the same: what is solved, nine linear equations a coordinate
        risk = 0.5 * sum(h * ((mean - optimum)**2 + S_aa))

    Closed forms where they are short, with ``q = h**-power * (h + weight_decay)`` and ``s = h**(-2 power) c / B``::

        SGD           alpha s / (q (2 - alpha q))
        momentum      alpha k (1 + beta) s / (q (1 - beta) (2 (1 + beta) - alpha k q)),        k = 1 - dampening
        average       SGD's, times (1 - gamma) (1 + r gamma) / ((1 + gamma) (1 - r gamma)),    r = 1 - alpha q

    Args:
        model: of ``d`` coordinates.
        rule: scalars; vmap over it for many.
        batch_size: positive scalar. Infinity is the full gradient, without noise.

    Returns:
        A `SteadyState`. Rules at the limit of stability, such as a learning rate of 0, count as unstable.

    Exactness: exact up to rounding. Nothing near 1 is subtracted, so a rate near 1 costs few digits: float32 keeps
    five where ``1 - rate`` is 1e-6.

    Source: the recursion of Zhang et al. 2019, arXiv:1907.04164, appendix; the Lyapunov equation is the standard
    condition for its covariance to be constant.

    Differs from the paper in: momentum, dampening, Nesterov, average, preconditioner and weight decay may be combined
    in one rule, and nothing is bounded or approximated.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> model = nq.from_spectrum([1.0], c=1.0)
        >>> float(nq.steady_state(model, nq.Rule(0.5)).risk)  # 0.5 * 0.5 / (2 - 0.5)
        0.1666666716337204
        >>> float(nq.steady_state(model, nq.Rule(2.5)).risk)
        inf
    """
    d, n = decrement(model, rule), noise(model, rule, batch_size)
    stable = convergence_rate(model, rule) < 1
    eye = jnp.eye(3, dtype=d.dtype)
    # A buffer in the units of the parameters makes the equations better behaved: float32 keeps two more digits.
    units = jnp.where(jnp.arange(3) == 1, jnp.where(stable.all(), rule.learning_rate, 1), 1).astype(d.dtype)
    d, n = d * (units[:, None] / units)[..., None], n * (units[:, None] * units)[..., None]
    d = jnp.where(stable, d, eye[..., None])  # keeps the equations solvable, and gradients finite, where it is not
    d = jnp.moveaxis(d, -1, 0)
    left = jnp.einsum("...ij,kl->...ikjl", d, eye) + jnp.einsum("ij,...kl->...ikjl", eye, d)
    operator = left - jnp.einsum("...ij,...kl->...ikjl", d, d)
    covariance = jnp.linalg.solve(operator.reshape(-1, 9, 9), jnp.moveaxis(n, -1, 0).reshape(-1, 9, 1))
    variance = jnp.where(stable, covariance[:, 8, 0], jnp.inf)
    mean = limit(model, rule)
    risk = 0.5 * jnp.sum(model.h * ((mean - model.optimum) ** 2 + variance))
    return SteadyState(risk, mean, variance, stable)


def convergence_rate(model: NoisyQuadratic, rule: Rule) -> jax.Array:
    """Return the factor by which a step shrinks each coordinate's expected error, in the long run.

    Equation: the spectral radius of the recursion's matrix, the greatest of ``ema_decay`` and the moduli of the roots
    of, for momentum ``beta``, ``k = 1 - dampening`` and ``q = h**-power * (h + weight_decay)``::

        z**2 - (1 + beta - alpha k q) z + beta = 0                             heavy ball
        z**2 - (1 + beta) (1 - alpha q) z + beta (1 - alpha q) = 0             Nesterov

    Where the roots are complex, which for the heavy ball is where ``beta > (1 - sqrt(alpha k q))**2``, the rate is
    ``sqrt(beta)`` whatever the curvature. The risk's transient shrinks by the square of the rate.

    Args:
        model: of ``d`` coordinates; its noise plays no part.
        rule: scalars.

    Returns:
        Shape ``(d,)``. A rule is stable where it is below 1.

    Exactness: exact up to rounding.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> model = nq.from_spectrum([1.0, 0.5])
        >>> nq.convergence_rate(model, nq.Rule(0.5))  # 1 - learning_rate * h
        Array([0.5 , 0.75], dtype=float32)
        >>> nq.convergence_rate(model, nq.Rule(0.5, momentum=0.25))
        Array([0.5, 0.5], dtype=float32)
    """
    d = decrement(model, rule)
    trace, determinant = d[0, 0] + d[1, 1], d[0, 0] * d[1, 1] - d[0, 1] * d[1, 0]
    discriminant = trace**2 - 4 * determinant
    root = jnp.sqrt(jnp.where(discriminant > 0, discriminant, 0))
    far = (trace + root) / 2  # eigenvalues of D are far and determinant / far, of the step 1 minus these
    near = jnp.where(far == 0, 0, determinant / jnp.where(far == 0, 1, far))
    real = jnp.maximum(jnp.abs(1 - far), jnp.abs(1 - near))
    complex_pair = jnp.sqrt(jnp.maximum(1 - trace + determinant, 0))
    return jnp.maximum(jnp.where(discriminant >= 0, real, complex_pair), rule.ema_decay)


def max_learning_rate(model: NoisyQuadratic, rule: Rule) -> jax.Array:
    """Return the learning rate below which a rule is stable in every coordinate.

    Equation, with ``q = max(h**-power * (h + weight_decay))``::

        2 (1 + beta) / ((1 - dampening) q)              heavy ball; 2 / q for SGD
        2 (1 + beta) / ((1 + 2 beta) q)                 Nesterov

    Args:
        model: of ``d`` coordinates.
        rule: its own learning rate plays no part.

    Returns:
        Scalar.

    Source: Jury's criterion for the quadratics of `convergence_rate`.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> float(nq.max_learning_rate(nq.from_spectrum([4.0, 1.0]), nq.Rule(0.0, momentum=0.5)))
        0.75
    """
    divisor = 1 + 2 * rule.momentum if rule.nesterov else 1 - rule.dampening
    return 2 * (1 + rule.momentum) / (divisor * jnp.max(curvature(model, rule)))

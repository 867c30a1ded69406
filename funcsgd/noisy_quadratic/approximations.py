"""The rules of thumb of the lecture for rates and noise, and how far off they are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from funcsgd.noisy_quadratic.model import NoisyQuadratic
from funcsgd.noisy_quadratic.moments import curvature
from funcsgd.noisy_quadratic.rule import Rule
from funcsgd.noisy_quadratic.steady_state import convergence_rate, steady_state


class Approximation(NamedTuple):
    """The lecture's values for a rule; or, from `approximation_ratios`, their ratios to the exact ones.

    Attributes:
        rate: shape ``(d,)``, the factor by which a step shrinks the expected error. As a ratio it is one of speeds,
            ``log(approximate rate) / log(exact rate)``: above 1 where the lecture's rate is too good.
        variance: shape ``(d,)``, of the averaged parameters in the steady state.
        risk: scalar, ``0.5 * sum(h * variance)``.
        overdamped: bool, shape ``(d,)``: whether ``beta < (1 - sqrt(alpha q))**2``, the regime that the lecture names
            for its rate of momentum.
    """

    rate: jax.Array
    variance: jax.Array
    risk: jax.Array
    overdamped: jax.Array


def approximate_steady_state(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike = 1) -> Approximation:
    """Return the lecture's approximations for a rule; for several techniques, the product of their factors.

    Equation, with ``q = h**-power * (h + weight_decay)``, ``beta`` the momentum and ``gamma`` the average's decay::

        rate       |1 - alpha q / (1 - beta)|                                      momentum; the average changes nothing
        variance   alpha c / (B (h + weight_decay) (2 - alpha (h + weight_decay)))  SGD
                   times (1 + beta) / (1 - beta)                                   momentum
                   times (1 - gamma) (1 + r gamma) / ((1 + gamma) (1 - r gamma))   average, r = 1 - alpha q
                   times h**-power                                                 preconditioner

    Args:
        model: of ``d`` coordinates.
        rule: scalars. The lecture has neither dampening nor Nesterov; both are ignored.
        batch_size: positive scalar.

    Returns:
        An `Approximation`.

    Exactness: none; `approximation_ratios` measures it.

    Source: STAT 4830, lecture 8, "Previously Discussed Tweaks" and "Weight Decay", after Zhang et al. 2019.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> model = nq.from_spectrum([1.0], c=1.0)
        >>> nq.approximate_steady_state(model, nq.Rule(0.5, momentum=0.5)).variance  # 0.5 / (2 - 0.5) * 3
        Array([1.], dtype=float32)
        >>> nq.steady_state(model, nq.Rule(0.5, momentum=0.5)).variance
        Array([0.6], dtype=float32)
    """
    alpha, beta, gamma = rule.learning_rate, rule.momentum, rule.ema_decay
    h = model.h + rule.weight_decay
    q = curvature(model, rule)
    r = 1 - alpha * q
    plain = alpha * model.c / (batch_size * h * (2 - alpha * h))
    momentum = (1 + beta) / (1 - beta)
    average = (1 - gamma) * (1 + r * gamma) / ((1 + gamma) * (1 - r * gamma))
    variance = plain * momentum * average * model.h**-rule.power
    rate = jnp.abs(1 - alpha * q / (1 - beta))
    overdamped = jnp.asarray(beta < (1 - jnp.sqrt(alpha * q)) ** 2)
    return Approximation(rate, variance, 0.5 * jnp.sum(model.h * variance), overdamped)


def approximation_ratios(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike = 1) -> Approximation:
    """Return the lecture's approximations as multiples of the exact values.

    Equation, for each technique by itself on SGD, with ``x = alpha h``::

                            variance, lecture / exact            speed, lecture / exact
        SGD                 1                                    1
        momentum            (2 (1 + beta) - x) / (2 - x)         see below
        average             1                                    1 if gamma <= 1 - x, else log(1 - x) / log(gamma)
        preconditioner      (2 - x h**-power) / (2 - x)          1
        weight decay        1                                    1

    The exact factor of momentum's variance is ``(1 + beta) (2 - x) / ((1 - beta) (2 (1 + beta) - x))``. For small steps
    that is ``1 / (1 - beta)``, the factor of the learning rate that SGD would need to be as fast: there momentum
    neither gains nor loses anything. The lecture overstates it: by ``1 + beta``, nearly twofold, where steps are small,
    and without limit as ``x`` nears 2, the end of SGD's stability but not of momentum's, ``2 (1 + beta)``.

    The lecture's speed of momentum, as ``beta`` nears 1, is right for ``x`` well below ``(1 - beta)**2``; half of the
    truth at the end of the overdamped regime, ``x = (1 - sqrt(beta))**2``; right once more at ``(1 - beta)**2 / 2``;
    overstated beyond; and at ``2 (1 - beta)`` it predicts a divergence where there is none.

    The average's variance is exact, but for SGD alone. A long average cancels momentum: as ``gamma`` nears 1 its
    variance is ``(1 - gamma) / 2 * c / (B h**2)`` with momentum and without, and the product of both factors overstates
    it by all of ``(1 + beta) / (1 - beta)``. The average's speed is overstated wherever it is slower than what it
    averages. The preconditioner's variance is right for small steps. Weight decay's ``risk`` lacks the shift of the
    optimum,
    ``0.5 * sum(h * (weight_decay / (h + weight_decay) * optimum)**2)``.

    Args:
        model: of ``d`` coordinates.
        rule: scalars.
        batch_size: positive scalar.

    Returns:
        An `Approximation` of ratios; 0 where the rule is unstable and its exact variance infinite, NaN in ``rate``
        where a coordinate is solved in one step.

    Exactness: the exact values are those of `steady_state` and `convergence_rate`.

    Example:
        >>> import jax.numpy as jnp
        >>> from funcsgd import noisy_quadratic as nq
        >>> ratios = nq.approximation_ratios(nq.from_spectrum([1e-4, 1.0]), nq.Rule(1.0, momentum=0.9))
        >>> jnp.round(ratios.variance, 2)  # 1 + 0.9 for small steps, 1 + 2 * 0.9 at alpha h = 1
        Array([1.9, 2.8], dtype=float32)
    """
    exact, lecture = steady_state(model, rule, batch_size), approximate_steady_state(model, rule, batch_size)
    return Approximation(
        jnp.log(lecture.rate) / jnp.log(convergence_rate(model, rule)),
        lecture.variance / exact.variance,
        lecture.risk / exact.risk,
        lecture.overdamped,
    )

"""The fewest steps to a target risk, and the hyperparameters that need no more."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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
from funcsgd.noisy_quadratic.steady_state import convergence_rate, max_learning_rate

N_POWERS = 24
"""Runs are followed for 2**(N_POWERS - 1) + 1 steps, more than eight million."""

# Each hyperparameter as a function of a coordinate in which equal distances matter about equally, and its first range.
SCALES: dict[str, tuple[Callable[[jax.Array], jax.Array], tuple[float, float]]] = {
    "learning_rate": (lambda x: 10**x, (-5.0, 0.0)),  # a fraction of the greatest stable one
    "momentum": (lambda x: 1 - 10 ** jnp.minimum(x, 0), (-3.0, 0.0)),
    "ema_decay": (lambda x: 1 - 10 ** jnp.minimum(x, 0), (-4.0, 0.0)),
    "power": (lambda x: jnp.clip(x, 0, 1), (0.0, 1.0)),
}


class StepsToTarget(NamedTuple):
    """The number of steps that a rule takes.

    Attributes:
        steps: scalar, floating: the whole number of steps after which the risk is at most the target; infinite where
            it never is.
        crossing: scalar: the same, in between by the logarithm of the risk: smooth, for comparisons.
    """

    steps: jax.Array
    crossing: jax.Array


class Optimum(NamedTuple):
    """The best rule that was found.

    Attributes:
        rule: a `Rule` of arrays.
        steps: scalar, the steps that it takes; infinite where none of the rules tried reaches the target.
    """

    rule: Rule
    steps: jax.Array


def steps_to_target(model: NoisyQuadratic, rule: Rule, batch_size: ArrayLike, target: ArrayLike) -> StepsToTarget:
    """Return after how many steps the expected risk has come down to a target.

    The risk is calculated after 0, 1, 2, 3, 5, 9, 17, ... steps; between the last of these above the target and the
    first below, bisection finds a step above that is followed by one that is not. Where the risk falls steadily that
    is the first crossing. Where it swings about the target, as underdamped momentum can make it, it is one of them.

    Args:
        model: of ``d`` coordinates.
        rule: scalars.
        batch_size: positive scalar.
        target: positive scalar, an expected risk.

    Returns:
        A `StepsToTarget`; infinite beyond eight million steps, and for an unstable rule that takes more than one.

    Exactness: exact up to rounding. Take float64 for runs of more than a few thousand steps.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> model = nq.from_spectrum([1.0], c=0.0)
        >>> float(nq.steps_to_target(model, nq.Rule(0.5), 1, 0.01).steps)  # 0.5 * 0.25**k is 0.0078 at k = 3
        3.0
    """

    def risk_of(moments: Moments) -> jax.Array:
        return risk(model, rule, moments)

    start, first = moments_at_start(model, rule), moments_after_first(model, rule, batch_size)

    def doubling(steps: Steps, _: None) -> tuple[Steps, tuple[Steps, jax.Array]]:
        return then(steps, steps), (steps, risk_of(after(steps, first)))

    _, (powers, risks) = jax.lax.scan(doubling, one_step(model, rule, batch_size), length=N_POWERS)
    stable = jnp.all(convergence_rate(model, rule) < 1)
    reached = (risks <= target) & stable
    bracket = jnp.argmax(reached)  # the risk is above the target at step 1 + 2**(bracket - 1), not at 1 + 2**bracket

    def bisection(carry: tuple[Moments, jax.Array], i: jax.Array) -> tuple[tuple[Moments, jax.Array], None]:
        moments, count = carry
        further = after(jax.tree.map(lambda x: x[i], powers), moments)
        taken = (i < bracket) & (risk_of(further) > target)
        moments = jax.tree.map(lambda new, old: jnp.where(taken, new, old), further, moments)
        return (moments, jnp.where(taken, count + 2.0**i, count)), None

    one = jnp.ones((), model.h.dtype)
    (above, count), _ = jax.lax.scan(bisection, (first, one), jnp.arange(N_POWERS - 1, -1, -1))
    below = after(jax.tree.map(lambda x: x[0], powers), above)

    def crossing(count: jax.Array, high: jax.Array, low: jax.Array) -> jax.Array:
        return count + jnp.log(high / target) / jnp.log(high / low)

    at_start, at_first = risk_of(start), risk_of(first)
    late = jnp.where(reached.any(), crossing(count, risk_of(above), risk_of(below)), jnp.inf)
    early = jnp.where(at_start <= target, 0.0, crossing(jnp.zeros_like(one), at_start, at_first))
    real = jnp.where((at_start <= target) | (at_first <= target), early, late)
    whole = jnp.where(reached.any(), count + 1, jnp.inf)
    whole = jnp.where(at_start <= target, 0, jnp.where(at_first <= target, 1, whole))
    return StepsToTarget(whole, real)


def optimal_rule(
    model: NoisyQuadratic,
    batch_size: ArrayLike,
    target: ArrayLike,
    tune: Sequence[str] = ("learning_rate",),
    rule: Rule = Rule(0.0),  # noqa: B008  # frozen
    *,
    n_grid: int = 9,
    n_rounds: int = 7,
) -> Optimum:
    """Return the hyperparameters that bring the expected risk to a target in the fewest steps.

    A grid over the tuned hyperparameters, then finer grids about the best point so far, each half as wide. Learning
    rates are fractions of the greatest stable one, on a logarithmic scale; so are ``1 - momentum`` and
    ``1 - ema_decay``; the power is on a linear one.

    Args:
        model: of ``d`` coordinates.
        batch_size: positive scalar.
        target: positive scalar, an expected risk.
        tune: any of "learning_rate", "momentum", "ema_decay", "power".
        rule: the hyperparameters that are not tuned.
        n_grid: points along each axis.
        n_rounds: grids. The defaults resolve a learning rate to two percent.

    Returns:
        An `Optimum`. Under ``jit`` everything is one program; vmap over batch sizes or targets.

    Raises:
        ValueError: for a name that cannot be tuned.

    Exactness: the steps are exact for the rule that is returned; the search may miss a better one where there are
    several valleys, as momentum has at small batches. On the paper's spectrum grids of 9 needed at most 2 % more steps
    than grids of 17, momentum at a batch of one apart: 12 %.

    Source: Zhang et al. 2019, arXiv:1907.04164, section 4, who tune each batch size by itself.

    Example:
        >>> from funcsgd import noisy_quadratic as nq
        >>> best = nq.optimal_rule(nq.from_spectrum([1.0, 0.1], c=0.0), 1, 1e-3)
        >>> float(best.steps)  # SGD's best for a condition number of 10
        11.0
    """
    if not tune or not set(tune) <= set(SCALES):
        raise ValueError(f"tune may name {', '.join(SCALES)}, but got {tuple(tune)}")
    axis = np.linspace(-1, 1, n_grid)
    grid = jnp.asarray(np.stack(np.meshgrid(*[axis] * len(tune), indexing="ij"), -1).reshape(-1, len(tune)))
    ranges = np.array([SCALES[name][1] for name in tune])

    def rule_at(point: jax.Array) -> Rule:
        values: dict[str, Any] = {name: SCALES[name][0](x) for name, x in zip(tune, point, strict=True)}
        fraction = values.pop("learning_rate", None)
        tuned = replace(rule, **values)
        return tuned if fraction is None else replace(tuned, learning_rate=fraction * max_learning_rate(model, tuned))

    def crossing(point: jax.Array) -> jax.Array:
        steps = steps_to_target(model, rule_at(point), batch_size, target).crossing
        return jnp.where(jnp.isnan(steps), jnp.inf, steps)  # argmin would take NaN for the least

    def finer(centre: jax.Array, half_width: jax.Array) -> tuple[jax.Array, None]:
        points = jnp.concatenate([centre[None], centre + half_width * grid])
        return points[jnp.argmin(jax.lax.map(crossing, points, batch_size=16))], None

    half_widths = np.diff(ranges, axis=1).T / 2 * 0.5 ** np.arange(n_rounds)[:, None]
    best, _ = jax.lax.scan(finer, jnp.asarray(ranges.mean(1)), jnp.asarray(half_widths))
    best_rule = rule_at(best)
    return Optimum(best_rule, steps_to_target(model, best_rule, batch_size, target).steps)

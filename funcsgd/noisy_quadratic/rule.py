"""The rule that is studied: SGD with momentum, weight decay, a preconditioner and an average of the parameters."""

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import optax

from funcsgd.averages.averaged_optimizer import with_average
from funcsgd.averages.averaging import ema
from funcsgd.curvature.preconditioning import scale_by_diagonal
from funcsgd.optimizers import sgd
from funcsgd.stages.weight_decay import add_weight_decay

Scalar: TypeAlias = jax.Array | float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rule:
    """Hyperparameters of one rule: a pytree of scalars, so that ``vmap`` and ``grad`` go over them.

    Equation, for curvatures ``h`` and the gradient ``g`` at parameters ``w``::

        d = h**-power * (g + weight_decay * w)
        b = d at first, then momentum * b + (1 - dampening) * d
        w = w - learning_rate * (d + momentum * b if nesterov else b)
        a = w at first, then ema_decay * a + (1 - ema_decay) * w             the parameters whose risk is measured

    These are torch.optim.SGD and torch's exponential AveragedModel; the order of weight decay and preconditioner is
    that of a loss with the decay in it.

    Attributes:
        learning_rate: non-negative.
        momentum: in [0, 1).
        dampening: in [0, 1).
        weight_decay: non-negative.
        power: in [0, 1], of the preconditioner.
        ema_decay: in [0, 1); at 0 the average is the newest parameters.
        nesterov: needs a positive momentum and zero dampening. Not a leaf of the tree.

    Raises:
        ValueError: for Python numbers out of range. Values of arrays are not checked: an unstable rule is a rule, and
            its risk is infinite.

    Example:
        >>> import jax.numpy as jnp
        >>> rules = Rule(learning_rate=jnp.array([0.1, 0.2]), momentum=jnp.array([0.9, 0.8]))  # two, for vmap
        >>> Rule(0.1, momentum=1.5)
        Traceback (most recent call last):
        ValueError: momentum must be in [0, 1), but is 1.5
    """

    learning_rate: Scalar
    momentum: Scalar = 0.0
    dampening: Scalar = 0.0
    weight_decay: Scalar = 0.0
    power: Scalar = 0.0
    ema_decay: Scalar = 0.0
    nesterov: bool = field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        """Check what is a number; trees are also made of tracers, gradients and vmap's axes."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, float)}
        for name, value in numbers.items():
            below = {"learning_rate": math.inf, "weight_decay": math.inf, "power": math.nextafter(1, 2)}.get(name, 1)
            if not 0 <= value < below:
                interval = "non-negative" if below == math.inf else "in [0, 1]" if below > 1 else "in [0, 1)"
                raise ValueError(f"{name} must be {interval}, but is {value}")
        if self.nesterov and (numbers.get("momentum") == 0 or numbers.get("dampening", 0) != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")


def optimizer(rule: Rule, h: jax.Array) -> optax.GradientTransformationExtraArgs:
    """Return the rule as this library's own transformations, to be run.

    Args:
        rule: its hyperparameters may be tracers.
        h: shape ``(d,)``: the curvatures of the preconditioner.

    Returns:
        A chain of `add_weight_decay`, `scale_by_diagonal` and `sgd`, inside `with_average` of an `ema`; read the
        average with `averaged_params`. Its ``update`` needs ``params``.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = optimizer(Rule(0.5, power=1.0), jnp.array([4.0]))
        >>> params = jnp.array([1.0])
        >>> tx.update(jnp.array([4.0]), tx.init(params), params)[0]
        Array([-0.5], dtype=float32)
    """
    chain = optax.chain(
        add_weight_decay(rule.weight_decay),
        scale_by_diagonal(h, rule.power),
        sgd(rule.learning_rate, rule.momentum, rule.dampening, nesterov=rule.nesterov),
    )
    return with_average(chain, ema(rule.ema_decay))

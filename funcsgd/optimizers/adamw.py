"""torch.optim.AdamW: Adam whose weight decay does not pass through the averages."""

import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import SquareRoot, as_root
from funcsgd.hyperparameters import Hyperparameter
from funcsgd.optimizers.adam import check_adam, step_by_adam


def adamw(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: Hyperparameter = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
    *,
    sqrt: str | SquareRoot = "correct",
) -> optax.GradientTransformationExtraArgs:
    """AdamW, equal to ``torch.optim.AdamW`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``::

        p = fl(p * (1 - learning_rate * weight_decay))       decoupled: the factor is calculated in float64
        then as `adam` without weight decay

    torch rounds twice on the way from a parameter to the next. Where a parameter is near zero, no array of numbers is
    the difference of the two, so that updates are `UnroundedUpdate`: ``optax.apply_updates`` and
    ``jax.tree.map(operator.add, params, updates)`` take them as they are, and put the parameters there that torch has.
    Where ``weight_decay`` is the number 0, updates are arrays.

    Args:
        learning_rate: as in `adam`.
        betas: as in `adam`.
        eps: as in `adam`.
        weight_decay: non-negative scalar or schedule of the update count.
        amsgrad: as in `adam`.
        maximize: climb instead of descend; the decay is the same.
        sqrt: as in `adam`.

    Returns:
        An ``optax.chain``, whose last state is an `AdamState`. Its ``update`` needs ``params``.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages; in ``update`` when ``params`` is
            missing.

    Exactness: that of `adam`.

    Source: ``torch/optim/adamw.py`` and ``torch/optim/adam.py``, ``_single_tensor_adam`` with
    ``decoupled_weight_decay=True``, torch 2.13.0.

    Differs from ``optax.adamw`` in: (1) the parameter is decayed first, in a rounding of its own; (2) what `adam`
    differs in; (3) what cannot take `UnroundedUpdate`, such as ``optax.apply_if_finite`` and
    ``eqx.apply_updates``, needs `round_updates` behind it; ``optax.MultiSteps`` takes it.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> tx = adamw(0.1, weight_decay=0.5)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([0.5, 3.0]), tx.init(params), params)
        >>> optax.apply_updates(params, updates)  # 0.95 * p, then as Adam
        Array([ 0.85, -2.  ], dtype=float32)
    """
    check_adam(learning_rate, betas, eps, weight_decay)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        step_by_adam(
            learning_rate,
            betas,
            eps,
            amsgrad=amsgrad,
            root=as_root(sqrt),
            decoupled_weight_decay=weight_decay,
        ),
    )

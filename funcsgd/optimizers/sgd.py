"""torch.optim.SGD as a recipe: a chain of four stages, in torch's order."""

import optax
from jax.typing import ArrayLike

from funcsgd.hyperparameters import Hyperparameter, check_nesterov, check_nonnegative
from funcsgd.stages.learning_rate import scale_by_learning_rate
from funcsgd.stages.momentum import add_momentum
from funcsgd.stages.weight_decay import add_weight_decay


def sgd(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    momentum: Hyperparameter | None = 0.0,
    dampening: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Stochastic gradient descent, equal to ``torch.optim.SGD`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``::

        g = -g                                        if maximize
        g = g + weight_decay * p                      if weight_decay != 0
        b = g at first, then momentum * b + (1 - dampening) * g
        d = g + momentum * b if nesterov else b       if momentum != 0
        p = p - learning_rate * d                     by optax.apply_updates, in the same jit

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that has the learning rate in its state, such as `scale_by_schedulers`.
        momentum: a scalar or a schedule likewise. At 0.0 the state still holds a buffer, at rest, so that momentum can
            be switched on later and the state's tree never changes; None leaves the stage and its memory out.
        dampening: scalar; the share of a gradient, after a parameter's first, that does not enter the buffer.
        weight_decay: non-negative scalar, coupled: it enters the momentum buffer.
        nesterov: needs a positive momentum and zero dampening.
        maximize: climb instead of descend.

    Returns:
        An ``optax.chain``. Its ``update`` needs ``params`` when there is weight decay.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages.

    Exactness: bitwise for float32 and float64 under ``jit`` on an x86-64 CPU with FMA, given equal gradients, against
    torch's for-loop and foreach implementations (fused: outside the last ``n % 8`` elements of a parameter); complex64
    bitwise for finite values, the signs of zeros apart; bfloat16, float16 and every rule on GPU and TPU `rounding`.
    XLA's CPU backend takes subnormal numbers for zeros, as torch does after ``torch.set_flush_denormal(True)``. NaN is
    NaN, of whatever sign and payload. A wrapper that computes after the last stage, such as ``optax.MultiSteps`` or
    ``optax.apply_if_finite``, can cost a rounding: put it around the stages before `scale_by_learning_rate`. `manifest`
    names what a compiler is known to lose, `verify` checks a step of your own, and inside `exact_arithmetic` there
    is nothing to take.

    Source: ``torch/optim/sgd.py``, ``_single_tensor_sgd``, torch 2.13.0.

    Differs from ``optax.sgd`` in: (1) dampening, coupled weight decay and maximize; (2) one rounding where torch has
    one and two where it has two; (3) momentum may be scheduled or batched; (4) gradients of None.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> tx = sgd(0.1, momentum=0.9)
        >>> params = jnp.array([1.0, 2.0])
        >>> state = tx.init(params)
        >>> @jax.jit
        ... def step(params, state):
        ...     grads = jax.grad(lambda p: (p**2).sum())(params)
        ...     updates, state = tx.update(grads, state, params)
        ...     return optax.apply_updates(params, updates), state
        >>> params, state = step(params, state)
        >>> params
        Array([0.8, 1.6], dtype=float32)
    """
    if isinstance(learning_rate, optax.GradientTransformation):
        last = learning_rate
    else:
        last = scale_by_learning_rate(learning_rate)
    beta = 0.0 if momentum is None else momentum
    check_nonnegative("Invalid momentum value", beta)
    check_nonnegative("Invalid weight_decay value", weight_decay)
    if nesterov:
        check_nesterov(beta, dampening)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        add_weight_decay(weight_decay),
        optax.identity() if momentum is None else add_momentum(momentum, dampening, nesterov),
        last,
    )

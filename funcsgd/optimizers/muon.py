"""torch.optim.Muon, whose steps are orthogonal matrices, by products of matrices in bfloat16."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import add_to_rounded, compute_dtype, lerp, mul, rounded, written
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_scalar
from funcsgd.optimizers.bias_correction import cast
from funcsgd.optimizers.decoupled_decay import decay_factor
from funcsgd.optimizers.held_rate import hold, number_or_double
from funcsgd.optimizers.leaves import replacing, step_leaves
from funcsgd.per_leaf import check_trainable, per_leaf, zeros_like

_RATIOS: dict[str | None, Callable[[int, int], float]] = {
    None: lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


class MuonState(NamedTuple):
    """State of `muon`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        momentum_buffer: tree, shapes and dtypes of the parameters: average of the gradients.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    momentum_buffer: optax.Updates


def muon(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-3,
    weight_decay: Hyperparameter = 0.1,
    momentum: Hyperparameter = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[ArrayLike, ArrayLike, ArrayLike] = (3.4445, -4.7750, 2.0315),
    eps: ArrayLike = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Muon, momentum made orthogonal, as ``torch.optim.Muon`` has it, for matrices.

    Equation, for each matrix ``p`` of shape ``(n, m)`` with gradient ``g``::

        b = b + (1 - momentum) * (g - b)
        x = g + momentum * (b - g) if nesterov else b                in bfloat16 from here, x.T if n > m
        x = x / max(|x|, eps)
        x = a * x + (b' * y + c * y @ y) @ x                         ns_steps times; y = x @ x.T, (a, b', c) given
        p = fl(p * (1 - learning_rate * weight_decay)) - learning_rate * r * x
            r = sqrt(max(1, n / m)), or with "match_rms_adamw" 0.2 * sqrt(max(n, m))

    torch rounds twice on the way from a parameter to the next, so that updates are `UnroundedUpdate`, as those of
    `adamw`.

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`.
        weight_decay: non-negative scalar or schedule, decoupled.
        momentum: non-negative scalar or schedule: the decay of the average.
        nesterov: look ahead from the gradient to the average.
        ns_coefficients: of the polynomial ``a * x + b * x**3 + c * x**5`` that is applied to singular values.
        eps: non-negative scalar, the least norm that is divided by.
        ns_steps: how often, less than 100.
        adjust_lr_fn: None, ``"original"`` or ``"match_rms_adamw"``, how the learning rate depends on the shape.

    Returns:
        A transformation with a `MuonState`. Its ``update`` needs ``params``. A gradient of None leaves its parameter
        and its buffer as they are. Give other leaves than matrices another rule, with ``optax.partition``.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages; in ``init`` for a parameter that is no
            matrix, or complex; in ``update`` when ``params`` is missing.

    Exactness: `rounding`: torch does not say in which order a product of matrices is summed, and here it is rounded to
    eight bits. The momentum buffer, the decay and the sum with the parameter are torch's in every bit; a direction is
    as far from that of exact products as torch's is.
    Shares of parameters that differ after one step, at gradients given: none of (64, 33), 14 % of (128, 128), 55 % of
    (256, 512), on a CPU with AVX-512; after 20 steps at a learning rate of 0.02 most do, by 2e-4 at most.

    Source: ``torch/optim/_muon.py``, ``_single_tensor_muon``, torch 2.13.0.

    Differs from ``torch.optim.Muon`` in: (1) parameters of bfloat16, where torch's orthogonalisation overwrites the
    gradient or the buffer that it is given: here neither changes; (2) what a schedule or a tracer brings is not
    checked.

    Differs from ``optax.contrib.muon`` in: (1) the average weighs gradients by ``1 - momentum``, and is not corrected
    for its beginning; (2) bfloat16; (3) no other rule for leaves that are no matrices.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> tx = muon(0.5, weight_decay=0.0, ns_coefficients=(1.5, -0.5, 0.0), ns_steps=15)
        >>> params = jnp.zeros((2, 2))
        >>> updates, state = tx.update(jnp.array([[0.0, 3.0], [1.0, 0.0]]), tx.init(params), params)
        >>> optax.apply_updates(params, updates).round(2)  # whatever the sizes, a rotation or a reflection
        Array([[ 0. , -0.5],
               [-0.5,  0. ]], dtype=float32)
    """
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Learning rate should be >= 0 but is", learning_rate)
    check_at_least_zero("momentum should be >= 0 but is", momentum)
    check_at_least_zero("weight decay should be >= 0 but is", weight_decay)
    if adjust_lr_fn not in _RATIOS:
        raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
    if ns_steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(ns_coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    held = hold(learning_rate)

    def init(params: optax.Params) -> MuonState:
        check_trainable(params)
        for leaf in jax.tree.leaves(params):
            if jnp.ndim(leaf) != 2:
                raise ValueError(
                    f"Muon only supports 2D parameters whereas we found a parameter with size: {jnp.shape(leaf)}"
                )
            if jnp.iscomplexobj(leaf):
                raise ValueError("Muon does not support complex parameters")
        return MuonState(jnp.zeros((), jnp.int32), held.init(), zeros_like(params))

    def update(
        updates: optax.Updates, state: MuonState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, MuonState]:
        if params is None:
            raise ValueError("muon needs the parameters: call tx.update(grads, state, params)")
        lr, rate = held.update(state.rate, state.count, extra_args)
        beta = number_or_double(momentum, state.count)
        decay = decay_factor(lr, weight_decay, state.count, params)

        def step_leaf(i: int, p: jax.Array, g: jax.Array, buffer: jax.Array) -> tuple[Any, ...]:
            del i
            dtype = compute_dtype(p.dtype)
            with doubles():
                weight, adjusted_lr = 1 - beta, lr * _RATIOS[adjust_lr_fn](*p.shape)
            new, buffer = _single_tensor_muon(
                p,
                g,
                buffer,
                weight=cast(weight, dtype),
                momentum=cast(beta, dtype),
                adjusted_lr=cast(adjusted_lr, dtype),
                decay=cast(decay, dtype),
                ns_coefficients=ns_coefficients,
                eps=eps,
                ns_steps=ns_steps,
                nesterov=nesterov,
            )
            return replacing(p, new), buffer

        updates, (buffer,) = step_leaves(step_leaf, updates, params, (state.momentum_buffer,))
        return updates, MuonState(optax.safe_increment(state.count), rate, buffer)

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _single_tensor_muon(
    param: jax.Array,
    grad: jax.Array,
    buf: jax.Array,
    *,
    weight: ArrayLike,
    momentum: ArrayLike,
    adjusted_lr: jax.Array,
    decay: jax.Array | None,
    ns_coefficients: tuple[ArrayLike, ArrayLike, ArrayLike],
    eps: ArrayLike,
    ns_steps: int,
    nesterov: bool,
) -> tuple[jax.Array, jax.Array]:
    """One matrix, as torch's function goes: the new parameter, and the buffer."""
    grad = rounded(grad)
    buf = written(lerp(buf, grad, weight), grad)
    update = lerp(grad, buf, momentum) if nesterov else buf
    update = written(zeropower_via_newtonschulz(update, ns_coefficients, ns_steps, eps))
    param = param.astype(compute_dtype(param.dtype))
    if decay is not None:
        param = mul(param, decay)
    return add_to_rounded(rounded(param), update.astype(param.dtype), alpha=-adjusted_lr), buf


def zeropower_via_newtonschulz(
    grad: jax.Array, ns_coefficients: tuple[ArrayLike, ArrayLike, ArrayLike], ns_steps: int, eps: ArrayLike
) -> jax.Array:
    """Return the matrix with its singular values moved towards 1, in bfloat16: as torch's function of that name."""
    a, b, c = (jnp.asarray(x, jnp.float32) for x in ns_coefficients)
    low = grad.astype(jnp.bfloat16)
    transposed = grad.shape[0] > grad.shape[1]
    x = low.T if transposed else low
    norm = jnp.sqrt(jnp.sum(jnp.square(x.astype(jnp.float32)))).astype(jnp.bfloat16)
    norm = jnp.maximum(norm, jnp.asarray(eps, norm.dtype)).astype(jnp.float32)
    x = (x.astype(jnp.float32) / norm).astype(low.dtype)
    for _ in range(ns_steps):
        gram = _product(x, x.T).astype(low.dtype)
        gram_update = (b * gram.astype(jnp.float32) + c * _product(gram, gram)).astype(low.dtype)
        x = (a * x.astype(jnp.float32) + _product(gram_update, x)).astype(low.dtype)
    return x.T if transposed else x


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)

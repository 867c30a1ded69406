"""Second derivatives without the Hessian: products with a vector, and the curvature along a direction."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax


class DirectionalDerivatives(NamedTuple):
    """The result of `directional_derivatives` along ``d``.

    Attributes:
        value: scalar, the function's value.
        slope: scalar, ``d'g``.
        curvature: scalar, ``d'Hd``.
        aux: the function's other output; None without ``has_aux``.
    """

    value: jax.Array
    slope: jax.Array
    curvature: jax.Array
    aux: Any


def directional_derivatives(
    value_fn: Callable[..., Any], params: Any, direction: Any, *, has_aux: bool = False
) -> DirectionalDerivatives:
    """Return value, slope and curvature of a function along a direction, in one forward pass.

    Equation::

        f(params + t * d) = value + t * d'g + t**2 / 2 * d'Hd + ...

    Args:
        value_fn: function of the parameters, real scalar out.
        params: pytree of real floating arrays.
        direction: pytree like ``params``: ``d``. Not normalised.
        has_aux: ``value_fn`` returns ``(value, aux)``.

    Returns:
        A `DirectionalDerivatives`, its scalars of the value's dtype.

    Raises:
        ValueError: ``direction`` is not like ``params``; the leaf is named.
        TypeError: a parameter that is not real and floating, or a value that is no real scalar.

    Cost: two nested forward modes, no backward pass and no memory of one: about as much as the gradient itself on top
    of it for a multilayer perceptron; see ``benchmarks/README.md``.

    Exactness: `rounding`. In float64 within 1e-12 of torch's double backward, relative to the largest of the terms.

    Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian", the R-operator, applied twice.

    Example:
        >>> import jax.numpy as jnp
        >>> directional_derivatives(lambda w: (w**3).sum(), jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))[:3]
        (Array(9., dtype=float32), Array(3., dtype=float32), Array(6., dtype=float32))
    """
    _check(params, direction)

    def slope(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        value, tangent, aux = jax.jvp(_with_aux(value_fn, has_aux), (params,), (direction,), has_aux=True)
        return tangent, (value, aux)

    try:
        first, second, (value, aux) = jax.jvp(slope, (params,), (direction,), has_aux=True)
    except (NotImplementedError, TypeError) as error:
        error.add_note(
            "A function with a backward rule alone (jax.custom_vjp) has a curvature too: "
            'directional_curvature(..., mode="forward_over_reverse"); in a stage that measures it, '
            'curvature=functools.partial(funcsgd.curvature.directional_curvature, mode="forward_over_reverse")'
        )
        raise
    return DirectionalDerivatives(value, first, second, aux)


def directional_curvature(
    value_fn: Callable[..., Any],
    params: Any,
    direction: Any,
    *,
    mode: Literal["forward_over_forward", "forward_over_reverse"] = "forward_over_forward",
    has_aux: bool = False,
) -> Any:
    """Return the curvature of a function along a direction.

    Equation::

        d'Hd

    Args:
        value_fn: function of the parameters, real scalar out.
        params: pytree of real floating arrays.
        direction: pytree like ``params``: ``d``. Not normalised.
        mode: ``"forward_over_forward"`` differentiates twice along ``d`` and never leaves the forward pass.
            ``"forward_over_reverse"`` takes `hvp` and multiplies: for functions whose derivative is defined backward
            only (``jax.custom_vjp``), and where the gradient is expensive next to the product.
        has_aux: ``value_fn`` returns ``(value, aux)``.

    Returns:
        A scalar; with ``has_aux`` a pair of it and aux.

    Raises:
        ValueError: an unknown mode; ``direction`` is not like ``params``.
        TypeError: as in `directional_derivatives`.

    Cost: a step with this in it, over the step without: 1.9 forward over forward and 2.9 forward over reverse on a
    multilayer perceptron, 1.6 and 2.2 on a small convolutional net, where torch's double backward is at 2.9 to 3.0;
    see ``benchmarks/README.md``.

    Exactness: `rounding`, in both modes; see `directional_derivatives`.

    Example:
        >>> import jax.numpy as jnp
        >>> directional_curvature(lambda w: (w**3).sum(), jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))  # 6 + 12
        Array(18., dtype=float32)
    """
    if mode == "forward_over_forward":
        found = directional_derivatives(value_fn, params, direction, has_aux=has_aux)
        return (found.curvature, found.aux) if has_aux else found.curvature
    if mode != "forward_over_reverse":
        raise ValueError(f'mode must be "forward_over_forward" or "forward_over_reverse", but is {mode!r}')
    product = hvp(value_fn, params, direction, has_aux=has_aux)
    product, aux = product if has_aux else (product, None)
    curvature = optax.tree.vdot(direction, product)
    return (curvature, aux) if has_aux else curvature


def hvp(value_fn: Callable[..., Any], params: Any, vector: Any, *, has_aux: bool = False) -> Any:
    """Return the product of a function's Hessian with a vector.

    Equation::

        H v = d/dt gradient(params + t * v) at t = 0

    Args:
        value_fn: function of the parameters, real scalar out.
        params: pytree of real floating arrays.
        vector: pytree like ``params``.
        has_aux: ``value_fn`` returns ``(value, aux)``.

    Returns:
        A pytree like ``params``; with ``has_aux`` a pair of it and aux.

    Raises:
        ValueError: ``vector`` is not like ``params``.
        TypeError: as in `directional_derivatives`.

    Cost: forward over reverse: one gradient and its tangent, in the memory of about two gradients. For ``d'Hd`` alone
    `directional_curvature` is cheaper.

    Exactness: `rounding`.

    Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian".

    Example:
        >>> import jax.numpy as jnp
        >>> hvp(lambda w: (w**3).sum(), jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))
        Array([ 6., 12.], dtype=float32)
    """
    _check(params, vector)
    gradient = jax.grad(_with_aux(value_fn, has_aux), has_aux=True)
    _, product, aux = jax.jvp(gradient, (params,), (vector,), has_aux=True)
    return (product, aux) if has_aux else product


def gauss_newton_product(
    output_fn: Callable[..., Any], loss_fn: Callable[..., Any], params: Any, vector: Any, *, has_aux: bool = False
) -> Any:
    """Return the product of the generalised Gauss-Newton matrix with a vector.

    Equation, for a loss ``loss_fn(output_fn(params))`` with the output's Jacobian ``J`` and the loss's Hessian ``L``::

        G v = J' L J v

    ``G`` is the Hessian without the curvature of the outputs themselves. For a loss that is convex in the outputs, as
    squared error and cross-entropy are, no ``v'Gv`` is negative.

    Args:
        output_fn: function of the parameters; its output is a pytree of real floating arrays.
        loss_fn: function of that output, real scalar out.
        params: pytree of real floating arrays.
        vector: pytree like ``params``.
        has_aux: ``output_fn`` returns ``(outputs, aux)``.

    Returns:
        A pytree like ``params``; with ``has_aux`` a pair of it and aux.

    Raises:
        ValueError: ``vector`` is not like ``params``.
        TypeError: as in `directional_derivatives`.

    Exactness: `rounding`.

    Source: Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient descent".

    Example:
        >>> import jax.numpy as jnp
        >>> half_square = lambda z: (z**2).sum() / 2  # its Hessian is the identity
        >>> gauss_newton_product(lambda w: w**2, half_square, jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))
        Array([ 4., 16.], dtype=float32)
    """
    _check(params, vector)
    outputs, push, aux = jax.linearize(_with_aux(output_fn, has_aux), params, has_aux=True)
    (product,) = jax.linear_transpose(push, params)(hvp(loss_fn, outputs, push(vector)))
    return (product, aux) if has_aux else product


def gauss_newton_curvature(
    output_fn: Callable[..., Any], loss_fn: Callable[..., Any], params: Any, direction: Any, *, has_aux: bool = False
) -> Any:
    """Return the generalised Gauss-Newton matrix's curvature along a direction.

    Equation, with the notation of `gauss_newton_product`::

        d'Gd = (Jd)' L (Jd)

    Args:
        output_fn: function of the parameters; its output is a pytree of real floating arrays.
        loss_fn: function of that output, real scalar out.
        params: pytree of real floating arrays.
        direction: pytree like ``params``: ``d``. Not normalised.
        has_aux: ``output_fn`` returns ``(outputs, aux)``.

    Returns:
        A scalar; with ``has_aux`` a pair of it and aux.

    Raises:
        ValueError: ``direction`` is not like ``params``.
        TypeError: as in `directional_derivatives`.

    Cost: one forward pass and its tangent: less than `directional_curvature`, which needs a second tangent.

    Exactness: `rounding`.

    Source: Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient descent".

    Example:
        >>> import jax.numpy as jnp
        >>> half_square = lambda z: (z**2).sum() / 2
        >>> gauss_newton_curvature(lambda w: w**2, half_square, jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))
        Array(20., dtype=float32)
    """
    _check(params, direction)
    outputs, tangent, aux = jax.jvp(_with_aux(output_fn, has_aux), (params,), (direction,), has_aux=True)
    curvature = directional_curvature(loss_fn, outputs, tangent)
    return (curvature, aux) if has_aux else curvature


def _with_aux(function: Callable[..., Any], has_aux: bool) -> Callable[[Any], tuple[Any, Any]]:
    return function if has_aux else lambda params: (function(params), None)


def _check(params: Any, direction: Any) -> None:
    """Raise for what ``jax.jvp`` rejects, naming the leaf."""
    if bool(jax.tree.structure(params) != jax.tree.structure(direction)):  # type: ignore[operator]
        raise ValueError(
            f"the direction must be a tree like the parameters, {jax.tree.structure(params)}, "
            f"but is {jax.tree.structure(direction)}"
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(direction), strict=True)
    for (path, param), d in pairs:
        name = jax.tree_util.keystr(path)
        if not jnp.issubdtype(jnp.result_type(param), jnp.floating):
            raise TypeError(f"parameter {name} must be real and floating, but is {jnp.result_type(param)}")
        if jnp.shape(param) != jnp.shape(d) or jnp.result_type(param) != jnp.result_type(d):
            raise ValueError(
                f"the direction at {name} must be {jnp.result_type(param)}{list(jnp.shape(param))} like the parameter, "
                f"but is {jnp.result_type(d)}{list(jnp.shape(d))}"
            )

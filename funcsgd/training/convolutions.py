"""Convolutions inside a compiled loop, with the speed and the bits that they have outside of it.

XLA's CPU compiler brings convolutions into the one layout that its fast kernel takes (batch first, features last), but
only those that do not stand inside a loop (``ConvCanonicalization`` treats the entry computation only). The gradient of
a kernel is a convolution in another layout: in a ``scan`` it falls to a plain loop nest, which is several times slower
and adds in another order. So it is brought into that layout before XLA compiles it.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxprs_in_params


def with_canonical_convolutions(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function, each of its convolutions between transpositions into the CPU's layout.

    Args:
        function: any function of trees of arrays; derivatives are to be taken inside it, not of it.

    Returns:
        A function of the same arguments and results; ``function`` itself except on a CPU.

    Exactness: bitwise what XLA makes of the function outside a loop; `rounding` for the gradients of grouped kernels,
    which XLA turns into something else before it chooses the layout.
    """
    if jax.default_backend() != "cpu":
        return function

    def canonical(*args: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shapes), _evaluate(closed, *jax.tree.leaves(args)))

    return canonical


def _evaluate(closed: ClosedJaxpr, *args: Any) -> list[Any]:
    values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    values |= dict(zip(closed.jaxpr.invars, args, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in closed.jaxpr.eqns:
        operands, params = [read(v) for v in equation.invars], dict(equation.params)
        with equation.ctx.manager:
            if equation.primitive is jax.lax.conv_general_dilated_p:
                results: Any = _convolve(*operands, **params)
            else:
                if _holds_convolutions(params):
                    params = {name: _rewritten(param) for name, param in params.items()}
                results = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(params))
        results = results if equation.primitive.multiple_results else [results]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(v) for v in closed.jaxpr.outvars]


def _holds_convolutions(params: dict[str, Any]) -> bool:
    return any(
        equation.primitive is jax.lax.conv_general_dilated_p or _holds_convolutions(equation.params)
        for jaxpr in jaxprs_in_params(params)
        for equation in jaxpr.eqns
    )


def _rewritten(param: Any) -> Any:
    """The function, or the functions, that a call, a loop or a branch has among its parameters."""
    if isinstance(param, tuple):
        return tuple(map(_rewritten, param))
    if isinstance(param, ClosedJaxpr):
        avals = [v.aval for v in param.jaxpr.invars]
        shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in avals]  # type: ignore[no-untyped-call]
        return jax.make_jaxpr(lambda *args: _evaluate(param, *args))(*shapes)
    if isinstance(param, Jaxpr):  # without constants, as jax.checkpoint's; jax 0.12 makes no difference between the two
        return _rewritten(ClosedJaxpr(param, ())).jaxpr
    return param


def _convolve(inputs: jax.Array, kernel: jax.Array, *, dimension_numbers: Any, **params: Any) -> jax.Array:
    """A convolution of (batch, space, features) with (space, in, out)."""
    of_inputs, of_kernel, of_output = dimension_numbers
    n, space = inputs.ndim, "".join(map(str, range(inputs.ndim - 2)))
    inputs = inputs.transpose(of_inputs[0], *of_inputs[2:], of_inputs[1])
    kernel = kernel.transpose(*of_kernel[2:], of_kernel[1], of_kernel[0])
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    numbers = jax.lax.conv_dimension_numbers(inputs.shape, kernel.shape, layout)
    output: jax.Array = jax.lax.conv_general_dilated_p.bind(inputs, kernel, dimension_numbers=numbers, **params)
    back = [0] * n
    for position, axis in enumerate((of_output[0], *of_output[2:], of_output[1])):
        back[axis] = position
    return output.transpose(back)

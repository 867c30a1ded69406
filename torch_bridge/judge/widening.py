"""A JAX function in float64: its own program, with every floating type widened.

Whether two programs compute the same function is decided in float64, where rounding is nine orders of magnitude away
from any difference worth finding. `widened` evaluates the jaxpr of a function with float64 in place of every floating
type, and leaves out casts to narrower types inside it. `beside` evaluates both at once, the function in its own types
and in float64, and can hold the float64 side to the decisions (signs, comparisons, maxima) of the other, which is how
the rounding error of the narrow side is measured without the jumps of a relu that falls the other way.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.judge.evaluator import Evaluator
from torch_bridge.judge.lanes import CannotWiden, to_wide, wide_dtype

try:  # one function of JAX's own, and only if it is there
    from jax._src.lax import lax as _lax
except ImportError:
    _lax = None  # type: ignore[assignment]

LAX: Any = _lax
CAST = "_convert_element_type"
_KEY = "F64_F64_F64"

Reading: TypeAlias = Literal["retraced", "as traced", "as written"]
"""The value of a Python number of the function in float64: the double that it was, where the function can be traced
again with float64 arguments; the narrow number that it became in the trace; or the shortest decimal that becomes that
number."""


@dataclass(frozen=True)
class Widened:
    """The results of a function in its own types and in float64.

    Attributes:
        narrow: the results in the function's own dtypes; None from `widened`.
        wide: the same tree in float64 (complex128).
        names: the values that the function named with ``jax.ad_checkpoint.checkpoint_name``: name -> (narrow, wide).
        flips: int64 scalar, how many decisions fell differently in float64; None from `widened`.
        lines: with ``beside(..., locate=True)``: for each operation the line of source that it comes from, and by
            what factor the relative error of its result exceeds the errors of its operands, or one rounding of them.
    """

    narrow: Any
    wide: Any
    names: dict[str, tuple[Any, Any]]
    flips: Any
    lines: tuple[tuple[str, float], ...] = ()


def widened(function: Callable[..., Any], *, reading: Reading = "retraced") -> Callable[..., Widened]:
    """Return ``function`` evaluated in float64, whatever JAX's 64-bit mode is.

    Args:
        function: any traceable function of pytrees; derivatives may be inside it.
        reading: how Python numbers in the function are read, see `Reading`.

    Returns:
        A function of the same arguments, compiled once for their shapes; floating arguments of any width are taken at
        their exact values. ``at=`` evaluates the program of the arguments at another tuple of them, in float64.

    Raises:
        CannotWiden: when called, for a function with an operation that has no float64 form (a foreign kernel, a host
            callback), or one that cannot be traced with float64 arguments (``reading="retraced"``).

    Exactness: the rounding of float64.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> half = lambda x: x.astype(jnp.float16).astype(jnp.float32) * 0.1
        >>> float(widened(half)(jnp.float32(1 + 2**-20)).wide) == (1 + 2**-20) * 0.1
        True
    """

    def evaluate(closed: ClosedJaxpr, leaves: list[Any]) -> tuple[list[Any], Any]:
        evaluator = Evaluator(beside=False, share=False, decimal=reading == "as written")
        results = evaluator.run(closed, evaluator.arguments(closed, leaves))
        return [(None, x.wide) for x in results], ({k: (None, x.wide) for k, x in evaluator.names.items()}, None, [])

    return _compiled(function, evaluate, reading, lambda: [])


def beside(
    function: Callable[..., Any],
    *,
    share_decisions: bool = False,
    locate: float | None = None,
    reading: Reading = "as traced",
) -> Callable[..., Widened]:
    """Return ``function`` evaluated in its own types and in float64 side by side.

    Args:
        function: any traceable function of pytrees.
        share_decisions: every integer and boolean result, and every discontinuous one, is the narrow side's on both
            sides, so that both are on the same branch of the function.
        locate: the error of one rounding in the precision that is expected, such as 2**-24; fills `Widened.lines`.
        reading: ``"as traced"`` or ``"as written"``, see `Reading`.

    Returns:
        A function of the same arguments, see `widened`.

    Raises:
        CannotWiden: when called, as `widened`.
    """

    def evaluate(closed: ClosedJaxpr, leaves: list[Any]) -> tuple[list[Any], Any]:
        evaluator = Evaluator(beside=True, share=share_decisions, decimal=reading == "as written", locate=locate)
        results = evaluator.run(closed, evaluator.arguments(closed, leaves))
        names = {name: (x.narrow, x.wide) for name, x in evaluator.names.items()}
        lines[:] = [line for line, _ in evaluator.lines]  # strings cannot leave a compiled program
        return [(x.narrow, x.wide) for x in results], (names, evaluator.flips, [jump for _, jump in evaluator.lines])

    lines: list[str] = []
    return _compiled(function, evaluate, reading, lambda: lines)


def _compiled(
    function: Callable[..., Any],
    evaluate: Callable[[ClosedJaxpr, list[Any]], tuple[list[Any], Any]],
    reading: Reading,
    lines: Callable[[], list[str]],
) -> Callable[..., Widened]:
    """Compile an evaluation once for each tree, shapes and dtypes of arguments.

    The function is traced with its arguments and evaluated ``at`` others of the same tree and shapes, if they are
    given.
    """
    programs: dict[Any, Any] = {}

    def call(*args: Any, at: tuple[Any, ...] | None = None) -> Widened:
        leaves, structure = jax.tree.flatten(args)
        leaves = [np.asarray(x) if isinstance(x, int | float | bool) else x for x in leaves]
        key = structure, tuple((np.shape(x), str(x.dtype)) for x in leaves)
        if key not in programs:
            closed, shape = traced(function, args, reading)
            # Lowered in the 64-bit mode as well: some operations make their constants there.
            with doubles():
                programs[key] = jax.jit(functools.partial(evaluate, closed)), jax.tree.structure(shape)
        program, result = programs[key]
        with doubles():
            values = jax.tree.leaves(args if at is None else at)
            results = program(values if at is None else [to_wide(x) for x in values])
        # On the host: arrays of float64 are no arrays of the 32-bit mode.
        pairs, (names, flips, jumps) = jax.device_get(results)
        narrow, wide = ([pair[side] for pair in pairs] for side in (0, 1))
        narrow_tree = None if flips is None else jax.tree.unflatten(result, narrow)
        located = tuple(zip(lines(), map(float, jumps), strict=True))
        return Widened(narrow_tree, jax.tree.unflatten(result, wide), names, flips, located)

    return call


def traced(
    function: Callable[..., Any], args: tuple[Any, ...], reading: Reading, *, key: str = _KEY
) -> tuple[ClosedJaxpr, Any]:
    """Return the program of a function under a reading of its numbers, and the tree of its results.

    Args:
        function: the function.
        args: its arguments.
        reading: see `Reading`.
        key: the precision under which a retraced function is kept by JAX; another one where something else in JAX is
            replaced meanwhile, so that these traces are never confused.
    """
    if reading != "retraced":
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        return closed, shape
    with doubles(), _casts_left_out(key):
        try:
            closed, shape = jax.make_jaxpr(function, return_shape=True)(*jax.tree.map(to_wide, args))
        except (TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise CannotWiden(f"the function cannot be traced with float64 arguments: {reason}") from error
    return closed, shape


@contextlib.contextmanager
def _casts_left_out(key: str) -> Iterator[None]:
    """While a function is traced, make a cast to a floating type one to float64.

    A Python number takes the type of the array that it is combined with: behind a cast to bfloat16 it would be rounded
    to that, and in the trace there is no telling what it was. Where JAX has no such function to replace, casts are left
    out of the finished trace alone. The precision named here is part of the key under which JAX keeps traces of
    compiled functions, so that these traces are never confused; it has no effect on float64.
    """
    cast = getattr(LAX, CAST, None)
    if cast is None:
        yield
        return

    def to_float64(operand: Any, new_dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        floating = new_dtype is not None and not jnp.issubdtype(new_dtype, jax.dtypes.extended)
        return cast(operand, wide_dtype(np.dtype(new_dtype)) if floating else new_dtype, *args, **kwargs)

    own = jax.eval_shape

    def shape_of(*args: Any, **kwargs: Any) -> Any:
        """Shapes alone: linen asks an initializer for that of a parameter, and draws in float32 by name."""
        with mock.patch.object(LAX, CAST, cast), jax.default_matmul_precision("float32"):
            return own(*args, **kwargs)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(LAX, CAST, to_float64))
        stack.enter_context(mock.patch.object(jax, "eval_shape", shape_of))
        stack.enter_context(jax.default_matmul_precision(key))
        yield

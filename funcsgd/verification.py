"""Verification that a training step, as it is compiled here, has the bits of its rules' class."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd.arithmetic import exact_arithmetic, exactness
from funcsgd.arithmetic.marks import SHORT


class LeafDifference(NamedTuple):
    """A leaf of a step's result that has other bits with the exact arithmetic.

    Attributes:
        path: where it stands in the result, such as ``"[0]['dense']['kernel']"``.
        shape: its shape.
        n_differing: elements with other bits, in the call where they were the most.
        worst_ulps: the largest distance of two values, in numbers of their dtype that lie between.
        call: the first call in which it differed, from 0.
    """

    path: str
    shape: tuple[int, ...]
    n_differing: int
    worst_ulps: int
    call: int


class Verification(NamedTuple):
    """The result of `verify`.

    Attributes:
        bitwise: no bit differed, in any leaf and any call.
        differences: the leaves that differed, in the order of the result.
        n_values: numbers that were compared, over all calls.
        calls: how often the step was called.
        reasons: why bits may have been lost here, as far as it can be found.
    """

    bitwise: bool
    differences: tuple[LeafDifference, ...]
    n_values: int
    calls: int
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        if self.bitwise:
            return f"bitwise: equal in every bit, {self.n_values:,} values in {self.calls} calls"
        lines = [f"rounding: {len(self.differences)} leaves have other bits with the exact arithmetic"]
        for path, shape, n, ulps, call in self.differences:
            of = int(np.prod(shape))
            lines.append(f"  {path} {shape}: {n} of {of} ({100 * n / of:.2g} %), at most {ulps} ulps, from call {call}")
        lines += [f"  {reason}" for reason in self.reasons]
        return "\n".join(lines)


def verify(step: Callable[..., Any], *args: Any, calls: int = 3) -> Verification:
    """Compile a training step as it is and with `exact_arithmetic`, run both on the same data, compare every bit.

    Each call starts both from the same arguments, so that differences do not add up. The next call takes what the step
    as it is has returned: a result that has the structure, shapes and dtypes of the argument in the same place (new
    parameters, new state) becomes that argument.

    Args:
        step: a pure function of arrays, jitted or not, that calls rules of this library and ``optax.apply_updates``,
            such as ``step(params, state, batch) -> (params, state, loss)``. It may donate its arguments.
        args: its arguments; realistic ones, since whether a rounding shows depends on the numbers.
        calls: how often to call it. A momentum buffer takes part from the second call on.

    Returns:
        A `Verification`; its ``str`` is the report. Both programs calculate the gradients too, so that a leaf may also
        differ because a compiler treated its gradient otherwise in the other program; equal is equal in any case.

    Raises:
        ValueError: ``calls`` is less than 1, or the step returns no array.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from funcsgd import sgd
        >>> tx = sgd(0.1, momentum=0.9)
        >>> def step(params, state, x):
        ...     updates, state = tx.update(jax.grad(lambda p: ((p * x - 1) ** 2).sum())(params), state, params)
        ...     return optax.apply_updates(params, updates), state
        >>> params, x = jnp.linspace(-1, 1, 100), jnp.linspace(0, 3, 100)
        >>> print(verify(step, params, tx.init(params), x))
        bitwise: equal in every bit, 612 values in 3 calls
    """
    if calls < 1:
        raise ValueError(f"verify needs at least one call, but got calls={calls}")
    compiled = step if hasattr(step, "lower") else jax.jit(step)
    found: dict[str, LeafDifference] = {}
    n_values = 0
    for call in range(calls):
        results = []
        for arithmetic in (contextlib.nullcontext(), exact_arithmetic()):
            with arithmetic:
                results.append(compiled(*jax.tree.map(_copied, args)))
        as_it_is, exact = (jax.tree_util.tree_leaves_with_path(result) for result in results)
        if not as_it_is:
            raise ValueError("verify compares what the step returns, but it returns no array: make it a pure function")
        for (path, ours), (_, theirs) in zip(as_it_is, exact, strict=True):
            name, ours, theirs = jax.tree_util.keystr(path), np.asarray(ours), np.asarray(theirs)
            n_values += ours.size
            n, ulps = _distance(ours, theirs)
            if n:
                before = found.get(name, LeafDifference(name, ours.shape, 0, 0, call))
                worst = max(n, before.n_differing), max(ulps, before.worst_ulps)
                found[name] = before._replace(n_differing=worst[0], worst_ulps=worst[1])
        args = _fed_back(args, results[0])
    differences = tuple(found.values())
    return Verification(not found, differences, n_values, calls, _reasons(differences) if found else ())


def assert_bitwise(step: Callable[..., Any], *args: Any, calls: int = 3) -> None:
    """Fail a test, with the report of `verify`, unless a training step has the bits of its rules' class.

    Args:
        step: as in `verify`.
        args: as in `verify`.
        calls: as in `verify`.

    Raises:
        AssertionError: a bit differs.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from funcsgd import sgd
        >>> p, tx = jnp.linspace(1, 2, 10), sgd(0.1)
        >>> assert_bitwise(lambda p, g: optax.apply_updates(p, tx.update(g, tx.init(p), p)[0]), p, 3 * p)
    """
    found = verify(step, *args, calls=calls)
    assert found.bitwise, str(found)


def _copied(x: Any) -> Any:
    return jnp.copy(x) if isinstance(x, jax.Array) else x


def _fed_back(args: tuple[Any, ...], result: Any) -> tuple[Any, ...]:
    """The arguments of the next call."""
    parts = result if type(result) in (tuple, list) else (result,)
    return tuple(
        parts[i] if i < len(parts) and _shapes(parts[i]) == _shapes(argument) else argument
        for i, argument in enumerate(args)
    )


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """The number of elements with other bits, NaN equalling NaN, and the largest distance in ulps."""
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    if np.iscomplexobj(a):
        a, b = a.view(a.real.dtype), b.view(b.real.dtype)
    if not jnp.issubdtype(a.dtype, jnp.floating):
        return int((a != b).sum()), 0
    integer, half = f"i{a.dtype.itemsize}", 8 * a.dtype.itemsize - 1
    # In the order of the numbers: -0.0 lies one below 0.0.
    ordered = [
        np.where(x < 0, ~(x & np.asarray((1 << half) - 1, x.dtype)), x) for x in (a.view(integer), b.view(integer))
    ]
    differ = (ordered[0] != ordered[1]) & ~(np.isnan(a) & np.isnan(b))
    apart = [abs(int(x) - int(y)) for x, y in zip(ordered[0][differ], ordered[1][differ], strict=True)]
    return int(differ.sum()), max(apart, default=0)


def _reasons(differences: tuple[LeafDifference, ...]) -> tuple[str, ...]:
    found = exactness()
    lost = {pattern for pattern, held in found.holds.items() if not held}
    short = [leaf for leaf in differences if len(leaf.shape) > 1 and leaf.shape[-1] <= SHORT]
    reasons = []
    if lost:
        reasons.append(f"the backend is known to lose bits ({found})")
    if not lost or (lost == {"a last axis of 16 or less"} and len(short) < len(differences)):
        reasons.append(
            "the compiler rounded a product twice that was to be fused, or treated the gradient otherwise: give "
            "tx.update the parameters, and call it and optax.apply_updates in one jit with nothing between"
        )
    return (*reasons, "to have the bits whatever the compiler does: with funcsgd.exact_arithmetic(): ...")

"""The norm of all gradients taken as one vector."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from funcsgd.arithmetic import compute_dtype
from funcsgd.per_leaf import per_leaf, present
from funcsgd.stages.sum_of_squares import sums_of_squares


def get_total_norm(
    tree: Any,
    norm_type: float | str = 2.0,
    order: Sequence[str] | None = None,
    summation: Literal["torch", "any"] = "torch",
) -> jax.Array:
    """Return the norm of the norms of the leaves.

    Equation::

        total_norm = norm([norm(g) for g in leaves])

    Args:
        tree: arrays of floating or complex dtype, any shapes; None leaves are left out, as torch leaves out a
            parameter whose ``grad`` is None.
        norm_type: 2, another number, or ``inf`` or ``"inf"``.
        order: the names of the leaves in torch's order of parameters, such as ``["dense.weight", "dense.bias"]``, as
            ``jax.tree_util.keystr(path, simple=True, separator=".")`` writes them. None: the order of
            ``jax.tree.leaves``, which sorts the keys of a dict. A sum depends on its order in the last bit.
        summation: "torch" adds squares one after another, as torch's CPU kernel does: every bit, but on one core, and
            a gradient that is sharded over devices is gathered whole on each of them. "any" adds in whichever order is
            fast: each device sums its own shard, and single numbers travel. Only norm 2 makes a difference.

    Returns:
        Real scalar of the leaves' promoted dtype; float32 for bfloat16 and float16, and a float32 0 without leaves.

    Raises:
        ValueError: ``order`` does not name each leaf once; an infinite or negative norm of an empty leaf; another
            ``summation``.

    Exactness: bitwise under ``jit`` on an x86-64 CPU with FMA for norms 2 and infinity of float32 or float64 leaves
    that have torch's shapes (a transposed kernel is summed in another order), torch's order and torch's summation.
    Otherwise `rounding`. Inside ``shard_map`` it is the norm of each device's shard.

    Source: ``torch/nn/utils/clip_grad.py``, ``_get_total_norm``, and ``aten/src/ATen/native/cpu/ReduceOpsKernel.cpp``,
    ``norm_kernel_tensor_iterator_impl``, torch 2.13.0.

    Differs from ``optax.tree.norm`` in: (1) the order of summation; (2) a norm of norms, which for ``norm_type=0``
    counts the leaves that are not all zero.

    Example:
        >>> import jax.numpy as jnp
        >>> get_total_norm({"w": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])})
        Array(5., dtype=float32)
    """
    check_summation(summation)
    p = float(norm_type)
    leaves = _leaves(present(tree), order)
    if not leaves:
        return jnp.zeros((), jnp.float32)
    norms = _norms(leaves, p, summation)
    dtype = jnp.result_type(*norms)
    return _norms([jnp.stack([norm.astype(dtype) for norm in norms])], p, "torch")[0]


def check_summation(summation: str) -> None:
    """Raise ValueError for an order of summation that there is not."""
    if summation not in ("torch", "any"):
        raise ValueError(f"summation must be 'torch', for equal bits, or 'any', for speed, but is {summation!r}")


def _leaves(tree: Any, order: Sequence[str] | None) -> list[jax.Array]:
    if order is None:
        return jax.tree.leaves(tree)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    if len(set(order)) < len(order) or len(set(names)) < len(names) or not set(names) <= set(order):
        raise ValueError(f"order must name every leaf once: the leaves are {names}, the order is {list(order)}")
    named = {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}
    return [named[name] for name in order if name in named]  # a gradient of None has a name and no leaf


def _norms(leaves: list[jax.Array], p: float, summation: str) -> list[jax.Array]:
    """``torch.linalg.vector_norm(x, p)`` of each leaf."""
    leaves = [jnp.abs(x) if jnp.iscomplexobj(x) else jnp.asarray(x, compute_dtype(x.dtype)) for x in leaves]
    norms: dict[int, jax.Array] = {}
    for dtype in {x.dtype for x in leaves} if p == 2 and summation == "torch" else ():
        indices = [i for i, x in enumerate(leaves) if x.dtype == dtype and x.size != 1]
        if indices:
            roots = _root(sums_of_squares([leaves[i].ravel() for i in indices]), 2.0)
            norms |= dict(zip(indices, roots, strict=True))
    return [norms[i] if i in norms else _norm(x, p=p) for i, x in enumerate(leaves)]


@per_leaf
def _norm(x: jax.Array, *, p: float) -> jax.Array:
    magnitude = jnp.abs(x)
    if p == 0:
        return jnp.sum(magnitude != 0, dtype=magnitude.dtype)
    if x.size == 1:  # no square, so no overflow: in torch too
        return magnitude.reshape(())
    if x.size == 0 and (p < 0 or math.isinf(p)):
        raise ValueError(
            f"linalg.vector_norm cannot compute the {p:g} norm on an empty tensor because the operation does not "
            "have an identity"
        )
    if math.isinf(p):
        return jnp.max(magnitude) if p > 0 else jnp.min(magnitude)
    return _root(jnp.sum(x * x) if p == 2 else jnp.sum(magnitude**p), p)


def _root(x: jax.Array, p: float) -> jax.Array:
    """The p-th root; the derivative of a norm at 0 is 0, as in torch, where that of the root is infinite."""
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, x, jnp.sqrt(safe) if p == 2 else safe ** (1 / p))

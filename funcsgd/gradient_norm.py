"""The norm of all gradients taken as one vector."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcsgd.arithmetic import compute_dtype
from funcsgd.sum_of_squares import sums_of_squares


def get_total_norm(tree: Any, norm_type: float | str = 2.0, order: Sequence[str] | None = None) -> jax.Array:
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

    Returns:
        Real scalar of the leaves' promoted dtype; float32 for bfloat16 and float16, and a float32 0 without leaves.

    Raises:
        ValueError: ``order`` does not name each leaf once; an infinite or negative norm of an empty leaf.

    Exactness: bitwise under ``jit`` on an x86-64 CPU with FMA for norms 2 and infinity of float32 or float64 leaves
    that have torch's shapes (a transposed kernel is summed in another order) and torch's order. Otherwise `rounding`.

    Source: ``torch/nn/utils/clip_grad.py``, ``_get_total_norm``, and ``aten/src/ATen/native/cpu/ReduceOpsKernel.cpp``,
    ``norm_kernel_tensor_iterator_impl``, torch 2.13.0.

    Differs from ``optax.tree.norm`` in: (1) the order of summation; (2) a norm of norms, which for ``norm_type=0``
    counts the leaves that are not all zero.

    Example:
        >>> import jax.numpy as jnp
        >>> get_total_norm({"w": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])})
        Array(5., dtype=float32)
    """
    p = float(norm_type)
    norms = _norms([g.ravel() for g in _leaves(tree, order)], p)
    if not norms:
        return jnp.zeros((), jnp.float32)
    dtype = jnp.result_type(*norms)
    return _norms([jnp.stack([norm.astype(dtype) for norm in norms])], p)[0]


def _leaves(tree: Any, order: Sequence[str] | None) -> list[jax.Array]:
    if order is None:
        return jax.tree.leaves(tree)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    if len(set(order)) < len(order) or len(set(names)) < len(names) or not set(names) <= set(order):
        raise ValueError(f"order must name every leaf once: the leaves are {names}, the order is {list(order)}")
    named = {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}
    return [named[name] for name in order if name in named]  # a gradient of None has a name and no leaf


def _norms(vectors: list[jax.Array], p: float) -> list[jax.Array]:
    """``torch.linalg.vector_norm(x, p)`` of each vector."""
    vectors = [jnp.abs(x) if jnp.iscomplexobj(x) else x.astype(compute_dtype(x.dtype)) for x in vectors]
    norms: dict[int, jax.Array] = {}
    for dtype in {x.dtype for x in vectors} if p == 2 else ():
        indices = [i for i, x in enumerate(vectors) if x.dtype == dtype and x.size != 1]
        roots = jnp.sqrt(sums_of_squares([vectors[i] for i in indices]))
        norms |= dict(zip(indices, roots, strict=True))
    return [norms[i] if i in norms else _norm(x, p) for i, x in enumerate(vectors)]


def _norm(x: jax.Array, p: float) -> jax.Array:
    magnitude = jnp.abs(x)
    if p == 0:
        return jnp.sum(magnitude != 0, dtype=magnitude.dtype)
    if x.size == 1:  # no square, so no overflow: in torch too
        return magnitude[0]
    if x.size == 0 and (p < 0 or math.isinf(p)):
        raise ValueError(
            f"linalg.vector_norm cannot compute the {p:g} norm on an empty tensor because the operation does not "
            "have an identity"
        )
    if math.isinf(p):
        return jnp.max(magnitude) if p > 0 else jnp.min(magnitude)
    return jnp.asarray(jnp.sum(magnitude**p) ** (1 / p))

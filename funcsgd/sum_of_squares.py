"""Sums of squares in the order of torch's CPU kernel: eight float32 or four float64 lanes.

A plain ``jnp.sum`` will not do: XLA regroups the sums of a reduction twice, once into a tree and once more when the
loop is vectorised. A loop written out, by contrast, is kept in order.
"""

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd.arithmetic import addcmul, rounded

VECTOR_BYTES = 32  # an AVX2 register; torch's AVX512 build sums in the same lanes
ROWS_IN_BLOCK = 32  # how far the loop is unrolled: faster to run the more, faster to compile the less
LARGE = 2**18  # elements from which a vector gets a loop of its own; smaller ones are copied into a common one


@jax.custom_jvp
def sums_of_squares(vectors: list[jax.Array]) -> jax.Array:
    """Return the sum of squares of each vector.

    Equation, for a vector of ``n`` elements in rows of ``k`` = 8 (float32) or 4 (float64)::

        lane[j] = fl(lane[j] + fl(v * v))       for v in column j of the full rows, from above
        total = lane[0] + lane[1] + ...         from the left
        total = fl(total + fl(v * v))           for the first four of the last n % k elements, where there are four
        total = fl(total + v * v)               for those that then remain

    Args:
        vectors: one-dimensional, float32 or float64, all of one dtype; lengths from 0 to 2**31 - 1.

    Returns:
        Shape ``(len(vectors),)``. Differentiable.

    Exactness: bitwise under ``jit`` on an x86-64 CPU with FMA; elsewhere a sum in whichever order is fast (`rounding`).

    Cost: a lane is one chain of additions, which no second core can shorten: 13 ms for 25.6 million float32 where torch
    takes 6. Vectors shorter than `LARGE` are copied first, which may cost more than the sum.

    Source: ``aten/src/ATen/native/cpu/ReduceOpsKernel.cpp``, ``norm_kernel_tensor_iterator_impl``, torch 2.13.0; the
    last two lines are what its compiler made of one.

    Example:
        >>> import jax.numpy as jnp
        >>> sums_of_squares([jnp.array([3.0, 4.0]), jnp.array([1.0])])
        Array([25.,  1.], dtype=float32)
    """
    if not vectors:
        return jnp.zeros((0,))
    return jnp.asarray(jax.lax.platform_dependent(vectors, cpu=_in_torch_order, default=_in_any_order))


@sums_of_squares.defjvp
def _sums_of_squares_jvp(
    primals: tuple[list[jax.Array]], tangents: tuple[list[jax.Array]]
) -> tuple[jax.Array, jax.Array]:
    pairs = zip(primals[0], tangents[0], strict=True)
    return sums_of_squares(primals[0]), jnp.stack([2 * jnp.sum(v * t) for v, t in pairs])


def _in_any_order(vectors: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.sum(v * v) for v in vectors])


def _in_torch_order(vectors: list[jax.Array]) -> jax.Array:
    n_lanes = VECTOR_BYTES // vectors[0].dtype.itemsize
    n_in_rows = [v.size // n_lanes * n_lanes for v in vectors]
    lanes = _lane_sums(vectors, n_in_rows, n_lanes)
    total = lanes[:, 0]
    for j in range(1, n_lanes):
        total = total + lanes[:, j]

    # torch's compiler took the squares of the rest by fours, apart from their sum, and fused what was left over.
    # Zeros fill the places that a vector does not need: adding them changes no bit.
    rests = [v[n:] for v, n in zip(vectors, n_in_rows, strict=True)]
    apart = _stack_padded([rest[: rest.size // 4 * 4] for rest in rests], 4)
    fused = _stack_padded([rest[rest.size // 4 * 4 :] for rest in rests], 3)
    for j in range(4):
        total = total + rounded(apart[:, j] * apart[:, j])
    for j in range(3):
        v = fused[:, j]
        # rounded(total) is for totals that are known to be 0, where the sum is a product and could be fused itself.
        total = addcmul(total if j != 1 else rounded(total), v, v)
    return total


def _lane_sums(vectors: list[jax.Array], n_in_rows: list[int], n_lanes: int) -> jax.Array:
    """Sum the squares of the first elements of each vector, ``n_in_rows`` of them, lane by lane."""
    n_in_block = ROWS_IN_BLOCK * n_lanes

    def add_block(sums: jax.Array, block: jax.Array) -> jax.Array:
        for v in block.reshape(ROWS_IN_BLOCK, n_lanes):  # squared here, not all at once: nothing has to be written
            sums = sums + rounded(v * v)
        return sums

    def add_blocks(v: jax.Array, n_blocks: int) -> jax.Array:
        def body(i: jax.Array, sums: jax.Array) -> jax.Array:
            return add_block(sums, jax.lax.dynamic_slice(v, (i * n_in_block,), (n_in_block,)))

        zeros = jnp.zeros(n_lanes, v.dtype)
        return jnp.asarray(jax.lax.fori_loop(0, n_blocks, body, zeros)) if n_blocks else zeros

    # First the full blocks of each large vector, where they stand: a slice of it would be a copy.
    n_whole = [v.size // n_in_block if v.size >= LARGE else 0 for v in vectors]
    sums = jnp.stack([add_blocks(v, n) for v, n in zip(vectors, n_whole, strict=True)])

    # Then all that is left, in one array and one loop, so that a thousand small vectors compile like one.
    left = [v[n * n_in_block : end] for v, n, end in zip(vectors, n_whole, n_in_rows, strict=True)]
    n_blocks = [-(-v.size // n_in_block) for v in left]
    owners = np.repeat(np.arange(len(left), dtype=np.int32), n_blocks)
    if not owners.size:
        return sums
    blocks = _concatenate_padded(left, [n * n_in_block for n in n_blocks]).reshape(-1, n_in_block)

    def add_to_owner(i: jax.Array, sums: jax.Array) -> jax.Array:
        owner = jnp.asarray(owners)[i]
        return sums.at[owner].set(add_block(sums[owner], blocks[i]))

    return jnp.asarray(jax.lax.fori_loop(0, owners.size, add_to_owner, sums))


def _stack_padded(vectors: list[jax.Array], size: int) -> jax.Array:
    return _concatenate_padded(vectors, [size] * len(vectors)).reshape(len(vectors), size)


def _concatenate_padded(vectors: list[jax.Array], sizes: list[int]) -> jax.Array:
    """Join the vectors, each filled up with zeros to its size."""
    paddings = [jnp.zeros(size - v.size, v.dtype) for v, size in zip(vectors, sizes, strict=True)]
    return jnp.concatenate([part for pair in zip(vectors, paddings, strict=True) for part in pair])

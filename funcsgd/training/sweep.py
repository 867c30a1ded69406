"""Many runs side by side in one program: hyperparameters and seeds under ``vmap``, over all devices, in chunks."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from funcsgd.training.batches import count_samples

SPLIT, WHOLE = PartitionSpec("points"), PartitionSpec()  # type: ignore[no-untyped-call]


def grid(**axes: ArrayLike) -> dict[str, np.ndarray[Any, Any]]:
    """Return all combinations of some values, for `sweep`: the last name varies fastest.

    Args:
        axes: from a name to its values, 1-d. Reshape what `sweep` returns to ``(len(first), len(second), ...)``.

    Returns:
        From each name to an array of shape ``(n,)``, ``n`` the product of the lengths.

    Raises:
        ValueError: no names, or values that are not 1-d.

    Example:
        >>> points = grid(learning_rate=[0.1, 0.2], seed=[0, 1, 2])
        >>> points["seed"]
        array([0, 1, 2, 0, 1, 2])
    """
    values = [np.asarray(axis) for axis in axes.values()]
    for name, axis in zip(axes, values, strict=True):
        if axis.ndim != 1:
            raise ValueError(f"the values of {name} must be 1-d, but have shape {axis.shape}")
    if not values:
        raise ValueError("a grid needs at least one axis: grid(learning_rate=[0.1, 0.2])")
    combined = np.meshgrid(*values, indexing="ij")
    return {name: axis.ravel() for name, axis in zip(axes, combined, strict=True)}


def sweep(
    run: Callable[..., Any],
    points: Any,
    *shared: Any,
    at_once: int | None = None,
    memory: float | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Any:
    """Call a function at many points in one compiled program.

    Equation::

        result[i] = run(points[i], *shared)

    Args:
        run: ``run(point, *shared) -> tree`` of arrays; typically builds a rule from the point's hyperparameters, calls
            `train` with a key or initial weights from its seed, and returns what is worth keeping of it.
        points: tree of arrays with one leading axis, such as from `grid`.
        shared: trees of arrays that all calls see whole, such as the data.
        at_once: number of points at a time on each device; None is all.
        memory: bytes on each device that may be used at a time; ``at_once`` follows from what one run is compiled to
            need. Give one of the two at most.
        devices: to spread the points over; None is all that JAX has, those of all processes after
            ``jax.distributed.initialize``. There is no communication between them but for the result at the end.

    Returns:
        The tree that ``run`` returns, with a leading axis; NumPy arrays if there are several chunks, so that each
        leaves the device before the next, or several processes: each gets the whole result.

    Raises:
        ValueError: points without arrays or of unequal length, ``at_once`` below 1, or both limits given.

    Over several processes each calls `sweep` with the same arguments, as one script started once on each machine does::

        jax.distributed.initialize(
            "10.0.0.1:1234", num_processes=2, process_id=int(sys.argv[1]),
            heartbeat_timeout_seconds=20, shutdown_timeout_seconds=20,
        )
        result = funcsgd.sweep(run, points, data)

    On CPUs ``jax.config.update("jax_cpu_collectives_implementation", "gloo")`` comes first. Where a process dies, the
    others' call ends in an error, and they themselves after those timeouts, which are minutes unless set. With
    ``devices=jax.local_devices()`` each process sweeps by itself.

    The program is compiled once for each number of points that run at once, and found again for the same ``run``.

    Exactness: `rounding` against ``run`` alone: under ``vmap``, XLA may add in another order. The numbers do not depend
    on which device or which chunk a point falls in, as long as as many run at once.

    Example:
        >>> import jax.numpy as jnp
        >>> from funcsgd import sgd, train
        >>> data = jnp.arange(4.0)
        >>> def run(point, data):
        ...     loss_fn = lambda w, batch: ((w - batch) ** 2).mean()
        ...     return train(loss_fn, sgd(point["learning_rate"]), jnp.array(0.0), data, epochs=3).params
        >>> sweep(run, grid(learning_rate=[0.0, 0.5]), data)  # which jumps to the mean
        Array([0. , 1.5], dtype=float32)
    """
    n = count_samples(points)
    if n is None or n == 0:
        raise ValueError("there is nothing to sweep over: points must hold arrays, one entry a run")
    if at_once is not None and memory is not None:
        raise ValueError("give at_once or memory, not both")
    devices = tuple(jax.devices() if devices is None else devices)
    if memory is not None:
        at_once = max(1, int(memory // _bytes_of_one(run, points, shared)))
    at_once = -(-n // len(devices)) if at_once is None else min(at_once, -(-n // len(devices)))
    if at_once < 1:
        raise ValueError(f"at_once must be at least 1, but is {at_once}")
    here = jax.process_index()
    alone = all(device.process_index == here for device in devices)
    if alone:  # otherwise every process needs a part in the program
        devices = devices[: -(-n // at_once)]
    elif all(device.process_index != here for device in devices):
        raise ValueError(f"none of the devices belongs to this process, number {here}: it would have no result")
    chunk = at_once * len(devices)
    mesh = Mesh(np.array(devices), ("points",))
    shared = jax.tree.map(lambda x: _placed(x, NamedSharding(mesh, WHOLE)), shared)
    results = []
    for start in range(0, n, chunk):
        # the last chunk is filled up with its own last point, so that all are one program
        which = np.minimum(np.arange(start, start + chunk), n - 1)
        part = jax.tree.map(lambda x, which=which: _placed(x[which], NamedSharding(mesh, SPLIT)), points)
        result = _mapped(run, mesh, part, shared)
        if not alone:
            result = jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, WHOLE))(result)
        results.append(result if alone and chunk >= n else jax.device_get(result))
    if len(results) == 1:
        return jax.tree.map(lambda x: x[:n], results[0])
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *results)


def _placed(x: Any, sharding: NamedSharding) -> Any:
    """Put an array on the devices of a mesh; one that spans several processes already, the program moves."""
    if sharding.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return jax.device_put(x, sharding) if sharding.is_fully_addressable else x
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        bits = _placed(jax.random.key_data(x), sharding)
        return jax.jit(functools.partial(jax.random.wrap_key_data, impl=jax.random.key_impl(x)))(bits)
    host = np.asarray(x)
    host = host.astype(jax.dtypes.canonicalize_dtype(host.dtype))
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _mapped(run: Callable[..., Any], mesh: Mesh, points: Any, shared: Any) -> Any:
    def each(points: Any, shared: Any) -> Any:
        return jax.vmap(lambda point: run(point, *shared))(points)

    spread = jax.shard_map(each, mesh=mesh, in_specs=(SPLIT, WHOLE), out_specs=SPLIT, check_vma=False)
    return spread(points, shared)


def _bytes_of_one(run: Callable[..., Any], points: Any, shared: Any) -> float:
    """The memory that the compiler reserves for one run: its temporaries and its result."""
    one = jax.tree.map(lambda x: x[:1], points)
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("points",))
    analysis = _mapped.lower(run, mesh, one, shared).compile().memory_analysis()
    if analysis is None:
        raise ValueError("the compiler does not report the memory of a run here: give at_once instead")
    return float(max(1, analysis.temp_size_in_bytes + analysis.output_size_in_bytes))

"""Programs around a rule: where its gradients come from, and what drives its updates. No torch is needed here.

A compiler sees the operations that make a gradient and the rule's own in one program, and what it does to the rule's
roundings depends on what stands in front. So each kind of gradient below is one that a network's backward pass ends in,
made of numbers for which its value is certain: products are rounded once, sums are of small integers and exact in any
order. NumPy calculates the same value for torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

import funcsgd

STEPS = 3
LANES = 2
LEARNING_RATES = tuple(float(np.float32(rate)) for rate in (0.1, 0.0137, 0.3))  # float32 numbers: one cast or two
NUMBERS = {name: float(np.float32(x)) for name, x in (("momentum", 0.9), ("weight_decay", 0.01), ("dampening", 0.125))}
FLAGS = (
    (),
    ("weight_decay",),
    ("momentum",),
    ("momentum", "nesterov"),
    ("momentum", "weight_decay"),
    ("momentum", "weight_decay", "dampening"),
    ("momentum", "weight_decay", "nesterov"),
    ("momentum", "weight_decay", "nesterov", "maximize"),
)
SHAPES = (
    *((), (1,), (7,), (1003,), (4096,)),
    *((100, 3), (100, 4), (60, 5), (60, 6), (40, 7), (65, 8), (16, 9), (66, 33), (4, 3, 3, 3)),
)
HYPERPARAMETERS = ("numbers", "schedules", "arrays")
DTYPES = ("float32", "float64")

Draw = Callable[..., np.ndarray]


class Kind(NamedTuple):
    """Where a gradient comes from: ``draw(shape, normal, integers)`` gives operands, ``traced`` and ``certain`` it."""

    draw: Callable[[tuple[int, ...], Draw, Draw], tuple[np.ndarray, ...]]
    traced: Callable[..., jax.Array]
    certain: Callable[..., np.ndarray]


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """The shape as a matrix."""
    return int(np.prod(shape[:-1])), shape[-1] if shape else 1


def _with_nans(shape: tuple[int, ...], normal: Draw, integers: Draw) -> tuple[np.ndarray, ...]:
    return (np.where(normal(*shape) > 1, np.nan, normal(*shape)).astype(normal(1).dtype),)


def _window(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    n = x.shape[-1] - 2
    return sum(kernel[0, 0, i] * x[:, 0, i : i + n] for i in range(3))


KINDS = {
    "argument": Kind(lambda s, normal, integers: (normal(*s),), lambda g: g, lambda g: g),
    "product": Kind(lambda s, normal, integers: (normal(*s), normal(*s)), lambda a, b: a * b, lambda a, b: a * b),
    "constant times": Kind(
        lambda s, normal, integers: (normal(*s),), lambda g: g * 0.7, lambda g: g * g.dtype.type(0.7)
    ),
    "matmul": Kind(
        lambda s, normal, integers: (integers(_rows(s)[0], 4), integers(4, _rows(s)[1])),
        lambda a, b: a @ b,
        lambda a, b: a @ b,
    ),
    "transposed": Kind(lambda s, normal, integers: (normal(*s[::-1]),), lambda g: g.T, lambda g: g.T),
    "transposed matmul": Kind(
        lambda s, normal, integers: (integers(4, _rows(s)[0]), integers(_rows(s)[1], 4)),
        lambda a, b: (b @ a).T,
        lambda a, b: (b @ a).T,
    ),
    "outer": Kind(
        lambda s, normal, integers: (normal(_rows(s)[0], 1), normal(1, _rows(s)[1])),
        lambda a, b: a * b,
        lambda a, b: a * b,
    ),
    "broadcast": Kind(
        lambda s, normal, integers: (normal(1, _rows(s)[1]), np.zeros(_rows(s), normal(1).dtype)),
        lambda g, like: jnp.broadcast_to(g, like.shape),
        lambda g, like: np.broadcast_to(g, like.shape),
    ),
    "relu mask": Kind(
        lambda s, normal, integers: (normal(*s), normal(*s)),
        lambda a, g: jnp.where(a > 0, g, 0.0),
        lambda a, g: np.where(a > 0, g, g.dtype.type(0)),
    ),
    "zero_nans": Kind(
        _with_nans,
        lambda g: optax.zero_nans().update(g, optax.EmptyState())[0],
        lambda g: np.where(np.isnan(g), g.dtype.type(0), g),
    ),
    "nan_to_num": Kind(_with_nans, jnp.nan_to_num, np.nan_to_num),
    "sum over the first axis": Kind(
        lambda s, normal, integers: (integers(3, *s),), lambda g: g.sum(0), lambda g: g.sum(0, dtype=g.dtype)
    ),
    "sum over the last axis": Kind(
        lambda s, normal, integers: (integers(*s, 3),), lambda g: g.sum(-1), lambda g: g.sum(-1, dtype=g.dtype)
    ),
    "convolution": Kind(
        lambda s, normal, integers: (integers(_rows(s)[0], 1, _rows(s)[1] + 2), integers(1, 1, 3)),
        lambda x, kernel: lax.conv_general_dilated(x, kernel, (1,), "VALID"),
        _window,
    ),
}


class Data(NamedTuple):
    """What a program is given: trees by kind of gradient, then by shape; ``operands`` and ``gradients`` by step too."""

    params: Mapping[str, list[np.ndarray]]
    operands: list[Mapping[str, list[tuple[np.ndarray, ...]]]]
    gradients: list[Mapping[str, list[np.ndarray]]]


Plan = Mapping[str, Sequence[tuple[int, ...]]]  # shapes of the leaves of each kind


def draw(plan: Plan, dtype: str, seed: int = 0) -> Data:
    """Normal numbers over six decades, so that the sums must round, and integers of nine bits, whose sums do not."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return np.asarray(rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3, shape)).astype(dtype)

    def integers(*shape: int) -> np.ndarray:
        return np.asarray(rng.integers(-511, 512, shape)).astype(dtype)

    def certain(kind: str, operands: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(KINDS[kind].certain(*operands)).reshape(shape)

    params = {kind: [normal(*shape) for shape in shapes] for kind, shapes in plan.items()}
    operands = [
        {kind: [KINDS[kind].draw(shape, normal, integers) for shape in shapes] for kind, shapes in plan.items()}
        for _ in range(STEPS)
    ]
    gradients = [
        {
            kind: [certain(kind, leaf, shape) for leaf, shape in zip(of_step[kind], shapes, strict=True)]
            for kind, shapes in plan.items()
        }
        for of_step in operands
    ]
    return Data(params, operands, gradients)


def gradient_of(params: Mapping[str, Any], operands: Mapping[str, Any]) -> dict[str, list[jax.Array]]:
    """The gradients, calculated where this is called."""
    return {
        kind: [KINDS[kind].traced(*leaf).reshape(p.shape) for leaf, p in zip(operands[kind], params[kind], strict=True)]
        for kind in params
    }


def hyperparameters(flags: tuple[str, ...], how: str, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of `funcsgd.sgd`: those that are fixed, and those that are arguments of the program."""
    switches = {name: True for name in flags if name not in NUMBERS}
    numbers: dict[str, Any] = {"learning_rate": LEARNING_RATES[0]} | {n: NUMBERS[n] for n in flags if n in NUMBERS}
    if how == "numbers":
        return numbers | switches, {}
    if how == "schedules":
        table = np.asarray(LEARNING_RATES, dtype)
        return numbers | switches | {"learning_rate": lambda count: jnp.asarray(table)[count]}, {}
    return switches, {name: np.asarray(x, dtype) for name, x in numbers.items()}


def update(fixed: dict[str, Any], arrays: dict[str, Any]) -> Callable[[Any, Any, Any], Any]:
    """One update: gradients calculated from operands, the rule, ``optax.apply_updates``."""
    tx = funcsgd.sgd(**fixed, **arrays)

    def step(params: Any, state: Any, operands: Any) -> Any:
        updates, state = tx.update(gradient_of(params, operands), state, params)
        return optax.apply_updates(params, updates), state

    return step


def by_call(data: Data, fixed: dict[str, Any], arrays: dict[str, Any], jit: Any = jax.jit) -> Any:
    params, state = data.params, funcsgd.sgd(**fixed, **arrays).init(data.params)
    step = jit(lambda arrays, *rest: update(fixed, arrays)(*rest))
    for operands in data.operands:
        params, state = step(arrays, params, state, operands)
    return params


def _scanned(fixed: dict[str, Any], arrays: Any, params: Any, operands: Any) -> Any:
    start = (params, funcsgd.sgd(**fixed, **arrays).init(params))
    step = update(fixed, arrays)
    return lax.scan(lambda carry, operands: (step(*carry, operands), None), start, operands)[0][0]


def by_scan(data: Data, fixed: dict[str, Any], arrays: dict[str, Any]) -> Any:
    operands = jax.tree.map(lambda *steps: np.stack(steps), *data.operands)
    return jax.jit(lambda *arguments: _scanned(fixed, *arguments))(arrays, data.params, operands)


def by_vmap(data: Data, fixed: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """The run is the last lane; the others have other parameters, gradients and hyperparameters."""
    operands = jax.tree.map(lambda *steps: np.stack(steps), *data.operands)

    def lanes(x: np.ndarray) -> np.ndarray:
        return np.stack([x * x.dtype.type(0.5 + 0.25 * i) for i in range(1, LANES)] + [x])

    given = jax.tree.map(lanes, (arrays, data.params, operands))
    swept = jax.jit(jax.vmap(lambda *arguments: _scanned(fixed, *arguments)))(*given)
    return jax.tree.map(lambda x: x[-1], swept)


def unrolled(data: Data, fixed: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """All updates one after another in one program."""

    @jax.jit
    def run(arrays: Any, params: Any, operands: Any) -> Any:
        state = funcsgd.sgd(**fixed, **arrays).init(params)
        for of_step in operands:
            params, state = update(fixed, arrays)(params, state, of_step)
        return params

    return run(arrays, data.params, data.operands)


def _split(x: Any) -> PartitionSpec:
    """Over two devices along the first axis that can be halved, as FSDP does."""
    even = [axis for axis, n in enumerate(np.shape(x)) if n % 2 == 0]
    return PartitionSpec(*[None] * even[0], "shard") if even else PartitionSpec()


def _of_state(x: Any) -> PartitionSpec:
    """Counts and flags stand on every device."""
    return _split(x) if jnp.issubdtype(x.dtype, jnp.floating) else PartitionSpec()


def fsdp(data: Data, fixed: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """Parameters and state split over two devices, gradients calculated from operands that stand on both."""
    mesh = jax.make_mesh((2,), ("shard",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.tree.map(lambda x: NamedSharding(mesh, _split(x)), data.params)
    params = jax.device_put(data.params, split)
    state = funcsgd.sgd(**fixed, **arrays).init(params)
    state = jax.device_put(state, jax.tree.map(lambda x: NamedSharding(mesh, _of_state(x)), state))
    step = jax.jit(lambda arrays, *rest: update(fixed, arrays)(*rest))
    for operands in data.operands:
        params, state = step(arrays, params, state, operands)
        params = jax.device_put(params, split)
    return params


def by_shard_map(data: Data, fixed: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """The rule on each device's own part; its gradients are given as parts and end in a select."""
    mesh = jax.make_mesh((2,), ("shard",), axis_types=(jax.sharding.AxisType.Auto,))
    params, state = data.params, funcsgd.sgd(**fixed, **arrays).init(data.params)
    specs = jax.tree.map(_split, params), jax.tree.map(_of_state, state)

    def step(arrays: Any, params: Any, state: Any, gradients: Any) -> Any:
        tx = funcsgd.sgd(**fixed, **arrays)
        updates, state = tx.update(jax.tree.map(lambda g: jnp.where(g > 1e30, 0.0, g), gradients), state, params)
        return optax.apply_updates(params, updates), state

    mapped = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(PartitionSpec(), *specs, specs[0]), out_specs=specs))
    for gradients in data.gradients:
        params, state = mapped(arrays, params, state, gradients)
    return params


DRIVES = {
    "call": by_call,
    "scan": by_scan,
    "vmap of scan": by_vmap,
    "several updates": unrolled,
    "shard_map": by_shard_map,
    "FSDP": fsdp,
}

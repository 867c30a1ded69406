"""Run an optimizer of torch and return its parameters; run funcsgd likewise; count elements that differ in any bit."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

torch.set_num_threads(1)  # the arrays are small, and the other cores run other tests

Leaves = list[np.ndarray]
Steps = Sequence[Sequence[np.ndarray | None]]  # gradients[step][leaf]; None is torch's grad=None

SHAPES = ((1,), (7,), (8,), (33,), (64, 33), (4099,))
STEPS = 200
IMPLEMENTATIONS: dict[str, dict[str, bool]] = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}}


def legal_flags() -> Iterator[dict[str, Any]]:
    """Every combination that torch accepts of two or three values for each hyperparameter."""
    names = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
    for values in itertools.product((0.0, 0.9, 0.37), (0.0, 0.1), (0.0, 1e-2), (False, True), (False, True)):
        flags = dict(zip(names, values, strict=True))
        if not flags["nesterov"] or (flags["momentum"] > 0 and flags["dampening"] == 0):
            yield flags


def name_of(flags: dict[str, Any]) -> str:
    """A test's name: the options that are on."""
    return ",".join(f"{key}={value}" for key, value in flags.items() if value) or "plain"


@functools.cache
def random_run(
    dtype: Any, shapes: tuple[tuple[int, ...], ...] = SHAPES, steps: int = STEPS, seed: int = 0
) -> tuple[Leaves, Leaves]:
    """Parameters, and gradients with a leading axis of steps: normal, over six decades, so that the sums must round."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 10 ** rng.uniform(-3, 3, shape)).astype(dtype)

    return [draw(*shape) for shape in shapes], [draw(steps, *shape) for shape in shapes]


def by_step(gradients: Leaves) -> list[Leaves]:
    """gradients[leaf][step] as gradients[step][leaf]."""
    return [list(of_step) for of_step in zip(*gradients, strict=True)]


def torch_run(
    params: Leaves,
    gradients: Steps,
    at_step: Callable[[int], dict[str, Any]] = lambda step: {},
    rule: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    **options: Any,
) -> Leaves:
    """The parameters of torch's rule after each step: leaf by leaf, with a leading axis of steps.

    ``at_step(step)`` is written into the parameter group before that step, as a scheduler would.
    """
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = rule(tensors, **options)
    after: list[Leaves] = [[] for _ in tensors]
    for step, of_step in enumerate(gradients):
        optimizer.param_groups[0].update(at_step(step))
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = None if g is None else torch.tensor(g)
        optimizer.step()
        for kept, tensor in zip(after, tensors, strict=True):
            kept.append(tensor.detach().numpy().copy())
    return [np.stack(kept) for kept in after]


def our_run(tx: optax.GradientTransformation, params: Leaves, gradients: Steps) -> Leaves:
    """The same from an optax rule: one jitted call a step, ``optax.apply_updates`` inside."""

    @jax.jit
    def step(params: Any, state: Any, g: Any) -> Any:
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    current = [jnp.asarray(p) for p in params]
    state = tx.init(current)
    after: list[Leaves] = [[] for _ in params]
    for of_step in gradients:
        current, state = step(current, state, list(of_step))
        for kept, p in zip(after, current, strict=True):
            kept.append(np.asarray(p))
    return [np.stack(kept) for kept in after]


def bits(x: Any) -> np.ndarray:
    """The array as unsigned integers; real and imaginary parts apart."""
    x = np.atleast_1d(np.ascontiguousarray(x))
    x = x.view(x.real.dtype) if np.iscomplexobj(x) else x
    return x.view(f"u{x.dtype.itemsize}")


def differing_bits(ours: Any, theirs: Any) -> int:
    """In how many elements of two lists of arrays any bit differs; -0.0 is not 0.0.

    NaN equals NaN whatever its sign and payload: which operand's payload an x86 addition keeps depends on the order
    in which the compiler wrote the operands, and neither torch nor XLA promises one.
    """
    count = 0
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        parts = (bits(x).view(f"f{x.real.dtype.itemsize}") for x in (a, b))
        both_nan = np.logical_and(*(np.isnan(part) for part in parts))
        count += int(((bits(a) != bits(b)) & ~both_nan).sum())
    return count


@contextmanager
def subnormals_flushed() -> Iterator[None]:
    """torch as XLA's CPU backend is always: subnormal operands and results are zeros of their sign."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)

"""Runs of torch.optim.Adam and AdamW, with the root that torch has here or with another; flags to try; ours by hand."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import funcsgd
from funcsgd.arithmetic import sqrt
from tests.support.torch_runs import Leaves, by_step

RULES = {"adam": (funcsgd.adam, torch.optim.Adam), "adamw": (funcsgd.adamw, torch.optim.AdamW)}
BETAS = ((0.9, 0.999), (0.37, 0.95))


def every_flag() -> Iterator[dict[str, Any]]:
    """Every combination of two values for each hyperparameter."""
    names = ("betas", "weight_decay", "amsgrad", "maximize")
    for values in itertools.product(BETAS, (0.0, 0.1), (False, True), (False, True)):
        yield dict(zip(names, values, strict=True))


def name_of(flags: dict[str, Any]) -> str:
    """A test's name."""
    return ",".join(f"{key}={value}" for key, value in flags.items() if value and value != BETAS[0]) or "plain"


def applied_by_hand(
    tx: optax.GradientTransformation,
    params: Leaves,
    gradients: Leaves,
    update: Callable[..., Any] | None = None,
    before: Callable[[int, Any], Any] = lambda step, state: state,
) -> tuple[Leaves, Any]:
    """The parameters after each update, which is applied outside of the jit, and the last state.

    ``before(step, state)`` is the state that an update is given; ``update`` is ``tx.update`` in a jit if it is None.
    """
    update = jax.jit(tx.update) if update is None else update
    p, state = [jnp.asarray(x) for x in params], tx.init(params)
    after: list[Leaves] = [[] for _ in params]
    for step, g in enumerate(by_step(gradients)):
        updates, state = update(g, before(step, state), p)
        p = optax.apply_updates(p, updates)
        for kept, leaf in zip(after, p, strict=True):
            kept.append(np.asarray(leaf))
    return [np.stack(kept) for kept in after], state


@contextmanager
def root_in_torch(root: funcsgd.arithmetic.SquareRoot) -> Iterator[None]:
    """torch's for-loop and foreach implementations as they are where MKL has another root."""
    functions = torch.Tensor.sqrt, torch.Tensor.sqrt_, torch._foreach_sqrt, torch._foreach_sqrt_

    def other(x: torch.Tensor) -> torch.Tensor:
        values = x.numpy()
        return torch.from_numpy(np.sqrt(values) if root.words is None else np.array(sqrt(jnp.asarray(values), root)))

    torch.Tensor.sqrt = other  # type: ignore[method-assign]
    torch.Tensor.sqrt_ = lambda x: x.copy_(other(x))  # type: ignore[method-assign]
    torch._foreach_sqrt = lambda tensors: [other(x) for x in tensors]
    torch._foreach_sqrt_ = lambda tensors: [x.copy_(other(x)) for x in tensors]
    try:
        yield
    finally:
        torch.Tensor.sqrt, torch.Tensor.sqrt_, torch._foreach_sqrt, torch._foreach_sqrt_ = functions  # type: ignore[method-assign]

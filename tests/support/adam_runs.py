"""Runs of torch.optim.Adam and AdamW, with the root that this machine's torch has or with another; flags to try."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

import funcsgd
from funcsgd.arithmetic import sqrt

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


@contextmanager
def root_in_torch(root: funcsgd.arithmetic.SquareRoot) -> Iterator[None]:
    """torch's for-loop implementation as it is where MKL has another root."""
    original = torch.Tensor.sqrt

    def other(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.array(sqrt(jnp.asarray(x.numpy()), root)))

    torch.Tensor.sqrt = other  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.sqrt = original  # type: ignore[method-assign]

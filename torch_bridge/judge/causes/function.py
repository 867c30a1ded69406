"""The function itself: a constant in it, a stopped gradient, a narrow type; undone while it is traced."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.widening import CAST, LAX

CONSTANT = Entry(
    "constant-of-the-function", "forward", "A constant in the function is another number, such as an epsilon.",
    "{torch} in place of {constant}", lambda constant, change: constant / (1 + change),
    "the constant {constant} is {torch} in torch", start=0.0,
)  # fmt: skip
"""``repair(constant, change)`` is torch's constant; `torch_bridge.judge.constants` fits the change."""


@contextlib.contextmanager
def _nothing_stopped() -> Iterator[None]:
    """`jax.lax.stop_gradient` lets gradients pass."""
    with mock.patch.object(jax.lax, "stop_gradient", lambda x: x):
        yield


@contextlib.contextmanager
def _not_reduced() -> Iterator[None]:
    """`jax.lax.reduce_precision` leaves values as they are."""
    with mock.patch.object(jax.lax, "reduce_precision", lambda operand, *bits, **more: operand):
        yield


def _without(narrow: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Casts to a narrow type become casts to float32."""

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        cast = getattr(LAX, CAST, None)
        if cast is None:
            yield
            return

        def wider(operand: Any, new_dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
            narrowed = new_dtype is not None and str(np.dtype(new_dtype)) == narrow
            return cast(operand, np.dtype(np.float32) if narrowed else new_dtype, *args, **kwargs)

        with mock.patch.object(LAX, CAST, wider):
            yield

    return patched


STOPPED = Entry(
    "gradient-stopped", "gradient", "A stop_gradient cuts off a gradient that torch has.",
    "the same line without jax.lax.stop_gradient", _nothing_stopped,
)  # fmt: skip
NARROW = (
    Entry("float16-inside", "precision", "A part is computed in float16, which torch computes in float32.",
          "no .astype(jnp.float16) at this line", _without("float16")),
    Entry("bfloat16-inside", "precision", "A part is computed in bfloat16, which torch computes in float32.",
          "no .astype(jnp.bfloat16) at this line", _without("bfloat16")),
    Entry("precision-reduced", "precision", "Values are rounded to fewer bits, as a product in TF32 does.",
          "no jax.lax.reduce_precision at this line; precision='highest'", _not_reduced),
)  # fmt: skip

ENTRIES = (CONSTANT, STOPPED, *NARROW)
"""Faults of the function; of the last ones ``repair()`` is a context in which the function is traced."""

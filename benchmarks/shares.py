"""In how many parameters Adam and AdamW differ from torch's other arithmetics: fused, capturable, other dtypes, roots.

Prints the share of differing parameters after 1, 50 and 200 steps, from equal gradients, and the largest distance in
numbers of the dtype. What capturable calculates on a GPU is calculated here on the CPU, where torch itself refuses it.
"""

import argparse
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import funcsgd
import torch_bridge

N, STEPS, LR = 4099, (1, 50, 200), 0.0137
RULES = {"adam": (funcsgd.adam, torch.optim.Adam), "adamw": (funcsgd.adamw, torch.optim.AdamW)}


class Arithmetic(NamedTuple):
    """A dtype and an implementation of torch, and the root that the rule is given."""

    dtype: str = "float32"
    how: dict[str, bool] = {"foreach": False}  # noqa: RUF012  # never written to
    root: str = "torch's"


ARITHMETICS = {
    "float32, for-loop": Arithmetic(),
    "float32, foreach": Arithmetic(how={"foreach": True}),
    "float32, correct root": Arithmetic(root="correct"),
    "float32, fused, correct root": Arithmetic(how={"fused": True}, root="correct"),
    "float32, capturable": Arithmetic(how={"foreach": False, "capturable": True}),
    "float32, capturable, foreach": Arithmetic(how={"foreach": True, "capturable": True}),
    "float64, for-loop": Arithmetic("float64"),
    "float64, fused": Arithmetic("float64", {"fused": True}),
    "bfloat16, for-loop": Arithmetic("bfloat16"),
    "bfloat16, foreach": Arithmetic("bfloat16", {"foreach": True}),
    "float16, for-loop": Arithmetic("float16"),
    "complex64, for-loop": Arithmetic("complex64"),
    "complex128, for-loop": Arithmetic("complex128"),
}


class Shares(NamedTuple):
    """Of one rule and arithmetic: the share of differing parameters at `STEPS`, and the largest distance."""

    differing: tuple[float, ...]
    ulps: int


@contextmanager
def _capturable_on_the_cpu() -> Iterator[None]:
    module: Any = importlib.import_module("torch.optim.adam")  # torch deletes the name from its package
    original = module._get_capturable_supported_devices
    module._get_capturable_supported_devices = lambda *args, **kwargs: ["cpu"]
    try:
        yield
    finally:
        module._get_capturable_supported_devices = original


def measured(rule: str, arithmetic: Arithmetic, **options: Any) -> Shares:
    """Run both on normal numbers over six decades, float16 over one, with weight decay 0.1, and compare."""
    ours, theirs = RULES[rule]
    options = {"weight_decay": 0.1, **options}
    rng, shape = np.random.default_rng(0), (1 + max(STEPS), N)
    decades = 0.5 if arithmetic.dtype == "float16" else 3
    is_complex = "complex" in arithmetic.dtype

    def draw() -> np.ndarray:
        return rng.standard_normal(shape) * 10 ** rng.uniform(-decades, decades, shape)

    values = draw() + 1j * draw() * is_complex
    low = torch.tensor(values if is_complex else values.real).to(getattr(torch, arithmetic.dtype))
    root = torch_bridge.torch_root() if arithmetic.root == "torch's" else arithmetic.root
    with jax.enable_x64(arithmetic.dtype in ("float64", "complex128")), _capturable_on_the_cpu():
        as_ours = [_in_jax(x) for x in low]
        after = _our_run(ours(LR, sqrt=root, **options), as_ours[0], as_ours[1:])
        expected = _torch_run(theirs, low, **arithmetic.how, **options)
    distances = [_distance(a, b) for a, b in zip(after, expected, strict=True)]
    return Shares(tuple(float((d > 0).mean()) for d in distances), int(max(d.max() for d in distances)))


def _in_jax(x: torch.Tensor) -> jax.Array:
    if x.dtype in (torch.bfloat16, torch.float16):
        return jnp.asarray(x.float().numpy(), str(x.dtype).removeprefix("torch."))
    return jnp.asarray(x.numpy())


def _our_run(tx: optax.GradientTransformation, p: jax.Array, gradients: list[jax.Array]) -> list[np.ndarray]:
    @jax.jit
    def step(p: jax.Array, state: Any, g: jax.Array) -> Any:
        updates, state = tx.update(g, state, p)
        return optax.apply_updates(p, updates), state

    state, after = tx.init(p), []
    for i, g in enumerate(gradients):
        p, state = step(p, state, g)
        if i + 1 in STEPS:
            after.append(np.asarray(p))
    return after


def _torch_run(rule: Callable[..., torch.optim.Optimizer], values: torch.Tensor, **how: Any) -> list[np.ndarray]:
    p = values[0].clone().requires_grad_()
    optimizer, after = rule([p], lr=LR, **how), []
    for i, g in enumerate(values[1:]):
        p.grad = g.clone()
        optimizer.step()
        if i + 1 in STEPS:
            after.append(np.asarray(_in_jax(p.detach().clone())))
    return after


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many numbers of the dtype lie between two arrays, element by element; of complex ones the farther part."""
    if np.iscomplexobj(a):
        return np.maximum(_distance(a.real, b.real), _distance(a.imag, b.imag))
    signed = f"i{a.dtype.itemsize}"

    def place(x: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(x).view(signed).astype(np.int64)
        return np.where(bits < 0, np.iinfo(signed).min - bits, bits)

    return np.where(np.isnan(a) & np.isnan(b), 0, np.abs(place(a) - place(b)))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"torch's root: {torch_bridge.torch_root()}")
    print(f"{'':38}" + "".join(f"{f'step {n}':>12}" for n in STEPS) + f"{'ulps':>8}")
    for rule in RULES:
        for name, arithmetic in ARITHMETICS.items():
            found = measured(rule, arithmetic)
            shares = "".join(f"{share:12.2%}" for share in found.differing)
            print(f"{rule + ', ' + name:38}{shares}{found.ulps:8d}")

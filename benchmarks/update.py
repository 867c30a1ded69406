"""One optimizer step over 25.6 million float32 parameters: funcsgd beside optax and torch.

Run it from the repository's root, on a machine with nothing else to do::

    python -m benchmarks.update                     sgd, adam and adamw; leaves 1, 161, 2000
    python -m benchmarks.update --rules adam --leaves 161 --rounds 51
    taskset -c 0,1 python -m benchmarks.update      on two cores

SGD has momentum 0.9, weight decay 1e-4, learning rate 0.1; Adam and AdamW have torch's defaults. The JAX steps are
jitted together with ``optax.apply_updates``, with parameters and state donated; they take turns on one set of arrays,
so that neither is luckier in its memory. torch has a set of its own for each implementation.

``funcsgd`` is the marked arithmetic, the default; ``funcsgd exact`` is compiled inside `funcsgd.exact_arithmetic`;
``funcsgd mkl root`` has ``sqrt="mkl_avx512"``, a look-up in a table of 4 MB for each parameter.

Columns:

- ``ms``: median milliseconds of a step. The contenders take turns, and each round starts with another of them.
- ``ours/``: our time over theirs; below 1, ours is faster.
- ``GB/s``: the bytes that the step has to move, over its time.
- ``/bytes``: its time over what those bytes need at the bandwidth measured in the same rounds; 1 is the best there is.

Bytes: XLA's CPU backend makes two loops of SGD's step (the line above each table counts them in the compiled program).
The buffer's reads p, g, b and writes b; the parameter's reads p, b and writes p: 28 bytes a parameter, ours and optax's
alike. torch fused makes one loop: 20. The other two torch implementations pass several times over, in memory or in a
cache, so no bytes are claimed for them; nor for Adam, whose parameter loop reads other arrays in optax than here. The
bandwidth is that of ``a = fl(b + 3 * a)``, jitted and donated, over two arrays as large as all parameters: 12 bytes an
element, reads and writes counted alike. ``README.md`` says why there are two loops and what was tried to make it one.
"""

import argparse
import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import funcsgd
from benchmarks.bandwidth import print_table, stream
from benchmarks.leaves import for_leaves
from benchmarks.timing import alternating_medians

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 1e-4
SGD = {"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}


class Rule(NamedTuple):
    """The contenders for one optimizer: ours, optax's and torch's, and the bytes a parameter that can be claimed."""

    jax: dict[str, optax.GradientTransformation]
    torch: Callable[..., torch.optim.Optimizer]
    bytes: dict[str, int]


RULES = {
    "sgd": Rule(
        {
            "funcsgd": funcsgd.sgd(LEARNING_RATE, **SGD),
            "funcsgd exact": funcsgd.sgd(LEARNING_RATE, **SGD),
            "optax": optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.sgd(LEARNING_RATE, MOMENTUM)),
        },
        functools.partial(torch.optim.SGD, lr=LEARNING_RATE, **SGD),
        {"funcsgd": 28, "funcsgd exact": 28, "optax": 28, "torch fused": 20},
    ),
    "adam": Rule(
        {
            "funcsgd": funcsgd.adam(),
            "funcsgd exact": funcsgd.adam(),
            "funcsgd mkl root": funcsgd.adam(sqrt="mkl_avx512"),
            "optax": optax.adam(1e-3),
        },
        torch.optim.Adam,
        {},
    ),
    "adamw": Rule(
        {"funcsgd": funcsgd.adamw(), "funcsgd exact": funcsgd.adamw(), "optax": optax.adamw(1e-3, weight_decay=1e-2)},
        torch.optim.AdamW,
        {},
    ),
}


def jax_steps(
    transformations: dict[str, optax.GradientTransformation], values: list[np.ndarray]
) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """A step of each transformation, all on the same arrays, and how many loops over a large leaf each compiles to."""
    gradients, params = ([jnp.array(v) for v in values] for _ in range(2))
    trees = max(_buffers(tx.init(params), values)[1] for tx in transformations.values())
    buffers = [jnp.array(v * v) for _ in range(trees) for v in values]
    largest = max(v.size for v in values)
    loops: dict[str, int] = {}

    def contender(name: str, tx: optax.GradientTransformation) -> Callable[[], object]:
        def step(params: list[jax.Array], state: Any, grads: list[jax.Array]) -> tuple[Any, Any]:
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        leaves, tree = jax.tree.flatten(tx.init(params))
        first, _ = _buffers(leaves, values)
        head, tail = leaves[:first], leaves[first + len(buffers) :]
        state = tree.unflatten(head + buffers + tail)
        with funcsgd.exact_arithmetic() if "exact" in name else contextlib.nullcontext():
            compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, gradients).compile()
        entry = str(compiled.as_text()).split("\nENTRY")[1]
        n_largest = sum(v.size == largest for v in values)
        loops[name] = sum(f"= f32[{largest}]" in line and " fusion(" in line for line in entry.splitlines())
        loops[name] //= n_largest

        def call() -> None:
            nonlocal head, tail
            new_params, new_state = compiled(params, tree.unflatten(head + buffers + tail), gradients)
            jax.block_until_ready((new_params, new_state))
            new = jax.tree.leaves(new_state)
            params[:], buffers[:] = new_params, new[first : first + len(buffers)]
            head, tail = new[:first], new[first + len(buffers) :]

        return call

    return {name: contender(name, tx) for name, tx in transformations.items()}, loops


def _buffers(state: Any, values: list[np.ndarray]) -> tuple[int, int]:
    """Where a state's first tree like the parameters begins among its leaves, and how many follow one another."""
    shapes, of_params = [x.shape for x in jax.tree.leaves(state)], [v.shape for v in values]
    n = len(of_params)
    first = next(i for i in range(len(shapes)) if shapes[i : i + n] == of_params)
    trees = 1
    while shapes[first + trees * n : first + (trees + 1) * n] == of_params:
        trees += 1
    return first, trees


def torch_step(
    rule: Callable[..., torch.optim.Optimizer], values: list[np.ndarray], **implementation: bool
) -> Callable[[], object]:
    params = [torch.tensor(v, requires_grad=True) for v in values]
    for param, value in zip(params, values, strict=True):
        param.grad = torch.tensor(value)
    return rule(params, **implementation).step


def compare(name: str, values: list[np.ndarray], rounds: int) -> None:
    """Time all contenders of a rule over these leaves and print the table."""
    rule = RULES[name]
    contenders, loops = jax_steps(rule.jax, values)
    contenders["torch for-loop"] = torch_step(rule.torch, values, foreach=False)
    contenders["torch foreach"] = torch_step(rule.torch, values, foreach=True)
    contenders["torch fused"] = torch_step(rule.torch, values, fused=True)
    contenders["bandwidth"] = stream()
    seconds = alternating_medians(contenders, rounds)

    print(f"{name}; loops over a leaf: {', '.join(f'{name} {n}' for name, n in loops.items())}")
    print_table(seconds, rule.bytes, sum(v.size for v in values))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), help="which optimizers")

    def compare_all(values: list[np.ndarray], rounds: int) -> None:
        for name in parser.parse_known_args()[0].rules:
            compare(name, values, rounds)

    for_leaves("one optimizer step: funcsgd beside optax and torch", compare_all, rounds=25, options=[parser])

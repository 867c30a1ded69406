"""The rules on a GPU: which patterns hold, bits against eager torch, times of an update and of whole runs.

One prepared script, under four minutes on a machine whose torch and jax both see a CUDA device::

    python -m benchmarks.device                     writes device.json and device.md
    python -m benchmarks.device --rehearse          the same on the CPU, small: it proves the script alone

What it asks:

- probes: `funcsgd.exactness` on the device, with the marked and with the exact arithmetic.
- bits: 5 updates of each set of flags, float32 and float64, against ``torch.optim.SGD`` on the device (for-loop and
  foreach) and on the CPU. torch's eager CUDA kernels for ``add(alpha)`` are one fused multiply-add, like those of its
  CPU (``torch/_inductor/lowering.py``, the lowering of ``aten.add`` with alpha, says so of eager mode); so all three
  should agree.
- times of one update: 25.6 million float32 parameters in 1, 161 and 2000 leaves, momentum and weight decay, next to
  the bandwidth of ``a = b + 3 * a`` measured in the same run.
- whole runs: a linear regression by `funcsgd.train`, and a sweep of it, beside torch's loop.
"""

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import funcsgd
from benchmarks.leaves import leaf_sizes
from benchmarks.timing import alternating_medians

OPTIONS = {"momentum": 0.9, "weight_decay": 1e-4}
ARITHMETICS = {"marked": contextlib.nullcontext, "exact": funcsgd.exact_arithmetic}
FLAGS: tuple[dict[str, Any], ...] = (
    {},
    {"weight_decay": 0.01},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.01, "dampening": 0.1},
    {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
)
SHAPES = ((7,), (1003,), (100, 3), (66, 33), (3, 3, 8, 16))


def probes() -> list[dict[str, Any]]:
    """What `exactness` says of JAX's default device."""
    found = []
    for name, arithmetic in ARITHMETICS.items():
        with arithmetic():
            told = funcsgd.exactness()
        found.append({"arithmetic": name, "verdict": str(told), "holds": dict(told.holds)})
    return found


def bits(device: str, steps: int = 5) -> Iterator[dict[str, Any]]:
    """Elements that differ from torch's after some updates, for each arithmetic and each of torch's implementations."""
    for dtype, flags in itertools.product((np.float32, np.float64), FLAGS):
        rng = np.random.default_rng(0)
        params, *gradients = (
            [(rng.standard_normal(s) * 10 ** rng.uniform(-3, 3, s)).astype(dtype) for s in SHAPES]
            for _ in range(steps + 1)
        )
        theirs = {
            f"{place} {'foreach' if foreach else 'for-loop'}": torch_updates(params, gradients, place, foreach, flags)
            for place in dict.fromkeys((device, "cpu"))
            for foreach in (False, True)
        }
        for name, arithmetic in ARITHMETICS.items():
            with jax.enable_x64(dtype is np.float64), arithmetic():
                ours = our_updates(params, gradients, flags)
            for peer, values in theirs.items():
                n = sum(
                    int((a.view(np.uint8) != b.view(np.uint8)).sum() > 0) for a, b in zip(ours, values, strict=True)
                )
                differing = sum(int((a != b).sum()) for a, b in zip(ours, values, strict=True))
                yield {
                    "arithmetic": name,
                    "dtype": np.dtype(dtype).name,
                    "flags": "+".join(flags) or "plain",
                    "peer": f"torch {peer}",
                    "leaves differing": n,
                    "elements differing": differing,
                    "of": sum(p.size for p in params),
                }


def our_updates(params: list[np.ndarray], gradients: list[list[np.ndarray]], flags: dict[str, Any]) -> list[np.ndarray]:
    tx = funcsgd.sgd(0.1, **flags)

    @jax.jit
    def step(params: Any, state: Any, g: Any) -> Any:
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    current: Any = [jnp.asarray(p) for p in params]
    state = tx.init(current)
    for g in gradients:
        current, state = step(current, state, g)
    return [np.asarray(p) for p in current]


def torch_updates(
    params: list[np.ndarray], gradients: list[list[np.ndarray]], place: str, foreach: bool, flags: dict[str, Any]
) -> list[np.ndarray]:
    tensors = [torch.tensor(p, device=place, requires_grad=True) for p in params]
    optimizer = torch.optim.SGD(tensors, lr=0.1, foreach=foreach, **flags)
    for of_step in gradients:
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = torch.tensor(g, device=place)
        optimizer.step()
    return [tensor.detach().cpu().numpy() for tensor in tensors]


def update_times(device: str, n_leaves: int, shrink: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Median seconds of one update, and of the bandwidth's loop over as many parameters."""
    sizes = [max(1, n // shrink) for n in leaf_sizes(n_leaves)]
    rng = np.random.default_rng(0)
    values = [0.01 * rng.standard_normal(n).astype(np.float32) for n in sizes]
    ours = funcsgd.sgd(0.1, **OPTIONS)
    plain = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9))
    contenders = {
        "funcsgd marked": jax_update(ours, values, contextlib.nullcontext),
        "funcsgd exact": jax_update(ours, values, funcsgd.exact_arithmetic),
        "optax": jax_update(plain, values, contextlib.nullcontext),
        "torch foreach": torch_update(values, device, foreach=True),
        "torch fused": torch_update(values, device, fused=True),
        "bandwidth": stream(sum(sizes)),
    }
    seconds = alternating_medians(contenders, rounds)
    for name, median in seconds.items():
        gigabytes = 12 * sum(sizes) / median / 1e9 if name == "bandwidth" else None
        yield {
            "leaves": n_leaves,
            "parameters": sum(sizes),
            "contender": name,
            "ms": 1e3 * median,
            "over optax": median / seconds["optax"],
            "over torch fused": median / seconds["torch fused"],
            "GB/s": gigabytes,
        }


def jax_update(
    tx: optax.GradientTransformation, values: list[np.ndarray], arithmetic: Callable[[], Any]
) -> Callable[[], None]:
    def step(params: Any, state: Any, g: Any) -> Any:
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    gradients, params = ([jnp.array(v) for v in values] for _ in range(2))
    state: Any = tx.init(params)
    with arithmetic():
        compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, gradients).compile()

    def call() -> None:
        nonlocal params, state
        params, state = jax.block_until_ready(compiled(params, state, gradients))

    return call


def torch_update(values: list[np.ndarray], device: str, **implementation: bool) -> Callable[[], None]:
    tensors = [torch.tensor(v, device=device, requires_grad=True) for v in values]
    for tensor, value in zip(tensors, values, strict=True):
        tensor.grad = torch.tensor(value, device=device)
    optimizer = torch.optim.SGD(tensors, lr=0.1, **OPTIONS, **implementation)

    def call() -> None:
        optimizer.step()
        synchronise(device)

    return call


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def stream(n: int) -> Callable[[], None]:
    a, b = jnp.zeros(n), jnp.ones(n)
    kernel = jax.jit(lambda a, b: b + 3 * a, donate_argnums=0).lower(a, b).compile()

    def call() -> None:
        nonlocal a
        a = jax.block_until_ready(kernel(a, b))

    return call


def whole_runs(device: str, n_updates: int, n_lanes: int) -> Iterator[dict[str, Any]]:
    """A linear regression by full gradients: `train` once compiled, a sweep of it, and torch's loop."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 2)).astype(np.float32)
    y = x @ np.float32([[3.0], [-1.0]])
    order = [[list(range(100))] for _ in range(n_updates)]

    def loss_fn(params: Any, batch: Any) -> Any:
        return ((batch["x"] @ params["w"] - batch["y"]) ** 2).mean()

    def run(rate: Any) -> Any:
        start = {"w": jnp.zeros((2, 1))}
        return funcsgd.train(loss_fn, funcsgd.sgd(rate, 0.9), start, {"x": x, "y": y}, order).params["w"]

    once, swept = jax.jit(run), jax.jit(lambda rates: funcsgd.sweep(run, rates))
    rates = jnp.linspace(0.01, 0.1, n_lanes)
    inputs, targets = (torch.tensor(a, device=device) for a in (x, y))

    def torch_loop() -> None:
        weight = torch.zeros(2, 1, device=device, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.05, momentum=0.9)
        for _ in range(n_updates):
            optimizer.zero_grad()
            ((inputs @ weight - targets) ** 2).mean().backward()
            optimizer.step()
        synchronise(device)

    contenders: dict[str, Callable[[], object]] = {
        "funcsgd.train": lambda: jax.block_until_ready(once(jnp.float32(0.05))),
        f"funcsgd.sweep of {n_lanes}": lambda: jax.block_until_ready(swept(rates)),
        "torch's loop": torch_loop,
    }
    for name, median in alternating_medians(contenders, rounds=3, warmup=1).items():
        yield {"run": name, "updates": n_updates, "ms": 1e3 * median}


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a table in Markdown; nested values are left to the JSON."""
    if not rows:
        return "nothing\n"
    columns = [name for name, value in rows[0].items() if not isinstance(value, dict)]

    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = [columns, ["---"] * len(columns), *([cell(row[name]) for name in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(rehearse: bool, file: str) -> dict[str, Any]:
    """Ask everything, print it, write ``file``.json and ``file``.md; return what the JSON holds."""
    if not rehearse and not (torch.cuda.is_available() and jax.default_backend() == "gpu"):
        raise SystemExit(
            f"torch sees CUDA: {torch.cuda.is_available()}, JAX's backend: {jax.default_backend()}; "
            "both are needed here. --rehearse runs the script on the CPU with small sizes"
        )
    device = "cpu" if rehearse else "cuda"
    begun = time.perf_counter()
    leaves, shrink, rounds = ((1, 161), 1000, 3) if rehearse else ((1, 161, 2000), 1, 21)
    sections = {
        "probes": probes(),
        "bits": list(bits(device)),
        "one update": [row for n in leaves for row in update_times(device, n, shrink, rounds)],
        "whole runs": list(whole_runs(device, *((50, 4) if rehearse else (2000, 1000)))),
    }
    report: dict[str, Any] = {
        "rehearsal": rehearse,
        "device": "CPU" if rehearse else torch.cuda.get_device_name(),
        "versions": {"jax": jax.__version__, "torch": torch.__version__, "optax": optax.__version__},
        "seconds": time.perf_counter() - begun,
        **sections,
    }
    title = f"{'Rehearsal on the CPU: no GPU was used' if rehearse else report['device']}; {report['versions']}\n"
    text = title + "".join(f"\n### {name}\n\n{table(rows)}" for name, rows in sections.items())
    with open(f"{file}.json", "w") as out:
        json.dump(report, out, indent=1)
    with open(f"{file}.md", "w") as out:
        out.write(text)
    print(text)
    print(f"{report['seconds']:.0f} s; {file}.json, {file}.md")
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="bits and times of the rules on a GPU")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with small sizes")
    parser.add_argument("--file", default="device", help="where to write, without the extension")
    arguments = parser.parse_args()
    main(arguments.rehearse, arguments.file)

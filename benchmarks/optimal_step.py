"""What the step alpha* costs: whole steps of two networks, with and without it, beside torch's double backward.

Run it from the repository's root, on a machine with nothing else to do::

    python -m benchmarks.optimal_step
    taskset -c 0,1 python -m benchmarks.optimal_step      on two cores

Float32. The multilayer perceptron is 784-1024-1024-10 with batches of 256, the convolutional net two 3x3 convolutions
of 16 and 32 channels with average pooling and a linear layer on 28x28 images, batches of 64. A step is loss, gradient,
direction and update; ``over`` is its time over the plain gradient step of the same library in the same run.
"""

import argparse
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import funcsgd
from benchmarks.timing import alternating_medians

LEARNING_RATE = 1e-3
Network = Callable[[Any, jax.Array], jax.Array]


def weights(*shapes: tuple[int, ...]) -> list[tuple[jax.Array, jax.Array]]:
    """Kernels of shapes ``(..., in, out)`` and biases."""
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1])) for shape in shapes]
    return [(jnp.array(k, jnp.float32), jnp.zeros(k.shape[-1])) for k in kernels]


def perceptron(params: Any, x: jax.Array) -> jax.Array:
    *hidden, (last, bias) = params
    for kernel, b in hidden:
        x = jax.nn.relu(x @ kernel + b)
    return x @ last + bias


def convolutional(params: Any, x: jax.Array) -> jax.Array:
    *hidden, (last, bias) = params
    for kernel, b in hidden:
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
        n, height, width, channels = x.shape
        x = jax.nn.relu(x).reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    return x.reshape(len(x), -1) @ last + bias


def torch_convolutional() -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for n_in, n_out in ((1, 16), (16, 32)):
        layers += [torch.nn.Conv2d(n_in, n_out, 3, padding=1), torch.nn.ReLU(), torch.nn.AvgPool2d(2)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(7 * 7 * 32, 10))


def torch_perceptron() -> torch.nn.Sequential:
    hidden = [torch.nn.Linear(784, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1024), torch.nn.ReLU()]
    return torch.nn.Sequential(*hidden, torch.nn.Linear(1024, 10))


def jax_contenders(network: Network, params: Any, x: np.ndarray, y: np.ndarray) -> dict[str, Callable[[], object]]:
    def value_fn(params: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(network(params, x), y).mean()

    search = functools.partial(funcsgd.curvature.scale_by_quadratic_linesearch, uphill=True)
    reverse = functools.partial(funcsgd.curvature.directional_curvature, mode="forward_over_reverse")
    rules = {
        "plain": funcsgd.sgd(LEARNING_RATE, momentum=None),
        "alpha*": search(),
        "alpha*, forward over reverse": search(curvature=reverse),
        "alpha*, every 10 steps": search(every=10),
        "observed, every 10 steps": optax.chain(
            funcsgd.curvature.observe_quadratic_step(uphill=True, every=10), funcsgd.sgd(LEARNING_RATE, momentum=None)
        ),
    }

    def contender(rule: optax.GradientTransformation) -> Callable[[], object]:
        tx = optax.with_extra_args_support(rule)

        def step(params: Any, state: Any) -> tuple[Any, Any]:
            value, grad = jax.value_and_grad(value_fn)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=value_fn)
            return optax.apply_updates(params, updates), state

        state = tx.init(params)
        compiled = jax.jit(step).lower(params, state).compile()

        def call() -> None:
            nonlocal state
            for _ in range(10):  # so that one in ten measures in every call; always at the same point, none converges
                new, state = compiled(params, state)
                jax.block_until_ready(new)

        return call

    return {name: contender(rule) for name, rule in rules.items()}


def torch_contenders(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Callable[[], object]]:
    params = list(model.parameters())
    criterion = torch.nn.CrossEntropyLoss()

    def plain() -> None:
        for _ in range(10):
            grads = torch.autograd.grad(criterion(model(x), y), params)
            with torch.no_grad():
                torch._foreach_add_(params, grads, alpha=-LEARNING_RATE)

    def double_backward() -> None:
        for _ in range(10):
            grads = torch.autograd.grad(criterion(model(x), y), params, create_graph=True)
            direction = [-g.detach() for g in grads]
            slope = sum((g * d).sum() for g, d in zip(grads, direction, strict=True))
            products = torch.autograd.grad(slope, params)
            with torch.no_grad():
                curvature = sum((h * d).sum() for h, d in zip(products, direction, strict=True))
                step = torch.where(curvature > 0, -slope / curvature, LEARNING_RATE)
                torch._foreach_add_(params, torch._foreach_mul(direction, step))

    return {"torch plain": plain, "torch double backward": double_backward}


def compare(title: str, contenders: dict[str, Callable[[], object]], rounds: int) -> None:
    seconds = alternating_medians(contenders, rounds)
    print(f"\n{title}\n{'':32}{'ms':>8}{'over':>8}")
    for name, time in seconds.items():
        plain = seconds["torch plain" if name.startswith("torch") else "plain"]
        print(f"{name:32}{1e2 * time:8.2f}{time / plain:8.2f}", flush=True)  # of ten steps
    ratio = seconds["torch double backward"] / seconds["torch plain"] / (seconds["alpha*"] / seconds["plain"])
    print(f"torch's ratio is {ratio:.2f} times ours")


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of the step alpha*")
    parser.add_argument("--rounds", type=int, default=11)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    print(f"{cores} cores; jax {jax.__version__}, optax {optax.__version__}, torch {torch.__version__}")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((256, 784), np.float32), rng.integers(0, 10, 256)
    ours = jax_contenders(perceptron, weights((784, 1024), (1024, 1024), (1024, 10)), x, y)
    theirs = torch_contenders(torch_perceptron(), torch.tensor(x), torch.tensor(y))
    compare("multilayer perceptron 784-1024-1024-10, batch 256", ours | theirs, arguments.rounds)
    x, y = rng.standard_normal((64, 28, 28, 1), np.float32), rng.integers(0, 10, 64)
    ours = jax_contenders(convolutional, weights((3, 3, 1, 16), (3, 3, 16, 32), (7 * 7 * 32, 10)), x, y)
    theirs = torch_contenders(torch_convolutional(), torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y))
    compare("convolutional net on 28x28, batch 64", ours | theirs, arguments.rounds)


if __name__ == "__main__":
    main()

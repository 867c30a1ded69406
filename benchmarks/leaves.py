"""The same 25.6 million parameters in one leaf, in the leaves of a ResNet-50, and in many."""

import argparse
import os
from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
import torch

import funcsgd

N_PARAMETERS = 25_600_000


def for_leaves(
    description: str,
    compare: Callable[[list[np.ndarray], int], None],
    rounds: int,
    options: Sequence[argparse.ArgumentParser] = (),
) -> None:
    """The command line: call ``compare(values, rounds)`` with small random numbers in each number of leaves."""
    parser = argparse.ArgumentParser(description=description, parents=list(options))
    parser.add_argument("--leaves", type=int, nargs="+", default=[1, 161, 2000])
    parser.add_argument("--rounds", type=int, default=rounds)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    versions = f"jax {jax.__version__}, optax {optax.__version__}, torch {torch.__version__}"
    print(f"{N_PARAMETERS / 1e6} M float32 parameters, {cores} cores, {funcsgd.exactness()}; {versions}")
    for n_leaves in arguments.leaves:
        rng = np.random.default_rng(0)
        print(f"\n{n_leaves} leaves")
        compare([0.01 * rng.standard_normal(n).astype(np.float32) for n in leaf_sizes(n_leaves)], arguments.rounds)


def leaf_sizes(n_leaves: int) -> list[int]:
    """About `N_PARAMETERS` in all: for 161 the 25,557,032 parameters of a ResNet-50, otherwise equal sizes."""
    return resnet50_sizes() if n_leaves == 161 else [N_PARAMETERS // n_leaves] * n_leaves


def resnet50_sizes() -> list[int]:
    """Sizes of a ResNet-50 for ImageNet: each convolution's kernel, its BatchNorm's scale and shift; a linear layer.

    Source: He et al. 2016, table 1.
    """
    convolutions = [(3, 64, 7)]
    n_in = 64
    for width, n_blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(n_blocks):
            convolutions += [(n_in, width, 1), (width, width, 3), (width, 4 * width, 1)]
            convolutions += [(n_in, 4 * width, 1)] if block == 0 else []  # the shortcut's
            n_in = 4 * width
    layers = [[n_in * n_out * side**2, n_out, n_out] for n_in, n_out, side in convolutions]
    return [size for layer in layers for size in layer] + [2048 * 1000, 1000]

"""torch's permutations and epochs, by torch and without it: ``python -m benchmarks.random_order``.

Medians and ratios of medians are printed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.utils.data as torch_data

from benchmarks.timing import alternating_medians
from torch_bridge import random
from torch_bridge.data import ArrayDataset, DataLoader
from torch_bridge.random import traced

ROUNDS = 9
LENGTH = 1_000_000
SEEDS, SHORT = 100, 1000


def report(title: str, medians: dict[str, float]) -> None:
    """Print medians, and how many times as fast as the first contender each is."""
    print(title)
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:28s} {1e3 * median:9.2f} ms   {first / median:6.2f} x as fast")


def permutations() -> None:
    generator = random.Generator(0)
    one = jax.jit(lambda seed: traced.draw_permutation(traced.seeded(seed), LENGTH)[0])
    report(
        f"randperm({LENGTH:_})",
        alternating_medians(
            {
                "torch.randperm": lambda: torch.randperm(LENGTH),
                "Generator.randperm": lambda: generator.randperm(LENGTH),
                "traced, in jit": lambda: one(0).block_until_ready(),
            },
            ROUNDS,
        ),
    )
    many = jax.jit(jax.vmap(lambda seed: traced.draw_permutation(traced.seeded(seed), SHORT)[0]))
    seeds = jnp.arange(SEEDS)
    report(
        f"randperm({SHORT:_}) of {SEEDS} seeds",
        alternating_medians(
            {
                "torch.randperm, one by one": lambda: [
                    torch.randperm(SHORT, generator=torch.Generator().manual_seed(seed)) for seed in range(SEEDS)
                ],
                "traced, in vmap": lambda: many(seeds).block_until_ready(),
            },
            ROUNDS,
        ),
    )


def epochs(features: int) -> None:
    x = np.random.default_rng(0).random((60_000, features), np.float32)
    y = np.arange(60_000)
    torch_dataset = torch_data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    theirs = torch_data.DataLoader(torch_dataset, batch_size=128, shuffle=True)
    ours = DataLoader(ArrayDataset(x, y), batch_size=128, shuffle=True)

    def iterate(loader: object) -> None:
        for _ in loader:
            pass

    def gather() -> None:
        batch = None  # kept while the next one is made, as a loop over a loader keeps it
        order = random.default_generator.randperm(len(x))
        for start in range(0, len(x), 128):
            batch = [x[order[start : start + 128]], y[order[start : start + 128]]]
        del batch

    torch.manual_seed(0)
    random.manual_seed(0)
    for (x_theirs, y_theirs), (x_ours, y_ours) in zip(theirs, ours, strict=True):
        assert np.array_equal(x_ours, x_theirs.numpy())
        assert np.array_equal(y_ours, y_theirs.numpy())
    report(
        f"an epoch over 60_000 x {features} float32, batches of 128, shuffled",
        alternating_medians(
            {
                "torch DataLoader": lambda: iterate(theirs),
                "torch_bridge DataLoader": lambda: iterate(ours),
                "NumPy's indexing alone": gather,  # what a loader that calls NumPy cannot undercut by much
                "one copy of the array": x.copy,  # the memory's share
            },
            ROUNDS,
        ),
    )


def main() -> None:
    print(f"torch {torch.__version__} with {torch.get_num_threads()} threads, jax {jax.__version__}")
    permutations()
    epochs(784)
    epochs(20)


if __name__ == "__main__":
    main()

"""Hold the rules to torch's bits in many programs, on any Python that has JAX: with torch, or with a file from it.

    python -m tests.support.bits.check write torch.npz          where torch is: its results, for the other Pythons
    python -m tests.support.bits.check read torch.npz           where it is not: both arithmetics, every scenario
    python -m tests.support.bits.check read torch.npz short     the short list; "sharded": those of two devices

It prints a line for each scenario and leaf that differs, and exits with 1 if there is one that no gap is known for.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import funcsgd
from tests.support.bits import torch_results
from tests.support.bits.programs import DRIVES, draw, hyperparameters
from tests.support.bits.scenarios import Scenario, is_known_gap, long_list, short_list


class Difference(NamedTuple):
    """A leaf with elements of other bits than torch's."""

    kind: str
    shape: tuple[int, ...]
    n: int


def differences(
    scenario: Scenario, theirs: dict[str, list[np.ndarray]], exact: bool, **options: Any
) -> list[Difference]:
    """Compile and run a scenario, float32 in JAX's 32-bit mode, and compare it with torch's result."""
    data = draw(scenario.plan(), scenario.dtype)
    arithmetic = funcsgd.exact_arithmetic() if exact else contextlib.nullcontext()
    with jax.enable_x64(scenario.dtype == "float64"), arithmetic:
        fixed, arrays = hyperparameters(scenario.flags, scenario.how, scenario.dtype)
        ours = jax.device_get(DRIVES[scenario.drive](data, fixed, arrays, **options))
    found = []
    for kind, leaves in theirs.items():
        for a, b in zip(ours[kind], leaves, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            unsigned = f"u{a.dtype.itemsize}"
            n = int((np.atleast_1d(a).view(unsigned) != np.atleast_1d(b).view(unsigned)).sum())
            found += [Difference(kind, a.shape, n)] if n else []
    return found


def main(task: str, file: str, which: str = "long") -> int:
    """What the module's docstring says; the number of differences that are not known."""
    scenarios = long_list() if which == "long" else short_list()
    if which == "sharded":
        scenarios = [scenario for scenario in scenarios if scenario.drive in ("shard_map", "FSDP")]
    if task == "write":
        torch_results.write(Path(file), scenarios)
        return 0
    unknown = known = 0
    for scenario in scenarios:
        theirs = torch_results.read(Path(file), scenario)
        for exact in (False, True):
            found = differences(scenario, theirs, exact)
            for difference in found:
                gap = not exact and is_known_gap(difference.shape)
                known, unknown = known + gap, unknown + (not gap)
                size = int(np.prod(difference.shape))
                where = f"{difference.kind} {difference.shape}: {difference.n} of {size}"
                print(
                    f"{'exact' if exact else 'marked'}: {scenario}: {where}{' (known gap)' if gap else ''}", flush=True
                )
    told = funcsgd.exactness()
    print(f"jax {jax.__version__}: {len(scenarios)} scenarios, differing leaves: {unknown}, in a known gap: {known}")
    print(told)
    if known and told.bitwise:
        print("funcsgd.exactness() says bitwise all the same")
    return unknown + (known and told.bitwise)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    sys.exit(min(1, main(*sys.argv[1:])))

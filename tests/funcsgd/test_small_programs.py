"""Programs so small that XLA and LLVM unroll all of it: what they share and merge then must not cost a rounding."""

import numpy as np
import pytest

import funcsgd
from funcsgd import schedules
from tests.support.drives import by_jit, by_scan
from tests.support.sampling import one_in
from tests.support.torch_runs import by_step, differing_bits, legal_flags, name_of, random_run, torch_run

STEPS = 20
CYCLE = schedules.CyclicLR(0.01, 0.1, step_size_up=7, step_size_down=3)
RATES, MOMENTA = CYCLE.table(STEPS), CYCLE.momentum.table(STEPS)
FLAGS = [flags for flags in legal_flags() if flags["momentum"] == 0.9 and not flags["maximize"]]
SIZES = [7, *one_in(0, (1, 2, 3, 5, 8, 15, 16, 17), thorough=2)]
SHAPES = [
    ((4, 3), (4, 5), (4, 7), (8, 5)),
    *(pytest.param(tuple((n, m) for n in range(2, 17)), marks=pytest.mark.exhaustive) for m in (2, 5, 8)),
    pytest.param(tuple((n, m, 3, 3) for n in range(1, 5) for m in range(1, 5)), marks=pytest.mark.thorough),
]


def cycled(flags):
    momentum = schedules.tabulate(CYCLE.momentum, STEPS)
    return funcsgd.sgd(schedules.tabulate(CYCLE, STEPS), **{**flags, "momentum": momentum})


def cycled_in_torch(params, gradients, flags):
    at_step = [{"lr": float(rate), "momentum": float(beta)} for rate, beta in zip(RATES, MOMENTA, strict=True)]
    return torch_run(params, by_step(gradients), at_step.__getitem__, lr=0.1, **flags)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("flags", FLAGS, ids=name_of)
def test_loops(flags, n):
    for seed in range(3):
        params, gradients = (
            [x.astype(np.float32) for x in leaves] for leaves in random_run(float, ((n,),), STEPS, seed)
        )
        assert differing_bits(by_scan(cycled(flags), params, gradients), cycled_in_torch(params, gradients, flags)) == 0


@pytest.mark.parametrize("shapes", SHAPES, ids=lambda shapes: str(shapes[0]))
@pytest.mark.parametrize("flags", FLAGS, ids=name_of)
def test_leaves_of_several_dimensions(flags, shapes):
    params, gradients = random_run(np.float32, shapes, STEPS)
    theirs = torch_run(params, by_step(gradients), lr=0.1, **flags)
    assert differing_bits(by_jit(funcsgd.sgd(0.1, **flags), params, gradients), theirs) == 0
    assert differing_bits(by_jit(cycled(flags), params, gradients), cycled_in_torch(params, gradients, flags)) == 0

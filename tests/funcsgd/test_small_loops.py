"""Runs so small that XLA makes one machine function of the loop, whose two halves may then share products."""

import pytest

import funcsgd
from tests.funcsgd.drives import by_scan
from tests.funcsgd.torch_runs import by_step, differing_bits, legal_flags, name_of, random_run, torch_run

STEPS = 20
CYCLE = funcsgd.cyclic_lr(0.01, 0.1, step_size_up=7, step_size_down=3)
RATES, MOMENTA = CYCLE.table(STEPS), CYCLE.momentum.table(STEPS)
FLAGS = [flags for flags in legal_flags() if flags["momentum"] == 0.9 and not flags["maximize"]]
SIZES = [7, *(pytest.param(n, marks=pytest.mark.thorough) for n in (*range(1, 7), *range(8, 18)))]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("flags", FLAGS, ids=name_of)
def test_cycled_rates_and_momenta(flags, n):
    tx = funcsgd.sgd(funcsgd.tabulate(CYCLE, STEPS), **{**flags, "momentum": funcsgd.tabulate(CYCLE.momentum, STEPS)})
    for seed in range(3):
        params, gradients = random_run(float, ((n,),), STEPS, seed)
        params, gradients = ([x.astype("float32") for x in leaves] for leaves in (params, gradients))
        cycled = [{"lr": float(rate), "momentum": float(beta)} for rate, beta in zip(RATES, MOMENTA, strict=True)]
        theirs = torch_run(params, by_step(gradients), cycled.__getitem__, **{**flags, "lr": 0.1})
        assert differing_bits(by_scan(tx, params, gradients), theirs) == 0

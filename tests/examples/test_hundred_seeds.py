"""The example of a hundred seeds runs where torch and the packages of the tests are absent."""

import re

import pytest

from tests.examples.run_without import printed


@pytest.mark.thorough
def test_a_hundred_seeds_without_torch():
    drawn, first, spread, speed = printed("09_hundred_seeds.py", ["torch", "sklearn", "matplotlib"]).splitlines()
    assert drawn == "initial weights and first order of 100 seeds: equal to the host generator's in every bit"
    form = r"seed 0, after 114 steps: weights at most (\S+) away from PyTorch's, relative to their 2-norm"
    assert 0 <= float(re.fullmatch(form, first)[1]) < 1e-4
    form = r"held-out accuracy of all seeds: (\S+)% \+- \S+% \(standard deviation\), from (\S+)% to (\S+)%"
    mean, least, most = map(float, re.fullmatch(form, spread).groups())
    assert least < mean < most  # not the same run a hundred times
    assert re.fullmatch(r"100 runs of 114 steps in \S+ s, \d+ ms each", speed)

"""What is said of a report."""

import dataclasses

from torch_bridge.judge.bits_sentence import comparison_sentence, describe
from torch_bridge.judge.compare import Comparison, PhaseRow
from torch_bridge.judge.differences import Difference as Bits
from torch_bridge.judge.report import Difference, Precision, Report
from torch_bridge.judge.sentence import sentence


def test_each_verdict_in_one_sentence():
    same = Report("same function", 10, loss_steps=(0, 1), precisions=(Precision("loss", "", 1e-7, 2e-7, 2.0),))
    assert sentence(same) == (
        "the same function: in float64 loss and gradients agree to 0e+00 at 2 steps; rounding error at most 2.0 times "
        "torch's (loss: JAX 2.0e-07, torch 1.0e-07)"
    )
    assert sentence(Report("bitwise", 10)) == "identical in every bit, 10 steps"
    worst = Precision("forward", "0", 1e-7, 1e-3, 1e4)
    imprecise = Report("imprecise", 10, imprecision=worst, line="port.py:3 (f), sub")
    assert sentence(imprecise) == (
        "the same function, computed less precisely than torch does: first in output of 0, whose relative error is "
        "1.0e-03 in JAX and 1.0e-07 in torch, 10,000 times as large; most is lost at port.py:3 (f), sub"
    )
    where = Difference(3, "weight_decay", "0.bias", (1,), 0.5, 0.25, 0.5, 1e-10, {"weight_decay": -0.5})
    different = Report("different", 10, difference=where)
    assert sentence(different) == (
        "different, first at step 3 of 10 (from 0), in weight decay of 0.bias[1]: torch 0.5, JAX 0.25, relative "
        "distance 5.0e-01 where rounding explains 1e-10; cause: the weight decay is off by -5.00e-01 relative to "
        "torch's"
    )
    unknown = dataclasses.replace(different, difference=dataclasses.replace(where, constants={}))
    assert sentence(unknown).endswith("cause: unknown")


def test_two_runs_in_bits():
    first = Bits(2, "loss", "", (), 1.0, 1.5, 4194304)
    comparison = Comparison("free", 3, first, (PhaseRow("loss", 3, 1, first, None),))
    assert comparison_sentence(comparison) == (
        "free: 33% of the values differ, 3 steps, first at step 2 in loss: torch 1, JAX 1.5, 4,194,304 ulps apart."
    )
    assert comparison_sentence(Comparison("", 3, None, (PhaseRow("loss", 3, 0, None, None),))) == (
        "identical in every bit, 3 steps, 3 values."
    )


def test_quantities_in_words():
    assert describe("learning_rate", "1", ("learning_rate",)) == "learning rate of group 1"
    assert describe("forward", "conv1") == "output of conv1"
    assert describe("loss", "") == "loss"

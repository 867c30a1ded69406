"""Entries that no small run shows, on arrays: the fault is applied by hand, and the repair undoes it or is named."""

import numpy as np
import pytest

from torch_bridge.judge.causes.average import Followed
from torch_bridge.judge.causes.average_question import AverageQuestion
from torch_bridge.judge.causes.batch import Batch
from torch_bridge.judge.causes.catalogue import CATALOGUE
from torch_bridge.judge.causes.outcome import Outcome
from torch_bridge.judge.causes.search import Search

RNG = np.random.default_rng(0)
A, OLD, NEW = RNG.standard_normal((3, 4, 5))
D = 0.9
AVERAGES = {
    "average-before-step": (D, lambda n: OLD if n == 0 else D * A + (1 - D) * OLD),
    "average-still": (D, lambda n: A),
    "average-copied": (D, lambda n: NEW),
    "average-swapped": (D, lambda n: NEW if n == 0 else (1 - D) * A + D * NEW),
    "average-warmed": (D, lambda n: NEW if n == 0 else A + (1 - min(D, (1 + n) / (10 + n))) * (NEW - A)),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_is_named(name):
    decay, fault = AVERAGES[name]
    question = AverageQuestion([(Followed(A, OLD, NEW, n, decay), fault(n)) for n in range(3)])
    ((entry, _),) = Search(question).run()
    assert entry.name == name


X, TARGETS = RNG.standard_normal((6, 4, 4)), RNG.standard_normal((6, 3))
BATCHES = {
    "inputs-flipped": Batch(X[..., ::-1], TARGETS),
    "inputs-transposed": Batch(X.transpose(0, 2, 1), TARGETS),
    "targets-late": Batch(X, TARGETS[:, [2, 0, 1]]),
    "targets-early": Batch(X, TARGETS[:, [1, 2, 0]]),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_mended(name):
    mended = CATALOGUE[name].repair(BATCHES[name], 0.0)
    np.testing.assert_array_equal(mended.x, X)
    np.testing.assert_array_equal(mended.y, TARGETS)


LOSSES = {
    "loss-averaged": np.mean(TARGETS) / np.sum(np.mean(TARGETS, 1)),
    "loss-averaged-over-targets": np.mean(TARGETS) / np.mean(np.sum(TARGETS, 1)),
    "loss-summed-over-targets": np.mean(np.sum(TARGETS, 1)) / np.mean(TARGETS),
    "loss-summed-over-all": np.sum(TARGETS) / np.mean(TARGETS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_mended(name):
    right = Outcome(2.0, {"w": A}, {"w": OLD}, {"w": A}, n=6, width=3)
    mended = CATALOGUE[name].repair(right.times(float(LOSSES[name])), 0.0)
    assert mended.loss == pytest.approx(2.0)
    np.testing.assert_allclose(mended.gradients["w"], A)

"""Data parallel training: JAX on eight devices follows torch's DistributedDataParallel on two processes."""

import numpy as np
import pytest

import torch_bridge
from tests.support import eight_devices, two_processes
from torch_bridge.replaying.envelope import distance
from torch_bridge.trace.trace import in_phase


def orders():
    """The samplers' orders of all epochs, int64 ``(ranks, epochs, samples)``."""
    ranks = []
    for sampler in eight_devices.samplers():
        epochs = []
        for epoch in range(two_processes.EPOCHS):
            sampler.set_epoch(epoch)
            epochs.append(list(sampler))
        ranks.append(epochs)
    return np.array(ranks)


@pytest.mark.thorough
def test_eight_devices_follow_two_processes(tmp_path):
    """One test, because each side is started once for all of it."""
    trace, torch_orders = two_processes.train(tmp_path)

    np.testing.assert_array_equal(orders(), torch_orders, strict=True)
    assert np.unique(torch_orders[:, 0]).size == two_processes.N_TRAIN < torch_orders[:, 0].size  # one index twice
    np.testing.assert_array_equal(list(eight_devices.global_batches()), trace.steps["data"], strict=True)
    for name, weights in eight_devices.initial_weights().items():
        np.testing.assert_array_equal(weights, trace.initial[f"parameter/{name}"], strict=True)

    runs = eight_devices.run(tmp_path)
    for name in ("sharded", "averaged"):
        comparison = torch_bridge.compare(trace, runs[name])
        assert comparison.n_steps == trace.n_steps
        assert {"loss", "gradient", "parameter"} <= {row.phase for row in comparison.rows}
        assert furthest(trace, runs[name], 0, "gradient") < 1e-6, name
        assert furthest(trace, runs[name], trace.n_steps - 1, "parameter") < 1e-4, name

    # The fault: gradients summed over the devices, not averaged. The loss does not tell until the next step.
    assert abs(runs["summed"].steps["loss"][0] - trace.steps["loss"][0]) < 1e-6
    for key, theirs in in_phase(trace.step(0), "gradient").items():
        mine = runs["summed"].value(f"gradient/{key}", 0)
        np.testing.assert_allclose(mine, eight_devices.DEVICES * theirs, rtol=1e-4, atol=1e-6)


def furthest(reference, candidate, step, phase):
    """The largest distance of a phase's quantities at a step, relative to their own 2-norm."""
    theirs = in_phase(reference.step(step), phase)
    mine = in_phase(candidate.step(step), phase)
    return max(distance(theirs[key], mine[key]) / np.linalg.norm(theirs[key]) for key in theirs)

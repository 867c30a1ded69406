"""Data parallel training: JAX on eight devices follows torch's DistributedDataParallel on two processes."""

import numpy as np

import torch_bridge
from tests.torch_bridge.data import eight_devices, two_processes
from torch_bridge.parity.envelope import Envelope


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


def test_eight_devices_follow_two_processes(tmp_path):
    """One test, because each side is started once for all of it."""
    trace, torch_orders = two_processes.train(tmp_path)

    np.testing.assert_array_equal(orders(), torch_orders, strict=True)
    assert np.unique(torch_orders[:, 0]).size == two_processes.N_TRAIN < torch_orders[:, 0].size  # one index twice
    np.testing.assert_array_equal(list(eight_devices.global_batches()), trace.steps["data"], strict=True)
    for name, weights in eight_devices.initial_weights().items():
        np.testing.assert_array_equal(weights, trace.initial[f"parameter/{name}"], strict=True)

    runs = eight_devices.run(tmp_path)
    envelope = Envelope.from_arrays(runs["sharded"].extra)
    for name in ("sharded", "averaged"):
        report = torch_bridge.compare(trace, runs[name], envelope=envelope)
        assert (report.verdict, report.n_steps) == ("rounding", trace.n_steps), f"{name}: {report}"
        assert {"loss", "gradient", "parameter"} <= {row.phase for row in report.rows}

    # The fault: gradients summed over the devices, not averaged. The loss does not tell until the next step.
    report = torch_bridge.compare(trace, runs["summed"], envelope=envelope)
    assert report.verdict == "diverged", report
    assert (report.divergence.step, report.divergence.phase) == (0, "gradient")
    assert np.isclose(report.divergence.candidate, eight_devices.DEVICES * report.divergence.reference)

from dataclasses import replace

import numpy as np
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.small_run import make, recorded
from torch_bridge.trace.keep import Keep


def test_what_was_digested_comes_back_in_every_bit(tmp_path):
    full = recorded()
    recorded(keep=Keep("digest", every=4)).save(tmp_path / "run.trace")
    restored = torch_bridge.restore(torch_bridge.Trace.load(tmp_path / "run.trace"))
    for key in ("parameter/0.weight", "momentum_buffer/2.bias", "weight_decay/0.bias"):
        for t in range(full.n_steps):
            assert restored.value(key, t).tobytes() == full.value(key, t).tobytes()
    assert torch_bridge.compare(full, restored).identical


@pytest.mark.parametrize("cycle_momentum", [True, False])
def test_cycling_momentum_comes_back_in_every_bit(cycle_momentum):
    def recorded(keep):
        model, optimizer, criterion, loader = make()
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 9, cycle_momentum=cycle_momentum)
        recorder = torch_bridge.record(model, optimizer, scheduler=scheduler, keep=keep)
        for number, (x, y) in enumerate([*loader, *loader, *loader]):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            if number < 8:
                scheduler.step()
        return recorder.trace()

    torch.manual_seed(0)
    full = recorded(None)
    torch.manual_seed(0)
    restored = torch_bridge.restore(recorded(Keep("digest", every=100)))
    assert torch_bridge.compare(full, restored).identical
    assert (len(set(full.steps["momentum_factor/0"].tolist())) > 5) is cycle_momentum


def test_another_rule_is_refused_by_the_digests():
    trace = recorded(keep=Keep("digest", every=100))
    with pytest.raises(ValueError, match=r"weight_decay/0\.weight rebuilt at step 0 does not match"):
        torch_bridge.restore(trace, funcsgd.sgd(0.1, momentum=0.9, weight_decay=2e-2))


@pytest.mark.parametrize("keep", [Keep("digest", gradients=False), Keep("ring", last=2)], ids=str)
def test_without_gradients_nothing_is_rebuilt(keep):
    with pytest.raises(ValueError, match=r"only digests of gradient/0\.weight at some steps, and without gradients"):
        torch_bridge.restore(recorded(epochs=1, keep=keep))


def test_one_flipped_bit_is_found():
    trace = recorded(keep=Keep("digest", every=100))
    digests = {key: rows.copy() for key, rows in trace.digests.items()}
    digests["parameter/2.weight"][3, 1] ^= np.uint64(1)
    with pytest.raises(ValueError, match=r"parameter/2\.weight rebuilt at step 3"):
        torch_bridge.restore(replace(trace, digests=digests))


def test_what_a_rule_does_not_show_stays_digested():
    trace = recorded(keep=Keep("digest", every=2))
    stages = optax.add_decayed_weights(1e-2), funcsgd.add_momentum(0.9), funcsgd.scale_by_learning_rate(0.1)
    restored = torch_bridge.restore(trace, optax.chain(*stages))
    assert restored.value("parameter/0.bias", 0) is not None
    assert restored.value("weight_decay/0.bias", 0) is None
    assert restored.value("weight_decay/0.bias", 1) is not None
    assert restored.same_bits(trace, "weight_decay/0.bias", 0)

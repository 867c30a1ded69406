"""Gradients that a script clips: recorded before and after, replayed by a rule that clips."""

import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.small_run import make
from torch_bridge.trace.keep import Keep


@pytest.fixture(scope="module")
def trace():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer, criterion=criterion, loader=loader, clip={"clip_value": 0.05})
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            torch.nn.utils.clip_grad_value_(model.parameters(), 0.05)
            optimizer.step()
    return recorder.trace()


def rule(limit):
    rest = (
        funcsgd.add_weight_decay(1e-2),
        funcsgd.add_momentum(0.9),
        funcsgd.scale_by_learning_rate(0.1),
    )
    return optax.chain(funcsgd.clip_grad_value(limit), *rest)


def test_gradients_are_recorded_before_and_after(trace):
    before, after = trace.steps["gradient/0.weight"], trace.steps["clip/0.weight"]
    assert abs(before).max() > 0.05
    assert (after == before.clip(-0.05, 0.05)).all()


def test_the_rule_that_clips_is_bitwise(trace):
    comparison = torch_bridge.compare(trace, torch_bridge.replay(trace, rule(0.05), drive="update"))
    assert comparison.identical
    assert [row.phase for row in comparison.rows][:3] == ["gradient", "clip", "weight_decay"]


def test_another_limit_is_found_in_the_phase_clip(trace):
    report = torch_bridge.check(trace, rule(0.05 * (1 + 1e-5)))
    assert (report.verdict, report.difference.phase, report.difference.step) == ("different", "clip", 0)


@pytest.mark.parametrize("told", [True, False])
def test_a_digested_trace_with_clipping_is_restored(trace, told):
    """By the limit that the recorder was told of, or else by a rule that clips."""
    limit = {"clip_value": 0.05}
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(
        model,
        optimizer,
        criterion=criterion,
        loader=loader,
        clip=limit if told else True,
        keep=Keep("digest", every=100),
    )
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            torch.nn.utils.clip_grad_value_(model.parameters(), **limit)
            optimizer.step()
    restored = torch_bridge.restore(recorder.trace(), None if told else rule(0.05))
    assert torch_bridge.compare(trace, restored).identical


def test_clipping_by_norm_is_bitwise_too():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer, criterion=criterion, loader=loader, clip=True)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
    trace = recorder.trace()
    names = [name for name, _ in model.named_parameters()]  # the norm of norms is taken in torch's order
    tx = optax.chain(funcsgd.clip_grad_norm(0.3, order=names), funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2))
    comparison = torch_bridge.compare(trace, torch_bridge.replay(trace, tx, drive="update"))
    assert comparison.identical, comparison
    assert any(row.phase == "clip" for row in comparison.rows)

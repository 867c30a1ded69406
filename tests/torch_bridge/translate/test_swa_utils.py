import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.optim.swa_utils import (
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
)

import funcsgd
import torch_bridge
from funcsgd import schedules
from tests.support.sampling import one_in
from tests.support.small_run import DATA, loss_fn, make
from torch_bridge.translate.swa_utils import average_to_torch

AVERAGES = {
    "equal": {},
    "equal, named": {"avg_fn": get_swa_avg_fn()},
    "equal, multi": {"multi_avg_fn": get_swa_multi_avg_fn()},
    "ema": {"avg_fn": get_ema_avg_fn(0.9)},
    "ema, multi": {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
    "the lecture's": {"avg_fn": lambda avg, param, _: 0.99 * avg + 0.01 * param},
}


def run(options, steps, recorded=False, average_from=0):
    model, optimizer, criterion, loader = make()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5, 0.01)
    average = AveragedModel(model, **options)
    recorder = (
        torch_bridge.record(model, optimizer, criterion=criterion, loader=loader, average=average) if recorded else None
    )
    done = 0
    while done < steps:
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            if done >= average_from:
                average.update_parameters(model)
            done += 1
            if done == steps:
                break
        else:
            scheduler.step()
    return model, optimizer, scheduler, average, recorder


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("before", one_in(2, [3, 0]))
def test_goes_on_where_torch_stood(name, before):
    model, optimizer, scheduler, average, _ = run(AVERAGES[name], before)
    tx, params, state = torch_bridge.from_torch(
        optimizer, scheduler, average, named_parameters=model.named_parameters(), steps_per_epoch=3
    )

    @jax.jit
    def step(params, state, gradients):
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    generator = torch.Generator().manual_seed(0)
    for number in range(before, before + 6):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        gradients = {key: jnp.asarray(p.grad.numpy()) for key, p in model.named_parameters()}
        optimizer.step()
        average.update_parameters(model)
        if number % 3 == 2:
            scheduler.step()
        params, state = step(params, state, gradients)
    averages = funcsgd.averages.averaged_params(state)
    for key, parameter in model.named_parameters():
        assert np.asarray(params[key]).tobytes() == parameter.detach().numpy().tobytes()
    for key, parameter in average.module.named_parameters():
        assert np.asarray(averages[key]).tobytes() == parameter.detach().numpy().tobytes()

    moved = torch_bridge.to_torch(
        params, state, optimizer, scheduler, named_parameters=model.named_parameters(), steps_per_epoch=3
    )
    fresh = AveragedModel(make()[0], **AVERAGES[name])
    fresh.load_state_dict(moved.average)
    assert int(fresh.n_averaged) == int(average.n_averaged)
    for ours, theirs in zip(fresh.module.parameters(), average.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("average_from", [0, 4])
def test_the_average_is_recorded_replayed_and_compared(average_from):
    *_, recorder = run(AVERAGES["the lecture's"], 9, recorded=True, average_from=average_from)
    trace = recorder.trace()
    assert trace.has("average/0.weight", 8)
    assert trace.has("average/0.weight", 3) is (average_from == 0)
    if average_from:
        return
    model, optimizer, scheduler, average, _ = run(AVERAGES["the lecture's"], 0)
    tx, _, _ = torch_bridge.from_torch(
        optimizer, scheduler, average, named_parameters=model.named_parameters(), steps_per_epoch=3
    )
    report = torch_bridge.check(trace, tx, loss_fn=loss_fn, data=DATA)
    assert report.verdict == "same function", report
    for drive in ("update", "free"):
        assert [row.phase for row in report.drives[drive].rows][-1] == "average"
    assert report.drives["update"].identical


def test_an_average_that_is_not_copied_at_first_is_found():
    *_, recorder = run(AVERAGES["ema"], 6, recorded=True)
    base = funcsgd.sgd(
        schedules.per_epoch(schedules.tabulate(schedules.CosineAnnealingLR(0.1, 5, 0.01), 9), 3),
        momentum=0.9,
        weight_decay=1e-2,
    )
    wrong = funcsgd.averages.with_average(base, funcsgd.averages.ema(0.9, copy_first=False))
    report = torch_bridge.check(recorder.trace(), wrong)
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", 0, "average")


def test_what_has_no_equivalent_is_refused():
    model, optimizer, *_ = make()
    for function in (lambda a, x, n: torch.maximum(a, x), lambda a, x, n: a + (x - a) / (n + 2)):
        with pytest.raises(TypeError, match="none of torch's"):
            torch_bridge.from_torch(
                optimizer, average=AveragedModel(model, avg_fn=function), named_parameters=model.named_parameters()
            )
    with pytest.raises(ValueError, match="pass named_parameters of the model"):
        torch_bridge.from_torch(optimizer, average=AveragedModel(model))
    norm = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match="no place among the parameters"):
        torch_bridge.from_torch(torch.optim.SGD(norm.parameters()), average=AveragedModel(norm, use_buffers=True))


@pytest.mark.parametrize("options", [{}, {"avg_fn": get_ema_avg_fn(0.9)}])
@pytest.mark.parametrize("use_buffers", [True, False])
def test_buffers_are_averaged_or_copied_as_torch_does(x64, options, use_buffers):
    """On a condition of the script's own too: every update but the third."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    averaged = AveragedModel(model, use_buffers=use_buffers, **options)

    def values(named):
        return {name: jnp.asarray(tensor.detach().numpy().copy()) for name, tensor in named}

    def move(seed):
        with torch.no_grad():
            model[0].weight.add_(seed)
        model(torch.randn(8, 2, generator=torch.Generator().manual_seed(seed)))

    move(0)
    averaged.update_parameters(model)
    average, state = torch_bridge.from_torch(averaged)
    update = jax.jit(average.update)
    for seed in range(1, 6):
        move(seed)
        if seed != 3:
            averaged.update_parameters(model)
        state = update(values(model.named_parameters()), state, values(model.named_buffers()), seed != 3)
    kept = averaged.state_dict()
    moved = average_to_torch(state)
    assert set(moved) == set(kept)
    for name, tensor in moved.items():
        assert torch.equal(tensor, kept[name]), name

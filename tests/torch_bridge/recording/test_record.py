import numpy as np
import pytest
import torch

import torch_bridge
from tests.support.sampling import one_in
from tests.support.small_run import DATA, loss_fn, make, recorded, train
from torch_bridge.trace.keep import Keep
from torch_bridge.translate.recipe_data import recorded_recipe

OPTIONS = [
    {},
    {"momentum": 0.0},
    {"nesterov": True, "weight_decay": 0.0, "foreach": True},  # foreach overwrites p.grad here
    {"maximize": True, "dampening": 0.1, "lr": 0.001},
    {"fused": True},
]


@pytest.mark.parametrize("options", one_in(2, OPTIONS), ids=str)
@pytest.mark.parametrize("keep", [None, Keep("digest", every=4)])
def test_recording_changes_no_bit(options, keep):
    def final(watch):
        parts = make(**options)
        if watch:
            torch_bridge.record(*parts[:2], criterion=parts[2], loader=parts[3], keep=keep)
        train(*parts)
        after = torch.rand(3)  # the random stream stands where it stood
        return [p.detach().numpy().tobytes() for p in parts[0].parameters()] + [after.numpy().tobytes()]

    assert final(False) == final(True)


def test_records_what_torch_saw_and_did():
    parts = make()
    seen = []
    parts[1].register_step_pre_hook(lambda *_: seen.append([p.grad.clone().numpy() for p in parts[0].parameters()]))
    recorder = torch_bridge.record(*parts[:2], criterion=parts[2], loader=parts[3])
    train(*parts)
    trace = recorder.trace()
    assert trace.n_steps == 6
    for t in range(6):
        for (name, _), gradient in zip(parts[0].named_parameters(), seen[t], strict=True):
            assert trace.value(f"gradient/{name}", t).tobytes() == gradient.tobytes()
            decayed = torch.tensor(gradient).add(torch.tensor(trace.before(t)[f"parameter/{name}"]), alpha=1e-2)
            assert trace.value(f"weight_decay/{name}", t).tobytes() == decayed.numpy().tobytes()
    for name, parameter in parts[0].named_parameters():
        assert trace.value(f"parameter/{name}", 5).tobytes() == parameter.detach().numpy().tobytes()
        buffer = parts[1].state[parameter]["momentum_buffer"]
        assert trace.value(f"momentum_buffer/{name}", 5).tobytes() == buffer.numpy().tobytes()
    epoch = trace.steps["data"][:3]
    assert sorted(epoch[epoch >= 0]) == list(range(40))


def test_validation_leaves_no_mark():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer, criterion=criterion)
    x, y = next(iter(loader))
    loss = criterion(model(x), y)
    loss.backward()
    with torch.no_grad():
        criterion(model(x * 2), y)
    optimizer.step()
    assert recorder.trace().steps["loss"][0] == loss.item()


def test_a_closure_is_watched_from_inside():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer)
    x, y = next(iter(loader))

    def closure():
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    trace = recorder.trace()
    assert trace.steps["loss"][0] == loss.item()
    assert trace.steps["gradient/0.bias"][0].tolist() == model[0].bias.grad.tolist()


def test_a_parameter_without_gradient_has_no_step():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer)
    x, y = next(iter(loader))
    for frozen in (True, False, True):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        if frozen:
            model[0].bias.grad = None
        optimizer.step()
    trace = recorder.trace()
    for phase in ("gradient", "weight_decay", "momentum_buffer"):
        assert trace.present[f"{phase}/0.bias"].tolist() == [False, True, False]
    assert f"parameter/{'0.bias'}" not in trace.present


def test_warns_when_something_else_moves_a_parameter():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer)
    train(model, optimizer, criterion, loader, epochs=1)
    with torch.no_grad():
        model[0].weight.mul_(0.5)
    with pytest.warns(UserWarning, match="changed parameter/0.weight before step 3"):
        train(model, optimizer, criterion, loader, epochs=1)
    assert recorder.trace().static["touched"] == [3]


def test_closing_removes_every_hook():
    model, optimizer, criterion, loader = make()
    sampler = loader.batch_sampler
    with torch_bridge.record(model, optimizer, criterion=criterion, loader=loader) as recorder:
        train(model, optimizer, criterion, loader, epochs=1)
    train(model, optimizer, criterion, loader, epochs=1)
    assert recorder.trace().n_steps == 3
    assert loader.batch_sampler is sampler


def test_what_cannot_be_recorded_is_refused():
    model, optimizer, _, _ = make()
    with pytest.raises(TypeError, match="an optimizer has param_groups, but Linear has none"):
        torch_bridge.record(model, model[0])
    with pytest.raises(ValueError, match="not among the named ones"):
        torch_bridge.record(model[0], optimizer)
    with pytest.raises(ValueError, match="nothing was recorded"):
        torch_bridge.record(model, optimizer).trace()


def test_bfloat16_runs_are_recorded():
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.bfloat16))
    module = torch.nn.ParameterDict({"w": parameter})
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    recorder = torch_bridge.record(module, optimizer)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert recorder.trace().steps["parameter/w"][0].astype(np.float32).tolist() == [0.5, 1.5]


def test_static_part_names_what_ran():
    static = recorded().static
    assert static["versions"]["torch"] == torch.__version__
    assert static["recipe"]["groups"][0]["options"]["momentum"] == 0.9
    assert static["shapes"]["0.weight"] == [5, 6]


def test_static_part_holds_the_recipe(tmp_path):
    model, optimizer, criterion, loader = make()
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3),
    ]
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    clip = {"max_norm": 0.5}
    recorder = torch_bridge.record(
        model, optimizer, scheduler=schedulers, average=average, clip=clip, steps_per_epoch=3
    )
    train(model, optimizer, criterion, loader, epochs=1)
    recorder.save(tmp_path / "run.trace")
    static = torch_bridge.Trace.load(tmp_path / "run.trace").static
    (group,), recipe = static["recipe"]["groups"], static["recipe"]
    function, plateau = group["schedulers"]
    assert function["name"] == "LambdaLR"
    assert "0.9**epoch" in function["lr_lambda"]["function"]
    assert (plateau["name"], plateau["patience"], plateau["learning_rate"]) == ("ReduceLROnPlateau", 3, 0.1)
    assert recipe["average"] == {"name": "ema", "options": {"decay": 0.9, "lerp": True}}
    assert recipe["clip"]["arguments"] == clip
    assert recipe["clip"]["order"] == [name for name, _ in model.named_parameters()]
    explanation = str(torch_bridge.explain(recorded_recipe(static), epochs=7))
    for line in ("], 7, 3)", "funcsgd.clip_grad_norm(max_norm=0.5", "funcsgd.averages.ema(decay=0.9, lerp=True)"):
        assert line in explanation
    assert "0.9**epoch" in explanation


def test_an_average_without_equivalent_is_recorded_all_the_same():
    model, optimizer, criterion, loader = make()
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=lambda a, x, n: torch.maximum(a, x))
    recorder = torch_bridge.record(model, optimizer, average=average)
    train(model, optimizer, criterion, loader, epochs=1)
    average.update_parameters(model)
    trace = recorder.trace()
    assert trace.static["recipe"]["average"]["untranslated"] == "AveragedModel"
    assert trace.has("average/0.weight", trace.n_steps - 1)


def test_a_metric_is_recorded_and_replayed():
    model, optimizer, criterion, loader = make()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    before = plateau.state_dict()
    tx, _, _ = torch_bridge.from_torch(optimizer, plateau, named_parameters=model.named_parameters(), steps_per_epoch=3)
    with torch_bridge.record(model, optimizer, criterion=criterion, loader=loader, scheduler=plateau) as recorder:
        assert plateau.state_dict() == before
        for metric in (1.0, 2.0, torch.tensor(0.5), 0.5):
            train(model, optimizer, criterion, loader, epochs=1)
            plateau.step(metric)
    assert type(plateau) is torch.optim.lr_scheduler.ReduceLROnPlateau
    trace = recorder.trace()
    assert trace.steps["metric"][3::3].tolist() == [1.0, 2.0, 0.5]
    assert np.isnan(trace.steps["metric"][:3]).all()
    assert trace.steps["learning_rate/0"][::3].tolist() == [0.1, 0.1, 0.05, 0.05]
    report = torch_bridge.check(trace, tx, loss_fn=loss_fn, data=DATA)
    assert report.verdict == "same function", report
    assert report.drives["update"].identical

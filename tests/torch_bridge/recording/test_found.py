"""What `record(model, optimizer)` finds by itself."""

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ChainedScheduler, ExponentialLR, LinearLR, ReduceLROnPlateau, SequentialLR, StepLR
from torch.optim.swa_utils import AveragedModel

import torch_bridge
from torch_bridge.translate.recipe import Untranslated
from torch_bridge.translate.recipe_data import recorded_recipe


def run(after_step=lambda step: None, before_step=lambda step: None, *, n_steps=6, make=lambda optimizer: None):
    """A small run; what is made after the recorder is made by ``make``."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer, twins=False) as recorder:
        made = make((model, optimizer))
        for step in range(n_steps):
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            before_step((model, step))
            optimizer.step()
            after_step((made, model, step))
        return recorder.trace()


def recipe_of(trace):
    return recorded_recipe(trace.static)


def stepped_every(k):
    return lambda run: run[0].step() if run[2] % k == k - 1 else None


def test_a_scheduler_and_its_interval():
    for make in (
        lambda optimizer: StepLR(optimizer, 2),
        lambda optimizer: SequentialLR(optimizer, [LinearLR(optimizer), StepLR(optimizer, 2)], [1]),
        lambda optimizer: ChainedScheduler([LinearLR(optimizer), ExponentialLR(optimizer, 0.9)]),
    ):
        recipe = recipe_of(run(stepped_every(2), make=lambda parts, make=make: make(parts[1])))
        (found,) = recipe.groups[0].schedulers
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = make(optimizer)
        expected = []
        for _ in range(3):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert found.table(3).tolist() == expected
        assert recipe.steps_per_epoch == 2


def test_two_schedulers_that_are_stepped_together():
    def step(run):
        for scheduler in run[0]:
            scheduler.step()

    recipe = recipe_of(run(step, make=lambda parts: [StepLR(parts[1], 2), ExponentialLR(parts[1], 0.9)]))
    assert [type(each).__name__ for each in recipe.groups[0].schedulers] == ["StepLR", "ExponentialLR"]
    assert recipe.steps_per_epoch == 1


def test_a_scheduler_that_nobody_steps_is_none_of_the_run():
    recipe = recipe_of(
        run(lambda run: run[0][1].step(), make=lambda parts: [StepLR(parts[1], 2), ExponentialLR(parts[1], 0.9)])
    )
    assert [type(each).__name__ for each in recipe.groups[0].schedulers] == ["ExponentialLR"]


def test_irregular_steps_of_a_scheduler_are_no_schedule(recwarn):
    trace = run(lambda run: run[0].step() if run[2] in (1, 2, 5) else None, make=lambda parts: StepLR(parts[1], 2))
    (found,) = recipe_of(trace).groups[0].schedulers
    assert isinstance(found, Untranslated)
    assert "stepped after 2, 3, 6 steps of the optimizer, which are no regular intervals" in found.reason
    assert [found.reason] == trace.static["not_recorded"] == [str(each.message) for each in recwarn]


def test_a_scheduler_of_another_optimizer_is_not_taken():
    other = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = StepLR(other, 2)
    other.step()
    assert recipe_of(run(lambda _: scheduler.step())).groups[0].schedulers == ()


def test_a_schedulers_own_class_is_named():
    class Halving(torch.optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            return [group["lr"] / 2 for group in self.optimizer.param_groups]

        def step(self, epoch=None):
            super().step(epoch)

    (found,) = recipe_of(run(lambda run: run[0].step(), make=lambda parts: Halving(parts[1]))).groups[0].schedulers
    assert isinstance(found, Untranslated)
    assert found.name == "Halving"


def test_a_plateau_and_its_metric():
    trace = run(
        lambda run: run[0].step(float(run[2])) if run[2] % 2 else None, make=lambda parts: ReduceLROnPlateau(parts[1])
    )
    assert str(trace.steps["metric"].tolist()) == "[nan, nan, 1.0, 1.0, 3.0, 3.0]"
    assert recipe_of(trace).steps_per_epoch == 2


def test_clipping_that_was_imported_by_its_name():
    seen = []

    def clip(run):
        seen.append(run[0].weight.grad.clone())
        clip_grad_norm_(run[0].parameters(), 0.1, norm_type=1.0)

    trace = run(before_step=clip)
    recipe = recipe_of(trace)
    assert recipe.clip.arguments == {"max_norm": 0.1, "norm_type": 1.0}
    assert recipe.clip.order == ("weight", "bias")
    for step in range(6):
        assert trace.value("gradient/weight", step).tobytes() == seen[step].numpy().tobytes()
        assert abs(trace.value("clip/weight", step)).sum() < abs(trace.value("gradient/weight", step)).sum()


def test_clipping_of_values_takes_a_generator():
    trace = run(before_step=lambda run: nn.utils.clip_grad_value_(run[0].parameters(), clip_value=0.01))
    assert recipe_of(trace).clip.arguments == {"clip_value": 0.01}
    assert abs(trace.steps["clip/weight"]).max() == torch.tensor(0.01).item()


def test_clipping_that_is_no_rule_is_named():
    some = run(before_step=lambda run: clip_grad_norm_(run[0].weight, 0.1))
    assert recipe_of(some).clip.reason == "the gradients clipped are not those of all the optimizer's parameters"
    assert some.steps["clip/bias"].tobytes() == some.steps["gradient/bias"].tobytes()
    other = run(before_step=lambda run: clip_grad_norm_(run[0].parameters(), 0.1 + run[1]))
    assert recipe_of(other).clip.reason == "the arguments of the clipping change from step to step"
    late = run(before_step=lambda run: clip_grad_norm_(run[0].parameters(), 0.1) if run[1] > 1 else None)
    assert recipe_of(late).clip.reason == "gradients are clipped before 4 of 6 steps"
    assert late.present["clip/bias"].tolist() == [False, False, True, True, True, True]
    twice = run(before_step=lambda run: [clip_grad_norm_(run[0].parameters(), norm) for norm in (0.2, 0.1)])
    assert recipe_of(twice).clip.reason == "gradients are clipped by several calls before one step"


def test_an_average():
    trace = run(lambda run: run[0].update_parameters(run[1]), make=lambda parts: AveragedModel(parts[0]))
    recipe = recipe_of(trace)
    assert recipe.average.name == "swa"
    assert trace.steps["average/weight"][0].tobytes() == trace.steps["parameter/weight"][0].tobytes()
    late = run(
        lambda run: run[0].update_parameters(run[1]) if run[2] > 2 else None, make=lambda parts: AveragedModel(parts[0])
    )
    assert recipe_of(late).average.reason == "update_parameters came after 3 of 6 steps, not after each"


def test_gradients_that_are_changed_by_hand(recwarn):
    trace = run(before_step=lambda run: run[0].weight.grad.clamp_(-0.01, 0.01))
    (sentence,) = trace.static["not_recorded"]
    assert "something other than torch's functions that clip changed gradients" in sentence
    assert abs(trace.steps["gradient/weight"]).max() <= 0.01
    assert len(recwarn) == 1


def test_a_step_with_a_closure_is_known_by_the_point_at_which_it_began():
    torch.manual_seed(0)
    x = torch.randn(8, 3)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=3)
    losses, gradients = [], []

    def closure():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        losses.append(loss.item())
        gradients.append(model.weight.grad.clone().numpy())
        return loss

    recorder = torch_bridge.record(model, optimizer)
    firsts = []
    for _ in range(2):
        firsts.append(len(losses))
        optimizer.step(closure)
    trace = recorder.trace()
    assert len(losses) == 6
    assert trace.steps["loss"].tolist() == [losses[first] for first in firsts]
    assert trace.steps["gradient/weight"].tolist() == [gradients[first].tolist() for first in firsts]
    assert trace.static["twins"]["steps"] == [0, 1]
    for step in range(2):
        assert abs(trace.twins[step]["gradient/weight"] - gradients[firsts[step]]).max() < 1e-6

"""Recording raises nothing into a run and changes no bit of it, whatever the run does; the trace says what was seen."""

import copy

import pytest
import torch
from torch import nn

import torch_bridge
from torch_bridge.translate.recipe_data import recorded_recipe


class Mine(torch.optim.Optimizer):
    """An optimizer with state of every kind: a tensor, a number, nested data, another dtype."""

    def __init__(self, params, power=0.5):
        super().__init__(params, {"power": power})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state |= {"k": 0, "square_avg": torch.zeros_like(parameter), "nested": {"x": 1}, "none": None}
                    state["seen"] = torch.zeros(parameter.shape, dtype=torch.int64)
                state["k"] += 1
                state["seen"] += parameter.grad > 0
                state["square_avg"].addcmul_(parameter.grad, parameter.grad)
                parameter.addcdiv_(parameter.grad, state["square_avg"].pow(group["power"]) + 1e-3, value=-0.01)


class Odd(torch.optim.lr_scheduler.LRScheduler):
    """A scheduler that sets more than the learning rate, and cannot be copied."""

    def __init__(self, optimizer):
        self.stream = (number for number in range(100))
        super().__init__(optimizer)

    def get_lr(self):
        self.optimizer.param_groups[0]["weight_decay"] = 0.01 * next(self.stream)
        return [base / (1 + self.last_epoch) for base in self.base_lrs]


def model_of():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def train(watch, make, between=lambda step, model, optimizer: None, **options):
    """A run of eight steps: its parameters, and the trace if it is watched."""
    model = model_of()
    optimizer, scheduler = make(model)
    recorder = torch_bridge.record(model, optimizer, scheduler=scheduler, **options) if watch else None
    for step in range(8):
        between(step, model, optimizer)
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    if recorder is not None:
        recorder.close()
    state = copy.deepcopy(optimizer.state_dict()["state"])
    return [p.detach().clone() for p in model.parameters()], torch.get_rng_state(), state, recorder


def same_runs(make, between=lambda step, model, optimizer: None, **options):
    watched, plain = (train(watch, make, between, **options) for watch in (True, False))
    for ours, theirs in zip(watched[0], plain[0], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(watched[1], plain[1])
    assert str(watched[2]) == str(plain[2])
    return watched[3].trace()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), None


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.1), None


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_scheduler_that_cannot_be_followed(make):
    trace = same_runs(lambda model: (optimizer := make(model)[0], Odd(optimizer)))
    assert trace.steps["weight_decay_factor/0"].tolist() == [0.01 * step for step in range(8)]
    (untranslated,) = recorded_recipe(trace.static).untranslated
    assert untranslated.name == "Odd"


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_rate_set_by_hand(make):
    def set_rate(step, model, optimizer):
        if step == 3:
            optimizer.param_groups[0]["lr"] = torch.tensor(0.03, dtype=torch.float64)

    trace = same_runs(make, set_rate)
    assert trace.steps["learning_rate/0"].tolist() == [0.1] * 3 + [0.03] * 5
    assert torch_bridge.compare(trace, torch_bridge.replay(trace, recorded_rule(trace), drive="update")).identical


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.filterwarnings("ignore:maximize")
def test_a_flag_set_by_hand_is_said(make):
    """The recipe has one rule for the run, which goes the other way from there on."""

    def turn(step, model, optimizer):
        optimizer.param_groups[0]["maximize"] = step >= 3

    trace = same_runs(make, turn)
    (said,) = trace.static["not_recorded"]
    assert said.startswith("maximize of group 0 was set to True before step 3: the recipe")
    with pytest.raises(ValueError, match="maximize of group 0 was set to True before step 3"):
        recorded_rule(trace)


def test_a_number_that_the_rule_takes_as_it_is():
    def change(step, model, optimizer):
        optimizer.param_groups[0]["eps"] = 1e-8 if step < 3 else 1e-6

    trace = same_runs(adam, change)
    assert trace.steps["eps/0"].tolist() == [1e-8] * 3 + [1e-6] * 5
    with pytest.raises(ValueError, match=r"eps of group 0 is .*1e-06.* from step 3 on, where it was"):
        recorded_rule(trace)


def recorded_rule(trace):
    from torch_bridge.replaying.restore import recorded_rule

    return recorded_rule(trace)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, Mine])
def test_a_group_added_in_mid_run(kind):
    def add(step, model, optimizer):
        if step == 4:
            optimizer.add_param_group({"params": list(model[0].parameters())})

    trace = same_runs(lambda model: (kind(model[2].parameters()), None), add)
    assert trace.static["added"] == {"4": ["0.weight", "0.bias"]}
    assert [group.names for group in recorded_recipe(trace.static).groups] == [
        ("2.weight", "2.bias"), ("0.weight", "0.bias"),
    ]  # fmt: skip
    assert trace.present["gradient/0.weight"].tolist() == [False] * 4 + [True] * 4


@pytest.mark.parametrize("make", [sgd, adam])
def test_parameters_frozen_and_thawed(make):
    def freeze(step, model, optimizer):
        model[0].weight.requires_grad_(step not in (2, 3, 4))

    trace = same_runs(make, freeze)
    assert trace.present["gradient/0.weight"].tolist() == [True] * 2 + [False] * 3 + [True] * 3
    assert trace.has("parameter/0.weight", 3)
    assert torch_bridge.compare(trace, torch_bridge.replay(trace, recorded_rule(trace), drive="update")).identical


def test_an_optimizer_that_is_not_known():
    trace = same_runs(lambda model: (Mine(model.parameters()), None))
    assert set(trace.state) == {"k", "square_avg", "seen"}
    assert trace.steps["k/0.bias"].tolist() == list(range(1, 9))
    assert trace.steps["seen/0.weight"].dtype == "int64"
    assert trace.numbers == ()
    with pytest.raises(TypeError, match=r"test_what_is_not_known\.Mine has no rule here"):
        recorded_rule(trace)


def test_an_optimizer_of_torchs_without_an_adapter():
    trace = same_runs(lambda model: (torch.optim.Adafactor(model.parameters(), lr=0.01), None))
    assert trace.steps["learning_rate/0"].tolist() == [0.01] * 8
    assert trace.state
    assert trace.keys[-1].startswith("parameter/")
    for key in trace.state:
        assert any(name.startswith(f"{key}/") for name in trace.steps)


def test_a_subclass_is_another_optimizer():
    class Slow(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            with torch.no_grad():
                self.param_groups[0]["params"][0].mul_(0.5)

    trace = same_runs(lambda model: (Slow(model.parameters(), lr=0.1, momentum=0.9), None))
    assert recorded_recipe(trace.static).optimizer.endswith("Slow")
    assert trace.state == ("momentum_buffer",)


def test_a_run_saved_and_loaded_is_the_same(tmp_path):
    trace = same_runs(lambda model: (Mine(model.parameters()), None))
    trace.save(tmp_path / "run.trace")
    again = torch_bridge.Trace.load(tmp_path / "run.trace")
    assert again.keys == trace.keys
    assert again.state == trace.state

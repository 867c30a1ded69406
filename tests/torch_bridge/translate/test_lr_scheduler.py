import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau

import torch_bridge
from tests.support.torch_recipes import SCHEDULERS, make, step_schedulers


def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def momenta(optimizer):
    return [float(group["momentum"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if "plateau" not in name])
@pytest.mark.parametrize("done", [0, 6])
def test_each_epoch_is_torchs(name, done):
    _, optimizer, scheduler = make(name)
    optimizer.step()
    for epoch in range(done):
        step_schedulers(scheduler, epoch)
    found = torch_bridge.schedules_from_torch(scheduler)
    tables = [schedule.table(30) for schedule in found]
    for epoch in range(done, 30):
        assert rates(optimizer) == [table[epoch] for table in tables], epoch
        if found[0].momentum is not None:
            assert momenta(optimizer) == [schedule.momentum.table(epoch + 1)[epoch] for schedule in found]
        step_schedulers(scheduler, epoch)


def test_a_learning_rate_that_something_else_changed_is_refused():
    _, optimizer, scheduler = make("exponential")
    optimizer.param_groups[1]["lr"] = 0.7
    with pytest.raises(ValueError, match=r"group 1 is 0\.7, but ExponentialLR would have set 0\.3 at epoch 0"):
        torch_bridge.schedules_from_torch(scheduler)


def test_two_schedulers_that_take_turns_are_given_together():
    _, optimizer, first = make("exponential")
    second = ExponentialLR(optimizer, 0.5)
    optimizer.step()
    first.step()
    with pytest.raises(ValueError, match="stand at epochs ExponentialLR 1, ExponentialLR 0"):
        torch_bridge.schedules_from_torch([first, second])
    second.step()
    with pytest.raises(ValueError, match="several schedulers take turns"):
        torch_bridge.schedules_from_torch(first)
    assert [s.table(2)[1] for s in torch_bridge.schedules_from_torch([first, second])] == rates(optimizer)


def test_what_has_no_equivalent_is_named():
    class Mine(LambdaLR):
        pass

    _, optimizer, _ = make()
    for scheduler in (ReduceLROnPlateau(optimizer), Mine(optimizer, lambda e: 1.0)):
        with pytest.raises(TypeError, match=type(scheduler).__name__):
            torch_bridge.schedules_from_torch(scheduler)


def test_translating_leaves_torch_alone():
    _, optimizer, scheduler = make("one cycle")
    before = {k: v for k, v in scheduler.state_dict().items() if k != "anneal_func"}, rates(optimizer)
    torch_bridge.schedules_from_torch(scheduler)
    torch_bridge.explain(optimizer, scheduler, epochs=20)
    after = {k: v for k, v in scheduler.state_dict().items() if k != "anneal_func"}, rates(optimizer)
    assert str(before) == str(after)
    assert torch.is_grad_enabled()

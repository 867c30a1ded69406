"""Schedulers in states that their formula does not give: what from_torch accepts is torch's, bit for bit."""

import random
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    StepLR,
)
from torch.optim.swa_utils import SWALR

import funcsgd
import torch_bridge
from funcsgd import schedules
from tests.support.torch_recipes import SCHEDULERS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def sgd(*rates, momentum=0.9):
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=0.1, momentum=momentum)


def in_force(optimizer, key="lr"):
    return [float(group[key]) for group in optimizer.param_groups]


def assert_torch_goes_on_so(optimizer, schedulers, epochs=50, step=None, translated=None, **options):
    """The learning rates of a translation, an update an epoch, are those that torch sets next, in every bit."""
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    metrics = np.random.default_rng(0).choice(np.float32([0.9, 1.0, 1.1]), epochs)
    tx, params, state = translated or torch_bridge.from_torch(optimizer, schedulers, **options)
    zeros = jax.tree.map(jnp.zeros_like, params)
    first, expected = int(optax_count(state)), []
    for epoch in range(epochs):
        expected.append(in_force(optimizer))
        if epoch == epochs - 1:
            break
        try:
            if step is not None:
                step(first + epoch, schedulers)
            else:
                for each in schedulers:
                    each.step(*[metrics[epoch]] * isinstance(each, ReduceLROnPlateau))
        except (ValueError, NotImplementedError):  # the end of a cycle; of what comes then torch knows nothing either
            break

    def listed(state):
        found = funcsgd.get_learning_rate(state)
        return jnp.stack(found if isinstance(found, list) else [found])

    watches = any(isinstance(each, ReduceLROnPlateau) for each in schedulers)

    def row(state, value):
        _, new = tx.update(zeros, state, params, value=value)
        return new, listed(new if watches else state)

    values = jnp.asarray(np.concatenate([[0.0], metrics])[: len(expected)], float)
    _, ours = jax.jit(lambda state: jax.lax.scan(row, state, values))(state)
    np.testing.assert_array_equal(np.asarray(ours), np.array(expected))


def optax_count(state):
    kinds = (funcsgd.stages.ScaleByLearningRateState, funcsgd.stages.ScaleBySchedulersState)
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kinds))
    return next(node.count for node in nodes if isinstance(node, kinds))


def test_a_run_is_followed_beyond_a_thousand_steps(x64):
    optimizer = sgd(0.1)
    scheduler = CosineAnnealingLR(optimizer, T_max=3000)
    for _ in range(1500):
        scheduler.step()
    assert_torch_goes_on_so(optimizer, scheduler)


def test_what_lies_beyond_the_run_is_nan_and_not_the_last_rate(x64):
    optimizer = sgd(0.1)
    scheduler = ExponentialLR(optimizer, 0.9)
    tx, params, state = torch_bridge.from_torch(optimizer, scheduler, epochs=3)
    rates = []
    for _ in range(5):
        rates.append(float(funcsgd.get_learning_rate(state)))
        _, state = tx.update(params, state, params)
    expected = []
    for _ in range(4):
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    np.testing.assert_array_equal(rates, [*expected, np.nan])
    with pytest.raises(
        ValueError, match=r"epochs=3 is the length of the whole run, but ExponentialLR was already stepp"
    ):
        torch_bridge.from_torch(optimizer, scheduler, epochs=3)


def test_a_rate_one_ulp_off_after_a_warm_up(x64):
    optimizer = sgd(0.02)
    main = MultiStepLR(optimizer, [3, 5])
    warmup = LinearLR(optimizer, start_factor=1 / 1000, total_iters=49)
    for _ in range(50):
        warmup.step()
    main.step()
    assert optimizer.param_groups[0]["lr"] == np.nextafter(0.02, 1)
    assert_torch_goes_on_so(optimizer, main)


def test_warm_up_in_the_first_epoch_only(x64):
    """torchvision's detection recipe from its first step, one scheduler by steps and the other by epochs."""

    def step(number, schedulers):
        if number < 10:
            schedulers[1].step()
        if (number + 1) % 10 == 0:
            schedulers[0].step()

    for done in (0, 4, 13):
        optimizer = sgd(0.02, 0.3)
        schedulers = [MultiStepLR(optimizer, [1, 3]), LinearLR(optimizer, 1 / 1000, total_iters=9)]
        for number in range(done):
            step(number, schedulers)
        options = {"step_schedulers": step, "steps_done": done}
        assert_torch_goes_on_so(optimizer, schedulers, step=step, **options)


@pytest.mark.parametrize("done", [0, 3, 8, 11])
def test_the_swa_recipe_of_torchs_documentation(x64, done):
    def step(epoch, schedulers):
        schedulers[epoch > 6].step()

    optimizer = sgd(0.1)
    pair = [CosineAnnealingLR(optimizer, T_max=12), SWALR(optimizer, swa_lr=0.05, anneal_epochs=4)]
    for epoch in range(done):
        step(epoch, pair)
    if done > 7:
        with pytest.raises(ValueError, match=r"SWALR in a list .* step_schedulers=lambda epoch, schedulers"):
            torch_bridge.from_torch(optimizer, pair)
        with pytest.raises(ValueError, match=r"give steps_done, the number of optimizer.step"):
            torch_bridge.from_torch(optimizer, pair, step_schedulers=step)
    assert_torch_goes_on_so(optimizer, pair, step=step, step_schedulers=step, steps_done=done)


def test_swalr_alone_once_it_has_taken_over(x64):
    optimizer = sgd(0.1, 0.3)
    pair = [CosineAnnealingLR(optimizer, T_max=12), SWALR(optimizer, swa_lr=0.05, anneal_epochs=4)]
    for epoch in range(9):
        pair[epoch > 6].step()
    assert_torch_goes_on_so(optimizer, pair[1])


def test_the_swa_recipe_goes_back_to_torch(x64):
    def step(epoch, schedulers):
        schedulers[epoch > 6].step()

    def make():
        optimizer = sgd(0.1)
        return optimizer, [CosineAnnealingLR(optimizer, T_max=12), SWALR(optimizer, swa_lr=0.05, anneal_epochs=4)]

    stayed, pair = make()
    for epoch in range(9):
        step(epoch, pair)
    optimizer, fresh = make()
    tx, params, state = torch_bridge.from_torch(optimizer, fresh, step_schedulers=step)
    for _ in range(9):
        _, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
    moved = torch_bridge.to_torch(params, state, optimizer, fresh, step_schedulers=step)
    assert moved.optimizer["param_groups"][0]["lr"] == in_force(stayed)[0]
    assert [kept["last_epoch"] for kept in moved.scheduler] == [each.last_epoch for each in pair]
    optimizer.param_groups[0]["lr"] = 0.7
    with pytest.raises(ValueError, match=r"give optimizer and scheduler as they were when from_torch was called"):
        torch_bridge.to_torch(params, state, optimizer, fresh[0])


@pytest.mark.parametrize("make", [lambda o: StepLR(o, 3), lambda o: CosineAnnealingLR(o, 10), ReduceLROnPlateau])
def test_a_group_added_after_the_scheduler(x64, make):
    optimizer = sgd(0.1)
    scheduler = make(optimizer)
    for _ in range(2):
        scheduler.step(*[1.0] * isinstance(scheduler, ReduceLROnPlateau))
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3))], "lr": 0.01})
    assert_torch_goes_on_so(optimizer, scheduler)


def test_a_group_that_torch_cannot_step_is_named():
    optimizer = sgd(0.1)
    scheduler = LambdaLR(optimizer, lambda epoch: 0.9**epoch)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3))]})
    for translate in (torch_bridge.from_torch, torch_bridge.explain):
        with pytest.raises(
            ValueError, match=r"LambdaLR was made when .* 1 parameter groups, .* group 1, which was added"
        ):
            translate(optimizer, scheduler)


class Warm(LRScheduler):
    """A class of a user's own, with state that steps change and no closed form."""

    def __init__(self, optimizer):
        self.seen = []
        super().__init__(optimizer)

    def get_lr(self):
        self.seen.append(len(self.seen))
        return [base * min(1, (1 + sum(self.seen)) / 40) for base in self.base_lrs]


def test_a_class_of_the_users_own_is_followed_by_its_copy(x64):
    optimizer = sgd(0.1, 0.3)
    scheduler = Warm(optimizer)
    scheduler.step()
    before = list(scheduler.seen)
    assert_torch_goes_on_so(optimizer, scheduler)
    assert before == scheduler.seen[: len(before)]


class Drawn(LRScheduler):
    def get_lr(self):
        return [random.random() for _ in self.base_lrs]


class Reaching(LRScheduler):
    def __init__(self, optimizer):
        def write():
            optimizer.param_groups[0]["lr"] *= 0.5
            return [optimizer.param_groups[0]["lr"]]

        self.write = write
        super().__init__(optimizer)

    def get_lr(self):
        return self.write()


class Uncopied(LRScheduler):
    def __init__(self, optimizer):
        self.log = (number for number in range(9))
        super().__init__(optimizer)

    def get_lr(self):
        return self.base_lrs


class Damped(LRScheduler):
    def get_lr(self):
        self.optimizer.param_groups[0]["dampening"] += 0.1
        return self.base_lrs


class Argument(LRScheduler):
    def step(self, *loss):
        if self.last_epoch >= 0:
            loss[0]
        super().step()

    def get_lr(self):
        return self.base_lrs


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Drawn, "stepped twice from the same state, set different learning rates"),
        (Reaching, "a copy of Reaching set the learning rate of the optimizer itself"),
        (Uncopied, "Uncopied cannot be copied and stepped ahead"),
        (Damped, "Damped changes dampening, and only lr, momentum, weight_decay can be followed"),
        (Argument, "Argument cannot make its next step .* describe that by step_schedulers"),
        (type("Mine", (ReduceLROnPlateau,), {}), "Mine is a ReduceLROnPlateau of your own"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_left_alone(kind, says):
    optimizer = sgd(0.1)
    scheduler = kind(optimizer)
    before, stream = in_force(optimizer), random.getstate()
    with pytest.raises((ValueError, TypeError), match=says):
        torch_bridge.from_torch(optimizer, scheduler)
    assert in_force(optimizer) == before
    assert random.getstate() == stream


def test_a_scheduler_of_another_optimizer_is_refused():
    with pytest.raises(ValueError, match=r"StepLR sets the learning rate of another optimizer"):
        torch_bridge.from_torch(sgd(0.1), StepLR(sgd(0.1), 3))


def test_a_tensor_beside_a_plateau_is_followed_or_refused(x64):
    for dtype in (torch.float32, torch.float64):
        optimizer = sgd(0.1)
        optimizer.param_groups[0]["lr"] = torch.tensor(0.1, dtype=dtype)
        schedulers = [ExponentialLR(optimizer, 0.9), ReduceLROnPlateau(optimizer, patience=0)]
        if dtype == torch.float64:
            assert_torch_goes_on_so(optimizer, schedulers)
            continue
        with pytest.raises(ValueError, match=r"group 0 is a tensor of torch.float32, .* use a number"):
            torch_bridge.from_torch(optimizer, schedulers)


def test_a_formula_is_not_handed_out_for_a_state_that_it_does_not_lead_to():
    optimizer = sgd(0.1)
    scheduler = CosineAnnealingWarmRestarts(optimizer, 3)
    scheduler.step(1.5)
    optimizer.param_groups[0]["lr"] = schedules.CosineAnnealingWarmRestarts(0.1, 3).table(2)[1]
    with pytest.raises(ValueError, match=r"in a state that its formula does not lead to: at epoch 2 torch sets"):
        torch_bridge.from_torch(scheduler)


def history(seed):
    """An optimizer and schedulers that went through something: what from_torch is asked to follow."""
    draw = random.Random(seed)
    optimizer = sgd(*[draw.choice([0.1, 0.3, 0.02]) for _ in range(draw.randint(1, 2))])
    if draw.random() < 0.2:
        dtype = draw.choice([torch.float32, torch.float64])
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=dtype)
    names = [name for name in SCHEDULERS if len(optimizer.param_groups) == 2 or "each group" not in name]
    names = [name for name in names if len(optimizer.param_groups) == 2 or name not in TWO_GROUPS]
    scheduler = SCHEDULERS[draw.choice(names)](optimizer)
    schedulers = scheduler if isinstance(scheduler, list) else [scheduler]
    for _ in range(draw.randint(0, 12)):
        event = draw.random()
        one = draw.choice(schedulers)
        if event < 0.7:
            for each in schedulers:
                each.step(*[draw.choice([0.5, 1.0])] * isinstance(each, ReduceLROnPlateau))
        elif event < 0.78 and not isinstance(one, ReduceLROnPlateau):
            one.step(draw.choice([0, 1, 4, 9, 2.5]))
        elif event < 0.86:
            group = draw.choice(optimizer.param_groups)
            rate = draw.choice([0.5 * float(group["lr"]), float(np.nextafter(float(group["lr"]), 1))])
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        elif event < 0.92:
            one.load_state_dict(one.state_dict())
        elif event < 0.95:
            optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3))], "lr": 0.05})
        else:
            schedulers = [one]  # the others are not stepped any more
    return optimizer, schedulers


TWO_GROUPS = ("plateau", "one cycle, three phases")


def follow(seed):
    """Whether the history was accepted; what is accepted is torch's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            optimizer, schedulers = history(seed)
        except (TypeError, ValueError, KeyError, NotImplementedError, RuntimeError, ZeroDivisionError):
            return None  # torch does not go there
        try:
            translated = torch_bridge.from_torch(optimizer, schedulers, epochs=150)
        except (TypeError, ValueError):
            return False
        assert_torch_goes_on_so(optimizer, schedulers, epochs=51, translated=translated)
        return True


def test_random_histories(x64):
    found = [follow(seed) for seed in range(12)]
    assert found.count(True) >= 6


@pytest.mark.exhaustive
def test_five_hundred_random_histories(x64):
    found = [follow(seed) for seed in range(500)]
    assert found.count(True) >= 250
    assert found.count(False) >= 10

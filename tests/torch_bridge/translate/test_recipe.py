import jax
import jax.numpy as jnp
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from tests.support.torch_recipes import SCHEDULERS, Whole, bits, make, metric, train


def there_and_back(name, steps_per_epoch, before, between, after, dtype=torch.float64):
    """Train in torch, move to JAX, train, move back, train: the parameters' bits, and those of a run that stayed."""
    stayed = make(name, dtype)
    gradients = train(*stayed, range(before + between + after), steps_per_epoch)

    left = make(name, dtype)
    train(*left, range(before), steps_per_epoch)
    epochs = (before + between) // steps_per_epoch + 2
    tx, params, state = torch_bridge.from_torch(
        *left[1:], steps_per_epoch=steps_per_epoch, epochs=epochs, steps_done=before
    )
    if left[2] is not None:
        in_force = [float(group["lr"]) for group in left[1].param_groups]
        rates = funcsgd.get_learning_rate(state)
        assert [float(rate) for rate in rates] == [float(jnp.asarray(rate, float)) for rate in in_force]

    @jax.jit
    def step(params, state, gradients, value):
        updates, state = tx.update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for number in range(before, before + between):
        params, state = step(params, state, gradients[number], metric(number // steps_per_epoch - 1))

    back = make(name, dtype)
    value = metric((before + between) // steps_per_epoch - 1)
    moved = torch_bridge.to_torch(params, state, *back[1:], steps_per_epoch=steps_per_epoch, value=value)
    back[1].load_state_dict(moved.optimizer)
    if isinstance(back[2], list):
        for scheduler, kept in zip(back[2], moved.scheduler, strict=True):
            scheduler.load_state_dict(kept)
    elif back[2] is not None:
        back[2].load_state_dict(moved.scheduler)
    for key, parameter in back[0].items():
        parameter.data.copy_(moved.model[key])
    train(*back, range(before + between, before + between + after), steps_per_epoch)
    rates = [[group["lr"] for group in parts[1].param_groups] for parts in (stayed, back)]
    return bits(stayed[0]), bits(back[0]), *rates


@pytest.mark.parametrize("name", one_in(2, [None, *SCHEDULERS]))
def test_a_run_that_moved_ends_as_the_run_that_stayed(x64, name):
    stayed, moved, rate, moved_rate = there_and_back(name, 3, 7, 6, 5)
    assert stayed == moved
    assert rate == moved_rate


def test_to_torch_changes_nothing_it_is_given(x64):
    parts = make("cosine")
    _, params, state = torch_bridge.from_torch(*parts[1:])
    before = str(parts[1].state_dict()), str(parts[2].state_dict())
    moved = torch_bridge.to_torch(params, state, *parts[1:])
    assert (str(parts[1].state_dict()), str(parts[2].state_dict())) == before
    assert moved.scheduler["last_epoch"] == 0


def test_a_scheduler_that_is_further_is_refused(x64):
    parts = make("cosine")
    _, params, state = torch_bridge.from_torch(*parts[1:])
    ahead = make("cosine")
    train(*ahead, range(3), 1)
    with pytest.raises(ValueError, match="stands at epoch 3, and the run only at 0"):
        torch_bridge.to_torch(params, state, *ahead[1:])


def test_a_metric_that_was_not_used_yet_is_required(x64):
    parts = make("plateau")
    tx, params, state = torch_bridge.from_torch(*parts[1:])
    with pytest.raises(ValueError, match="value=metric"):
        tx.update(params, state, params)
    _, state = tx.update(params, state, params, value=1.0)
    with pytest.raises(ValueError, match="has not seen the metric of epoch 0 yet: pass value="):
        torch_bridge.to_torch(params, state, *parts[1:])
    assert torch_bridge.to_torch(params, state, *parts[1:], value=0.5).scheduler["best"] == 0.5


@pytest.mark.parametrize("name", ["plateau", "a plateau at the end", "two that take turns"])
def test_without_64_bit_mode_too(name):
    """float32 parameters; the learning rate that goes back is torch's double all the same."""
    stayed, moved, rate, moved_rate = there_and_back(name, 2, 5, 14, 3, dtype=torch.float32)
    assert stayed == moved
    assert rate == moved_rate


def test_counts_that_do_not_fit_are_refused():
    parts = make("cosine")
    train(*parts, range(6), 3)
    with pytest.raises(ValueError, match=r"after 6 steps, 2 to an epoch, .* epoch 3, but it stands at 2"):
        torch_bridge.from_torch(*parts[1:], steps_per_epoch=2, steps_done=6)


def test_a_scheduler_or_an_average_alone():
    parameters, _, scheduler = make("cosine")
    first, second = torch_bridge.from_torch(scheduler)
    assert (first.table(1)[0], second.table(1)[0]) == (0.1, 0.3)
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.ParameterDict(parameters))
    assert sorted(torch_bridge.from_torch(averaged).state.average) == ["a", "b"]


def test_a_whole_recipe_moves_frozen_and_thaws(x64):
    """Frozen in torch after three steps, moved to JAX and back, thawed: the resting buffer goes on where it stood."""
    arguments, steps_per_epoch = ("a plateau at the end", "ema", "norm", False, torch.float32), 2
    stayed, left, back = Whole(*arguments), Whole(*arguments), Whole(*arguments)

    def run(side, numbers):
        rows = []
        for number in numbers:
            side.parameters["b"].requires_grad_(not 3 <= number < 11)
            rows.append(side.step(number, steps_per_epoch))
        return rows

    gradients = run(stayed, range(15))
    run(left, range(5))
    given = {**left.arguments(), "steps_per_epoch": steps_per_epoch, "epochs": 10, "steps_done": 5}
    tx, params, state = torch_bridge.from_torch(left.optimizer, left.scheduler, left.average, **given)

    @jax.jit
    def step(params, state, gradients, value):
        updates, state = tx.update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for number in range(5, 11):
        params, state = step(params, state, gradients[number], metric(number // steps_per_epoch - 1))
    moved = torch_bridge.to_torch(params, state, back.optimizer, back.scheduler, steps_per_epoch=steps_per_epoch)
    back.optimizer.load_state_dict(moved.optimizer)
    back.average.load_state_dict(moved.average)
    for scheduler, kept in zip(back.scheduler, moved.scheduler, strict=True):
        scheduler.load_state_dict(kept)
    for key, parameter in back.parameters.items():
        parameter.data.copy_(moved.model[key])
    run(back, range(11, 15))
    assert bits(stayed.parameters) == bits(back.parameters)
    averages = [bits(dict(side.average.module.named_parameters())) for side in (stayed, back)]
    assert averages[0] == averages[1]


@pytest.mark.parametrize("recipe", [("a plateau at the end", "ema", "norm", True), ("one cycle", None, "value", False)])
def test_every_array_of_the_state_can_be_donated(recipe):
    side = Whole(*recipe, torch.float32)
    tx, params, state = torch_bridge.from_torch(
        side.optimizer, side.scheduler, side.average, **side.arguments(), epochs=10
    )
    step = jax.jit(lambda params, state, g: tx.update(g, state, params, value=1.0)[1], donate_argnums=1)
    for _ in range(3):
        state = step(params, state, params)
    fresh = tx.init(params)
    assert jax.tree.structure(step(params, fresh, params)) == jax.tree.structure(state)

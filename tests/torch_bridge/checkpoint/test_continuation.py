"""Runs that move between torch, JAX, orbax and safetensors by files: no bit differs from a run that stayed."""

import jax
import optax
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import torch_bridge
from tests.support.torch_recipes import CLIPPINGS, metric
from tests.support.whole_recipes import SHAPES, Side, recipes
from torch_bridge import checkpoint

EXAMPLES = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
NAMES = [["a"], ["b"]]


def saved(side, path):
    """What scripts save, by torch.save."""
    several = isinstance(side.scheduler, list)
    scheduler = (
        [each.state_dict() for each in side.scheduler] if several else side.scheduler and side.scheduler.state_dict()
    )
    content = {"model": side.model.state_dict(), "optimizer": side.optimizer.state_dict(), "args": {"lr": 0.1}}
    content |= {"scheduler": scheduler} if scheduler else {}
    content |= {"ema": side.average.state_dict()} if side.average else {}
    torch.save(content, path)


def whole_rule(drawn, epochs):
    """The rule of the whole run, as from_torch reads it before the first step."""
    fresh = Side(drawn)
    clip = CLIPPINGS[drawn.clip] if drawn.clip else None
    return torch_bridge.from_torch(
        fresh.optimizer, fresh.scheduler, fresh.average, clip=clip, named_parameters=fresh.model.named_parameters(),
        steps_per_epoch=drawn.steps_per_epoch, epochs=epochs,
    ).tx  # fmt: skip


def assert_moved_as_stayed(drawn, folder):
    per_epoch, moved_at = drawn.steps_per_epoch, drawn.before + drawn.between
    total = moved_at + drawn.after
    stayed = Side(drawn).run(range(total))
    left = Side(drawn).run(range(drawn.before))
    saved(left, folder / "torch.pt")
    checkpoint.write_safetensors(folder / "a.safetensors", checkpoint.read_torch(folder / "torch.pt"), force=True)
    found = checkpoint.load(folder / "a.safetensors", names=NAMES)
    tx = whole_rule(drawn, moved_at // per_epoch + 2)
    params, state = found.to_jax(tx, steps_per_epoch=per_epoch, steps_done=drawn.before)

    @jax.jit
    def step(params, state, gradients, value):
        updates, state = tx.update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for number in range(drawn.before, moved_at):
        if number == drawn.before + drawn.between // 2:
            checkpoint.save(folder / "orbax", params, state, force=True)
            params, state, _ = checkpoint.restore(folder / "orbax", tx)
        gradients = left.gradients(number)
        gradients = {name: gradients[name].numpy() if name in gradients else None for name in SHAPES}
        params, state = step(params, state, gradients, metric(number // per_epoch - 1))

    back = Side(drawn)
    moved = torch_bridge.to_torch(
        params, state, back.optimizer, back.scheduler, named_parameters=back.model.named_parameters(),
        steps_per_epoch=per_epoch, value=metric(moved_at // per_epoch - 1),
    )  # fmt: skip
    checkpoint.save_torch(folder / "back.pt", moved, force=True)
    back.load(torch_bridge.TorchState(**torch.load(folder / "back.pt", weights_only=True)))
    assert back.run(range(moved_at, total)).ends_as() == stayed.ends_as()


@given(recipes())
@settings(max_examples=2, **EXAMPLES)
def test_a_run_that_moved_through_files_ends_as_the_one_that_stayed(tmp_path_factory, drawn):
    assert_moved_as_stayed(drawn, tmp_path_factory.mktemp("moved"))


@pytest.mark.thorough
def test_forty_recipes(tmp_path_factory):
    @given(recipes())
    @settings(max_examples=40, database=None, derandomize=False, **EXAMPLES)
    def move(drawn):
        assert_moved_as_stayed(drawn, tmp_path_factory.mktemp("moved"))

    move()

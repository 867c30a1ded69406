"""Whole recipes, drawn at random: moved to JAX and back at random steps, no bit differs from a run that stayed."""

import jax
import optax
import pytest
from hypothesis import HealthCheck, given, settings

import torch_bridge
from tests.support.sampling import one_in
from tests.support.torch_recipes import CLIPPINGS, metric
from tests.support.whole_recipes import SHAPES, Side, recipes


def assert_moved_as_stayed(drawn):
    per_epoch, moved_at = drawn.steps_per_epoch, drawn.before + drawn.between
    total = moved_at + drawn.after
    stayed = Side(drawn).run(range(total))
    left = Side(drawn).run(range(drawn.before))
    clip = CLIPPINGS[drawn.clip] if drawn.clip else None
    tx, params, state = torch_bridge.from_torch(
        left.optimizer, left.scheduler, left.average, clip=clip, named_parameters=left.model.named_parameters(),
        steps_per_epoch=per_epoch, epochs=moved_at // per_epoch + 2, steps_done=drawn.before,
    )  # fmt: skip

    @jax.jit
    def step(params, state, gradients, value):
        updates, state = tx.update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for number in range(drawn.before, moved_at):
        found = left.gradients(number)
        gradients = {name: found[name].numpy() if name in found else None for name in SHAPES}
        params, state = step(params, state, gradients, metric(number // per_epoch - 1))

    back = Side(drawn)
    moved = torch_bridge.to_torch(
        params, state, back.optimizer, back.scheduler, named_parameters=back.model.named_parameters(),
        steps_per_epoch=per_epoch, value=metric(moved_at // per_epoch - 1),
    )  # fmt: skip
    back.load(moved)
    assert back.run(range(moved_at, total)).ends_as() == stayed.ends_as()


EXAMPLES = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@given(recipes())
@settings(max_examples=8, **EXAMPLES)
def test_a_recipe_that_moved_ends_as_the_one_that_stayed(drawn):
    assert_moved_as_stayed(drawn)


@pytest.mark.parametrize("part", one_in(0, range(8), thorough=8))
def test_two_thousand_recipes(part):
    @given(recipes())
    @settings(max_examples=250, database=None, derandomize=False, **EXAMPLES)
    def move(drawn):
        assert_moved_as_stayed(drawn)

    move()

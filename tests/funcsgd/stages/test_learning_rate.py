"""The last stage, -learning_rate * d, and reading the learning rate back from a state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from funcsgd import schedules
from tests.support.torch_runs import bits, by_step, differing_bits, our_run, random_run, torch_run

TABLE = np.float32([0.1, 0.0, 0.037, 1.0, 1e-7])


def test_two_steps_of_a_schedule_by_hand():
    tx = funcsgd.scale_by_learning_rate(lambda count: 0.5**count)
    (p,) = our_run(tx, [np.float32([8])], [[np.float32([4])]] * 2)
    assert p.tolist() == [[4.0], [2.0]]  # 8 - 1 * 4, then 4 - 0.5 * 4


def test_the_state_holds_what_the_next_update_takes():
    tx = funcsgd.scale_by_learning_rate(lambda count: jnp.asarray(TABLE)[count])
    state = tx.init(jnp.ones(1))
    for value in TABLE:
        assert funcsgd.get_learning_rate(state) == value
        update, state = tx.update(jnp.ones(1), state)
        assert update == -value


@pytest.mark.parametrize("form", [1, 1.0, np.float64(1), np.ones((1,)), jnp.int32(1), jnp.ones((1, 1)), lambda n: 1])
def test_every_form_of_one(form):
    tx = funcsgd.scale_by_learning_rate(form)
    state = tx.init(jnp.ones(1))
    update, after = tx.update(jnp.array([3.0]), state)
    assert update.tolist() == [-3.0]
    for learning_rate in (state.learning_rate, after.learning_rate):
        assert (learning_rate.shape, learning_rate.dtype, learning_rate.weak_type) == ((), jnp.float32, False)


def test_a_missing_gradient_leaves_every_bit_of_its_parameter():
    p = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0])
    (after, _) = our_run(funcsgd.scale_by_learning_rate(0.1), [p, p], [[None, p]])
    np.testing.assert_array_equal(bits(after[0]), bits(p))


def test_without_parameters_a_missing_gradient_stays_missing():
    tx = funcsgd.scale_by_learning_rate(0.5)
    updates, _ = tx.update({"a": None, "b": jnp.array([4.0])}, tx.init({}))
    assert (updates["a"], updates["b"].tolist()) == (None, [-2.0])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_updates_come_in_float32(dtype):
    tx = funcsgd.scale_by_learning_rate(0.1)
    update, _ = tx.update(jnp.ones(3, dtype), tx.init(jnp.ones(3, dtype)))
    assert update.dtype == jnp.float32
    assert optax.apply_updates(jnp.ones(3, dtype), update).dtype == dtype


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(-0.1, r"Invalid learning rate: -0\.1"), (jnp.ones(2), r"Tensor lr must be 1-element, .* vmap over it")],
)
def test_wrong_values_have_torchs_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        funcsgd.scale_by_learning_rate(wrong)


def test_a_state_without_learning_rate():
    with pytest.raises(ValueError, match=r"no learning rate in a state of type .*: build the optimizer with"):
        funcsgd.get_learning_rate(optax.adam(0.1).init(jnp.ones(1)))


SCHEDULE = schedules.StepLR(0.5, 1, gamma=0.5)
STAGES = {
    "number": lambda: funcsgd.sgd(0.5),
    "schedule": lambda: funcsgd.sgd(SCHEDULE),
    "table": lambda: funcsgd.sgd(schedules.tabulate(SCHEDULE, 9)),
    "schedulers": lambda: funcsgd.sgd(funcsgd.scale_by_schedulers([SCHEDULE], 9)),
    "every second": lambda: funcsgd.sgd(funcsgd.scale_by_schedulers([SCHEDULE], 9, every=2)),
    "injected": lambda: optax.inject_hyperparams(funcsgd.sgd)(0.5),
}


@pytest.mark.parametrize("name", STAGES)
def test_one_answer_before_every_update(name):
    tx, p = STAGES[name](), jnp.ones(1)
    state = tx.init(p)
    for _ in range(5):
        said = funcsgd.get_learning_rate(state)
        updates, state = tx.update(p, state, p)
        assert -updates[0] == said


def test_a_schedule_that_is_not_in_the_state_is_refused():
    tx = optax.inject_hyperparams(funcsgd.sgd)(learning_rate=SCHEDULE)
    with pytest.raises(ValueError, match=r"keeps the learning rate of the update before.* give the schedule to"):
        funcsgd.get_learning_rate(tx.init(jnp.ones(1)))
    with pytest.raises(ValueError, match="overwrites it by its schedule"):
        funcsgd.set_learning_rate(tx.init(jnp.ones(1)), 0.1)


@pytest.mark.parametrize(
    ("name", "then"), [("number", 0.125), ("injected", 0.125), ("schedule", 0.25), ("schedulers", 0.0625)]
)
def test_a_learning_rate_set_by_hand(name, then):
    tx, p = STAGES[name](), jnp.ones(1)
    state = funcsgd.set_learning_rate(tx.init(p), 0.125)
    first, state = jax.jit(tx.update)(p, state, p)
    second, _ = tx.update(p, state, p)
    assert (float(first[0]), float(second[0])) == (-0.125, -then)


def test_groups_are_set_apart_and_nothing_compiles_anew():
    tx = optax.partition({0: funcsgd.sgd(0.5), 1: funcsgd.sgd(0.25)}, {"a": 0, "b": 1})
    params = {"a": jnp.ones(1), "b": jnp.ones(1)}
    state, step = tx.init(params), jax.jit(tx.update)
    step(params, state, params)
    state = funcsgd.set_learning_rate(state, [1.0, 2.0])
    assert [float(u[0]) for u in step(params, state, params)[0].values()] == [-1.0, -2.0]
    assert step._cache_size() == 1
    with pytest.raises(ValueError, match="the state has 2 learning rates, but 3 are given"):
        funcsgd.set_learning_rate(state, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1\.0"):
        funcsgd.set_learning_rate(state, -1.0)
    with pytest.raises(ValueError, match="no learning rate in a state"):
        funcsgd.set_learning_rate(optax.adam(0.1).init(params), 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parity_of_a_schedule(x64, dtype):
    params, gradients = random_run(dtype, steps=len(TABLE))
    steps = by_step(gradients)
    ours = our_run(funcsgd.scale_by_learning_rate(lambda count: jnp.asarray(TABLE)[count]), params, steps)
    assert differing_bits(ours, torch_run(params, steps, lambda step: {"lr": float(TABLE[step])})) == 0


@pytest.mark.parametrize("learning_rate", [0.1, 1, 0, np.float32(0.1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parity_of_numbers_and_arrays(x64, dtype, learning_rate):
    params, gradients = random_run(dtype, steps=3)
    steps = by_step(gradients)
    number = learning_rate if isinstance(learning_rate, int) else float(learning_rate)
    ours = our_run(funcsgd.scale_by_learning_rate(learning_rate), params, steps)
    assert differing_bits(ours, torch_run(params, steps, lr=number)) == 0


def test_a_direction_that_is_a_product_in_the_same_program_is_rounded_first():
    params, gradients = random_run(np.float32, steps=3)
    tx = optax.chain(optax.scale(0.3), funcsgd.scale_by_learning_rate(0.1))
    ours = our_run(tx, params, by_step(gradients))
    scaled = [jax.device_get(jnp.float32(0.3) * g) for g in gradients]
    assert differing_bits(ours, torch_run(params, by_step(scaled), lr=0.1)) == 0

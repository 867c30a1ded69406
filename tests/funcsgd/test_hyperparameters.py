"""What a hyperparameter may be: a number, an array, a tracer or a schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd.hyperparameters import check_nesterov, check_nonnegative, check_scalar, is_zero, value_at


def test_two_steps_of_a_schedule_by_hand():
    halving = [value_at(lambda count: 0.5**count, jnp.int32(count)) for count in (0, 1)]
    assert [float(value) for value in halving] == [1.0, 0.5]


@pytest.mark.parametrize("value", [0.1, 3, np.float32(0.1), jnp.float32(0.1)])
def test_anything_but_a_schedule_is_its_own_value(value):
    assert value_at(value, jnp.int32(7)) is value


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (0.0, True), (-0.0, True), (0.1, False), (jnp.float32(0), False), (lambda count: 0.0, False)],
)
def test_only_a_python_zero_is_known_to_be_zero(value, expected):
    assert is_zero(value) is expected


@pytest.mark.parametrize("value", [-0.1, -1, np.float32(-0.5), jnp.float32(-0.5), jnp.array([-0.5])])
def test_negative_values_are_refused(value):
    with pytest.raises(ValueError, match="Invalid learning rate: "):
        check_nonnegative("Invalid learning rate", value)


def test_what_is_not_known_yet_passes():
    check_nonnegative("never", lambda count: -1.0)
    check_nesterov(lambda count: 0.0, 0.0)
    jax.jit(lambda x: check_nonnegative("never", x) or x)(-1.0)
    jax.jit(lambda x: check_nesterov(x, x) or x)(0.0)
    check_nonnegative("never", float("nan"))


@pytest.mark.parametrize(("momentum", "dampening"), [(0.0, 0.0), (0.9, 0.1), (jnp.float32(0), 0.0), (0.9, -0.1)])
def test_nesterov_is_refused_as_in_torch(momentum, dampening):
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum and zero dampening"):
        check_nesterov(momentum, dampening)


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 3)])
def test_an_array_of_values_names_vmap(shape):
    with pytest.raises(ValueError, match=r"Tensor lr must be 1-element.*vmap"):
        check_scalar("lr", jnp.zeros(shape))


def test_one_element_of_any_rank_is_a_scalar():
    for value in (0.1, jnp.float32(0.1), jnp.ones((1,)), np.ones((1, 1))):
        check_scalar("lr", value)

"""The model and the rule: what they are made of and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd import averages
from funcsgd import noisy_quadratic as nq


def test_the_papers_spectrum():
    model = nq.power_law(3)
    assert np.allclose(model.h, [1, 1 / 2, 1 / 3])
    assert (model.c == model.h).all()
    assert np.isclose(nq.loss(model, jnp.ones((2, 3))), 11 / 12).all()


def test_integers_and_scalars_are_made_fit():
    model = nq.from_spectrum([4, 1], c=2, optimum=1, start=np.array([0.0, 3.0]))
    assert model.h.dtype == jnp.float32
    assert [x.tolist() for x in model] == [[4, 1], [2, 2], [1, 1], [0, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 0.0],), r"h must be positive, but has a minimum of 0\.0"),
        (([[1.0]],), r"h must be a vector of curvatures, but has shape \(1, 1\)"),
        (([1.0], -1.0), r"c must be non-negative, but has a minimum of -1\.0"),
    ],
)
def test_bad_models_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        nq.from_spectrum(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate must be non-negative, but is -0.1"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), but is 1.0"),
        ({"dampening": 1.5}, r"dampening must be in \[0, 1\), but is 1.5"),
        ({"weight_decay": float("nan")}, "weight_decay must be non-negative, but is nan"),
        ({"power": 1.1}, r"power must be in \[0, 1\], but is 1.1"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), but is 1.0"),
        ({"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
        ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "Nesterov momentum requires"),
    ],
)
def test_bad_rules_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nq.Rule(**{"learning_rate": 0.1} | options)


def test_a_rule_is_a_tree_whose_gradients_are_trees():
    model = nq.from_spectrum([1.0, 0.5])
    risk = jax.jit(jax.grad(lambda rule: nq.steady_state(model, rule).risk))
    gradient = risk(nq.Rule(0.5, momentum=0.5, ema_decay=0.5))
    assert gradient.learning_rate > 0
    assert gradient.momentum > 0
    assert gradient.ema_decay < 0  # a negative number in a Rule: no error


def test_a_rule_is_run_by_the_library_itself():
    model, rule = nq.from_spectrum([4.0, 1.0]), nq.Rule(0.1, 0.9, weight_decay=0.01, power=0.5, ema_decay=0.5)
    tx, w, grads = nq.optimizer(rule, model.h), jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0])
    updates, state = tx.update(grads, tx.init(w), w)
    assert np.allclose(updates, -0.1 * (grads + 0.01 * w) / jnp.sqrt(model.h))
    assert np.allclose(averages.averaged_params(state), w + updates)

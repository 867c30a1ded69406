import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from funcsgd.stages.drop_gradients import drop_gradients

OPTIONS = {"momentum": 0.9, "weight_decay": 0.1}
PARAMS = {"a": np.float32([1.0, -0.0, 3.0]), "b": np.float32([-0.0, 2.0]), "c": np.float32([5.0])}


def gradients(steps):
    rng = np.random.default_rng(0)
    return [{k: rng.standard_normal(p.shape).astype(np.float32) for k, p in PARAMS.items()} for _ in range(steps)]


def rule(groups, frozen):
    if not groups:
        return optax.chain(
            drop_gradients(frozen), funcsgd.clip_grad_norm(1.0, order="abc"), funcsgd.sgd(0.1, **OPTIONS)
        )
    parts = {0: funcsgd.sgd(0.1, **OPTIONS), 1: funcsgd.sgd(0.5, **OPTIONS)}
    clip = funcsgd.clip_grad_norm(1.0, order="abc")
    return optax.chain(drop_gradients(frozen), clip, optax.partition(parts, {"a": 0, "b": 1, "c": 1}))


@pytest.mark.parametrize("groups", [False, True])
def test_a_parameter_that_freezes_and_thaws_is_torchs(groups):
    parameters = {k: torch.nn.Parameter(torch.tensor(p)) for k, p in PARAMS.items()}
    rows = [{"params": [parameters["a"]]}, {"params": [parameters["b"], parameters["c"]], "lr": 0.5}]
    optimizer = torch.optim.SGD(rows if groups else list(parameters.values()), lr=0.1, **OPTIONS)
    rules = {frozen: rule(groups, {"a": False, "b": frozen, "c": False}) for frozen in (False, True)}
    params = jax.tree.map(jnp.asarray, PARAMS)
    state = rules[False].init(params)
    for t, g in enumerate(gradients(9)):
        frozen = 3 <= t < 6
        for key, parameter in parameters.items():
            parameter.grad = None if frozen and key == "b" else torch.tensor(g[key])
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()

        @jax.jit
        def step(params, state, g, tx=rules[frozen]):
            updates, state = tx.update(g, state, params)
            return optax.apply_updates(params, updates), state

        params, state = step(params, state, g)
        for key, parameter in parameters.items():
            assert np.asarray(params[key]).tobytes() == parameter.detach().numpy().tobytes(), (t, key)


def test_optax_freezes_by_a_gradient_of_zero():
    params = {"a": jnp.array([2.0])}
    for stage, moved in ((drop_gradients({"a": True}), False), (optax.transforms.freeze({"a": True}), True)):
        tx = optax.chain(stage, funcsgd.sgd(0.1, weight_decay=0.1))
        updates, _ = tx.update(params, tx.init(params), params)
        assert bool(optax.apply_updates(params, updates)["a"] != 2.0) is moved


def test_a_mask_may_end_above_the_leaves():
    gradients = {"body": {"w": jnp.ones(2), "b": jnp.ones(1)}, "head": {"w": jnp.ones(2)}}
    kept, _ = drop_gradients({"body": True, "head": False}).update(gradients, optax.EmptyState())
    assert kept["body"] == {"w": None, "b": None}
    assert kept["head"]["w"].tolist() == [1, 1]

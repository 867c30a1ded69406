"""The parity check of adam and adamw finds what it is there to find: each fault planted here makes bits differ."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from tests.support.sampling import one_in
from tests.support.torch_runs import by_step, differing_bits, our_run, random_run, torch_run
from torch_bridge.square_root import torch_root

LR, DECAY = 1e-3, 0.1
PARAMS, GRADIENTS = random_run(np.float32, ((7,), (64, 33)), steps=20)
STEPS = by_step(GRADIENTS)
LATE = [[g if i > 3 else None, h] for i, (g, h) in enumerate(STEPS)]
adam, adamw = (functools.partial(rule, sqrt=torch_root()) for rule in (funcsgd.adam, funcsgd.adamw))


def one_step_count():
    """adam whose late parameters are corrected as if they had met every gradient."""
    tx = adam(LR)

    def update(g, state, params=None, **extra_args):
        updates, new = tx.update(g, state, params)
        last = new[-1]
        counted = last._replace(step=jnp.full_like(last.step, last.count))
        return updates, (*new[:-1], counted)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def with_betas_exchanged(beta1, beta2):
    return adam(LR, betas=(beta2, beta1))


FAULTS = {
    "optax's order of the same operations": (optax.adam(LR), torch.optim.Adam, {}, STEPS),
    "optax's AdamW": (optax.adamw(LR, weight_decay=DECAY), torch.optim.AdamW, {"weight_decay": DECAY}, STEPS),
    "coupled decay": (adam(LR, weight_decay=DECAY), torch.optim.AdamW, {"weight_decay": DECAY}, STEPS),
    "decoupled decay": (adamw(LR, weight_decay=DECAY), torch.optim.Adam, {"weight_decay": DECAY}, STEPS),
    "decay of the learning rate's square": (adamw(LR, weight_decay=DECAY * LR), torch.optim.AdamW, {}, STEPS),
    "amsgrad of the corrected average": (optax.amsgrad(LR), torch.optim.Adam, {"amsgrad": True}, STEPS),
    "no amsgrad": (adam(LR), torch.optim.Adam, {"amsgrad": True}, STEPS),
    "epsilon in the root": (optax.adam(LR, eps=0, eps_root=1e-8), torch.optim.Adam, {}, STEPS),
    "another epsilon": (adam(LR, eps=1e-7), torch.optim.Adam, {}, STEPS),
    "betas exchanged": (with_betas_exchanged(0.9, 0.999), torch.optim.Adam, {}, STEPS),
    "a float32 learning rate": (adam(jnp.float32(LR)), torch.optim.Adam, {}, STEPS),
    "a float32 beta": (adam(LR, betas=(jnp.float32(0.9), 0.999)), torch.optim.Adam, {}, STEPS),
    "one count for all parameters": (one_step_count(), torch.optim.Adam, {}, LATE),
    "no maximize": (adam(LR), torch.optim.Adam, {"maximize": True}, STEPS),
}
if torch_root().name != "correct":
    FAULTS["the correct root"] = (funcsgd.adam(LR), torch.optim.Adam, {}, STEPS)


@pytest.mark.parametrize("fault", one_in(2, FAULTS))
def test_fault_is_found(fault):
    tx, rule, options, steps = FAULTS[fault]
    ours = our_run(tx, PARAMS, steps)
    assert differing_bits(ours, torch_run(PARAMS, steps, rule=rule, lr=LR, **options)) > 0


def test_a_zero_gradient_is_not_none():
    zeros = [[np.zeros_like(g) if i in (5, 6) else g, h] for i, (g, h) in enumerate(STEPS)]
    nones = [[None if i in (5, 6) else g, h] for i, (g, h) in enumerate(STEPS)]
    assert differing_bits(our_run(adam(LR), PARAMS, zeros), torch_run(PARAMS, nones, rule=torch.optim.Adam, lr=LR)) > 0


def test_the_same_runs_without_fault():
    for tx, rule, options in (
        (adam(LR), torch.optim.Adam, {}),
        (adamw(LR, weight_decay=DECAY), torch.optim.AdamW, {"weight_decay": DECAY}),
        (adam(LR, amsgrad=True), torch.optim.Adam, {"amsgrad": True}),
    ):
        for steps in (STEPS, LATE):
            theirs = torch_run(PARAMS, steps, rule=rule, lr=LR, **options)
            assert differing_bits(our_run(tx, PARAMS, steps), theirs) == 0


@pytest.mark.thorough
def test_eagerly_the_marked_arithmetic_is_not_torchs():
    """Without a jit around them the averages' sums would be two operations; `per_leaf` compiles them."""
    tx, params = adam(LR), [jnp.asarray(p) for p in PARAMS]
    with jax.disable_jit():
        updates, _ = tx.update(STEPS[0], tx.init(params), params)
        first = optax.apply_updates(params, updates)
        updates, _ = tx.update(STEPS[1], tx.update(STEPS[0], tx.init(params), params)[1], first)
    theirs = torch_run(PARAMS, STEPS[:2], rule=torch.optim.Adam, lr=LR)
    assert differing_bits(optax.apply_updates(first, updates), [x[-1] for x in theirs]) > 0
    updates, _ = tx.update(STEPS[0], tx.init(params), params)
    assert differing_bits(optax.apply_updates(params, updates), [x[0] for x in theirs]) == 0

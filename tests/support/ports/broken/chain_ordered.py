"""An optax chain with a decoupled weight decay, behind the momentum."""

import optax

import funcsgd

WEIGHT_DECAY = 0.01


def make_optimizer(learning_rate):
    return optax.chain(
        funcsgd.clip_grad_norm(0.1),
        optax.trace(decay=0.9),
        optax.add_decayed_weights(WEIGHT_DECAY),
        optax.scale_by_learning_rate(learning_rate),
    )


def port():
    return {"tx": make_optimizer(0.1)}

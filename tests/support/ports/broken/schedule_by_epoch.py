"""torch's StepLR, whose steps are epochs, as a schedule of optax, whose steps are updates."""

import optax

schedule = optax.exponential_decay(init_value=0.1, transition_steps=1, decay_rate=0.5, staircase=True)


def port():
    tx = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(schedule, momentum=0.9))
    return {"tx": tx}

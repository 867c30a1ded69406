"""Faults outside the catalogue: of these a checker knows the place, and says that it does not know the cause."""

import jax.numpy as jnp
import optax

from tests.support.planted.numbers import Numbers, Planted, inner
from tests.support.planted.stages import stage


def _before(made):
    """A stage behind clipping and weight decay, where gradients enter."""

    def replaces(n: Numbers):
        stages = [each for each in (made, inner(n)) if each is not None]
        return {"inner": optax.chain(*stages)}

    return replaces


def _behind(made):
    def replaces(n: Numbers):
        return {"inner": optax.chain(inner(n), made)}

    return replaces


OF_RULE = {
    "gradients cubed": Planted(_before(stage(lambda g, p: g**3)), lambda n: True),
    "gradients normalised": Planted(_before(stage(lambda g, p: g / (jnp.abs(g).mean() + 1e-3))), lambda n: True),
    "gradients halved where negative": Planted(_before(stage(lambda g, p: jnp.where(g < 0, g / 2, g))), lambda n: True),
    "steps clipped": Planted(_behind(optax.clip(0.05)), lambda n: n.betas is None, ("parameter",)),
    "steps of a tangent": Planted(_behind(stage(lambda g, p: jnp.tanh(g))), lambda n: True, ("parameter",)),
}
"""Faults of a rule."""
OF_LAYER = {
    "units rolled": lambda x: jnp.roll(x, 1, 1),
    "outputs times their spread": lambda x: x * (1 + x.std()),
}
"""What a port makes of a layer's output."""

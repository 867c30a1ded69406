"""The grid of rules on which the theory of the noisy quadratic model is tested."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd import noisy_quadratic as nq

LEARNING_RATES = (0.25, 0.5, 1.0)
MOMENTA = ((0.0, 0.0, False), (0.5, 0.0, False), (0.9, 0.0, False), (0.9, 0.9, False), (0.9, 0.0, True))
EMA_DECAYS = (0.0, 0.5, 0.95)
POWERS = (0.0, 0.5)
WEIGHT_DECAYS = (0.0, 0.1)
BATCH_SIZES = (1.0, 10.0)


def small_model():
    """Three coordinates, noise that is not the curvature, and an optimum that weight decay moves."""
    return nq.from_spectrum(np.array([1.0, 0.5, 0.2]), c=np.array([1.0, 0.5, 2.0]), optimum=np.array([1.0, -2.0, 0.5]))


def grid():
    """The 360 settings as pairs of a Rule of arrays and batch sizes: without Nesterov, and with."""
    for nesterov in (False, True):
        momenta = [(m, d) for m, d, n in MOMENTA if n == nesterov]
        settings = itertools.product(LEARNING_RATES, momenta, WEIGHT_DECAYS, POWERS, EMA_DECAYS, BATCH_SIZES)
        columns = jnp.array([(a, m, d, w, p, e, b) for a, (m, d), w, p, e, b in settings]).T
        yield nq.Rule(*columns[:6], nesterov=nesterov), columns[6]


def single_rules():
    """The rules of the grid one by one, at one batch size."""
    for rules, batch_sizes in grid():
        for i in np.flatnonzero(batch_sizes == 1.0):
            yield jax.tree.map(lambda x, i=i: float(x[i]), rules)

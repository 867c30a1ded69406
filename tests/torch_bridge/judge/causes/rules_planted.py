"""Update rules with faults, written as a porter would: in plain optax and small stages."""

import jax
import jax.numpy as jnp
import optax

LR, MOMENTUM, DECAY, MAX_NORM = 0.05, 0.9, 0.02, 0.3
BETAS, EPS = (0.8, 0.95), 0.03


def clip(max_norm=MAX_NORM, eps=1e-6, order=2):
    def update(updates, params=None):
        norm = jnp.linalg.norm(jnp.stack([jnp.linalg.norm(g.ravel(), order) for g in jax.tree.leaves(updates)]), order)
        return jax.tree.map(lambda g: g * jnp.minimum(max_norm / (norm + eps), 1.0), updates)

    return optax.stateless(update)


def stage(function):
    """A stage without state: ``function(g, p)`` for each leaf."""
    return optax.stateless(lambda updates, params: jax.tree.map(function, updates, params))


def decay(value=DECAY, mask=None):
    return optax.add_decayed_weights(value, mask)


def step(rate=LR):
    return optax.scale_by_learning_rate(rate)


def buffer(momentum=MOMENTUM, first=1.0, later=1.0, nesterov=False, sign=1.0, old=False):
    """A buffer of gradients; ``first`` and ``later`` are the weights with which gradients enter."""

    def init(params):
        return optax.TraceState(jax.tree.map(jnp.zeros_like, params)), jnp.array(True)

    def update(updates, state, params=None):
        trace, is_first = state
        weight = jnp.where(is_first, first, later)
        new = jax.tree.map(lambda g, b: sign * momentum * b + weight * g, updates, trace.trace)
        out = jax.tree.map(lambda g, b: g + momentum * b, updates, new) if nesterov else new
        return trace.trace if old else out, (optax.TraceState(new), jnp.array(False))

    return optax.GradientTransformation(init, update)


def heavy_ball(*, before=(), inner=None, rate=LR, after=()):
    """Clip, decay, buffer, rate; ``before`` takes the place of clip and decay, ``inner`` of the buffer."""
    return optax.chain(*(before or (clip(), decay())), inner or buffer(), *after, step(rate))


def averages(
    betas=BETAS, eps=EPS, corrected=(True, True), shift=0, quotient=None, first=None, second=None, correct_max=False,
    amsgrad=False,
):  # fmt: skip
    """Averages of gradients and of squares, written out."""
    quotient = quotient or (lambda m, v, c1, c2: m / c1 / (jnp.sqrt(v / c2) + eps))
    first = first or (lambda m, g: betas[0] * m + (1 - betas[0]) * g)
    second = second or (lambda v, g, m: betas[1] * v + (1 - betas[1]) * g**2)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        count = jnp.zeros((), jnp.int32)
        if amsgrad:
            return optax.ScaleByAmsgradState(count, zeros, zeros, zeros)
        return optax.ScaleByAdamState(count, zeros, zeros)

    def update(updates, state, params=None):
        count = state.count + 1
        t = jnp.maximum(count + shift, 1)
        c = [1 - b**t if on else 1.0 for b, on in zip(betas, corrected, strict=True)]
        mu = jax.tree.map(first, state.mu, updates)
        nu = jax.tree.map(second, state.nu, updates, mu)
        if not amsgrad:
            out = jax.tree.map(lambda m, v: quotient(m, v, *c), mu, nu)
            return out, optax.ScaleByAdamState(count, mu, nu)
        largest = jax.tree.map(lambda a, v: jnp.maximum(a, v / c[1] if correct_max else v), state.nu_max, nu)
        out = jax.tree.map(lambda m, v: quotient(m, v, c[0], 1.0 if correct_max else c[1]), mu, largest)
        return out, optax.ScaleByAmsgradState(count, mu, nu, largest)

    return optax.GradientTransformation(init, update)


def moments(*, before=(), inner=None, rate=LR, after=()):
    """Coupled decay, averages, rate."""
    return optax.chain(*(before or (decay(),)), inner or averages(), *after, step(rate))


def decoupled(*, inner=None, rate=LR, of=DECAY, after=None):
    """Averages, decoupled decay, rate."""
    return optax.chain(inner or averages(), optax.add_decayed_weights(of) if after is None else after, step(rate))


def rates(*values):
    """A schedule of numbers, the last from then on."""
    return lambda count: jnp.asarray(values, jnp.float32)[jnp.minimum(count, len(values) - 1)]


def only(ndim):
    return lambda params: jax.tree.map(lambda p: p.ndim == ndim, params)


HEAVY = {
    "clip-missing": lambda: heavy_ball(before=(decay(),)),
    "clip-without-epsilon": lambda: heavy_ball(before=(optax.clip_by_global_norm(MAX_NORM), decay())),
    "clip-of-each-leaf": lambda: heavy_ball(before=(stage(
        lambda g, p: g * jnp.minimum(MAX_NORM / (jnp.linalg.norm(g) + 1e-6), 1.0)), decay())),
    "clip-of-each-leaf-without-epsilon": lambda: heavy_ball(before=(
        stage(lambda g, p: g / jnp.maximum(jnp.linalg.norm(g) / MAX_NORM, 1.0)), decay())),
    "clip-of-values": lambda: heavy_ball(before=(optax.clip(MAX_NORM), decay())),
    "clip-by-norm-1": lambda: heavy_ball(before=(clip(order=1), decay())),
    "clip-by-largest": lambda: heavy_ball(before=(clip(order=jnp.inf), decay())),
    "clip-behind-decay": lambda: heavy_ball(before=(decay(), clip())),
    "clip-behind-decay-without-epsilon": lambda: heavy_ball(before=(decay(), optax.clip_by_global_norm(MAX_NORM))),
    "clip-value": lambda: heavy_ball(before=(clip(0.8 * MAX_NORM), decay())),
    "clip-value-without-epsilon": lambda: heavy_ball(before=(optax.clip_by_global_norm(0.5 * MAX_NORM), decay())),
    "clip-by-root-mean-square": lambda: heavy_ball(before=(optax.stateless(lambda u, p: jax.tree.map(
        lambda g: g * jnp.minimum(MAX_NORM / jnp.sqrt(optax.tree.norm(u, squared=True) / optax.tree.size(u)), 1.0), u)),
        decay())),
    "decay-missing": lambda: heavy_ball(before=(clip(),)),
    "decay-doubled": lambda: heavy_ball(before=(clip(), decay(), decay())),
    "decay-halved": lambda: heavy_ball(before=(clip(), decay(DECAY / 2))),
    "decay-not-on-vectors": lambda: heavy_ball(before=(clip(), decay(mask=only(2)))),
    "decay-on-vectors-only": lambda: heavy_ball(before=(clip(), decay(mask=only(1)))),
    "decay-decoupled": lambda: heavy_ball(before=(clip(),), after=(decay(),)),
    "decay-negative": lambda: heavy_ball(before=(clip(), stage(lambda g, p: g - DECAY * p))),
    "decay-l1": lambda: heavy_ball(before=(clip(), stage(lambda g, p: g + DECAY * jnp.sign(p)))),
    "decay-value": lambda: heavy_ball(before=(clip(), decay(1.3 * DECAY))),
    "momentum-missing": lambda: heavy_ball(inner=optax.identity()),
    "nesterov-extra": lambda: heavy_ball(inner=optax.trace(MOMENTUM, nesterov=True)),
    "momentum-averaged": lambda: heavy_ball(inner=buffer(first=0.1, later=1 - MOMENTUM)),
    "momentum-damped-first": lambda: heavy_ball(inner=buffer(first=1 - MOMENTUM)),
    "rate-inside-buffer": lambda: optax.chain(clip(), decay(), step(), optax.trace(MOMENTUM), optax.identity()),
    "momentum-negative": lambda: heavy_ball(inner=buffer(sign=-1.0)),
    "momentum-late": lambda: heavy_ball(inner=buffer(old=True)),
    "ascent": lambda: heavy_ball(rate=-LR),
    "momentum-value": lambda: heavy_ball(inner=optax.trace(0.95)),
    "rate-value": lambda: heavy_ball(rate=1.1 * LR),
}  # fmt: skip
"""Entry -> a port with that fault, of a run with clipping, weight decay and momentum."""
HEAVY["velocity-form"] = HEAVY.pop("rate-inside-buffer")  # the sign is inside as well
HEAVY["rate-inside-buffer"] = lambda: optax.chain(
    clip(), decay(), optax.scale(LR), optax.trace(MOMENTUM), optax.scale(-1)
)

MOMENTS = {
    "bias-correction-missing": lambda: moments(inner=averages(corrected=(False, False))),
    "first-bias-correction-missing": lambda: moments(inner=averages(corrected=(False, True))),
    "second-bias-correction-missing": lambda: moments(inner=averages(corrected=(True, False))),
    "bias-correction-late": lambda: moments(inner=averages(shift=1)),
    "bias-correction-early": lambda: moments(inner=averages(shift=-1)),
    "eps-in-root": lambda: moments(inner=optax.scale_by_adam(*BETAS, eps=0.0, eps_root=EPS)),
    "eps-before-correction": lambda: moments(
        inner=averages(quotient=lambda m, v, c1, c2: m / c1 * jnp.sqrt(c2) / (jnp.sqrt(v) + EPS))
    ),
    "eps-missing": lambda: moments(inner=optax.scale_by_adam(*BETAS, eps=0.0)),
    "eps-as-minimum": lambda: moments(
        inner=averages(quotient=lambda m, v, c1, c2: m / c1 / jnp.maximum(jnp.sqrt(v / c2), EPS))
    ),
    "root-missing": lambda: moments(inner=averages(quotient=lambda m, v, c1, c2: m / c1 / (v / c2 + EPS))),
    "root-before-correction": lambda: moments(
        inner=averages(quotient=lambda m, v, c1, c2: m / c1 / (jnp.sqrt(v) / c2 + EPS))
    ),
    "first-average-missing": lambda: moments(inner=optax.scale_by_adam(0.0, BETAS[1], eps=EPS)),
    "sign-of-average": lambda: moments(inner=averages(quotient=lambda m, v, c1, c2: jnp.sign(m))),
    "betas-swapped": lambda: moments(inner=optax.scale_by_adam(*BETAS[::-1], eps=EPS)),
    "beta2-is-beta1": lambda: moments(inner=optax.scale_by_adam(BETAS[0], BETAS[0], eps=EPS)),
    "first-average-undamped": lambda: moments(inner=averages(first=lambda m, g: BETAS[0] * m + g)),
    "second-average-centred": lambda: moments(
        inner=averages(second=lambda v, g, m: BETAS[1] * v + (1 - BETAS[1]) * (g - m) ** 2)
    ),
    "second-average-of-magnitudes": lambda: moments(
        inner=averages(second=lambda v, g, m: BETAS[1] * v + (1 - BETAS[1]) * jnp.abs(g))
    ),
    "moments-nesterov": lambda: moments(inner=optax.scale_by_adam(*BETAS, eps=EPS, nesterov=True)),
    "beta1-value": lambda: moments(inner=optax.scale_by_adam(0.85, BETAS[1], eps=EPS)),
    "beta2-value": lambda: moments(inner=optax.scale_by_adam(BETAS[0], 0.96, eps=EPS)),
    "eps-value": lambda: moments(inner=optax.scale_by_adam(*BETAS, eps=3 * EPS)),
}
"""Likewise, of a run with averages and coupled weight decay."""

"""Reports on optimizers: weight decay, momentum, clipping, averages of squares."""

import functools

import jax
import jax.numpy as jnp
import optax

from benchmarks.faults.recipe import Recipe
from benchmarks.faults.scenarios.report import Scenario, leaves
from benchmarks.faults.scenarios.runs import perceptron
from tests.support.planted.numbers import Numbers

SGD = Numbers(lr=0.05, momentum=0.9, decay=0.02)
ADAM = Numbers(lr=0.02, betas=(0.9, 0.99), eps=1e-4, decay=0.05)
ADAMW = Numbers(lr=0.02, betas=(0.9, 0.99), eps=1e-4, decay=0.05, decoupled=True)
SPARED = Numbers(lr=0.02, betas=(0.9, 0.99), eps=1e-4, decay=0.05, decoupled=True, spared=True)
DECAY, COUPLED = ("weight_decay", "decayed_parameter", "parameter"), ("weight_decay", "exp_avg")


def _run(n: Numbers):
    return functools.partial(perceptron, n)


def _rule(tx: optax.GradientTransformation):
    return lambda recipe: {"tx": tx}


def _adamw(n: Numbers, **options):
    return optax.adamw(n.lr, *n.betas, n.eps, **{"weight_decay": n.decay} | options)


def _flipped(recipe: Recipe):
    vectors = lambda params: jax.tree.map(lambda p: p.ndim < 2, params)  # noqa: E731
    return {"tx": _adamw(SPARED, mask=vectors)}


def _moving_average(recipe: Recipe):
    buffer = optax.ema(SGD.momentum, debias=False)
    as_trace = optax.GradientTransformation(
        lambda params: optax.TraceState(jax.tree.map(jnp.zeros_like, params)),
        lambda g, s, p=None: (lambda out: (out[0], optax.TraceState(out[1].ema)))(
            buffer.update(g, optax.EmaState(jnp.zeros((), jnp.int32), s.trace), p)
        ),
    )
    return {"tx": optax.chain(optax.add_decayed_weights(SGD.decay), as_trace, optax.scale(-SGD.lr))}


SCENARIOS = (
    Scenario(
        "Adam vs AdamW", "https://github.com/google-deepmind/optax/issues/417", _run(ADAM), _rule(_adamw(ADAM)),
        ("decay-decoupled",), 0, COUPLED, leaves("all")),
    Scenario(
        "Question: `adamw` with `add_decayed_weights`", "https://github.com/google-deepmind/optax/issues/494",
        _run(ADAMW), _rule(optax.chain(optax.add_decayed_weights(ADAMW.decay), _adamw(ADAMW, weight_decay=0.0))),
        ("decay-coupled",), 0, (*COUPLED, "decayed_parameter"), leaves("all")),
    Scenario(
        "Tutorial prominently mentions weight decay, but does not implement it",
        "https://github.com/google-deepmind/optax/issues/308", _run(SGD), _rule(optax.sgd(SGD.lr, SGD.momentum)),
        ("decay-missing",), 0, ("weight_decay", "momentum_buffer"), leaves("all")),
    Scenario(
        "Apply weight-decay before momentum in the SGD optimizer.", "https://github.com/pytorch/pytorch/pull/13801",
        _run(SGD),
        _rule(optax.chain(optax.trace(SGD.momentum), optax.add_decayed_weights(SGD.decay), optax.scale(-SGD.lr))),
        ("decay-decoupled",), 0, ("weight_decay", "momentum_buffer"), leaves("all")),
    Scenario(
        "Flax text-classification multi-optimizer incorrect", "https://github.com/huggingface/transformers/issues/11936",
        _run(SPARED), _flipped, ("decay-inverted",), 0, DECAY, leaves("all")),
    Scenario(
        "Option to not decay bias with additive_weight_decay", "https://github.com/google-deepmind/optax/issues/25",
        _run(SPARED), _rule(_adamw(SPARED)), ("decay-everywhere",), 0, DECAY, leaves("vectors")),
    Scenario(
        "Fix grad-clip eps mismatch: torch clip_grad_norm_ +1e-6 vs optax clip_by_global_norm none",
        "https://github.com/goodfire-ai/spd/issues/643", _run(Numbers(lr=0.5, max_norm=0.01)),
        _rule(optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(0.5))),
        ("clip-without-epsilon",), 0, ("clip", "parameter"), leaves("all")),
    Scenario(
        "AMSGrad implementation differs from PyTorch/TensorFlow",
        "https://github.com/google-deepmind/optax/issues/1389",
        _run(Numbers(lr=0.02, betas=(0.9, 0.99), eps=1e-4, amsgrad=True)),
        _rule(optax.amsgrad(0.02, 0.9, 0.99, 1e-4)),
        ("amsgrad-of-corrected",), 0, ("max_exp_avg_sq", "parameter"), leaves("all")),
    Scenario(
        "Clarify Muon momentum convention: SGD-style momentum vs EMA-style first moment",
        "https://github.com/NVIDIA-NeMo/Emerging-Optimizers/issues/166", _run(SGD), _moving_average,
        ("momentum-averaged",), 0, ("momentum_buffer",), leaves("all")),
)  # fmt: skip

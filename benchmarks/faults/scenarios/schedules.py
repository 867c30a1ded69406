"""Reports on learning rates over a run, and on averages of parameters."""

import functools

import jax.numpy as jnp
import optax

from benchmarks.faults.recipe import Recipe
from benchmarks.faults.scenarios.report import Scenario, leaves
from benchmarks.faults.scenarios.runs import perceptron
from tests.support.planted.averages import following
from tests.support.planted.numbers import Numbers, rule
from tests.support.planted.stages import rate

STEPS = Numbers(lr=0.1, momentum=0.9, rates=tuple(0.1 * 0.5 ** (t // 2) for t in range(6)), epoch=2)
WARM = Numbers(lr=0.025, momentum=0.9, rates=tuple(0.1 * min((t + 1) / 4, 1.0) for t in range(6)))
EMA = Numbers(lr=0.1, momentum=0.9, ema=0.95)
RATE = ("learning_rate", "parameter")


def _run(n: Numbers):
    return functools.partial(perceptron, n)


def _rated(n: Numbers, schedule: optax.Schedule):
    return lambda recipe: {"tx": rule(n, rate=rate(schedule))}


def _from_zero(recipe: Recipe):
    def average(a, before, after, n):
        return 0.95 * jnp.where(n == 0, 0.0, a) + (1 - 0.95) * after

    return {"tx": following(rule(EMA, average=None), average)}


SCENARIOS = (
    Scenario(
        "[Feature Request] Monitoring learning rates", "https://github.com/poets-ai/elegy/issues/124", _run(STEPS),
        _rated(STEPS, optax.exponential_decay(0.1, 1, 0.5)), ("schedule-per-step",), 1, RATE, leaves("all")),
    Scenario(
        "Question about Schedule", "https://github.com/google-deepmind/optax/issues/424", _run(STEPS),
        _rated(STEPS, lambda count: 0.1), ("rate-constant",), 2, RATE, leaves("all")),
    Scenario(
        "Warmup starts from lr=0", "https://github.com/meta-pytorch/torchtune/issues/2010", _run(WARM),
        _rated(WARM, optax.linear_schedule(0.0, 0.1, 4)), ("warmup-from-zero",), 0, RATE, leaves("all")),
    Scenario(
        "EMA with high decay results in worse performance because of 1) no zero-init and 2) no debias.",
        "https://github.com/huggingface/pytorch-image-models/issues/1182", _run(EMA), _from_zero,
        ("average-from-zero",), 0, ("average",), leaves("all")),
)  # fmt: skip

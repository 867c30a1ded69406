"""Every entry on update rules is named where it is planted, in a port that was written without the catalogue."""

import functools

import jax
import optax
import pytest

import torch_bridge
from funcsgd import averages as funcsgd_averages
from tests.torch_bridge.judge.causes.rules_planted import (
    BETAS,
    DECAY,
    EPS,
    HEAVY,
    LR,
    MOMENTS,
    averages,
    buffer,
    clip,
    decay,
    heavy_ball,
    moments,
    rates,
    stage,
)  # fmt: skip
from tests.torch_bridge.judge.causes.runs import recorded

LINEAR = [LR, 0.8 * LR, 0.5 * LR, 0.4 * LR]
STEPS = [LR * 0.5**i for i in range(4)]
FALLING = [LR * 0.8**t for t in range(9)]
WARM = [LR * min((t + 1) / 4, 1.0) for t in range(9)]
UNCLIPPED = (decay(),)


def by_epoch(epochs, shift=0):
    return rates(*(epochs[max(t + shift, 0) // 3] for t in range(9)))


def scheduled(values, **options):
    return functools.partial(heavy_ball, before=UNCLIPPED, rate=values, **options)


def followed(average):
    return lambda: funcsgd_averages.with_average(optax.chain(decay(), buffer(), optax.scale(-LR)), average)


OTHERS = {
    ("clip-extra", "bare"): lambda: optax.chain(optax.clip_by_global_norm(0.2), buffer(), optax.scale(-LR)),
    ("clip-always", "plain"): lambda: optax.chain(optax.stateless(
        lambda u, p: jax.tree.map(lambda g: g * 3.0 / (optax.tree.norm(u) + 1e-6), u)), optax.scale(-LR)),
    ("decay-extra", "bare"): lambda: optax.chain(decay(3e-3), buffer(), optax.scale(-LR)),
    ("clip-of-the-norm", "clipped values"): lambda: heavy_ball(before=(clip(0.1), decay())),
    ("clip-of-the-norm-without-epsilon", "clipped values"): lambda: heavy_ball(
        before=(optax.clip_by_global_norm(0.1), decay())),
    ("clip-by-norm-2", "clipped to the largest"): lambda: heavy_ball(before=(clip(0.1), decay())),
    ("clip-by-norm-2-without-epsilon", "clipped to the largest"): lambda: heavy_ball(
        before=(optax.clip_by_global_norm(0.1), decay())),
    ("nesterov-missing", "nesterov"): lambda: heavy_ball(before=UNCLIPPED),
    ("dampening-missing", "dampened"): lambda: heavy_ball(before=UNCLIPPED),
    ("dampening-on-first", "dampened"): lambda: heavy_ball(before=UNCLIPPED, inner=buffer(first=0.7, later=0.7)),
    ("dampening-value", "dampened"): lambda: heavy_ball(before=UNCLIPPED, inner=buffer(later=0.6)),
    ("decay-everywhere", "groups"): lambda: heavy_ball(before=UNCLIPPED),
    ("amsgrad-missing", "amsgrad"): moments,
    ("amsgrad-of-corrected", "amsgrad"): lambda: moments(inner=optax.scale_by_amsgrad(*BETAS, eps=EPS)),
    ("decay-coupled", "decoupled"): moments,
    ("decay-without-rate", "decoupled"): lambda: optax.chain(
        averages(), optax.scale(-LR), stage(lambda g, p: g - DECAY * p)),
    ("decay-of-the-new-parameter", "decoupled"): lambda: optax.chain(
        averages(), optax.scale(-LR), stage(lambda g, p: g - LR * DECAY * (p + g))),
    ("decay-with-first-rate", "decoupled, steps"): lambda: optax.chain(
        averages(), optax.scale_by_learning_rate(by_epoch(STEPS)), stage(lambda g, p: g - LR * DECAY * p)),
    ("rate-constant", "steps"): scheduled(LR),
    ("schedule-late", "falling"): scheduled(rates(*FALLING[:1], *FALLING)),
    ("schedule-early", "warm-up"): scheduled(rates(*WARM[1:])),
    ("schedule-epoch-late", "steps"): scheduled(by_epoch(STEPS, -3)),
    ("schedule-epoch-early", "linear"): scheduled(by_epoch(LINEAR[1:])),
    ("schedule-per-step", "steps"): scheduled(rates(*STEPS[:3])),
    ("schedule-inverted", "falling"): scheduled(rates(*(LR**2 / rate for rate in FALLING))),
    ("schedule-gamma", "falling"): scheduled(rates(*(LR * 0.9**t for t in range(9)))),
    ("schedule-offset", "falling"): scheduled(rates(*(rate + 1e-3 for rate in FALLING))),
    ("schedule-floor", "falling"): scheduled(rates(*(max(rate, 0.03) for rate in FALLING))),
    ("warmup-missing", "warm-up"): scheduled(LR),
    ("warmup-from-zero", "warm-up"): scheduled(rates(0.0, *WARM)),
    ("average-from-start", "ema"): followed(funcsgd_averages.ema(0.9, copy_first=False)),
    ("average-decay", "ema"): followed(funcsgd_averages.ema(0.95)),
    ("average-decay-from-start", "ema"): followed(funcsgd_averages.ema(0.95, copy_first=False)),
}  # fmt: skip
CASES = {
    **{(name, "heavy ball"): make for name, make in HEAVY.items()},
    **{(name, "moments"): make for name, make in MOMENTS.items()},
    **OTHERS,
}


def causes(run, tx):
    return torch_bridge.check(recorded(run), tx)


QUICK = {"clip-without-epsilon", "eps-in-root", "schedule-late"}


@pytest.mark.parametrize(
    ("name", "run"),
    [pytest.param(*case, marks=[pytest.mark.thorough] * (case[0] not in QUICK)) for case in CASES],
)
def test_it_is_named(name, run):
    report = causes(run, CASES[name, run]())
    assert [cause.name for cause in report.causes] == [name], (report.tried, str(report))
    assert report.causes[0].after <= 1
    assert report.causes[0].before > 0
    assert not report.tried

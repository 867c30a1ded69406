"""Every difference that is claimed of plain optax exists: the code that explain prints is run, and torch beside it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

import torch_bridge

FORMULA = "the learning rate follows a formula in float32, torch's a recurrence in float64: the last bits differ"
FIRST = "optax uses the first value that it is given, when no epoch is over yet"
SCALE = "optax multiplies the finished update by a scale in its dtype, torch the learning rate in float64"


def plateau(optimizer, **options):
    """Without eps and with a patience of no epoch, so that each case adds one difference."""
    return lr_scheduler.ReduceLROnPlateau(optimizer, **{"patience": 0, "eps": 0.0, "factor": 0.5} | options)


def scheduled(make, steps=24, values=(1.0,) * 24, steps_per_epoch=1, seen_by_optax=None):
    """What is said of a scheduler, and the learning rates of optax's code and of torch, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.1)
    schedulers = make(optimizer)
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    explanation = torch_bridge.explain(optimizer, schedulers, steps_per_epoch=steps_per_epoch, epochs=steps)
    theirs = []
    for number in range(steps):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (number + 1) % steps_per_epoch == 0:
            for each in schedulers:
                each.step(*[values[number]] * isinstance(each, lr_scheduler.ReduceLROnPlateau))
    scope = dict(explanation.functions)
    exec(explanation.optax, scope)
    tx = optax.with_extra_args_support(scope["tx"])

    def step(state, value):
        updates, state = tx.update(jnp.float32(1.0), state, jnp.float32(0.0), value=value)
        return state, -updates

    seen = values[:steps] if seen_by_optax is None else seen_by_optax
    _, ours = jax.lax.scan(step, tx.init(jnp.float32(0.0)), jnp.asarray(seen, float))
    return explanation.differences, np.asarray(ours), np.float32(theirs)


def last_bits(ours, theirs):
    return (ours != theirs).any() and np.allclose(ours, theirs, rtol=1e-5, atol=1e-8)


def after(epoch):
    """Equal to rounding before an epoch, far apart somewhere after it."""

    def check(ours, theirs):
        near = np.isclose(ours, theirs, rtol=1e-5, atol=1e-8)
        return near[:epoch].all() and not near[epoch:].all()

    return check


CLAIMS = {
    "step": (lambda o: lr_scheduler.StepLR(o, 5, 0.7), [FORMULA], last_bits),
    "exponential": (lambda o: lr_scheduler.ExponentialLR(o, 0.93), [FORMULA], last_bits),
    "linear": (lambda o: lr_scheduler.LinearLR(o, 0.3, 0.7, 9), [FORMULA], last_bits),
    "polynomial": (lambda o: lr_scheduler.PolynomialLR(o, 9, 2.0), [FORMULA], last_bits),
    "a root": (
        lambda o: lr_scheduler.PolynomialLR(o, 9, 1.7),
        [FORMULA, "optax may give NaN after 9 epochs: rounding takes the root below 0"],
        lambda ours, theirs: np.isnan(ours[9:]).all() and (theirs[9:] == 0).all(),
    ),
    "chained": (
        lambda o: [lr_scheduler.StepLR(o, 5, 0.7), lr_scheduler.ExponentialLR(o, 0.93)], [FORMULA], last_bits
    ),
    "constant": (lr_scheduler.ConstantLR, [], lambda ours, theirs: (ours == theirs).all()),
    "a milestone twice": (
        lambda o: lr_scheduler.MultiStepLR(o, [2, 5, 5]),
        [FORMULA, "a milestone that is given twice counts once"], after(5),
    ),
    "cosine": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 10, 0.01),
        [FORMULA, "optax stays at the bottom after 10 epochs, torch rises again"], after(11),
    ),
    "restarts": (
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
        [FORMULA, "optax stops restarting after 8 periods"], after(16),
    ),
    "one cycle": (
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, 30, cycle_momentum=False),
        [FORMULA, "optax ends each phase one step later"],
        lambda ours, theirs: ours.argmax() == theirs.argmax() + 1,
    ),
    "lambda": (
        lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.93**epoch),
        [FORMULA, "under jit the function receives a traced count and may not branch on it"], last_bits,
    ),
    "cyclic": (
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 7, cycle_momentum=False),
        ["optax has nothing like CyclicLR: the learning rate stays where it began"],
        lambda ours, theirs: (ours == ours[0]).all() and (theirs != ours[0]).any(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_differences_of_schedules(name):
    make, sentences, check = CLAIMS[name]
    said, ours, theirs = scheduled(make)
    assert list(said) == sentences
    assert check(ours, theirs), (ours, theirs)


def test_a_function_that_branches_cannot_be_traced():
    with pytest.raises(jax.errors.TracerBoolConversionError):
        scheduled(lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1.0 if epoch < 5 else 0.1))


def test_the_first_value_is_looked_at_though_no_epoch_is_over():
    """The same metrics to both, a bad one each time: optax, which has seen one more, is ahead by a step."""
    said, ours, theirs = scheduled(plateau)
    assert list(said) == [FIRST, SCALE]
    assert np.allclose(ours[:-1], theirs[1:], rtol=1e-5)


def test_the_scale_rounds_where_torch_does_not():
    """Told what torch knew, one step later, optax is off by no more than roundings."""
    _, ours, theirs = scheduled(functools.partial(plateau, factor=0.7))
    assert last_bits(ours[:-1], theirs[1:])


def test_a_mean_of_values_is_looked_at():
    values = [1.0, 5.0, 1.0, 3.0] * 6  # the mean falls, the last value rises
    said, ours, theirs = scheduled(plateau, values=values, steps_per_epoch=2)
    assert "optax uses, in the last update of an epoch, the mean of the values given in all its updates" in said
    assert np.argmax(ours < 0.09) == 5  # the third epoch's mean is worse than the second's: in its last update
    assert np.argmax(theirs < 0.09) == 6


def test_a_relative_threshold_lies_on_the_other_side_below_zero():
    """Better by 1 %, where 10 % are asked for: torch reduces. Of the negative optax calls every value better."""
    make = functools.partial(plateau, mode="max", threshold=0.1)
    values = np.array([1.01**k for k in range(24)])
    said, ours, theirs = scheduled(make, values=values, seen_by_optax=-values)
    assert said[2:] == (
        "optax minimises: its value is minus the metric", "below zero a relative threshold lies on the other side"
    )  # fmt: skip
    assert (theirs[2:] < 0.1).all()
    assert np.allclose(ours, 0.1)


def test_small_reductions_are_made():
    said, ours, theirs = scheduled(functools.partial(plateau, eps=0.02))
    assert said[2:] == ("optax makes reductions by less than eps, 0.02, too",)
    assert theirs.min() > 0.02 > ours.min()


def test_a_reduction_outlasts_what_overwrites_it():
    said, ours, theirs = scheduled(lambda o: [plateau(o), lr_scheduler.LambdaLR(o, lambda epoch: 1.0)])
    assert "a reduction outlasts what LambdaLR makes of the reduced learning rate in torch" in said
    assert np.allclose(theirs, 0.1)
    assert ours.min() < 0.001


def test_the_scale_is_bounded_not_the_learning_rate():
    said, ours, theirs = scheduled(lambda o: [lr_scheduler.ExponentialLR(o, 0.9), plateau(o, min_lr=0.05)])
    assert "optax bounds the scale, not the scheduled learning rate" in said
    assert ours.min() < 0.9 * theirs.min()


def test_what_optax_refuses_is_left_out():
    said, ours, theirs = scheduled(functools.partial(plateau, threshold=0.0))
    assert said == ("optax.contrib.reduce_on_plateau rejects these values: the learning rate is not reduced",)
    assert (ours == np.float32(0.1)).all()
    assert theirs.min() < 0.001
    with pytest.raises(ValueError, match="must be positive"):
        optax.contrib.reduce_on_plateau(rtol=0.0, atol=0.0)


# The rule itself.

X = torch.linspace(-1, 1, 1001)


def stepped(options, clip=None, frozen=False):
    """What is said of an optimizer, and the parameters after six steps of optax's code and of torch."""
    parameters = {"a": torch.nn.Parameter(X.clone()), "b": torch.nn.Parameter(torch.tensor([2.0, 1.0]), not frozen)}
    optimizer = torch.optim.SGD(list(parameters.items()), **{"lr": 0.1} | options)
    explanation, scope = torch_bridge.explain(optimizer, clip=clip), {}
    exec(explanation.optax, scope)
    params = {key: jnp.asarray(p.detach().numpy()) for key, p in parameters.items()}
    state, generator = scope["tx"].init(params), torch.Generator().manual_seed(0)

    @jax.jit
    def step(params, state, g):
        updates, state = scope["tx"].update(g, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(6):
        gradients = {key: torch.randn(p.shape, generator=generator) for key, p in parameters.items()}
        params, state = step(params, state, {key: jnp.asarray(g.numpy()) for key, g in gradients.items()})
        for key, parameter in parameters.items():
            parameter.grad = gradients[key] if parameter.requires_grad else None
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters.values(), **clip)
        optimizer.step()
    return explanation, params, {key: p.detach().numpy() for key, p in parameters.items()}


FUSED = "optax.trace lets momentum * buffer be fused into the sum, where torch rounds it first"
RECIPROCAL = "optax.clip_by_global_norm divides by the norm, torch multiplies by the reciprocal of the norm plus 1e-6"


@pytest.mark.parametrize(
    ("options", "clip", "sentences", "far"),
    [
        ({}, None, [], False),
        ({"weight_decay": 0.1, "maximize": True}, None, [], False),
        ({"momentum": 0.9, "nesterov": True}, None, [FUSED], False),
        (
            {"momentum": 0.9, "dampening": 0.5}, None,
            [FUSED, "optax has no dampening: gradients enter the buffer in full, not by 0.5"], True,
        ),
        ({}, {"max_norm": 0.5}, [RECIPROCAL], False),
        (
            {}, {"max_norm": 0.5, "norm_type": 1.0},
            [RECIPROCAL, "optax has the 2-norm only, not norm_type=1.0"], True,
        ),
    ],
    ids=["plain", "maximize", "momentum", "dampening", "norm", "another norm"],
)  # fmt: skip
def test_differences_of_the_rule(options, clip, sentences, far):
    explanation, ours, theirs = stepped(options, clip)
    assert list(explanation.differences) == sentences
    assert np.array_equal(ours["a"], theirs["a"]) is not bool(sentences)
    assert np.allclose(ours["a"], theirs["a"], rtol=1e-4, atol=1e-5) is not far


def test_cycled_momentum_is_lost():
    optimizer = torch.optim.SGD([torch.nn.Parameter(X.clone())], lr=0.1, momentum=0.9)
    explanation = torch_bridge.explain(optimizer, lr_scheduler.OneCycleLR(optimizer, 0.1, 30), epochs=30)
    assert "optax.sgd's momentum is a constant: the cycling of momentum is lost" in explanation.differences
    assert "momentum=0.9)" in explanation.optax


def test_frozen_parameters_have_no_buffer():
    explanation, ours, theirs = stepped({"momentum": 0.9}, frozen=True)
    assert list(explanation.differences) == [
        FUSED, "a frozen parameter has no momentum buffer in optax: once thawed, it starts anew"
    ]  # fmt: skip
    assert np.array_equal(ours["b"], theirs["b"])
    scope = {}
    exec(explanation.optax, scope)
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    assert [leaf.shape for leaf in jax.tree.leaves(scope["tx"].init(params))] == [(3,)]


ROUNDS = "optax.incremental_update lets a product be fused into the sum, where torch rounds both"


@pytest.mark.parametrize(
    ("options", "sentences", "far"),
    [
        ({}, ["torch adds (x - a) / (n + 1) to the average, optax weighs a and x: the last bits differ"], False),
        ({"avg_fn": get_ema_avg_fn(0.9)}, [ROUNDS], False),
        (
            {"multi_avg_fn": get_ema_multi_avg_fn(0.9)},
            ["torch adds weight * (x - a) to the average, optax weighs a and x: the last bits differ"], False,
        ),
        (
            {"avg_fn": lambda a, x, _: 0.9 * a + 0.2 * x},
            [ROUNDS, "optax's weights add up to 1, these to 1.1"], True,
        ),
    ],
    ids=["equal", "ema", "ema by lerp", "weights of one's own"],
)  # fmt: skip
def test_differences_of_averages(options, sentences, far):
    model = torch.nn.ParameterDict({"a": torch.nn.Parameter(X.clone())})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = AveragedModel(model, **options)
    explanation = torch_bridge.explain(optimizer, average=average, named_parameters=model.named_parameters())
    assert list(explanation.differences) == sentences
    scope, ours, generator = {}, None, torch.Generator().manual_seed(0)
    exec(explanation.optax, scope)
    follow = jax.jit(scope["follow"], static_argnums=2)
    for n in range(6):
        with torch.no_grad():
            model["a"].copy_(torch.randn(1001, generator=generator))
        average.update_parameters(model)
        ours = follow(jnp.asarray(model["a"].detach().numpy()), ours, n)
    theirs = average.module["a"].detach().numpy()
    assert not np.array_equal(ours, theirs)
    assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-5) is not far

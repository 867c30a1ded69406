"""adam and adamw are torch's in every bit: flags, drives, roots, hyperparameters of every form, gradients of None."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from funcsgd import schedules
from funcsgd.arithmetic import square_root
from tests.support import drives
from tests.support.adam_runs import RULES, applied_by_hand, every_flag, name_of, root_in_torch
from tests.support.sampling import one_in
from tests.support.torch_runs import IMPLEMENTATIONS, by_step, differing_bits, our_run, random_run, torch_run
from torch_bridge.square_root import torch_root

LR = 0.0137
FLAGS = list(every_flag())
SLICE = [FLAGS[0], FLAGS[6], FLAGS[13]]
SHORT = ((7,), (64, 33))
OTHER_DRIVES = [drive for drive in drives.DRIVES if drive != "scan"]

every_rule = pytest.mark.parametrize("rule", RULES)
one_rule = pytest.mark.parametrize("rule", one_in(2, RULES))
some_flags = pytest.mark.parametrize("flags", one_in(2, SLICE), ids=name_of)


def test_flags_of_the_slice_cover_every_value():
    assert [name_of(flags) for flags in SLICE] == [
        "plain",
        "weight_decay=0.1,amsgrad=True",
        "betas=(0.37, 0.95),weight_decay=0.1,maximize=True",
    ]


def test_two_steps_by_hand():
    # betas 0, so that m = g and v = g * g; d = |g| and each step is lr, against the gradient
    (p,) = our_run(funcsgd.adam(0.5, betas=(0.0, 0.0), eps=0.0), [np.float32([4])], [[np.float32([2])]] * 2)
    assert p.tolist() == [[3.5], [3.0]]
    # the largest v is 16: the second step is 0.5 * 2 / 4
    gradients = [[np.float32([4])], [np.float32([2])]]
    (p,) = our_run(funcsgd.adam(0.5, betas=(0.0, 0.0), eps=0.0, amsgrad=True), [np.float32([4])], gradients)
    assert p.tolist() == [[3.5], [3.25]]


def test_a_step_with_decay_by_hand():
    # coupled, g = 2 + 0.5 * 4 = 4, a step of lr; decoupled, 4 * (1 - 0.5 * 0.5) - 0.5
    options = {"betas": (0.0, 0.0), "eps": 0.0, "weight_decay": 0.5}
    for rule, expected in ((funcsgd.adam, 3.5), (funcsgd.adamw, 2.5)):
        (p,) = our_run(rule(0.5, **options), [np.float32([4])], [[np.float32([2])]])
        assert p.tolist() == [[expected]]


def assert_parity(rule, drive, flags, shapes=None):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32) if shapes is None else random_run(np.float32, shapes, steps=20)
    after = drives.DRIVES[drive](ours(LR, sqrt=torch_root(), **flags), params, gradients)
    for how in IMPLEMENTATIONS.values():
        assert differing_bits(after, torch_run(params, by_step(gradients), rule=theirs, lr=LR, **how, **flags)) == 0


@every_rule
@some_flags
def test_parity(rule, flags):
    assert_parity(rule, "scan", flags)


@one_rule
@pytest.mark.parametrize("drive", OTHER_DRIVES)
def test_parity_in_other_drives(rule, drive):
    assert_parity(rule, drive, SLICE[1])


@every_rule
@pytest.mark.parametrize("flags", one_in(0, FLAGS, thorough=20), ids=name_of)
def test_parity_of_every_flag(rule, flags):
    """With the root that torch has here, in a scan and in one of the other drives; in a scan with the shipped root."""
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32)

    def of_torch():
        every = IMPLEMENTATIONS.values()
        return [torch_run(params, by_step(gradients), rule=theirs, lr=LR, **how, **flags) for how in every]

    expected = of_torch()
    for drive in ("scan", OTHER_DRIVES[FLAGS.index(flags) % len(OTHER_DRIVES)]):
        after = drives.DRIVES[drive](ours(LR, sqrt=torch_root(), **flags), params, gradients)
        assert [differing_bits(after, run) for run in expected] == [0, 0], drive
    after = drives.by_scan(ours(LR, sqrt="mkl_avx512", **flags), params, gradients)
    with root_in_torch(square_root("mkl_avx512")):
        assert [differing_bits(after, run) for run in of_torch()] == [0, 0]


@pytest.mark.parametrize("setting", one_in(0, ["MKL_ENABLE_INSTRUCTIONS=AVX2", "MKL_CBWR=COMPATIBLE"], thorough=2))
def test_parity_where_mkl_has_other_instructions(setting):
    """Set before torch is loaded, so in a process of its own; on AMD's processors all settings have one root."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-o", "addopts=", f"{__file__}::test_parity"]
    name, value = setting.split("=")
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, name: value})
    assert done.returncode == 0, done.stdout
    assert f"{len(RULES) * len(SLICE)} passed" in done.stdout


@one_rule
@pytest.mark.parametrize("name", ["correct", "mkl_avx512"])
def test_parity_with_a_root_that_another_torch_has(rule, name):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, ((7,), (4099,)), steps=50)
    after = drives.by_scan(ours(LR, amsgrad=True, sqrt=name), params, gradients)
    with root_in_torch(square_root(name)):
        with_root, foreach = (
            torch_run(params, by_step(gradients), rule=theirs, lr=LR, amsgrad=True, **how)
            for how in IMPLEMENTATIONS.values()
        )
    assert differing_bits(after, with_root) == differing_bits(after, foreach) == 0
    other = drives.by_scan(ours(LR, amsgrad=True, sqrt=torch_root()), params, gradients)
    if torch_root().name != name:
        assert differing_bits(other, with_root) > 0


@one_rule
@some_flags
def test_float64_differs_where_torchs_root_does_only(rule, flags):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float64, ((7,), (4099,)), steps=20)
    steps = by_step(gradients)
    with jax.enable_x64(True):
        after = drives.by_scan(ours(LR, sqrt=torch_root(), **flags), params, gradients)
    with root_in_torch(square_root("correct")):
        for how in IMPLEMENTATIONS.values():
            assert differing_bits(after, torch_run(params, steps, rule=theirs, lr=LR, **how, **flags)) == 0
    live = torch_run(params, steps, rule=theirs, lr=LR, **flags)
    assert np.mean([(a[0] != b[0]).mean() for a, b in zip(after, live, strict=True)]) < 0.02  # of the first step


@one_rule
@some_flags
def test_exact_arithmetic_and_no_jit(rule, flags):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=3)
    theirs_after = torch_run(params, by_step(gradients), rule=theirs, lr=LR, **flags)
    tx = ours(LR, sqrt=torch_root(), **flags)
    with funcsgd.exact_arithmetic():
        assert differing_bits(drives.by_scan(tx, params, gradients), theirs_after) == 0
        assert differing_bits(applied_by_hand(tx, params, gradients, tx.update)[0], theirs_after) == 0


@one_rule
def test_updates_applied_outside_of_the_jit(rule):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=10)
    tx = ours(LR, weight_decay=0.1, sqrt=torch_root())
    after = torch_run(params, by_step(gradients), rule=theirs, lr=LR, weight_decay=0.1)
    assert differing_bits(applied_by_hand(tx, params, gradients)[0], after) == 0


@one_rule
def test_several_updates_in_one_jit(rule):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=4)
    tx = ours(LR, weight_decay=0.1, sqrt=torch_root())

    @jax.jit
    def steps(p, gradients):
        state = tx.init(p)
        for g in gradients:
            updates, state = tx.update(g, state, p)
            p = optax.apply_updates(p, updates)
        return p

    after = torch_run(params, by_step(gradients), rule=theirs, lr=LR, weight_decay=0.1)
    assert differing_bits(steps(params, by_step(gradients)), [x[-1] for x in after]) == 0


@one_rule
def test_a_gradient_that_is_a_product_is_rounded_first(rule):
    ours, theirs = RULES[rule]
    (p, a, b), _ = random_run(np.float32, ((1003,),) * 3, steps=1)
    tx = ours(LR, weight_decay=0.1, sqrt=torch_root())

    @jax.jit
    def step(p, a, b):
        return optax.apply_updates(p, tx.update(a * b, tx.init(p), p)[0])

    theirs_after = torch_run([p], [[a * b]], rule=theirs, lr=LR, weight_decay=0.1)
    assert differing_bits([step(p, a, b)], [theirs_after[0][-1]]) == 0


@every_rule
def test_late_parameters_and_gradients_of_none(rule):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=12)
    steps = [
        [None if i in (0, 5, 6) else first, second if i > 3 else None]
        for i, (first, second) in enumerate(by_step(gradients))
    ]
    tx = ours(LR, weight_decay=0.1, amsgrad=True, sqrt=torch_root())
    after = torch_run(params, steps, rule=theirs, lr=LR, weight_decay=0.1, amsgrad=True)
    assert differing_bits(our_run(tx, params, steps), after) == 0
    state = tx.init(params)
    for of_step in steps:
        _, state = tx.update(of_step, state, params)
    assert state[-1].step.tolist() == [9.0, 8.0]
    assert int(state[-1].count) == 12


@every_rule
def test_state_has_torchs_keys_and_values(rule):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=5)
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = theirs(tensors, lr=LR, amsgrad=True)
    for of_step in by_step(gradients):
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = torch.tensor(g)
        optimizer.step()
    _, (*_, last) = applied_by_hand(ours(LR, amsgrad=True, sqrt=torch_root()), params, gradients)
    for i, tensor in enumerate(tensors):
        for key, value in optimizer.state[tensor].items():
            assert differing_bits([getattr(last, key)[i]], [value.detach().numpy()]) == 0


@one_rule
@pytest.mark.parametrize("form", ["numbers", "arrays", "tracers", "schedules", "tables"])
def test_every_form_of_hyperparameter(rule, form):
    """Numbers that float32 holds exactly, so that arrays have the same values."""
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=12)
    rates = [0.5**i for i in range(12)]
    numbers = {"lr": 0.125, "beta1": 0.875, "beta2": 0.984375, "weight_decay": 0.0625}
    schedule = schedules.ExponentialLR(1.0, gamma=0.5)

    def built(lr, beta1, beta2, weight_decay):
        return ours(lr, betas=(beta1, beta2), weight_decay=weight_decay, sqrt=torch_root())

    def at(step):
        if form in ("schedules", "tables"):
            return {"lr": rates[step], "weight_decay": 0.0625 * (step % 3), "betas": (0.875, 0.5 + 0.25 * (step % 2))}
        return {}

    if form == "numbers":
        after = drives.by_scan(built(**numbers), params, gradients)
    elif form == "arrays":
        after = drives.by_scan(built(**{k: jnp.float32(v) for k, v in numbers.items()}), params, gradients)
    elif form == "tracers":
        run = jax.jit(lambda values: drives.scanned(built(**values), params, jax.tree.map(jnp.asarray, gradients)))
        after = run({k: jnp.float32(v) for k, v in numbers.items()})
    else:
        lr = schedules.tabulate(schedule, 12) if form == "tables" else lambda count: 0.5**count
        tx = built(lr, lambda count: 0.875, lambda count: 0.5 + 0.25 * (count % 2), lambda count: 0.0625 * (count % 3))
        after = drives.by_scan(tx, params, gradients)
    options = {"lr": 0.125, "betas": (0.875, 0.984375), "weight_decay": 0.0625}
    assert differing_bits(after, torch_run(params, by_step(gradients), at, rule=theirs, **options)) == 0


@one_rule
def test_a_table_and_a_number_are_doubles_in_32_bit_mode(rule):
    """float32(0.001) is not 0.001, and a quotient of the one is not that of the other."""
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=30)
    schedule = schedules.CosineAnnealingLR(1e-3, T_max=30)
    after = torch_run(
        params, by_step(gradients), lambda step: {"lr": schedule.table(30)[step]}, rule=theirs, weight_decay=0.1
    )
    table = ours(schedules.tabulate(schedule, 30), weight_decay=0.1, sqrt=torch_root())
    assert differing_bits(drives.by_scan(table, params, gradients), after) == 0
    stage = ours(funcsgd.scale_by_schedulers([schedule], 30), weight_decay=0.1, sqrt=torch_root())
    assert differing_bits(drives.by_scan(stage, params, gradients), after) == 0


@one_rule
def test_a_sweep_over_arrays_is_torchs_run_of_each(rule):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=10)
    rates = jnp.asarray([0.1, 0.003], jnp.float32)
    gradients_ = jax.tree.map(jnp.asarray, gradients)
    after = jax.jit(jax.vmap(lambda lr: drives.scanned(ours(lr, sqrt=torch_root()), params, gradients_)))(rates)
    for i, rate in enumerate(rates):
        alone = torch_run(params, by_step(gradients), rule=theirs, lr=float(rate))
        assert differing_bits([x[i] for x in after], alone) == 0


@one_rule
def test_learning_rate_is_read_from_the_state(rule):
    ours, _ = RULES[rule]
    tx = ours(lambda count: 0.5 / (count + 1))
    params = jnp.ones(3)
    state = tx.init(params)
    assert float(funcsgd.get_learning_rate(state)) == 0.5
    _, state = jax.jit(tx.update)(params, state, params)
    assert float(funcsgd.get_learning_rate(state)) == 0.25


@one_rule
def test_a_learning_rate_set_by_hand_is_a_double_too(rule):
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=6)
    tx = ours(1e-3, weight_decay=0.1, sqrt=torch_root())
    rates = [1e-3, 1e-3, 7e-4, 7e-4, 7e-4, 3e-5]
    after = torch_run(
        params, by_step(gradients), lambda step: {"lr": rates[step]}, rule=theirs, lr=1e-3, weight_decay=0.1
    )
    ours_after, _ = applied_by_hand(
        tx, params, gradients, before=lambda i, state: funcsgd.set_learning_rate(state, rates[i])
    )
    assert differing_bits(ours_after, after) == 0


@one_rule
def test_injected_hyperparameters(rule):
    """optax's way makes arrays of numbers: float32(0.1) is what torch is given."""
    ours, theirs = RULES[rule]
    params, gradients = random_run(np.float32, SHORT, steps=6)
    tx = optax.inject_hyperparams(ours)(learning_rate=0.1, weight_decay=0.5, sqrt=torch_root())
    after = torch_run(params, by_step(gradients), rule=theirs, lr=float(np.float32(0.1)), weight_decay=0.5)
    assert differing_bits(drives.by_scan(tx, params, gradients), after) == 0


def test_a_rate_on_plateaus():
    """The metric stops falling after the third step."""
    params, gradients = random_run(np.float32, SHORT, steps=12)
    metrics = [1.0, 0.5, 0.25] + 9 * [0.25]
    plateau = schedules.ReduceLROnPlateau(1e-3, factor=0.3, patience=1)
    tx = funcsgd.adamw(funcsgd.scale_by_plateau(plateau), sqrt=torch_root())
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = torch.optim.AdamW(tensors, lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1)
    state, p, update = tx.init(params), [jnp.asarray(x) for x in params], jax.jit(tx.update)
    metric = np.inf
    for value, g in zip(metrics, by_step(gradients), strict=True):
        updates, state = update(g, state, p, metric=metric)
        p = optax.apply_updates(p, updates)
        for tensor, gradient in zip(tensors, g, strict=True):
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
        assert differing_bits(p, [tensor.detach().numpy() for tensor in tensors]) == 0
        metric = value
        scheduler.step(value)
    assert optimizer.param_groups[0]["lr"] < 1e-4


def test_wrappers_around_adamw():
    """Those that hand updates on work; those that choose between them by lax.cond say that they cannot."""
    params, g = jnp.ones(3), jnp.full(3, 2.0)
    alone = optax.apply_updates(params, funcsgd.adamw().update(g, funcsgd.adamw().init(params), params)[0])
    for tx in (
        optax.chain(optax.clip_by_global_norm(10.0), funcsgd.adamw()),
        optax.masked(funcsgd.adamw(), True),
        optax.with_extra_args_support(funcsgd.adamw()),
    ):
        assert differing_bits([optax.apply_updates(params, tx.update(g, tx.init(params), params)[0])], [alone]) == 0
    tx = optax.MultiSteps(funcsgd.adamw(), 2)
    updates, state = tx.update(g, tx.init(params), params)
    assert optax.apply_updates(params, updates).tolist() == params.tolist()
    assert differing_bits([optax.apply_updates(params, tx.update(g, state, params)[0])], [alone]) == 0
    tx = optax.apply_if_finite(funcsgd.adamw(), 3)
    with pytest.raises(TypeError, match="same pytree structure"):
        tx.update(g, tx.init(params), params)
    tx = optax.apply_if_finite(optax.chain(funcsgd.adamw(), funcsgd.round_updates()), 3)
    updates, _ = tx.update(g, tx.init(params), params)
    assert differing_bits([params + updates], [alone]) == 0


def test_parameters_that_change_sign_in_a_step_of_adamw():
    """No array of numbers is the difference of such a parameter and the next: -1 + 2**-30 + 1 is not 2**-30."""
    rng = np.random.default_rng(0)
    p = (rng.standard_normal(4099) * LR).astype(np.float32)
    g = rng.standard_normal(4099).astype(np.float32)
    tx = funcsgd.adamw(LR, weight_decay=0.1, sqrt=torch_root())
    (after,) = torch_run([p], [[g]], rule=torch.optim.AdamW, lr=LR, weight_decay=0.1)
    assert differing_bits(our_run(tx, [p], [[g]])[0], after) == 0
    as_arrays = p + (after[0] - p)
    assert differing_bits([as_arrays], [after[0]]) > 0


@every_rule
@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -0.1},
        {"lr": float("nan")},
        {"eps": -1e-8},
        {"betas": (1.0, 0.5)},
        {"betas": (0.5, -0.1)},
        {"weight_decay": -1},
        {"lr": -1.0, "eps": -1.0, "weight_decay": -1.0},
    ],
    ids=str,
)
def test_torchs_messages_in_torchs_order(rule, wrong):
    ours, theirs = RULES[rule]
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the message is what is compared
        theirs([torch.zeros(1)], **wrong)
    renamed = {"learning_rate": wrong.get("lr", 0.1), **{key: value for key, value in wrong.items() if key != "lr"}}
    with pytest.raises(ValueError) as ours_raised:  # noqa: PT011
        ours(**renamed)
    assert str(ours_raised.value) == str(raised.value)


def test_what_is_missing_or_unknown_is_named():
    with pytest.raises(ValueError, match="adamw needs the parameters"):
        funcsgd.adamw().update(jnp.ones(2), funcsgd.adamw().init(jnp.ones(2)))
    with pytest.raises(ValueError, match="no root is called 'mkl'"):
        funcsgd.adam(sqrt="mkl")
    with pytest.raises(ValueError, match="sqrt is the name of a square root"):
        funcsgd.adam(sqrt=0.5)
    with pytest.raises(ValueError, match="does not hold its learning rate as a double"):
        funcsgd.adam(funcsgd.scale_by_learning_rate(0.1)).init(jnp.ones(2))


@pytest.mark.parametrize("rule", one_in(2, [funcsgd.adam, funcsgd.adamw]))
def test_leaves_of_one_shape_share_their_compiled_code(rule):
    """As many different loops for eight leaves as for two: XLA compiles equal ones once."""

    def n_different_loops(n_leaves):
        tx, params = rule(), [jnp.ones(3)] * n_leaves
        program = jax.jit(tx.update).lower(params, tx.init(params), params).compile().as_text()
        bodies = re.findall(r"^%fused[^\n]*\{\n(.*?)^\}", program, re.DOTALL | re.MULTILINE)
        return len({re.sub(r"%[\w.\-]+|, metadata=\{[^}]*\}", "", body) for body in bodies})

    assert n_different_loops(8) == n_different_loops(2)

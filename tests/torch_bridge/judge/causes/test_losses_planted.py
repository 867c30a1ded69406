"""Every entry on order, examples, loss and gradients is named where it is planted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcsgd
import torch_bridge
from tests.support.small_run import DATA, loss_fn, recorded
from torch_bridge.judge.causes import order as orders
from torch_bridge.replaying.batches import indices_of

SGD = funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2)


@pytest.fixture(scope="module")
def trace():
    return recorded()


def penalty(of, when=lambda p: True):
    return lambda p, b: loss_fn(p, b) + sum(of(x) for x in p.values() if when(x))


def with_gradient(of):
    """A loss with another gradient, ``of(gradient, parameter, n)``."""

    @jax.custom_vjp
    def loss(p, x, y):
        return loss_fn(p, (x, y))

    def forward(p, x, y):
        value, gradient = jax.value_and_grad(loss_fn)(p, (x, y))
        return value, (jax.tree.map(lambda g, w: of(g, w, len(y)), gradient, p), x)

    loss.defvjp(forward, lambda kept, t: (jax.tree.map(lambda g: t * g, kept[0]), jnp.zeros_like(kept[1]), None))
    return lambda p, b: loss(p, *b)


def batch(of_x=lambda x: x, of_y=lambda y: y):
    return lambda p, b: loss_fn(p, (of_x(b[0]), of_y(b[1])))


def smoothed(p, b):
    uniform = sum(loss_fn(p, (b[0], jnp.full_like(b[1], c))) for c in range(3)) / jnp.float32(3)
    return (15 * loss_fn(p, b) + uniform) / 16


LOSSES = {
    "label-smoothing": smoothed,
    "loss-summed": lambda p, b: loss_fn(p, b) * b[1].shape[0],
    "loss-halved": lambda p, b: loss_fn(p, b) / 2,
    "loss-doubled": lambda p, b: loss_fn(p, b) * 2,
    "loss-negated": lambda p, b: -loss_fn(p, b),
    "loss-in-bits": lambda p, b: loss_fn(p, b) / jnp.log(2.0),
    "loss-scaled": lambda p, b: loss_fn(p, b) * 1.25,
    "loss-shifted": lambda p, b: loss_fn(p, b) + 0.25,
    "l2-in-loss": penalty(lambda x: 0.01 * (x**2).sum()),
    "l2-of-matrices-in-loss": penalty(lambda x: 0.01 * (x**2).sum(), lambda x: x.ndim > 1),
    "l1-in-loss": penalty(lambda x: 0.01 * jnp.abs(x).sum()),
    "gradient-negated": with_gradient(lambda g, p, n: -g),
    "gradient-summed": with_gradient(lambda g, p, n: g * n),
    "gradient-averaged": with_gradient(lambda g, p, n: g / n),
    "gradient-scaled": with_gradient(lambda g, p, n: 1.5 * g),
    "decay-in-gradient": with_gradient(lambda g, p, n: g + 0.01 * p),
    "gradient-stopped": lambda p, b: loss_fn({**p, "0.weight": jax.lax.stop_gradient(p["0.weight"])}, b),
    "parameters-frozen": with_gradient(lambda g, p, n: g * (p.shape != (5, 6))),
    "inputs-times-255": batch(lambda x: x * 255),
    "inputs-over-255": batch(lambda x: x / 255),
    "inputs-times-256": batch(lambda x: x * 256),
    "inputs-over-256": batch(lambda x: x / 256),
    "inputs-centred": batch(lambda x: 2 * x - 1),
    "inputs-not-centred": batch(lambda x: (x + 1) / 2),
    "inputs-negated": batch(lambda x: -x),
    "channels-reversed": batch(lambda x: x[:, ::-1]),
    "labels-misplaced": batch(of_y=lambda y: jnp.roll(y, 1)),
    "labels-misplaced-back": batch(of_y=lambda y: jnp.roll(y, -1)),
    "labels-reversed": batch(of_y=lambda y: y[::-1]),
    "labels-too-large": lambda p, b: loss_fn(p, (b[0], (b[1] + 1) % 3)),
    "labels-too-small": lambda p, b: loss_fn(p, (b[0], (b[1] - 1) % 3)),
    "inputs-scaled": batch(lambda x: 1.25 * x),
    "inputs-shifted": batch(lambda x: x + 0.5),
}
QUICK = {"inputs-scaled"}


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.thorough) for n in LOSSES])
def test_it_is_named(trace, name):
    report = torch_bridge.check(trace, SGD, loss_fn=LOSSES[name], data=DATA)
    assert [cause.name for cause in report.causes] == [name], (report.tried, str(report))
    assert report.causes[0].after <= 1


def half(dtype):
    return lambda p, b: loss_fn(jax.tree.map(lambda x: x.astype(dtype).astype(x.dtype), p), b)


def reduced(p, b):
    return loss_fn({k: jax.lax.reduce_precision(x, 8, 10) for k, x in p.items()}, b)


NARROW = {"float16-inside": half(jnp.float16), "bfloat16-inside": half(jnp.bfloat16), "precision-reduced": reduced}


@pytest.mark.thorough
@pytest.mark.parametrize("name", NARROW)
def test_a_narrow_part_is_named(trace, name):
    report = torch_bridge.check(trace, SGD, loss_fn=NARROW[name], data=DATA)
    assert report.verdict == "imprecise"
    assert [cause.name for cause in report.causes] == [name], report.tried


def order_of(trace):
    return [indices_of(trace.step(t)) for t in range(trace.n_steps)]


def unshuffled(order):
    return [np.arange(40)[i : i + 16] for _ in range(2) for i in (0, 16, 32)]


def another_seed(order):
    rng = np.random.default_rng(5)
    return [batch for _ in range(2) for batch in np.split(rng.permutation(40), [16, 32])]


def smaller(order):
    flat = [np.concatenate(order[:3]), np.concatenate(order[3:])]
    return [batch for epoch in flat for batch in np.split(epoch, range(8, 40, 8))][:6]


ORDERS = {
    "batches-of-the-next-epoch": lambda o: [*o[3:], *o[:3]],
    "epochs-alike": lambda o: [*o[:3], *o[:3]],
    "batches-late": lambda o: [o[0], *o[:-1]],
    "batches-early": lambda o: [*o[1:], o[0]],
    "not-shuffled": unshuffled,
    "batch-reversed": lambda o: [b[::-1] for b in o],
    "epoch-reversed": lambda o: [*o[2::-1], *o[:2:-1]],
    "batch-sorted": lambda o: [np.sort(b) for b in o],
    "last-batch-dropped": lambda o: [b for b in o if len(b) == 16] * 2,
    "batch-size": smaller,
    "indices-off-by-one": lambda o: [b + 1 for b in o],
    "order-of-another-seed": another_seed,
    "drawn-with-replacement": lambda o: [np.random.default_rng(t).integers(0, 40, len(b)) for t, b in enumerate(o)],
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_named(trace, name):
    torchs = order_of(trace)
    mine = ORDERS[name](torchs)
    found = [entry.name for entry in orders.ENTRIES if orders.same(*entry.repair(torchs, mine))]
    assert not orders.same(torchs, mine)
    assert found[:1] == [name]


def test_a_kept_last_batch_is_named(trace):
    mine = order_of(trace)
    torchs = [batch for batch in mine if len(batch) == 16]
    found = [entry.name for entry in orders.ENTRIES if orders.same(*entry.repair(torchs, mine))]
    assert found[:1] == ["last-batch-kept"]


@pytest.mark.thorough
def test_the_order_of_the_next_epoch_is_a_cause(trace):
    order = ORDERS["batches-of-the-next-epoch"](order_of(trace))
    report = torch_bridge.check(trace, SGD, loss_fn=loss_fn, data=DATA, order=order)
    assert [cause.name for cause in report.causes] == ["batches-of-the-next-epoch"]


@pytest.mark.thorough
def test_two_faults_of_the_loss_and_one_of_the_rule(trace):
    wrong = funcsgd.sgd(0.1, momentum=0.9, weight_decay=2e-2)
    report = torch_bridge.check(trace, wrong, loss_fn=lambda p, b: 2 * loss_fn(p, (b[0] / 255, b[1])), data=DATA)
    assert {cause.name for cause in report.causes} == {"inputs-over-255", "loss-doubled", "decay-doubled"}, report

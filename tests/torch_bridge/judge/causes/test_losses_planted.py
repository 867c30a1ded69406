"""Every entry on order, examples, loss and gradients is named where it is planted."""

import pytest

import funcsgd
import torch_bridge
from tests.support.planted import examples, losses
from tests.support.planted.orders import ORDERS
from tests.support.sampling import one_in
from tests.support.small_run import DATA, loss_fn, recorded
from torch_bridge.judge.causes import order as orders
from torch_bridge.replaying.batches import indices_of

SGD = funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2)


@pytest.fixture(scope="module")
def trace():
    return recorded()


def of_batch(change):
    return lambda params, batch: loss_fn(params, change(batch))


LOSSES = {
    **{name: wrong(loss_fn) for name, wrong in {**losses.LOSS, **losses.GRADIENT, **losses.FROZEN}.items()},
    **{name: make(3)(loss_fn) for name, make in losses.LABELLED.items()},
    **{name: of_batch(change) for name, change in {**examples.INPUTS, **examples.TARGETS}.items()},
    **{name: of_batch(make(3)) for name, make in examples.LABELS.items()},
}


@pytest.mark.parametrize("name", one_in(0, LOSSES, thorough=16))
def test_it_is_named(trace, name):
    report = torch_bridge.check(trace, SGD, loss_fn=LOSSES[name], data=DATA)
    assert [cause.name for cause in report.causes] == [name], (report.tried, str(report))
    assert report.causes[0].after <= 1


@pytest.mark.parametrize("name", one_in(0, losses.NARROW, thorough=3))
def test_a_narrow_part_is_named(trace, name):
    report = torch_bridge.check(trace, SGD, loss_fn=losses.NARROW[name](loss_fn), data=DATA)
    assert report.verdict == "imprecise"
    assert [cause.name for cause in report.causes] == [name], report.tried


def order_of(trace):
    return [indices_of(trace.step(t)) for t in range(trace.n_steps)]


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


def doubled_loss_of_small_inputs(params, batch):
    return 2 * loss_fn(params, (batch[0] / 255, batch[1]))


@pytest.mark.thorough
def test_rounding_of_the_batch_is_not_a_fault(trace):
    """Inputs that the port has scaled in float32 are torch's but for their rounding."""
    report = torch_bridge.check(
        trace, SGD, loss_fn=loss_fn, data=lambda step, indices: (DATA[0][indices] * 255, DATA[1][indices])
    )
    assert [cause.name for cause in report.causes] == ["inputs-times-255"], report.tried


@pytest.mark.thorough
def test_two_faults_of_the_loss_and_one_of_the_rule(trace):
    wrong = funcsgd.sgd(0.1, momentum=0.9, weight_decay=2e-2)
    report = torch_bridge.check(trace, wrong, loss_fn=doubled_loss_of_small_inputs, data=DATA)
    assert {cause.name for cause in report.causes} == {"inputs-over-255", "loss-doubled", "decay-doubled"}, report

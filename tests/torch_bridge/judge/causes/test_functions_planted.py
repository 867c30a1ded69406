"""Every entry inside the loss function is named where it is planted, with its line; correct ports agree."""

import functools
import re

import optax
import pytest

import torch_bridge
from tests.support.sampling import one_in
from tests.torch_bridge.judge.causes.functions_planted import CLEAN, ELSEWHERE, PAIRS, PLANTED, of_modules
from torch_bridge.judge.causes.catalogue import REWRITES
from torch_bridge.judge.causes.loss_cases import loss_cases
from torch_bridge.judge.causes.loss_question import LossQuestion
from torch_bridge.judge.causes.rewrite_search import search_of
from torch_bridge.judge.causes.rewrites import causes_of
from torch_bridge.judge.port import Port
from torch_bridge.replaying.batches import batches_of


def cases_of(planted):
    batch = batches_of(planted.data, planted.trace)
    port = Port(planted.trace, optax.sgd(0.1), planted.loss_fn, None, planted.buffers, *[None] * 3, batch, None, print)
    programs = port.programs()
    return port, programs, loss_cases(port, programs, "retraced", (0, 1, 2))


def searched(planted):
    """The rewrites that were found, the cases with them, and their agreement."""
    port, programs, cases = cases_of(planted)
    assert not LossQuestion(cases).agreement(()).same
    return search_of(port, programs, "retraced", cases).run()


def test_every_entry_is_planted():
    entries = {entry.name for family in REWRITES for entry in family.ENTRIES}
    assert entries - set(PLANTED) == {"reduced-not-max", "reduced-not-sum", "reduced-not-first"}  # as reduced-not-mean


@pytest.mark.parametrize("name", one_in(0, PLANTED, thorough=6))
def test_it_is_named(name):
    (rewrite,), _, agreement = searched(PLANTED[name])
    assert rewrite.entry.name == name
    assert agreement.share <= 1
    (cause,) = causes_of([rewrite], agreement, (0, 1, 2), 1.0)
    assert re.search(r" \(functions_planted.py:\d+\)$", cause.sentence)


@pytest.mark.parametrize("name", one_in(0, ELSEWHERE, thorough=2))
def test_it_is_named_in_another_network(name):
    (rewrite,), _, agreement = searched(ELSEWHERE[name])
    assert (rewrite.entry.name, agreement.same) == (name, True)


@functools.cache
def accused(name):
    _, _, cases = cases_of(CLEAN[name])
    return not LossQuestion(cases).agreement(()).same


@pytest.mark.parametrize("name", one_in(len(CLEAN), CLEAN))
def test_a_correct_port_in_another_formulation_is_not_accused(name):
    assert not accused(name)


@pytest.mark.parametrize(
    "names", one_in(0, [names for names in PAIRS if "loss-halved" not in names], thorough=2), ids=" and ".join
)
def test_two_faults_at_once_are_named(names):
    rewrites, _, agreement = searched(PAIRS[names])
    assert agreement.same
    assert {each.entry.name for each in rewrites} == set(names)


def checked(planted):
    return torch_bridge.check(
        planted.trace, optax.sgd(0.1), loss_fn=planted.loss_fn, data=planted.data, buffers=planted.buffers
    )


@pytest.mark.thorough
def test_a_report_names_the_line_and_the_place():
    report = checked(PLANTED["weight-transposed"])
    (cause,) = report.causes
    assert (cause.name, report.place) == ("weight-transposed", ("second",))
    assert re.fullmatch(r"A square weight is not transposed.* \(functions_planted.py:\d+\)", cause.sentence)
    assert re.fullmatch(r"functions_planted.py:\d+: x @ weight.T with torch's weight", cause.fix)
    assert report.substitutions <= 15


@pytest.mark.thorough
def test_a_fault_of_the_function_and_one_of_the_loss():
    report = checked(PAIRS["causal-mask-missing", "loss-halved"])
    assert {cause.name for cause in report.causes} == {"causal-mask-missing", "loss-halved"}


@pytest.mark.thorough
def test_a_fault_between_modules_is_named():
    loss_fn, params = of_modules()
    planted = PLANTED["gelu-approximated"]
    weights = torch_bridge.map_weights(planted.trace, params)
    report = torch_bridge.check(planted.trace, optax.sgd(0.1), loss_fn=loss_fn, weights=weights, data=planted.data)
    (cause,) = report.causes
    assert (cause.name, report.difference.phase, report.difference.name) == ("gelu-approximated", "input", "norm")
    assert re.search(r" \(functions_planted.py:\d+\)$", cause.sentence)
    assert report.place[0] == "norm"

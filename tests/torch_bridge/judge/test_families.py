"""The verdict on six families of ports: clean ones are accused of nothing, faults are found where they are."""

import optax
import pytest
import torch

import torch_bridge
from tests.support.ports.families import FAMILIES
from tests.support.ports.flax_forms import FLAX_FORMS
from tests.support.ports.runs import COMPUTE, diagnosed, kept, recorded
from tests.support.sampling import one_in

pytestmark = pytest.mark.usefixtures("verdict_alone")

PORTS = {name: kept(family.port) for name, family in FAMILIES.items()}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def clean(name, seed, precision="float32", steps=3, **options):
    trace, data = recorded(FAMILIES[name], seed, steps, precision=precision, **options)
    report = diagnosed(trace, data, PORTS[name](compute=COMPUTE[precision]))
    assert report.verdict in ("bitwise", "same function"), f"{name} {precision} seed {seed} {options}: {report}"
    assert report.loss_steps == tuple(range(steps))
    return report


@pytest.mark.parametrize("name", one_in(2, ["perceptron", "lstm"]))
def test_clean_ports_are_not_accused(name):
    for seed in range(3):
        clean(name, seed, learning_rate=0.05 * (1 + seed))


@pytest.mark.parametrize("seeds", one_in(0, [range(0, 250, 12), range(250)], thorough=2), ids=["some", "all"])
@pytest.mark.parametrize("name", one_in(0, FAMILIES, thorough=6))
@pytest.mark.parametrize("precision", ["float32", pytest.param("autocast", marks=pytest.mark.exhaustive)])
def test_three_thousand_clean_ports_are_not_accused(name, precision, seeds):
    """250 seeds, a learning rate for each: 12 x 250 runs of two steps; one batch size, since each is compiled."""
    batch_size = {"float32": 8, "autocast": 24}[precision]
    for seed in seeds:
        clean(name, seed, precision, steps=2, batch_size=batch_size, learning_rate=0.002 * 1.02**seed)  # up to 0.28


@pytest.mark.parametrize("name", one_in(0, ["perceptron", "language model"], thorough=2))
def test_models_in_bfloat16_are_not_accused(name):
    for seed in range(10):
        clean(name, seed, "bfloat16")


@pytest.mark.parametrize("name", one_in(0, FLAX_FORMS, thorough=4))
def test_flax_ports_are_not_accused_and_their_faults_are_found(name):
    family, make = FLAX_FORMS[name]
    trace, data = recorded(FAMILIES[family], 0)
    form = make(FAMILIES[family].width)

    def loss_fn(params, batch):
        return form.loss_fn(form.to_flax(params), batch)

    assert diagnosed(trace, data, loss_fn).verdict == "same function"
    report = diagnosed(trace, data, lambda params, batch: loss_fn(params, batch) * (1 + 1e-6))
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", 0, "loss")


@pytest.mark.exhaustive
def test_many_decisions_that_fall_differently_are_no_imprecision():
    """Wide convolutions: in some steps a relu falls differently in float32 and in float64."""
    reports = [clean("convolutions", seed, batch_size=64, width=32) for seed in range(4)]
    assert sum(report.flips for report in reports) > 0


CONSTANTS = {
    "convolutions": ("epsilon", "logits", "loss", "smoothing"),
    "perceptron": ("logits", "loss", "smoothing"),
    "attention": ("epsilon", "logits", "loss", "smoothing"),
}


OFF = [(name, option) for name in CONSTANTS for option in CONSTANTS[name]]


@pytest.mark.parametrize("case", one_in(0, OFF, thorough=11), ids=": ".join)
def test_a_constant_off_by_a_millionth_is_found(case):
    name, option = case
    trace, data = recorded(FAMILIES[name], 0)
    report = diagnosed(trace, data, PORTS[name](**{option: 1e-6 if option == "smoothing" else 1 + 1e-6}))
    assert (report.verdict, report.difference.step) == ("different", 0), report


HARMLESS = ("one-pass variance", "bare softmax")  # on data near zero: see the two tests below
IMPRECISE = [("convolutions", "bfloat16 layer"), ("lstm", "float16 layer")] + [
    (name, fault)
    for name in FAMILIES
    for fault in FAMILIES[name].imprecise
    if fault not in HARMLESS and (name == "perceptron" or fault not in FAMILIES["perceptron"].imprecise)
]
"""Every fault of the perceptron, whose programs are small, and of the others those that are their own."""


@pytest.mark.parametrize("fault", ["float16 softmax", pytest.param("tf32", marks=pytest.mark.thorough)])
def test_lost_precision_is_found(fault):
    report = imprecise("perceptron", fault)
    assert report.imprecision.factor > 100
    assert report.line


@pytest.mark.parametrize("case", one_in(0, IMPRECISE, thorough=8), ids=": ".join)
def test_every_lost_precision_is_found(case):
    name, fault = case
    report = imprecise(name, fault)
    assert report.imprecision.factor > 100, report
    narrow = FAMILIES[name].imprecise[fault].get("narrow")
    if narrow is not None and narrow[0] != "softmax":
        module = {"attention": "out"}.get(narrow[0], narrow[0])  # a function of torch shows in the module behind it
        assert (report.imprecision.phase, report.imprecision.name) == ("forward", module), report


def imprecise(name, fault, **options):
    trace, data = recorded(FAMILIES[name], 0, **options)
    port = PORTS[name](**FAMILIES[name].imprecise[fault])
    report = diagnosed(trace, data, port)
    assert report.verdict == "imprecise", report
    assert not report.ok
    return report


@pytest.mark.exhaustive
def test_a_one_pass_variance_far_from_zero_is_found():
    report = imprecise("attention", "one-pass variance", offset=30.0)
    assert report.imprecision.phase == "forward"
    assert report.line


@pytest.mark.exhaustive
def test_a_one_pass_variance_that_fails_in_float64_as_well_is_not_passed():
    trace, data = recorded(FAMILIES["convolutions"], 0, offset=30.0)
    assert not diagnosed(trace, data, PORTS["convolutions"](one_pass=True)).ok


@pytest.mark.thorough
def test_a_softmax_without_its_maximum_is_not_passed_where_it_overflows():
    def confident(model):
        with torch.no_grad():
            model[6].weight *= 2e3

    trace, data = recorded(FAMILIES["perceptron"], 0, prepare=confident)
    assert not diagnosed(trace, data, PORTS["perceptron"](bare_softmax=True)).ok


@pytest.mark.thorough
def test_relu_by_maximum_differs_at_a_discontinuity_alone():
    """Blank samples put pre-activations at exactly zero, where maximum's derivative is one half."""
    trace, data = recorded(FAMILIES["residual"], 0, blank=0.25)
    report = diagnosed(trace, data, PORTS["residual"](maximum=True))
    assert report.verdict == "same function", report
    assert report.discontinuities > 0


@pytest.mark.thorough
def test_plain_optax_is_judged_in_float64():
    trace, data = recorded(FAMILIES["perceptron"], 0)
    tx = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.05, momentum=0.9))
    report = torch_bridge.check(trace, tx, loss_fn=PORTS["perceptron"](), data=data)
    assert report.verdict == "same function", report
    assert report.rule_steps

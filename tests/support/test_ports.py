"""The ports that the checker is tried on: the clean ones are torch's functions, the faulty ones are not."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.ports.common import parameters, to_jax
from tests.support.ports.families import FAMILIES
from tests.support.ports.flax_forms import FLAX_FORMS
from tests.support.sampling import one_in


def distance(family, seed=0, blank=0.0, form=None, **options):
    """Largest relative distance of a parameter's gradient in float64, torch against the port, at the first batch."""
    script = family.script(seed, blank=blank)
    batch = next(script.batches())
    twin = copy.deepcopy(script.model).double()
    script.loss(twin, batch).backward()
    with jax.enable_x64(True):
        params, arrays = parameters(twin), tuple(to_jax(x, jnp.float64) for x in batch)
        if form is None:
            grads = jax.jit(jax.grad(family.port(**options)))(params, arrays)
        else:
            grads = form.to_torch(jax.jit(jax.grad(form.loss_fn))(form.to_flax(params), arrays))
    return max(
        np.linalg.norm(np.asarray(grads[name]) - p.grad.numpy()) / np.linalg.norm(p.grad.numpy())
        for name, p in twin.named_parameters()
    )


@pytest.mark.thorough
@pytest.mark.parametrize("name", FAMILIES)
def test_the_clean_port_is_torchs_function(name):
    assert distance(FAMILIES[name]) < 1e-13


def types_of_layers(family, precision):
    """By module: the type of its output, in torch's forward pass and in the port's jaxpr."""
    script = family.script(precision=precision)
    batch = next(script.batches())
    theirs, ours = {}, {}

    def keep(name):
        def hook(module, inputs, output):
            theirs[name] = str((output[0] if isinstance(output, tuple) else output).dtype).removeprefix("torch.")

        return hook

    for name, module in script.model.named_modules():
        module.register_forward_hook(keep(name))
    script.loss(script.model, batch)
    dtype = jnp.bfloat16 if precision == "bfloat16" else None
    arrays = tuple(to_jax(x, dtype) for x in batch)
    port = family.port(compute=jnp.bfloat16 if precision == "autocast" else None)
    for equation in jax.make_jaxpr(port)(parameters(script.model), arrays).eqns:
        if equation.primitive.name == "name":
            ours[equation.params["name"]] = str(equation.outvars[0].aval.dtype)
    return theirs, ours


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_layers_have_torchs_names_and_types(name, precision):
    theirs, ours = types_of_layers(FAMILIES[name], precision)
    known = ours.keys() & theirs.keys()
    assert len(known) >= 2
    assert ours.keys() - known <= {"attention.in_proj"}  # a layer that torch has no module for
    assert {layer: ours[layer] for layer in known} == {layer: theirs[layer] for layer in known}


FAULTS = [(name, fault) for name in FAMILIES for fault in FAMILIES[name].faults]
IMPRECISE = [(name, loss) for name in FAMILIES for loss in FAMILIES[name].imprecise]


@pytest.mark.parametrize("case", one_in(0, FAULTS, thorough=4), ids=": ".join)
def test_a_fault_is_another_function(case):
    name, fault = case
    assert distance(FAMILIES[name], blank=0.25, **FAMILIES[name].faults[fault]) > 1e-9


@pytest.mark.thorough
@pytest.mark.parametrize("name", FLAX_FORMS)
def test_flax_forms_are_torchs_function(name):
    family, form = FLAX_FORMS[name]
    assert distance(FAMILIES[family], form=form(FAMILIES[family].width)) < 1e-13


@pytest.mark.parametrize("case", one_in(0, IMPRECISE, thorough=4), ids=": ".join)
def test_an_imprecise_port_is_the_same_function_apart_from_its_casts(case):
    name, loss = case
    options = FAMILIES[name].imprecise[loss]
    narrows = options.keys() & {"narrow", "tf32"}
    assert (distance(FAMILIES[name], **options) > 1e-5) if narrows else (distance(FAMILIES[name], **options) < 1e-12)

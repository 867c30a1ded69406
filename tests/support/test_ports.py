"""The ports that the checker is tried on: the clean ones are torch's functions, the faulty ones are not."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.ports.common import parameters, to_jax
from tests.support.ports.families import FAMILIES
from tests.support.ports.flax_forms import FLAX_FORMS


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


@pytest.mark.parametrize("name", FAMILIES)
def test_the_clean_port_is_torchs_function(name):
    assert distance(FAMILIES[name]) < 1e-13


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name in FAMILIES for fault in FAMILIES[name].faults])
def test_a_fault_is_another_function(name, fault):
    assert distance(FAMILIES[name], blank=0.25, **FAMILIES[name].faults[fault]) > 1e-9


@pytest.mark.parametrize("name", FLAX_FORMS)
def test_flax_forms_are_torchs_function(name):
    family, form = FLAX_FORMS[name]
    assert distance(FAMILIES[family], form=form(FAMILIES[family].width)) < 1e-13

"""The cheat sheet's three tabs say the same: what is said to be equal is compared."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

import funcsgd
import torch_bridge
from funcsgd import averages, schedules
from tests.support.docs_pages import DOCS, python_blocks, tab_sets

pytestmark = pytest.mark.thorough
TEXT = (DOCS / "cheatsheet.md").read_text()
TABS = tab_sets(TEXT)
N_EPOCHS = 100
SHARED = {"torch": torch, "jax": jax, "jnp": jnp, "optax": optax, "funcsgd": funcsgd, "torch_bridge": torch_bridge}
WEIGHT = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
GRADIENTS = np.random.default_rng(1).standard_normal((6, 3, 4)).astype(np.float32)
OPTIMIZERS = {c for c in vars(torch.optim) if inspect.isclass(getattr(torch.optim, c))} - {"Optimizer"}
SCHEDULES = {name for name in schedules.__all__ if name.endswith(("LR", "Restarts"))}


def lines(section, tab):
    return TABS[section][tab].splitlines()


def namespace(tab):
    """What a block of a tab begins from."""
    if tab == "PyTorch":
        model = torch.nn.Linear(4, 3)
        model(torch.ones(2, 4)).sum().backward()
        given = {"model": model, "params": list(model.parameters()), "scheduler": None}
        return {**vars(lr_scheduler), **vars(swa_utils), **SHARED, **given}
    params = {"weight": jnp.asarray(WEIGHT), "bias": jnp.zeros(3)}
    ours = {**vars(schedules), **vars(averages)} if tab == "funcsgd" else {}
    return {**SHARED, **ours, "params": params, "grads": jax.tree.map(jnp.ones_like, params), "tx": optax.sgd(0.1)}


def of_torch(line):
    parameter = torch.nn.Parameter(torch.tensor(WEIGHT))
    optimizer = eval(line, {**SHARED, "params": [parameter]})
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach().numpy()


def of_jax(line):
    tx = eval(line, dict(SHARED))

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params, state = jnp.asarray(WEIGHT), tx.init(jnp.asarray(WEIGHT))
    for gradient in GRADIENTS:
        params, state = step(params, state, gradient)
    return np.asarray(params)


def test_the_optimizers_are_equal():
    assert {line.partition("(")[0].rpartition(".")[2] for line in lines("Optimizers", "PyTorch")} == OPTIMIZERS
    for original, nearest, ours in zip(*(lines("Optimizers", tab) for tab in TABS["Optimizers"]), strict=True):
        here = hasattr(funcsgd, original.partition("(")[0].rpartition(".")[2].lower())
        assert here == (not ours.startswith("None")), original
        if ours.startswith("None") and ("differs" in nearest or nearest.startswith("None")):
            continue
        expected = of_torch(original)
        if not ours.startswith("None"):
            name = ours.partition("(")[0].removeprefix("funcsgd.")
            within = 0.0 if funcsgd.manifest.RULES[name].exactness == "bitwise" else 1e-4
            np.testing.assert_allclose(of_jax(ours), expected, rtol=0, atol=within, err_msg=ours)
        if not nearest.startswith("None"):
            moved = np.abs(expected - WEIGHT).max()
            apart = np.abs(of_jax(nearest) - expected).max() / moved
            assert (apart > 1e-3) == ("differs" in nearest), (nearest, apart)


def rates_of_torch(line):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = eval(line, {**namespace("PyTorch"), "optimizer": optimizer})
    rates = []
    for _ in range(N_EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OneCycleLR warns of its last step
            scheduler.step() if len(rates) < N_EPOCHS else None
    return rates


def test_the_schedules_are_equal():
    assert {line.partition("(")[0] for line in lines("Schedulers", "PyTorch")} >= SCHEDULES - {
        "InverseTimeLR",
        "SequentialLR",
    }
    for original, nearest, ours in zip(*(lines("Schedulers", tab) for tab in TABS["Schedulers"]), strict=True):
        expected = rates_of_torch(original)
        assert eval(ours, namespace("funcsgd")).table(N_EPOCHS).tolist() == expected, ours
        if not nearest.startswith("None"):
            schedule = eval(nearest, dict(SHARED))
            apart = max(abs(float(schedule(epoch)) - rate) for epoch, rate in enumerate(expected))
            assert (apart > 1e-6) == ("differs" in nearest), (nearest, apart)


@pytest.mark.parametrize("section", [name for name in TABS if name not in ("Optimizers", "Schedulers")])
def test_every_tab_runs(section):
    assert list(TABS[section]) == ["PyTorch", "optax", "funcsgd"]
    for tab, code in TABS[section].items():
        given = namespace(tab)
        exec(compile(code, f"{section}, {tab}", "exec"), given)
        if tab != "PyTorch" and section not in ("A step", "State"):
            state = given["tx"].init(given["params"])
            updates, _ = given["tx"].update(given["grads"], state, given["params"], value=1.0)
            assert jax.tree.structure(updates, is_leaf=lambda x: x is None) == jax.tree.structure(given["params"])


def test_the_beginning_runs():
    exec(compile(python_blocks(TEXT)[0], "cheatsheet.md", "exec"), {})

"""Every optimizer that has a rule here goes on by its file and back, in every bit."""

import importlib

import jax
import numpy as np
import optax
import pytest
import torch

from torch_bridge import checkpoint
from torch_bridge.translate.optimizers import registered

OPTIONS = ({}, {"momentum": 0.9}, {"amsgrad": True}, {"centered": True}, {"weight_decay": 0.01}, {"maximize": True})


def optimizer(torch_class, parameters, options):
    """One of torch's; None where it has no such option."""
    module, _, name = torch_class.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    return None if set(options) - set(kind([torch.ones(1)]).defaults) else kind(parameters, lr=0.01, **options)


def step(model, stepped, number):
    generator = torch.Generator().manual_seed(number)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    stepped.step()
    return {name: parameter.grad.numpy().copy() for name, parameter in model.named_parameters()}


@pytest.mark.thorough
@pytest.mark.parametrize("torch_class", registered())
def test_it_goes_on_and_back(tmp_path, torch_class):
    for options in OPTIONS:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        if (stepped := optimizer(torch_class, model.parameters(), options)) is None:
            continue
        for number in range(3):
            step(model, stepped, number)
        torch.save({"model": model.state_dict(), "optimizer": stepped.state_dict()}, tmp_path / "a.pt")
        found = checkpoint.load(tmp_path / "a.pt")
        assert found.adapter.torch_class == torch_class
        tx = found.rule()
        params, state = found.to_jax(tx)

        @jax.jit
        def update(params, state, grads, tx=tx):
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        for number in range(3, 6):
            params, state = update(params, state, step(model, stepped, number))
        back = found.from_jax(params, state)
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(back.model[name], value)
        for number, held in stepped.state_dict()["state"].items():
            kept = {key: value for key, value in held.items() if value is not None}
            assert list(back.part("optimizer")["state"][number]) == list(kept)
            for key, value in kept.items():
                np.testing.assert_array_equal(back.part("optimizer")["state"][number][key], value)

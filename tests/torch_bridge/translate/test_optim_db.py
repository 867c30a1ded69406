"""The scheduler combinations that torch's own optimizer database lists for SGD, stepped as torch's tests step them."""

import jax
import numpy as np
import optax
import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.testing._internal.common_optimizers import optim_db

import torch_bridge
from tests.support.torch_recipes import make, step
from tests.support.torch_runs import differing_bits

(SGD,) = [info for info in optim_db if info.optim_cls is torch.optim.SGD]
EPOCHS = 60


def test_there_are_seven():
    assert len(SGD.scheduler_inputs) == 7


@pytest.mark.parametrize(("dtype", "steps_per_epoch"), [(torch.float32, 3), (torch.float64, 1)])
@pytest.mark.parametrize("combination", range(7))
def test_no_bit_differs(dtype, combination, steps_per_epoch):
    """Two groups; the loss stops falling after 20 epochs, so that a plateau is met, twice in a run."""
    with jax.enable_x64(dtype == torch.float64):
        parameters, optimizer, _ = make(dtype=dtype)
        schedulers = [scheduler(optimizer) for scheduler in SGD.scheduler_inputs[combination]]
        tx, params, state = torch_bridge.from_torch(
            optimizer, schedulers, steps_per_epoch=steps_per_epoch, epochs=EPOCHS
        )

        @jax.jit
        def jax_step(params, state, gradients, value):
            updates, state = tx.update(gradients, state, params, value=value)
            return optax.apply_updates(params, updates), state

        loss, rates = np.float32(np.inf), set()
        for number in range(EPOCHS * steps_per_epoch):
            rates.add(optimizer.param_groups[0]["lr"])
            gradients = step(parameters, optimizer, number)
            params, state = jax_step(params, state, gradients, loss)
            assert differing_bits(params.values(), [p.detach().numpy() for p in parameters.values()]) == 0, number
            if (number + 1) % steps_per_epoch == 0:
                loss = np.float32(max(1 - number / steps_per_epoch / 20, 0.1))
                for scheduler in schedulers:
                    scheduler.step(*[loss] * isinstance(scheduler, ReduceLROnPlateau))
        assert len(rates) > 1
        if any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in schedulers):
            assert min(rates) < 0.1**2 * max(rates)

"""adafactor is torch's, apart from the order of its sums."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.testing._internal.common_optimizers import optim_db

import funcsgd
from tests.support.sampling import one_in

SHAPES = ((7,), (9, 5), (3, 4, 6))
OPTIONS = [
    {},
    {"beta2_decay": -0.5, "eps": (1e-2, 0.1), "d": 1.5, "weight_decay": 0.1, "maximize": True, "lr": 0.3},
]
INFO = next(info for info in optim_db if info.optim_cls is torch.optim.Adafactor)
OWN_ERRORS = [  # those about its numbers
    (error.optimizer_error_input.kwargs, error.error_regex)
    for error in INFO.optim_error_inputs_func("cpu", torch.float32)
    if error.optimizer_error_input.kwargs and "lr" not in error.optimizer_error_input.kwargs
]


def in_both(gradients, dtype, shapes=SHAPES, lr=0.01, **options):
    """Parameters and states after each step, ours and torch's."""
    rng = np.random.default_rng(0)
    params = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = torch.optim.Adafactor(tensors, lr=lr, foreach=False, **options)
    tx = funcsgd.adafactor(lr, **options)
    step = jax.jit(lambda g, s, p: (lambda u, s: (optax.apply_updates(p, u), s))(*tx.update(g, s, p)))
    ours, state = [jnp.asarray(p) for p in params], tx.init([jnp.asarray(p) for p in params])
    for of_step in gradients:
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = None if g is None else torch.tensor(g)
        optimizer.step()
        ours, state = step(list(of_step), state, ours)
        yield ours, [x.detach().numpy() for x in tensors], state[-1], [optimizer.state[x] for x in tensors]


def assert_close(ours, theirs, state, held, within):
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        np.testing.assert_allclose(a, b, rtol=within, atol=within)
        for key in ("row_var", "col_var", "variance"):
            if key in held[i]:
                np.testing.assert_allclose(getattr(state, key)[i], held[i][key].numpy(), rtol=within)
        assert float(state.step[i]) == float(held[i].get("step", 0))


@pytest.mark.parametrize("options", one_in(2, OPTIONS[::-1]))
@pytest.mark.parametrize("dtype", one_in(2, [np.float64, np.float32]))
def test_parity(options, dtype):
    rng = np.random.default_rng(1)
    gradients = [[rng.normal(size=shape).astype(dtype) for shape in SHAPES] for _ in range(10)]
    with jax.enable_x64(dtype is np.float64):
        for step, found in enumerate(in_both(gradients, dtype, **options)):
            assert_close(*found, within=100 * (step + 1) * np.finfo(dtype).eps)  # sums of up to 72 numbers


def test_missing_gradients_and_another_count_for_each_parameter():
    gradients = [[np.ones(7, np.float32), None, np.full((3, 4, 6), -0.5, np.float32)]] * 2
    gradients += [[None, np.ones((9, 5), np.float32), None]] * 2
    for found in in_both(gradients, np.float32, weight_decay=0.1):
        assert_close(*found, within=1e-5)


@pytest.mark.parametrize(("options", "message"), [*OWN_ERRORS, ({"lr": -1.0}, "Learning rate should be >= 0")])
def test_what_torch_refuses_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        torch.optim.Adafactor([torch.zeros(2)], **options)
    options = {"learning_rate" if key == "lr" else key: value for key, value in options.items()}
    with pytest.raises(ValueError, match=message):
        funcsgd.adafactor(**options)


def test_complex_parameters_and_missing_ones_are_refused():
    with pytest.raises(ValueError, match="Adafactor does not support complex parameters"):
        funcsgd.adafactor().init([jnp.zeros(2, jnp.complex64)])
    tx = funcsgd.adafactor()
    with pytest.raises(ValueError, match="adafactor needs the parameters"):
        tx.update([jnp.ones(2)], tx.init([jnp.ones(2)]))

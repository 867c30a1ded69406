"""muon is torch's: buffer and decay in every bit, directions as near to those of exact products as torch's are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from funcsgd.optimizers.muon import zeropower_via_newtonschulz
from tests.support.sampling import one_in

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SHAPES = ((8, 5), (24, 96))
OPTIONS = [
    {},
    {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.2, "momentum": 0.8, "ns_steps": 3},
]


def in_both(shapes, gradients, lr=0.02, **options):
    """Parameters and buffers after each step, ours and torch's."""
    rng = np.random.default_rng(0)
    params = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = torch.optim.Muon(tensors, lr=lr, **options)
    tx = funcsgd.muon(lr, **options)
    step = jax.jit(lambda g, s, p: (lambda u, s: (optax.apply_updates(p, u), s))(*tx.update(g, s, p)))
    ours, state = [jnp.asarray(p) for p in params], tx.init(params)
    for of_step in gradients:
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = None if g is None else torch.tensor(g)
        optimizer.step()
        ours, state = step(list(of_step), state, ours)
        theirs = [x.detach().numpy().copy() for x in tensors]
        held = [optimizer.state[x].get("momentum_buffer", torch.zeros_like(x)).numpy() for x in tensors]
        yield [np.asarray(x) for x in ours], theirs, [np.asarray(x) for x in state.momentum_buffer], held


def exact_direction(x, steps=5):
    """The iteration in float64."""
    a, b, c = COEFFICIENTS
    x = np.asarray(x, np.float64)
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("options", one_in(2, OPTIONS[::-1]))
def test_parity(options):
    rng = np.random.default_rng(1)
    gradients = [[rng.normal(size=shape).astype(np.float32) for shape in SHAPES] for _ in range(8)]
    for ours, theirs, buffers, held in in_both(SHAPES, gradients, **options):
        for a, b in zip(buffers, held, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(ours, theirs, strict=True):  # a step is 0.02 of an orthogonal matrix, rounded to 8 bits
            assert np.abs(a - b).max() < 8 * 0.02 * max(1, 0.2 * 96**0.5) * 2**-7


@pytest.mark.parametrize("shape", one_in(2, [(96, 24), (24, 96)]))
def test_a_direction_is_as_near_to_that_of_exact_products_as_torchs(shape):
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    theirs = torch.optim._muon._zeropower_via_newtonschulz(torch.tensor(x), COEFFICIENTS, 5, 1e-7).float().numpy()
    ours = np.asarray(zeropower_via_newtonschulz(jnp.asarray(x), COEFFICIENTS, 5, 1e-7), np.float32)
    exact = exact_direction(x if shape[0] < shape[1] else x.T)
    exact = exact if shape[0] < shape[1] else exact.T
    off, theirs_off = (np.linalg.norm(found - exact) for found in (ours, theirs))
    assert 0 < theirs_off < 0.05 * np.linalg.norm(exact)
    assert off < 1.2 * theirs_off


def test_gradients_of_zero_decay_and_missing_ones_change_nothing():
    """torch leaves a parameter without a gradient, decay included."""
    gradients = [[np.zeros(SHAPES[0], np.float32), None]] * 2
    for ours, theirs, buffers, held in in_both(SHAPES, gradients, weight_decay=0.3):
        for a, b in zip([*ours, *buffers], [*theirs, *held], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "params", "message"),
    [
        ({"lr": -1.0}, None, "Learning rate should be >= 0 but is: -1.0"),
        ({"momentum": -1.0}, None, "momentum should be >= 0 but is: -1.0"),
        ({"weight_decay": -1.0}, None, "weight decay should be >= 0 but is: -1.0"),
        ({"adjust_lr_fn": "arbitrary"}, None, "Adjust learning rate function arbitrary is not supported"),
        ({}, np.zeros(3, np.float32), "Muon only supports 2D parameters whereas we found a parameter with size"),
    ],
)
def test_what_torch_refuses_is_refused(options, params, message):
    given = np.zeros((2, 2), np.float32) if params is None else params
    with pytest.raises(ValueError, match=message):
        torch.optim.Muon([torch.tensor(given)], **options)
    with pytest.raises(ValueError, match=message):
        funcsgd.muon(options.pop("lr", 0.1), **options).init([given])


def test_what_torch_refuses_in_its_first_step_is_refused_before():
    with pytest.raises(ValueError, match="does not support complex parameters"):
        funcsgd.muon(0.1).init([jnp.zeros((2, 2), jnp.complex64)])
    for options, message in (({"ns_steps": 100}, "less than 100"), ({"ns_coefficients": (1.0, 2.0)}, "exactly 3")):
        with pytest.raises(ValueError, match=message):
            funcsgd.muon(0.1, **options)
    tx = funcsgd.muon(0.1)
    with pytest.raises(ValueError, match="muon needs the parameters"):
        tx.update([jnp.ones((2, 2))], tx.init([jnp.ones((2, 2))]))

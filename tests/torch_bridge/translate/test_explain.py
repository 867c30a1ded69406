import jax
import jax.numpy as jnp
import optax
import pytest
import torch
from typer.testing import CliRunner

import torch_bridge
from tests.torch_bridge.small_run import make as make_run
from tests.torch_bridge.small_run import train as train_run
from tests.torch_bridge.translate.torch_recipes import SCHEDULERS, bits, make, train
from torch_bridge.cli import app


@pytest.mark.parametrize("name", [None, *SCHEDULERS])
def test_the_code_runs_and_is_the_recipe(x64, name):
    parts = make(name)
    params = {key: jnp.asarray(parameter.detach().numpy()) for key, parameter in parts[0].items()}
    told = torch_bridge.explain(*parts[1:], steps_per_epoch=2, epochs=12)
    scope = dict(told.functions)
    exec(told.funcsgd, scope)
    tx, state = scope["tx"], scope["tx"].init(params)

    @jax.jit
    def step(params, state, gradients):
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for gradients in train(*parts, range(20), 2):
        params, state = step(params, state, gradients)
    assert {key: bytes(jnp.asarray(p).tobytes()) for key, p in params.items()} == bits(parts[0])


@pytest.mark.parametrize("name", [None, *SCHEDULERS])
def test_the_optax_code_runs_too_and_says_how_it_differs(name):
    parts = make(name, dtype=torch.float32)
    params = {key: jnp.asarray(parameter.detach().numpy()) for key, parameter in parts[0].items()}
    told = torch_bridge.explain(*parts[1:])
    scope = dict(told.functions)
    exec(told.optax, scope)
    scope["tx"].update(params, scope["tx"].init(params), params)
    assert "optax has no dampening: gradients enter the buffer in full, not by 0.9" in told.differences
    assert told.funcsgd in str(told)


def test_only_what_differs_is_said():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.5)
    told = torch_bridge.explain(optimizer)
    assert told.funcsgd == "import funcsgd\n\ntx = funcsgd.sgd(0.5)\n"
    assert told.optax == "import optax\n\ntx = optax.sgd(0.5)\n"
    assert told.differences == ()
    with pytest.raises(TypeError, match="but got Adam"):
        torch_bridge.explain(torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]))


def test_the_command_line_explains_a_saved_trace(tmp_path):
    model, optimizer, criterion, loader = make_run()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    recorder = torch_bridge.record(model, optimizer, scheduler=scheduler)
    train_run(model, optimizer, criterion, loader, epochs=1)
    recorder.save(tmp_path / "run.trace")
    shown = CliRunner().invoke(app, ["explain", str(tmp_path / "run.trace")])
    assert shown.exit_code == 0
    assert "step_lr(learning_rate=0.1, step_size=5)" in shown.output
    assert "optax.exponential_decay(0.1, 5, 0.1, staircase=True)" in shown.output
    assert CliRunner().invoke(app, ["explain", str(tmp_path / "absent")]).exit_code == 2
    (tmp_path / "torn").write_bytes(b"x")
    assert CliRunner().invoke(app, ["explain", str(tmp_path / "torn")]).exit_code == 2

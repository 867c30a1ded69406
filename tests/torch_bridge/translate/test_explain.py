import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from typer.testing import CliRunner

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from tests.support.small_run import make as make_run
from tests.support.small_run import train as train_run
from tests.support.torch_recipes import SCHEDULERS, WHOLE, Whole, bits, metric
from torch_bridge.cli import app

RECIPES = [(name, None, None, False) for name in (None, *SCHEDULERS)] + WHOLE
SMALLEST = {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.5}


def run_by_code(source, functions, parameters, gradients, values):
    """The parameters after each step of the rule in ``source``, and its last state."""
    scope = dict(functions)
    exec(source, scope)
    tx = optax.with_extra_args_support(scope["tx"])

    def step(carry, given):
        params, state = carry
        updates, state = tx.update(given[0], state, params, value=given[1])
        params = optax.apply_updates(params, updates)
        return (params, state), params

    gradients = {key: jnp.stack([g[key] for g in gradients]) for key in parameters}
    params = {key: jnp.asarray(value) for key, value in parameters.items()}
    start = params, tx.init(params)
    (_, state), rows = jax.jit(lambda *given: jax.lax.scan(step, start, given))(gradients, jnp.asarray(values, float))
    return rows, state


@pytest.mark.parametrize("recipe", one_in(5, RECIPES), ids=str)
def test_the_code_runs_and_is_the_recipe(x64, recipe):
    """Both the code and from_torch, against torch, over twenty steps."""
    dtype = torch.float32 if recipe[2] == "norm" else torch.float64  # of two dtypes torch sums in a hash table's order
    torch_side = Whole(*recipe, dtype)
    start = {key: p.detach().numpy().copy() for key, p in torch_side.parameters.items()}
    given = torch_side.optimizer, torch_side.scheduler, torch_side.average
    counts = {"steps_per_epoch": 2, "epochs": 12}
    explanation = torch_bridge.explain(*given, **torch_side.arguments(), **counts)
    tx, _, _ = torch_bridge.from_torch(*given, **torch_side.arguments(), **counts)
    gradients = [torch_side.step(number, 2) for number in range(20)]
    values = [metric(number // 2 - 1) for number in range(20)]
    for source, scope in ((explanation.funcsgd, explanation.functions), ("", {"tx": tx})):
        rows, state = run_by_code(source, scope, start, gradients, values)
        assert {key: np.asarray(row[-1]).tobytes() for key, row in rows.items()} == bits(torch_side.parameters)
        if torch_side.average is not None:
            averages = {key: np.asarray(a).tobytes() for key, a in funcsgd.averages.averaged_params(state).items()}
            assert averages == bits(dict(torch_side.average.module.named_parameters()))


def test_there_are_twenty_recipes():
    assert len(RECIPES) >= 20


@pytest.mark.parametrize("recipe", one_in(3, RECIPES, thorough=2), ids=str)
def test_the_optax_code_runs_too_and_differs_where_it_is_noted(recipe):
    torch_side = Whole(*recipe, torch.float32)
    start = {key: p.detach().numpy().copy() for key, p in torch_side.parameters.items()}
    explanation = torch_bridge.explain(
        torch_side.optimizer, torch_side.scheduler, torch_side.average, **torch_side.arguments(), epochs=30
    )
    assert "optax has no dampening: gradients enter the buffer in full, not by 0.9" in explanation.differences
    assert explanation.funcsgd in str(explanation)
    gradients = [torch_side.step(number, 1) for number in range(20)]
    rows, _ = run_by_code(
        explanation.optax, explanation.functions, start, gradients, [metric(number - 1) for number in range(20)]
    )
    after = {key: np.asarray(row[-1]).tobytes() for key, row in rows.items()}
    assert (after == bits(torch_side.parameters)) is not bool(explanation.differences)


def test_only_what_differs_is_noted():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.5)
    explanation = torch_bridge.explain(optimizer)
    assert explanation.funcsgd == "import funcsgd\n\ntx = funcsgd.sgd(0.5)\n"
    assert explanation.optax == "import optax\n\ntx = optax.sgd(0.5)\n"
    assert explanation.differences == ()
    with pytest.raises(TypeError, match=r"torch\.optim\.Adafactor has no rule here, only torch\.optim\.sgd\.SGD"):
        torch_bridge.explain(torch.optim.Adafactor([torch.nn.Parameter(torch.ones(2))]))
    with pytest.raises(ValueError, match="give epochs="):
        torch_bridge.explain(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 5))


def test_the_command_line_explains_a_saved_trace(tmp_path):
    model, optimizer, criterion, loader = make_run()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    recorder = torch_bridge.record(model, optimizer, scheduler=scheduler)
    train_run(model, optimizer, criterion, loader, epochs=1)
    recorder.save(tmp_path / "run.trace")
    shown = CliRunner().invoke(app, ["explain", str(tmp_path / "run.trace")])
    assert shown.exit_code == 0
    assert "StepLR(learning_rate=0.1, step_size=5)" in shown.output
    assert "optax.exponential_decay(0.1, 5, 0.1, staircase=True)" in shown.output
    assert CliRunner().invoke(app, ["explain", str(tmp_path / "absent")]).exit_code == 2
    (tmp_path / "torn").write_bytes(b"x")
    assert CliRunner().invoke(app, ["explain", str(tmp_path / "torn")]).exit_code == 2

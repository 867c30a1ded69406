"""``torch-bridge convert``: between formats, and with a port from torch to JAX and back."""

import jax
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from torch_bridge import checkpoint
from torch_bridge.cli import app

PORT = """
import jax.numpy as jnp
import funcsgd

def port(found):
    assert "optimizer" in found.keys
    return {"tx": funcsgd.sgd(0.1, momentum=0.9), "params": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}

def empty():
    return {}
"""


def invoked(*arguments):
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    content = {"weights": model.state_dict(), "opt": optimizer.state_dict(), "epoch": 4, "args": {"lr": 0.1}}
    torch.save(content, tmp_path / "run.pt")
    (tmp_path / "port.py").write_text(PORT)
    return tmp_path


def test_from_format_to_format_and_back(folder):
    for source, target in (("run.pt", "a.safetensors"), ("a.safetensors", "b"), ("b", "c.pt")):
        status, text = invoked(folder / source, folder / target)
        assert (status, "the content of" in text) == (0, True)
    one, other = (torch.load(folder / name, weights_only=True) for name in ("run.pt", "c.pt"))
    assert torch.equal(one["weights"]["weight"], other["weights"]["weight"])
    assert torch.equal(one["opt"]["state"][1]["momentum_buffer"], other["opt"]["state"][1]["momentum_buffer"])
    assert (one["opt"]["param_groups"], one["args"]) == (other["opt"]["param_groups"], other["args"])


def test_a_port_leads_to_jax_and_back(folder):
    status, text = invoked(folder / "run.pt", folder / "jax", "--port", folder / "port.py")
    assert status == 0, text
    assert "found model under 'weights', optimizer under 'opt', epoch under 'epoch'; not used: 'args'" in text
    params, state, beside = checkpoint.restore(folder / "jax")
    found = checkpoint.load(folder / "run.pt")
    np.testing.assert_array_equal(params["kernel"], found.model["weight"].T)
    held = found.part("optimizer")["state"][0]["momentum_buffer"]
    assert any(np.array_equal(held.T, leaf) for leaf in jax.tree.leaves(state))
    assert beside == {"epoch": 4}
    status, text = invoked(
        folder / "jax", folder / "back.pt", "--port", folder / "port.py", "--like", folder / "run.pt"
    )
    assert status == 0, text
    one, other = (torch.load(folder / name, weights_only=True) for name in ("run.pt", "back.pt"))
    assert torch.equal(one["weights"]["weight"], other["weights"]["weight"])
    assert torch.equal(one["opt"]["state"][0]["momentum_buffer"], other["opt"]["state"][0]["momentum_buffer"])
    assert (one["epoch"], one["args"]) == (other["epoch"], other["args"])


def test_what_cannot_be_converted_is_status_2_and_leaves_nothing(folder):
    (folder / "torn.pt").write_bytes((folder / "run.pt").read_bytes()[:-9])
    (folder / "there.pt").write_text("old")
    before = sorted(folder.iterdir())
    for arguments, says in {
        ("torn.pt", "a.safetensors"): "torn.pt is damaged or was cut off",
        ("run.pt", "there.pt"): "there.pt is there already: choose another name, or replace it by force",
        ("run.pt", "a.npz"): "suffix of no format here",
        ("nothing.pt", "a"): "No such file",
        ("run.pt", "a", "--port", folder / "port.py:empty"): "gives no tx",
        ("run.pt", "a", "--port", folder / "port.py", "--key", "model=opt"): "'opt' is no model",
        ("run.pt", "a", "--port", folder / "port.py", "--names", "bias,weight"): "give names=",
    }.items():
        status, text = invoked(folder / arguments[0], folder / arguments[1], *arguments[2:])
        assert (status, says in text) == (2, True), text
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == before
    assert invoked(folder / "run.pt", folder / "there.pt", "--force")[0] == 0
    assert checkpoint.load(folder / "there.pt").part("epoch") == 4

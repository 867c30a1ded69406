"""Models inside wrappers: the trace has the names of the bare model, and the same values."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import torch_bridge
from torch_bridge.translate.parameters import bare_name, unwrapped


@pytest.fixture(autouse=True)
def nothing_stays_compiled():
    yield
    torch._dynamo.reset()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


class Halves(nn.Module):
    """A model with a part that is compiled; ``module`` is a name of its own."""

    def __init__(self):
        super().__init__()
        self.module = torch.compile(network(), backend="eager")

    def forward(self, x):
        return self.module(x)


def recorded(model, named=False):
    torch.manual_seed(1)
    parameters = model.named_parameters() if named else model.parameters()
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    with torch_bridge.record(model, optimizer, twins=False) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()
    return recorder.trace()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        nn.DataParallel,
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    ],
)
def test_the_trace_is_that_of_the_bare_model(wrap, named):
    bare, trace = recorded(network()), recorded(wrap(network()), named)
    assert trace.keys == bare.keys
    assert list(trace.initial) == list(bare.initial)
    for key in ("modules", "shapes", "momenta", "recipe"):
        assert trace.static[key] == bare.static[key]
    assert torch_bridge.compare(bare, trace).identical


def test_a_wrapped_part_and_a_module_by_the_name_of_a_wrappers():
    trace = recorded(Halves())
    assert "parameter/module.0.weight" in trace.steps
    assert "buffer/module.1.running_var" in trace.steps
    assert trace.static["modules"] == {"module.0": "Linear", "module.1": "BatchNorm1d", "module.2": "Linear"}


def test_names():
    model = nn.DataParallel(Halves())
    assert bare_name(model, "module.module._orig_mod.0.weight") == "module.0.weight"
    assert isinstance(unwrapped(model), Halves)


def test_data_parallel_without_devices_has_float64_twins():
    model = nn.DataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer) as recorder:
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
    twin = recorder.trace().twins[0]
    assert {"loss", "gradient/0.weight", "buffer/1.running_var", "forward/2"} <= set(twin)


DISTRIBUTED = """
import os, sys, warnings
import torch
from torch import nn
import torch_bridge
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[1]}
torch.distributed.init_process_group("gloo", rank=0, world_size=1)
torch.manual_seed(0)
bare = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
model = nn.parallel.DistributedDataParallel(bare)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
warnings.simplefilter("ignore")
with torch_bridge.record(model, optimizer) as recorder:
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
trace = recorder.trace()
print(sorted(trace.static["shapes"]), int(trace.value("buffer/1.num_batches_tracked", 1)), trace.value("loss", 0) > 0)
print(trace.static["twins"]["reasons"]["0"])
torch.distributed.destroy_process_group()
"""


@pytest.mark.thorough
def test_distributed_data_parallel_in_a_process_of_its_own():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-c", DISTRIBUTED, port], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    names = ["0.bias", "0.weight", "1.bias", "1.weight", "2.bias", "2.weight"]
    reason = "the gradients of DistributedDataParallel are summed over processes: record the module inside"
    assert done.stdout.splitlines() == [f"{names} 2 True", reason]

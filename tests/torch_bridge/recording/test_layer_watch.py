"""What layers are given, what they return and the gradients with respect to it, in float64, beside a run."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import torch_bridge


class Net(nn.Module):
    """Functional code between its layers, a layer that works in place, one called twice, attention, one not called."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.act = nn.ReLU(inplace=True)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.shared = nn.Linear(8, 8)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        h = self.act(self.norm(self.embed(x)))
        h = h + self.attn(h, h, h)[0]
        return self.shared(torch.tanh(self.shared(h)))


def recorded(model, x, passes=1):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer) as recorder:
        for _ in range(passes):
            (F.mse_loss(model(x), torch.ones(2, 3, 8)) / passes).backward()
        optimizer.step()
    return recorder.trace()


def by_hand(model, x):
    """The same from hooks on a copy in double; of a layer the first call."""
    given, made, model = {}, {}, copy.deepcopy(model).double()

    def before(name, args):
        given.setdefault(name, args[0].detach().clone().numpy())

    def after(name, output):
        output = output[0] if isinstance(output, tuple) else output
        if name not in made:
            made[name] = [output.detach().clone().numpy(), None]
            output.register_hook(lambda gradient: made[name].__setitem__(1, gradient.numpy()))

    for name, module in model.named_children():
        module.register_forward_pre_hook(lambda module, args, name=name: before(name, args))
        module.register_forward_hook(lambda module, args, output, name=name: after(name, output))
    F.mse_loss(model(x.double()), torch.ones(2, 3, 8).double()).backward()
    return given, made


def test_inputs_outputs_and_gradients_are_those_of_a_copy_in_double(tmp_path):
    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 3, 4)
    given, made = by_hand(model, x)
    trace = recorded(model, x)
    twin, facts = trace.twins[0], trace.static["twins"]
    assert facts["layers"] == ["embed", "norm", "act", "attn", "shared"]
    assert facts["sources"] == {"norm": "embed", "act": "norm", "attn": "act"}
    assert facts["kinds"]["unused"] == "Linear"
    close = lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)  # noqa: E731
    for name, (output, gradient) in made.items():
        close(twin[f"forward/{name}"], output)
        close(twin[f"backward/{name}"], gradient)
        assert twin[f"backward/{name}"].dtype == np.float64
        source = facts["sources"].get(name)
        if source != "norm":  # whose output changes in place
            close(twin[f"input/{name}" if source is None else f"forward/{source}"], given[name])
    assert "input/embed" in twin
    trace.save(tmp_path / "run.trace")
    loaded = torch_bridge.Trace.load(tmp_path / "run.trace")
    assert loaded.static["twins"] == facts
    assert list(loaded.twins[0]) == list(twin)  # in the order in which torch ran the layers
    assert not [key for key in twin if key.startswith(("narrow/input", "narrow/backward"))]


def test_gradients_of_several_passes_are_added_and_the_run_keeps_its_bits():
    torch.manual_seed(0)
    first, x = Net(), torch.randn(2, 3, 4)
    second, bare = copy.deepcopy(first), copy.deepcopy(first)
    whole, halves = recorded(first, x).twins[0], recorded(second, x, passes=2).twins[0]
    for key in whole:
        if key.startswith("backward/"):  # of the first call, which gives half of the loss
            np.testing.assert_allclose(2 * halves[key], whole[key], rtol=1e-10, atol=1e-15)
    F.mse_loss(bare(x), torch.ones(2, 3, 8)).backward()
    torch.optim.SGD(bare.parameters(), lr=0.1).step()
    assert all(map(torch.equal, bare.state_dict().values(), first.state_dict().values()))

"""Loss and gradients in float64, recorded beside a run, against the same computed by hand on a copy in double."""

import copy

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import _len_torch_function_stack
from torch.utils.checkpoint import checkpoint

import torch_bridge
from torch_bridge import Twins
from torch_bridge.trace.keep import Keep

STEPS = 3


@torch.library.custom_op("parity_test::narrow", mutates_args=())
def narrow_kernel(x: torch.Tensor) -> torch.Tensor:
    if x.dtype != torch.float32:
        raise TypeError("float32 only")
    return x * 2


narrow_kernel.register_autograd(lambda ctx, gradient: gradient * 2)


class TiedLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 6, 2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(6, 11)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.lstm(self.embedding(x))[0])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        batch, time, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, time, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=0.1)
        return self.head(F.gelu(x + mixed.transpose(1, 2).reshape(batch, time, width)))


class Split(nn.Module):
    """Called by its parts, as encoders and decoders are."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 3), nn.Linear(3, 6)

    def forward(self, x):
        raise NotImplementedError


class Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 5 * x  # not the derivative, so that it is seen whose backward pass ran


def perceptron():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def convolutions():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(36, 5))


def transformer():
    return nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True), nn.Linear(8, 3))


def normal(generator, dtype, *shape):
    return torch.randn(*shape, generator=generator).to(dtype)


def mixup(model, generator, dtype):
    pred, y, criterion = model(normal(generator, dtype, 6, 6)), torch.arange(6) % 3, nn.CrossEntropyLoss()
    return 0.3 * criterion(pred, y) + 0.7 * criterion(pred, y.flip(0))


def penalised(model, generator, dtype):
    x = normal(generator, dtype, 6, 6).requires_grad_()
    y = model(x).sum()
    (slope,) = torch.autograd.grad(y, x, create_graph=True)
    return 0.01 * y**2 + (slope.norm(dim=1) - 1).pow(2).mean()


def in_place(model, generator, dtype):
    z = model(normal(generator, dtype, 5, 6)) + 0
    z.mul_(2)
    z[:, 0] = 0
    return z.view(-1)[2:].pow(2).sum()


def packed(model, generator, dtype):
    tokens = torch.randint(0, 11, (3, 5), generator=generator)
    lengths = torch.tensor([5, 3, 2])
    rows = nn.utils.rnn.pack_padded_sequence(model.embedding(tokens), lengths, batch_first=True)
    return model.lstm(rows)[0].data.pow(2).mean() + model.head.bias.exp().mean()


def by_words(model, generator, dtype):
    x = torch.randint(0, 11, (4, 7), generator=generator)
    return F.cross_entropy(model(x).flatten(0, 1), torch.arange(28) % 11)


def with_noise(model, generator, dtype):
    return (model(normal(generator, dtype, 5, 6)) + torch.randn(5, 3, generator=generator).to(dtype)).pow(2).mean()


def vae(model, generator, dtype):
    mean, spread, _ = model(normal(generator, dtype, 4, 6)).split(1, 1)
    return (mean + spread.exp() * torch.randn(4, 1).to(dtype)).pow(2).mean() - 0.5 * (1 + spread).sum()


FUNCTIONS = {
    "perceptron": (perceptron, lambda m, g, t: F.cross_entropy(m(normal(g, t, 5, 6)), torch.arange(5) % 3)),
    "conv, BatchNorm, dropout": (
        convolutions,
        lambda m, g, t: F.cross_entropy(m(normal(g, t, 6, 3, 8, 8)), torch.arange(6) % 5, label_smoothing=0.1),
    ),
    "BatchNorm in eval mode": (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval(),
        lambda m, g, t: m(normal(g, t, 5, 6)).pow(2).mean(),
    ),
    "LSTM, tied embedding": (TiedLSTM, by_words),
    "packed sequence, parts called": (TiedLSTM, packed),
    "attention": (Attention, lambda m, g, t: m(normal(g, t, 2, 5, 8)).pow(2).mean()),
    "encoder layer": (transformer, lambda m, g, t: m(normal(g, t, 2, 5, 8)).pow(2).mean()),
    "several criterion calls": (perceptron, mixup),
    "gradient penalty": (perceptron, penalised),
    "in place": (perceptron, in_place),
    "noise as data": (perceptron, with_noise),
    "parts": (Split, lambda m, g, t: m.decoder(torch.tanh(m.encoder(normal(g, t, 5, 6)))).pow(2).mean()),
    "no module is called": (
        lambda: nn.ParameterDict({"w": nn.Parameter(torch.ones(6, 2))}),
        lambda m, g, t: (normal(g, t, 5, 6) @ m["w"]).logsumexp(1).sum(),
    ),
    "custom function": (perceptron, lambda m, g, t: Cubed.apply(m(normal(g, t, 5, 6))).sum()),
    "checkpoint": (
        perceptron,
        lambda m, g, t: checkpoint(lambda x: m(x).pow(2), normal(g, t, 5, 6), use_reentrant=False).sum(),
    ),
    "parametrised": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
            nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2)),
        ),
        lambda m, g, t: m(normal(g, t, 5, 6)).pow(2).mean(),
    ),
    "gumbel": (perceptron, lambda m, g, t: F.gumbel_softmax(m(normal(g, t, 5, 6))).pow(2).mean()),
    "sparse": (
        lambda: nn.Sequential(nn.Embedding(9, 4, sparse=True)),
        lambda m, g, t: m(torch.tensor([1, 2, 2])).pow(2).sum(),
    ),
    "unused": (
        lambda: nn.ModuleDict({"used": nn.Linear(6, 2), "idle": nn.Linear(6, 2)}),
        lambda m, g, t: m["used"](normal(g, t, 5, 6)).sum(),
    ),
}


def run(
    make, loss_of, twins=None, by_hand=None, dtype=torch.float32, around=lambda: torch.autocast("cpu", enabled=False)
):
    """Train; return what the run left behind, bit for bit, and its trace."""
    torch.manual_seed(0)
    model = make().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    recorder = None if twins is None else torch_bridge.record(model, optimizer, twins=twins)
    for step in range(STEPS):
        optimizer.zero_grad()
        if by_hand is not None:
            by_hand.append(in_double(model, loss_of, step))
        with around():
            loss = loss_of(model, torch.Generator().manual_seed(step), dtype)
        loss.backward()
        optimizer.step()
    left = [tensor.detach().float().numpy().tobytes() for tensor in model.state_dict().values()]
    flags = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    trace = None
    if recorder is not None:
        recorder.close()
        trace = recorder.trace()
    assert all(not module._forward_hooks for module in model.modules())
    return (left, flags, torch.rand(3).tolist()), trace


def in_double(model, loss_of, step):
    state = torch.get_rng_state()
    twin = copy.deepcopy(model).double()
    twin.zero_grad()
    loss = loss_of(twin, torch.Generator().manual_seed(step), torch.float64)
    loss.backward()
    torch.set_rng_state(state)
    gradients = {n: p.grad.to_dense().numpy() for n, p in twin.named_parameters() if p.grad is not None}
    return loss.item(), gradients


@pytest.mark.filterwarnings("ignore:the gradient of 0.weight is sparse")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_twins_are_the_double_computed_by_hand_and_the_run_keeps_its_bits(name):
    make, loss_of = FUNCTIONS[name]
    by_hand = []
    left, trace = run(make, loss_of, Twins(first=STEPS), by_hand)
    assert list(trace.twins) == [0, 1, 2]
    assert trace.static["twins"]["reasons"] == {}
    for twin, (loss, gradients) in zip(trace.twins.values(), by_hand, strict=True):
        assert twin["loss"].shape == ()
        np.testing.assert_allclose(twin["loss"], loss, rtol=1e-14)
        assert {key[9:] for key in twin if key.startswith("gradient/")} == set(gradients)
        for parameter, gradient in gradients.items():
            assert twin[f"gradient/{parameter}"].dtype == np.float64
            np.testing.assert_allclose(twin[f"gradient/{parameter}"], gradient, rtol=1e-12, atol=1e-15)
    assert left == run(make, loss_of)[0]
    assert _len_torch_function_stack() == 0


def test_a_fault_in_the_hundred_millionth_shows():
    make, loss_of = FUNCTIONS["perceptron"]
    clean = run(make, loss_of, Twins(first=1))[1].twins[0]
    off = run(make, lambda *given: loss_of(*given) * (1 + 1e-8), Twins(first=1))[1].twins[0]
    gaps = [abs(off[key] / clean[key] - 1).max() for key in clean if key.startswith("gradient")]
    np.testing.assert_allclose(gaps, 1e-8, rtol=1e-3)


@pytest.mark.parametrize("way", ["bfloat16 model", "autocast"])
def test_the_twin_of_a_narrow_run_is_plain_double(way):
    options = {"dtype": torch.bfloat16} if way == "bfloat16 model" else {}
    if way == "autocast":
        options["around"] = lambda: torch.autocast("cpu", torch.bfloat16)
    by_hand = []

    def loss(model, generator, dtype):
        given = normal(generator, torch.bfloat16, 6, 3, 8, 8).to(dtype)
        scores = model(given).to(torch.float64 if dtype == torch.float64 else torch.float32)
        return F.cross_entropy(scores, torch.arange(6) % 5)

    left, trace = run(convolutions, loss, Twins(first=STEPS), by_hand, **options)
    for twin, (value, gradients) in zip(trace.twins.values(), by_hand, strict=True):
        np.testing.assert_allclose(twin["loss"], value, rtol=1e-14)
        for name, gradient in gradients.items():
            np.testing.assert_allclose(twin[f"gradient/{name}"], gradient, rtol=1e-12, atol=1e-15)
    assert trace.twins[0]["narrow/forward/0"].dtype == ml_dtypes.bfloat16
    assert trace.twins[0]["forward/0"].dtype == np.float64
    assert left == run(convolutions, loss, **options)[0]


def test_layers_as_the_run_had_them_and_in_double():
    seen = []
    torch.manual_seed(0)
    model = convolutions()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(6, 3, 8, 8)
    state, twin = torch.get_rng_state(), copy.deepcopy(model).double()
    for layer in twin:
        layer.register_forward_hook(lambda module, given, output: seen.append(output.detach().clone().numpy()))
    twin(x.double())
    torch.set_rng_state(state)
    with torch_bridge.record(model, optimizer) as recorder:
        F.cross_entropy(model(x), torch.arange(6) % 5).backward()
        optimizer.step()
    trace = recorder.trace()
    twins = trace.static["twins"]
    assert (twins["steps"], twins["layers"], twins["reasons"]) == ([0], list("0123456"), {})
    assert list(twins["kinds"].values()) == [type(layer).__name__ for layer in model]
    for index, wide in enumerate(seen):
        np.testing.assert_allclose(trace.twins[0][f"forward/{index}"], wide, rtol=1e-13, atol=1e-15)
        narrow = trace.twins[0][f"narrow/forward/{index}"]
        assert narrow.dtype == np.float32
        np.testing.assert_allclose(narrow, wide, rtol=1e-4, atol=1e-5)
    assert trace.twins[0]["forward/1"].min() < 0  # before the activation that works in place
    recorder_without = run(perceptron, FUNCTIONS["perceptron"][1], Twins(layers=False))[1]
    assert not any("forward" in key for key in recorder_without.twins[0])


def epochs(twins, sizes=(4, 4, 3), n_epochs=3):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.utils.data.TensorDataset(torch.randn(sum(sizes), 2))
    loader = torch.utils.data.DataLoader(data, sizes[0])
    with torch_bridge.record(model, optimizer, loader=loader, twins=twins) as recorder:
        for _ in range(n_epochs):
            for (x,) in loader:
                optimizer.zero_grad()
                model(x).pow(2).mean().backward()
                optimizer.step()
            with torch.no_grad():
                model(torch.ones(50, 2))
    return recorder.trace()


@pytest.mark.parametrize(
    ("twins", "steps"),
    [
        (True, [0, 1, 2, 3, 6]),
        (Twins(first=1, epochs=False, shapes=False), [0]),
        (Twins(first=0, shapes=False), [0, 3, 6]),
        (Twins(first=0, epochs=False), [0, 2]),  # the short last batch
        (Twins(first=0, epochs=False, shapes=False, every=4), [3, 7]),
    ],
)
def test_the_steps_that_are_chosen(twins, steps):
    trace = epochs(twins)
    assert trace.n_steps == 9
    assert list(trace.twins) == trace.static["twins"]["steps"] == steps


def test_without_twins_there_are_none():
    trace = epochs(False)
    assert trace.twins == {}
    assert "twins" not in trace.static


def test_twins_stay_in_full_where_steps_are_digested(tmp_path):
    torch.manual_seed(0)
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with torch_bridge.record(model, optimizer, keep=Keep("digest", every=10)) as recorder:
        F.cross_entropy(model(torch.randn(5, 6)), torch.arange(5) % 3).backward()
        optimizer.step()
    again = torch_bridge.Trace.load((recorder.save(tmp_path / "a.trace"), tmp_path / "a.trace")[1])
    assert again.twins[0]["gradient/0.weight"].shape == (8, 6)
    assert torch_bridge.restore(again).twins.keys() == {0}


def hooked(model, generator, dtype):
    z = model(normal(generator, dtype, 5, 6))
    z.register_hook(lambda gradient: gradient * 2)
    return z.pow(2).sum()


CUBED_LONG_AGO = Cubed.apply
NOT_IN_DOUBLE = {
    "a custom function by an old reference": (
        lambda m, g, t: CUBED_LONG_AGO(m(normal(g, t, 5, 6))).sum(),
        "Cubed was called",
    ),
    "a tensor's hook": (hooked, "Tensor.register_hook"),
    "reentrant checkpoint": (
        lambda m, g, t: checkpoint(m, normal(g, t, 5, 6).requires_grad_(), use_reentrant=True).sum(),
        "CheckpointFunction|does not show",
    ),
    "bits read as integers": (
        lambda m, g, t: (lambda z: (z * (z.detach().view(torch.int32) > 0)).sum())(m(normal(g, t, 5, 6))),
        "bits of a tensor",
    ),
    "only narrow": (
        lambda m, g, t: torch.ops.parity_test.narrow(m(normal(g, t, 5, 6))).sum(),
        "narrow cannot be evaluated in float64: float32 only",
    ),
    "torch.func": (
        lambda m, g, t: torch.func.vmap(lambda x: (m(x) ** 2).sum())(normal(g, t, 5, 6)).sum(),
        "does not show",
    ),
}


@pytest.mark.parametrize("name", NOT_IN_DOUBLE)
def test_what_cannot_be_evaluated_in_double_is_noted_once_and_the_run_goes_on(name):
    loss_of, sentence = NOT_IN_DOUBLE[name]
    with pytest.warns(UserWarning, match=sentence) as told:
        left, trace = run(perceptron, loss_of, Twins(first=STEPS))
    assert len(told) == 1
    assert trace.twins == {}
    assert set(trace.static["twins"]["reasons"]) == {"0", "1", "2"}
    assert trace.n_steps == STEPS
    assert left == run(perceptron, loss_of)[0]
    assert _len_torch_function_stack() == 0


def test_gradients_that_were_not_cleared_have_no_twin():
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer) as recorder:
        model(torch.ones(4, 3)).pow(2).mean().backward()
        optimizer.step()
        model(torch.ones(4, 3)).pow(2).mean().backward()
        with pytest.warns(UserWarning, match="not cleared"):
            optimizer.step()
    assert list(recorder.trace().twins) == [0]


def test_compiled_code_by_a_function_of_the_user():
    def train(watch, **options):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
        compiled = torch.compile(model, backend="eager")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        recorder = torch_bridge.record(compiled, optimizer, **options) if watch else None
        hand = []
        for _ in range(2):
            x = torch.randn(4, 3)
            state, twin = torch.get_rng_state(), copy.deepcopy(model).double()
            hand.append(twin(x.double()).pow(2).mean().item())
            torch.set_rng_state(state)
            optimizer.zero_grad()
            compiled(x).pow(2).mean().backward()
            optimizer.step()
        if recorder is not None:
            recorder.close()
        return recorder and recorder.trace(), hand, [p.detach().numpy().tobytes() for p in model.parameters()]

    try:
        trace, hand, bits = train(True, twins=Twins(loss=lambda model, batch: model(batch[0]).pow(2).mean()))
        np.testing.assert_allclose([twin["loss"] for twin in trace.twins.values()], hand, rtol=1e-14)
        assert len(trace.twins) == 2
        assert bits == train(False)[2]
        with pytest.warns(UserWarning, match=r"torch\.compile"):
            assert train(True)[0].twins == {}
        with pytest.warns(UserWarning, match="failed: 'no such'"):
            assert train(True, twins=Twins(loss=failing))[0].twins == {}
    finally:
        torch._dynamo.reset()


def failing(model, batch):
    raise KeyError("no such")


def test_modes_of_the_script_keep_their_places():
    own = torch.autograd.Function.__dict__["apply"]
    with torch.device("cpu"):
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        recorder = torch_bridge.record(model, optimizer)
        with torch.device("meta"):
            pass
        loss = model(torch.ones(4, 3)).sum()
        with torch.device("cpu"):
            loss.backward()
        optimizer.step()
    recorder.close()
    assert list(recorder.trace().twins) == [0]
    assert _len_torch_function_stack() == 0
    assert torch.autograd.Function.__dict__["apply"] is own


def test_a_run_that_stops_in_the_middle_leaves_nothing_behind():
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = torch_bridge.record(model, optimizer)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    model(torch.ones(4, 3))
    assert _len_torch_function_stack() == 1
    assert recorder.trace().n_steps == 1
    assert _len_torch_function_stack() == 0
    recorder.close()


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="first must be"):
        Twins(first=-1)
    with pytest.raises(ValueError, match="every must be"):
        Twins(every=0)

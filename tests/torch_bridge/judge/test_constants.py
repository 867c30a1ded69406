"""Constants that float32 cannot tell apart are one constant; a wrong one is found beside them, with its line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import funcsgd
import torch_bridge
from torch_bridge.judge.constants import MOST, Constants, fit
from torch_bridge.judge.findings import HELD

N, LENGTH, WIDTH = 24, 5, 8
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, LENGTH, WIDTH)).astype("f")
Y = RNG.integers(0, 4, N)


def positions(dtype):
    angles = np.arange(LENGTH, dtype=dtype)[:, None] / dtype(10000) ** (np.arange(WIDTH, dtype=dtype) / dtype(WIDTH))
    return np.sin(angles).astype("f")


class Net(torch.nn.Module):
    """Attention over a table of positions, a norm, a temperature that is a float32 tensor: constants of all sorts."""

    def __init__(self):
        super().__init__()
        self.query, self.norm, self.head = (
            torch.nn.Linear(WIDTH, WIDTH),
            torch.nn.LayerNorm(WIDTH),
            torch.nn.Linear(8, 4),
        )
        self.register_buffer("positions", torch.from_numpy(positions(np.float64)))
        self.register_buffer("temperature", torch.tensor(0.07))

    def forward(self, x):
        x = x + self.positions
        weights = (self.query(x) @ x.transpose(1, 2) / WIDTH**0.5).softmax(-1)
        return self.head(self.norm((weights @ x).mean(1))) / self.temperature


@pytest.fixture(scope="module")
def trace():
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=8, shuffle=True
    )
    with torch_bridge.record(net, optimizer, loader=loader) as recorder:
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return recorder.trace()


def port(table=None, scale=WIDTH**0.5, temperature=0.07, eps=1e-5):
    table = positions(np.float64) if table is None else table

    def loss_fn(p, batch):
        x, y = batch
        x = x + table
        weights = jax.nn.softmax((x @ p["query.weight"].T + p["query.bias"]) @ x.swapaxes(1, 2) / scale)
        h = (weights @ x).mean(1)
        centred = h - h.mean(-1, keepdims=True)
        h = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + eps) * p["norm.weight"] + p["norm.bias"]
        log_p = jax.nn.log_softmax((h @ p["head.weight"].T + p["head.bias"]) / temperature)
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean()

    return loss_fn


def check(trace, loss_fn):
    return torch_bridge.check(trace, funcsgd.sgd(1e-3, momentum=0.9), loss_fn=loss_fn, data=(X, Y))


LONG, LONGEST = pytest.mark.thorough, pytest.mark.exhaustive


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="Python's", marks=LONGEST),
        pytest.param({"scale": np.float32(np.sqrt(8))}, id="NumPy scale", marks=LONGEST),
        pytest.param({"temperature": np.float32(0.07)}, id="NumPy temperature", marks=LONGEST),
        pytest.param(
            {"temperature": jnp.float32(0.07), "scale": jnp.sqrt(jnp.float32(WIDTH)), "eps": np.float32(1e-5)},
            id="all of JAX",
            marks=LONGEST,
        ),
        pytest.param({"table": jnp.asarray(positions(np.float32))}, id="a table computed in float32", marks=LONG),
    ],
)
def test_a_constant_is_the_same_in_whatever_form_it_is_held(trace, options):
    if "table" in options:
        assert (np.asarray(options["table"]) != positions(np.float64)).any()
    report = check(trace, port(**options))
    assert report.verdict == "same function", report


WRONG = [("eps", 1e-3), ("eps", -1e-1), ("temperature", 1e-6), ("temperature", -1e-1)]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("eps", 1e-6, marks=LONG),
        *(pytest.param(*x, marks=LONGEST) for x in WRONG),
    ],
)
def test_a_wrong_constant_is_found_beside_them_and_named(trace, name, error):
    right = {"eps": 1e-5, "temperature": 0.07}[name]
    report = check(trace, port(**{"scale": np.float32(np.sqrt(8)), name: right * (1 + error)}))
    assert (report.verdict, report.difference.step) == ("different", 0)
    ((words, found),) = report.difference.constants.items()
    assert words.startswith(f"{right * (1 + error):.9g} at test_constants.py:")
    assert found == pytest.approx(error, rel=0.3 if abs(error) < 1e-5 else 1e-3)
    (cause,) = report.causes
    assert cause.name == "constant-of-the-function"
    assert cause.constants["torch"] == pytest.approx(right, rel=1e-5)
    value, _, line = words.partition(" at ")
    assert f"the constant {float(value):.7g} is {cause.constants['torch']:.7g} in torch ({line})" in str(report)


@LONGEST
def test_a_wrong_table_is_found_in_spite_of_the_allowance(trace):
    table = positions(np.float64)
    table[3, 2] *= 1 + 1e-4
    assert check(trace, port(table=table)).verdict == "different"


@pytest.mark.parametrize("seed", range(20))
def test_what_one_constant_explains_is_not_blamed_on_a_tiny_one(seed):
    """Two factors of one quantity: what rounds the large one is a change of the other beyond any rounding."""
    v = np.random.default_rng(seed).standard_normal(50)
    third, tiny = (1, 0) if seed % 2 else (0, 1)

    def evaluate(moves):
        return {"gradient/w": (1 / 3 * (1 + moves[third]) + 3e-3 * (1 + moves[tiny])) * v}

    def at(change):
        moves = np.zeros(MOST)
        moves[third] = change
        return evaluate(moves)

    found = fit(evaluate, at(2e-8), {"gradient/w": 1e-13}, {(1.0, "first"): 0, (2.0, "second"): 1})
    assert found.moves[third] == pytest.approx(2e-8, rel=1e-5)
    assert found.largest < HELD


def test_arrays_of_short_numbers_do_not_move():
    """A one-hot table was not rounded, so that no difference is put down to its rounding."""
    with jax.enable_x64(True):
        moved = Constants(np.zeros(64), 1e-3, jax.random.key(0))
        for table in (np.eye(3, dtype="f"), np.array([0.0, -np.inf, 0.5], "f")):
            assert (np.asarray(moved.moved(jnp.asarray(table, "d"), table, "")) == table).all()
        assert moved.arrays == 0
        table = np.array([1.0, 0.1, np.inf], "f")
        after = np.asarray(moved.moved(jnp.asarray(table, "d"), table, ""))
    assert moved.arrays == 1
    assert (after == table).tolist() == [True, False, True]

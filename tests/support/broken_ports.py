"""Ten ports with a mistake each, as people make them, and what a one-line fix of each is."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import torch_bridge
from tests.support.small_run import X, Y

FOLDER = Path(__file__).parent / "ports" / "broken"


@dataclass(frozen=True)
class Broken:
    """A port of `FOLDER`.

    Attributes:
        cause: of its mistake.
        fixed: the line, without its indentation, that mends it.
        run: the recorded run.
        imported: a line that the mended one needs.
    """

    cause: str
    fixed: str
    run: Callable[[], torch_bridge.Trace]
    imported: tuple[str, ...] = ()


def _sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def _perceptron():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def _normalised():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3))


@functools.cache
def _run(make=_perceptron, optimizer=_sgd, schedule=None, clip=None, decay=None, epochs=2):
    torch.manual_seed(0)
    net = make()
    optimizer = optimizer(net)
    scheduler = None if schedule is None else schedule(optimizer)
    average = None if decay is None else AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay))
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
    clipping = None if clip is None else {"max_norm": clip}
    with torch_bridge.record(net, optimizer, loader=loader, average=average, clip=clipping) as recorder:
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(net.parameters(), clip)
                optimizer.step()
                if average is not None:
                    average.update_parameters(net)
            if scheduler is not None:
                scheduler.step()
    return recorder.trace()


def _adamw(net):
    return torch.optim.AdamW(net.parameters(), lr=0.01, eps=1e-4)


def _bare(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


def _halved(optimizer):
    return lr_scheduler.StepLR(optimizer, 1, 0.5)


_clipped = functools.partial(_run, clip=0.1)

BROKEN = {
    "chain_clipped": Broken("clip-without-epsilon", "funcsgd.clip_grad_norm(0.1),", _clipped, ("import funcsgd",)),
    "chain_ordered": Broken("decay-decoupled", "optax.trace(decay=0.9),", _clipped),
    "hand_written_rule": Broken(
        "eps-in-root",
        "return -learning_rate * (m_hat / (jnp.sqrt(v_hat) + eps) + weight_decay * p)",
        functools.partial(_run, optimizer=_adamw),
    ),
    "flax_net": Broken(
        "constant-of-the-function", "x = nn.LayerNorm(epsilon=1e-05)(x)",
        functools.partial(_run, make=_normalised, optimizer=_bare),
    ),
    "schedule_by_epoch": Broken(
        "schedule-per-step",
        "schedule = optax.exponential_decay(init_value=0.1, transition_steps=3, decay_rate=0.5, staircase=True)",
        functools.partial(_run, schedule=_halved, epochs=4),
    ),
    "loss_reduced": Broken(
        "loss-summed", "return -jnp.mean(jnp.take_along_axis(log_p, labels[:, None], axis=-1))", _run
    ),
    "batches_in_order": Broken(
        "last-batch-dropped",
        "loader = data.DataLoader(data.ArrayDataset(*DATA), batch_size=16, shuffle=True, drop_last=False)", _run,
    ),
    "average_of_weights": Broken(
        "average-decay",
        'CONFIG = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01, "ema_decay": 0.999}',
        functools.partial(_run, decay=0.999),
    ),
    "decay_masked": Broken("decay-not-on-vectors", "optax.add_decayed_weights(0.01),", _run),
    "step_of_its_own": Broken("decay-doubled", "LR, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 0.01", _run),
}  # fmt: skip
"""The ports by the names of their files."""

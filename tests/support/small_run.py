"""A small PyTorch training run, recorded, and its JAX port."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import torch_bridge

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 40)


def make(seed=0, **options):
    """A network, its optimizer, loss and shuffling loader (the last batch is a short one)."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2} | options)
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return model, optimizer, nn.CrossEntropyLoss(), torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)


def train(model, optimizer, criterion, loader, epochs=2):
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()


def recorded(epochs=2, keep=None, **options):
    parts = make(**options)
    recorder = torch_bridge.record(*parts[:2], criterion=parts[2], loader=parts[3], keep=keep)
    train(*parts, epochs=epochs)
    return recorder.trace()


def loss_fn(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["0.weight"].T + params["0.bias"])
    logits = hidden @ params["2.weight"].T + params["2.bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()


DATA = (X, Y.astype(np.int32))

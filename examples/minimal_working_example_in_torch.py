"""The PyTorch side of 03_minimal_working_example.py: the lecture's recipe, written for PyTorch."""

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

EPOCHS = 50


def objects():
    """Seed torch; return data, loaders, model, optimizer, scheduler and average, made in the lecture's order."""
    torch.manual_seed(42)
    w_true, b_true, x = torch.randn(5, 1), torch.randn(1), torch.randn(1000, 5)
    y = x @ w_true + b_true * torch.ones(1000, 1) + 0.5 * torch.randn(1000, 1)
    train_loader = DataLoader(TensorDataset(x[:800], y[:800]), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(x[800:], y[800:]), batch_size=64)
    model = nn.Sequential()
    model.add_module("linear", nn.Linear(5, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = CosineAnnealingLR(optimizer, T_max=EPOCHS, eta_min=0.001)
    average = AveragedModel(model, avg_fn=lambda avg, param, _: 0.99 * avg + 0.01 * param)
    return (w_true, b_true, x, y), (train_loader, val_loader), model, optimizer, scheduler, average


def train(loader, model, optimizer, average, criterion):
    """One epoch; returns its mean loss."""
    total = 0.0
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        total += loss.item() * x.size(0)
    return total / len(loader.dataset)


def validate(loader, model, criterion):
    """Mean loss over a loader."""
    with torch.no_grad():
        return sum(criterion(model(x), y).item() * x.size(0) for x, y in loader) / len(loader.dataset)


def run():
    """Train, and return the lines that the lecture's script prints."""
    (w_true, b_true, _, _), (train_loader, val_loader), model, optimizer, scheduler, average = objects()
    criterion, lines = nn.MSELoss(), []
    for epoch in range(EPOCHS):
        train_loss = train(train_loader, model, optimizer, average, criterion)
        losses = (train_loss, validate(val_loader, model, criterion), validate(val_loader, average.module, criterion))
        scheduler.step()
        if (epoch + 1) % 5 == 0:
            lines.append(f"Epoch {epoch + 1}/{EPOCHS}, LR: {scheduler.get_last_lr()[0]:.4f}")
            names = ("Train Loss", "Val Loss", "EMA Val Loss")
            lines += [f"  {name}: {value:.6f}" for name, value in zip(names, losses, strict=True)]
    lines += ["", "True weights vs. Learned weights:"]
    linear, averaged = model.linear, average.module.linear
    for i, (true, learned, ema) in enumerate(zip(w_true, linear.weight[0], averaged.weight[0], strict=True)):
        lines.append(f"  w{i}: True={true.item():.4f}, Model={learned.item():.4f}, EMA={ema.item():.4f}")
    bias, ema_bias = linear.bias.item(), averaged.bias.item()
    lines.append(f"  bias: True={b_true.item():.4f}, Model={bias:.4f}, EMA={ema_bias:.4f}")
    return lines

"""AdamW with two groups, two micro-batches a step, clipping, and a warm-up whose rate is set by hand."""

import argparse

import torch
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--micro-batches", type=int, default=2)
arguments = parser.parse_args()

torch.manual_seed(4)
model = nn.Sequential(nn.Linear(5, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 1))
decayed = [p for p in model.parameters() if p.dim() > 1]
others = [p for p in model.parameters() if p.dim() <= 1]
groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-3)
loader = DataLoader(TensorDataset(torch.randn(32, 5), torch.randn(32, 1)), batch_size=4, shuffle=True)
step = 0
optimizer.zero_grad()
for number, (x, y) in enumerate(loader, 1):
    loss = nn.functional.mse_loss(model(x), y) / arguments.micro_batches
    loss.backward()
    if number % arguments.micro_batches == 0:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 3)
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        print(step, f"{loss.item():.6f}")
print(final_bits(model))

"""A transformer with torch's own layers, a warm-up by LambdaLR, and an evaluation before the training."""

import torch
from final_bits import final_bits
from torch import nn

torch.manual_seed(13)
layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
model = nn.Sequential(nn.Embedding(9, 8), nn.TransformerEncoder(layer, 1), nn.Linear(8, 9))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))
words = torch.randint(0, 9, (4, 7))
model.eval()
with torch.no_grad():
    print(model(words).double().sum().item())
model.train()
for _ in range(3):
    loss = nn.functional.cross_entropy(model(words[:, :-1]).flatten(0, 1), words[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    print(loss.item())
model.eval()
with torch.no_grad():
    print(model(words).double().sum().item())
print(final_bits(model))

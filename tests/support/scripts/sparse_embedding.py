"""An embedding with sparse gradients, and an optimizer made for them."""

import torch
from final_bits import final_bits
from torch import nn

torch.manual_seed(11)
embedding = nn.EmbeddingBag(10, 3, mode="sum", sparse=True)
head = nn.Linear(3, 1)
sparse = torch.optim.SparseAdam(embedding.parameters(), lr=0.05)
dense = torch.optim.Adam(head.parameters(), lr=0.05)
for _ in range(3):
    words, target = torch.randint(0, 10, (6, 4)), torch.randn(6, 1)
    loss = nn.functional.mse_loss(head(embedding(words)), target)
    sparse.zero_grad()
    dense.zero_grad()
    loss.backward()
    sparse.step()
    dense.step()
    print(f"{loss.item():.6f}")
print(final_bits(embedding, head))

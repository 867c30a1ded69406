"""A variational autoencoder: the loss is a function, and the random numbers are drawn within the model."""

import torch
import torch.nn.functional as F
from final_bits import final_bits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.mean, self.log_variance = nn.Linear(6, 5), nn.Linear(5, 2), nn.Linear(5, 2)
        self.fc2 = nn.Linear(2, 6)

    def forward(self, x):
        hidden = F.relu(self.fc1(x))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        return torch.sigmoid(self.fc2(z)), mean, log_variance


def loss_function(output, x, mean, log_variance):
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return F.binary_cross_entropy(output, x, reduction="sum") + divergence


torch.manual_seed(16)
loader = DataLoader(TensorDataset(torch.rand(12, 6)), batch_size=5, shuffle=True)
model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for (x,) in loader:
    optimizer.zero_grad()
    loss = loss_function(*(lambda result: (result[0], x, *result[1:]))(model(x)))
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.6f}")
print(final_bits(model))

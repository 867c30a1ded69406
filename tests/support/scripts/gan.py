"""Two networks, two optimizers; the loss of the one is the sum of two criterion calls."""

import torch
from final_bits import final_bits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
loader = DataLoader(TensorDataset(torch.randn(24, 4)), batch_size=8, shuffle=True)
generator = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
discriminator = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer_d = optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.5, 0.999))
optimizer_g = optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
for _epoch in range(2):
    for (real,) in loader:
        discriminator.zero_grad()
        error_real = criterion(discriminator(real), torch.ones(len(real), 1))
        error_real.backward()
        fake = generator(torch.randn(len(real), 2))
        error_fake = criterion(discriminator(fake.detach()), torch.zeros(len(real), 1))
        error_fake.backward()
        optimizer_d.step()
        generator.zero_grad()
        error = criterion(discriminator(fake), torch.ones(len(real), 1))
        error.backward()
        optimizer_g.step()
        print(f"{(error_real + error_fake).item():.6f} {error.item():.6f}")
print(final_bits(generator, discriminator))

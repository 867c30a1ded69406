"""One optimizer for two modules that no third one holds; they are attributes of an ordinary object."""

import itertools

import torch
from final_bits import final_bits
from torch import nn


class Trainer:
    def __init__(self):
        self.encoder, self.decoder = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 3)
        self.optimizer = torch.optim.SGD(itertools.chain(self.encoder.parameters(), self.decoder.parameters()), lr=0.1)

    def step(self, x):
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.decoder(self.encoder(x)[0]), x)
        loss.backward()
        self.optimizer.step()
        return loss.item()


torch.manual_seed(17)
trainer = Trainer()
print([f"{trainer.step(torch.randn(2, 4, 3)):.6f}" for _ in range(3)])
print(final_bits(trainer.encoder, trainer.decoder))

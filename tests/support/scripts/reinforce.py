"""Reinforcement learning: no loader; the loss is summed over the calls of an episode."""

import torch
from final_bits import final_bits
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(19)
policy = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2))
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
for _episode in range(3):
    state, terms = torch.zeros(2), []
    for _ in range(4):
        choice = Categorical(logits=policy(state))
        action = choice.sample()
        state = state + torch.tensor([0.1, -0.1]) * (2 * action - 1)
        terms.append(-choice.log_prob(action) * float(state[0]))
    optimizer.zero_grad()
    loss = torch.stack(terms).sum()
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.6f}")
print(final_bits(policy))

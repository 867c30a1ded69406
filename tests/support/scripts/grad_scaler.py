"""Mixed precision with a GradScaler, which leaves out the step that overflows."""

import torch
from final_bits import final_bits
from torch import nn

torch.manual_seed(5)
model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
for step in range(5):
    x, y = torch.randn(8, 4), torch.randn(8, 2)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.mse_loss(model(x).float(), y)
    if step == 2:
        loss = loss * 1e38
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_value_(model.parameters(), 0.4)
    scaler.step(optimizer)
    scaler.update()
    print(step, scaler.get_scale())
print(final_bits(model))

"""The PyTorch side of the demo: an ordinary training script with a recorder."""

import time
from collections.abc import Iterator

import numpy as np

from torch_bridge.demo.recipe import (
    BATCH_SIZE,
    DECAY,
    EPOCHS,
    GAMMA,
    LAYERS,
    LEARNING_RATE,
    MAX_NORM,
    MOMENTUM,
    N_TRAIN,
    SEED,
    WEIGHT_DECAY,
)
from torch_bridge.recording.record import record
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.trace import Array


class LiveRun:
    """A PyTorch run that goes one step at a time.

    Attributes:
        recorder: what watches it.
        seconds: time that PyTorch has spent in its own steps; the first, which warms it up, is not counted.
    """

    def __init__(self, x: Array, y: Array, *, keep: Keep | None = None) -> None:
        """Seed torch, build the model and attach the recorder.

        Args:
            x: float32 (n, 64), of which the first `N_TRAIN` are trained on.
            y: integers (n,).
            keep: see `record`.
        """
        import torch
        from torch import nn
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
        from torch.utils.data import DataLoader, TensorDataset

        torch.manual_seed(SEED)
        n_in, n_hidden, n_out = LAYERS
        self.model = nn.Sequential(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_out))
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=GAMMA)
        self.criterion = nn.CrossEntropyLoss()
        dataset = TensorDataset(torch.tensor(x[:N_TRAIN]), torch.tensor(y[:N_TRAIN].astype(np.int64)))
        self.loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
        self.recorder = record(
            self.model,
            self.optimizer,
            loader=self.loader,
            average=self.average,
            clip={"max_norm": MAX_NORM},
            keep=keep,
        )
        self.seconds = 0.0

    def steps(self) -> Iterator[None]:
        """Train; yield after each step."""
        import torch

        warm = False
        for _ in range(EPOCHS):
            for x, y in self.loader:
                start = time.perf_counter()
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(x), y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
                self.optimizer.step()
                self.average.update_parameters(self.model)
                self.seconds += (time.perf_counter() - start) if warm else 0.0
                warm = True
                yield
            self.scheduler.step()

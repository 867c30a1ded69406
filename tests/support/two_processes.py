"""A torch run in two processes, DistributedDataParallel over gloo: ``python -m ...two_processes FOLDER RANK``.

Each rank writes its orders, rank 0 the trace as well. Run by `train`, which starts both and waits.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

import torch_bridge
from torch_bridge.demo import golden

RANKS = 2
N_TRAIN = 333  # not a multiple of the ranks: the sampler repeats an index
BATCH_SIZE = 16  # of a rank; the short last batch is dropped, as it would not divide by the devices
EPOCHS = 3
SEED = 5  # of the weights
ORDER_SEED = 11
OPTIONS = {"momentum": 0.9, "weight_decay": 1e-4}
LEARNING_RATE = 0.1


def data():
    x, y = golden.digits(golden.load())
    return x[:N_TRAIN], y[:N_TRAIN]


def train(folder):
    """Run both ranks; return rank 0's trace, and the orders of the epochs, int64 ``(ranks, epochs, samples)``."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.two_processes", str(folder)]
    ranks = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(RANKS)
    ]
    for process in ranks:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
    orders = np.stack([np.load(folder / f"order-{rank}.npy") for rank in range(RANKS)])
    return torch_bridge.Trace.load(folder / "run.trace"), orders


def train_rank(folder, rank):
    import torch
    import torch.distributed
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from torch.utils.data.distributed import DistributedSampler

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=RANKS
    )
    x, y = data()
    dataset = TensorDataset(torch.arange(N_TRAIN), torch.tensor(x), torch.tensor(y.astype(np.int64)))
    sampler = DistributedSampler(dataset, RANKS, rank, shuffle=True, seed=ORDER_SEED)
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, sampler=sampler, drop_last=True)
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, **OPTIONS)
    criterion = nn.CrossEntropyLoss()
    recorder = torch_bridge.record(model, optimizer)
    parallel = nn.parallel.DistributedDataParallel(model)
    orders = []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        for indices, x, y in loader:
            optimizer.zero_grad()
            loss = criterion(parallel(x), y)
            loss.backward()
            seen, losses = ([torch.empty_like(t) for _ in range(RANKS)] for t in (indices, loss.detach()))
            torch.distributed.all_gather(seen, indices)
            torch.distributed.all_gather(losses, loss.detach())
            recorder.log(indices=torch.cat(seen), loss=torch.stack(losses).mean())
            optimizer.step()
    np.save(folder / f"order-{rank}.npy", np.array(orders))
    if rank == 0:
        recorder.save(folder / "run.trace")
    torch.distributed.barrier()  # neither rank closes its connections while the other still needs them
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    train_rank(Path(sys.argv[1]), int(sys.argv[2]))
    # Everything is written. The interpreter's shutdown is skipped, since gloo's threads can outlive what they use in
    # it ("terminate called without an active exception"), which is no matter of the test.
    os._exit(0)

"""The same run in JAX on eight devices of one process: ``python -m ...eight_devices FOLDER``; torch is not imported.

Writes what JAX did as traces: by the compiler's sharding, by ``shard_map``, and by ``shard_map`` with a fault.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import funcsgd
import torch_bridge
from tests.support.two_processes import (
    BATCH_SIZE,
    EPOCHS,
    LEARNING_RATE,
    N_TRAIN,
    OPTIONS,
    ORDER_SEED,
    RANKS,
    SEED,
    data,
)
from torch_bridge import init, random
from torch_bridge.data import DataLoader, DistributedSampler
from torch_bridge.demo.recipe import loss_fn
from torch_bridge.replaying.layout import header_of
from torch_bridge.replaying.replay import Replay

DEVICES = 8
RUNS = ("sharded", "averaged", "summed")


def run(folder):
    """Run this file on eight devices; return its traces by name."""
    flags = f"--xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.support.eight_devices", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: torch_bridge.Trace.load(folder / f"{name}.trace") for name in RUNS}


def samplers():
    return [DistributedSampler(range(N_TRAIN), RANKS, rank, seed=ORDER_SEED) for rank in range(RANKS)]


def initial_weights():
    generator = random.Generator(SEED)
    return init.sequential(init.linear(64, 32, generator=generator), {}, init.linear(32, 10, generator=generator))


def global_batches():
    """Yield the indices of each step, rank after rank."""
    ranks = samplers()
    loaders = [DataLoader(range(N_TRAIN), BATCH_SIZE, sampler=sampler, drop_last=True) for sampler in ranks]
    for epoch in range(EPOCHS):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        yield from (np.concatenate(parts) for parts in zip(*loaders, strict=True))


def by_hand(mesh, tx, combine):
    """The step as each device makes it: gradients of its own examples, combined over the devices."""

    def step(carry, batch):
        params, state = carry
        loss, gradients = jax.value_and_grad(loss_fn)(params, batch)
        gradients = combine(gradients, "data")
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        observed = {"loss": jax.lax.pmean(loss, "data"), "gradient": gradients, "parameter": params}
        return (params, state), observed

    whole, split = PartitionSpec(), PartitionSpec("data")
    # Without the check a gradient of what all devices share is the device's own; with it JAX would have summed it.
    return jax.shard_map(step, mesh=mesh, in_specs=(whole, split), out_specs=(whole, whole), check_vma=False)


def main(folder):
    assert jax.device_count() == DEVICES
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))  # the compiler places what is between
    over_devices = NamedSharding(mesh, PartitionSpec("data"))
    tx = funcsgd.sgd(LEARNING_RATE, **OPTIONS)
    x, y = data()
    start = initial_weights()
    steps = [{"data": indices} for indices in global_batches()]
    batches = [jax.device_put((x[i["data"]], y[i["data"]]), over_devices) for i in steps]
    assert all(DEVICES * x.addressable_shards[0].data.size == x.size for x in jax.tree.leaves(batches))
    initial = {f"parameter/{name}": value for name, value in start.items()}

    def drive(name, **options):
        side = Replay(initial, header=header_of("torch.optim.sgd.SGD"), drive="free", **options)
        for recorded, batch in zip(steps, batches, strict=True):
            side.step({}, recorded, batch)
        side.trace().save(folder / f"{name}.trace")

    drive("sharded", tx=tx, loss_fn=loss_fn)
    params = jax.tree.map(jnp.asarray, start)
    for name, combine in {"averaged": jax.lax.pmean, "summed": jax.lax.psum}.items():
        drive(name, step=by_hand(mesh, tx, combine), state=(params, tx.init(params)))
    assert "torch" not in sys.modules


if __name__ == "__main__":
    main(Path(sys.argv[1]))

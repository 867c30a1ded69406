"""Runs in orbax folders: every state, with and without a target, in mid-epoch, sharded, and whole or not at all."""

import os
import shutil
import subprocess
import sys
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from funcsgd import schedules
from funcsgd.averages import ema, swa, with_average
from torch_bridge import checkpoint, data, random

PARAMS = {"a.b": jnp.arange(3.0), "a": {"b": jnp.ones((2, 2)), "c/d": jnp.zeros((), jnp.bfloat16)}}
LABELS = {"a.b": 0, "a": {"b": 1, "c/d": 1}}
PLATEAU = schedules.ReduceLROnPlateau(0.1)
STATES = {
    "sgd": funcsgd.sgd(0.1),
    "momentum, scheduled": funcsgd.sgd(schedules.tabulate(schedules.CosineAnnealingLR(0.1, 9), 9), momentum=0.9),
    "adam": funcsgd.adam(0.1, amsgrad=True),
    "adamw": funcsgd.adamw(0.1),
    "plateau": funcsgd.sgd(funcsgd.scale_by_schedulers([PLATEAU, schedules.StepLR(0.1, 3)], 9)),
    "plateau, adam": funcsgd.adam(funcsgd.scale_by_schedulers([PLATEAU], 9)),
    "averages": with_average(funcsgd.sgd(0.1), ema(0.9)),
    "equal average": with_average(funcsgd.adam(0.1), swa()),
    "partition with an empty part": optax.partition(
        {0: funcsgd.sgd(0.1, momentum=0.9), 1: funcsgd.adam(0.1), 2: funcsgd.adam(0.1), 3: funcsgd.sgd(1, momentum=1)},
        LABELS,
    ),
    "masked": optax.masked(funcsgd.adam(0.1), {"a.b": True, "a": {"b": False, "c/d": True}}),
    "dropped, clipped": optax.chain(
        funcsgd.drop_gradients({"a.b": True, "a": {"b": False, "c/d": False}}),
        funcsgd.clip_grad_norm(1.0),
        funcsgd.sgd(0.1),
    ),
    "multi steps": optax.MultiSteps(funcsgd.sgd(0.1, momentum=0.9), 3),
    "injected": optax.inject_hyperparams(funcsgd.sgd)(learning_rate=optax.linear_schedule(0.1, 0.0, 9), momentum=0.9),
    "optax's adam": optax.adam(0.1),
}  # fmt: skip


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(x, jax.Array)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("name", STATES)
def test_every_state_comes_back(tmp_path, name):
    tx = getattr(STATES[name], "gradient_transformation", lambda: STATES[name])()
    params = PARAMS
    state = jax.tree.map(lambda x: (x + 1).astype(x.dtype), tx.init(PARAMS))  # no zeros where fresh ones have them
    checkpoint.save(tmp_path / "run", params, state)
    for like in (None, params, jax.eval_shape(lambda: params)):
        restored = checkpoint.restore(tmp_path / "run", tx, like)
        assert_same(restored.opt_state, state)
        assert_same(jax.tree.map(jnp.asarray, restored.params), params)
    plain = checkpoint.restore(tmp_path / "run")
    assert isinstance(plain.opt_state, dict | tuple)
    assert len(jax.tree.leaves(plain.opt_state)) == len(jax.tree.leaves(state))


def test_in_mid_epoch_with_loader_and_generator(tmp_path):
    def start():
        random.manual_seed(3)
        return data.DataLoader(np.arange(20.0), batch_size=3, shuffle=True)

    loader = start()
    batches = iter(loader)
    head = [next(batches) for _ in range(2)]
    key = jax.random.key(7)
    checkpoint.save(
        tmp_path / "run",
        PARAMS,
        loader=batches.state(),
        generator=random.get_rng_state(),
        key=key,
        epoch=1,
        best=np.nan,
    )
    rest, drawn = list(batches), random.rand(3)
    _, state, beside = checkpoint.restore(tmp_path / "run")
    assert state is None
    assert np.isnan(beside.pop("best"))
    random.manual_seed(99)
    again = data.DataLoader(np.arange(20.0), batch_size=3, shuffle=True)
    batches = again.resume(beside["loader"])
    for one, other in zip(batches, rest, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(random.rand(3), drawn)
    random.set_rng_state(beside["generator"])
    assert (beside["epoch"], len(head)) == (1, 2)
    assert jax.random.key_data(beside["key"]).tolist() == jax.random.key_data(key).tolist()


def test_a_training_state_comes_back(tmp_path):
    def loss_fn(params, batch):
        return ((batch * params["w"]) ** 2).mean()

    rule, samples = funcsgd.adam(0.1), jnp.arange(1.0, 9.0)
    batches = np.arange(8).reshape(2, 2, 2)
    whole = funcsgd.train(loss_fn, rule, {"w": jnp.ones(())}, samples, batches)
    half = funcsgd.train(loss_fn, rule, {"w": jnp.ones(())}, samples, batches[:1]).state
    checkpoint.save(tmp_path / "run", half.params, state=half)
    back = checkpoint.restore(tmp_path / "run", state=half).beside["state"]
    assert_same(back, half)
    assert_same(funcsgd.train(loss_fn, rule, back, samples, batches).state, whole.state)


def test_what_differs_from_the_target_is_named(tmp_path):
    tx = funcsgd.sgd(0.1, momentum=0.9)
    checkpoint.save(tmp_path / "run", PARAMS, tx.init(PARAMS), epoch=3)
    for says, call in {
        r"opt_state has '2/count' in the folder, but not in the target": lambda p: checkpoint.restore(
            p, optax.identity()
        ),
        r"'a.b' of params was saved as float32\(3,\), the target has bfloat16\(3,\)": lambda p: checkpoint.restore(
            p, params={**PARAMS, "a.b": jnp.zeros(3, jnp.bfloat16)}
        ),
        r"holds no 'loader', only params, opt_state, epoch": lambda p: checkpoint.restore(p, loader={}),
        r"'' of epoch was saved as int, the target has str": lambda p: checkpoint.restore(p, epoch="3"),
    }.items():
        with pytest.raises(ValueError, match=says):
            call(tmp_path / "run")
    with pytest.raises(TypeError, match=r"the name 'outline' is taken"):
        checkpoint.save(tmp_path / "other", PARAMS, outline=3)
    with pytest.raises(TypeError, match=r"a builtins.function, which is neither an array"):
        checkpoint.save(tmp_path / "other", PARAMS, f=lambda: 3)
    with pytest.raises(ValueError, match=r"two keys that are written alike: 1, '1'"):
        checkpoint.save(tmp_path / "other", {1: jnp.ones(1), "1": jnp.ones(1)})
    assert os.listdir(tmp_path) == ["run"]


def test_a_folder_without_some_of_its_files_is_refused(tmp_path):
    tx = funcsgd.sgd(0.1, momentum=0.9)
    checkpoint.save(tmp_path / "run", PARAMS, tx.init(PARAMS), epoch=3)
    files = [path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*")]
    for number, gone in enumerate(file for file in files if str(file) != "files.json"):
        torn = tmp_path / str(number)
        shutil.copytree(tmp_path / "run", torn)
        place = torn / gone
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        with pytest.raises(ValueError, match=r"is damaged or was not written whole|is no whole checkpoint"):
            checkpoint.restore(torn, tx)


def test_damaged_bits_are_seen_in_every_file(tmp_path):
    """Each of some bits turned, in any file: nothing is read that was not written."""
    checkpoint.save(tmp_path / "run", {"w": jnp.arange(50.0)}, epoch=3)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.stat().st_size]
    draw = Random(0)
    for _ in range(200):
        file = draw.choice(files)
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        file.write_bytes(draw.choice((changed, changed, whole[:-1], b"")))
        with pytest.raises(ValueError, match=r"is damaged or was not written whole"):
            checkpoint.restore(tmp_path / "run")
        file.write_bytes(whole)
    assert checkpoint.restore(tmp_path / "run").beside == {"epoch": 3}


def test_nothing_replaces_unasked_and_a_failure_leaves_the_old_one(tmp_path):
    checkpoint.save(tmp_path / "run", {"w": jnp.ones(1)})
    with pytest.raises(FileExistsError, match="is there already: choose another name, or replace it by force"):
        checkpoint.save(tmp_path / "run", {"w": jnp.zeros(1)})
    with pytest.raises(TypeError, match="neither an array"):
        checkpoint.save(tmp_path / "run", {"w": jnp.zeros(1)}, force=True, f=print)
    assert checkpoint.restore(tmp_path / "run").params["w"] == 1
    checkpoint.save(tmp_path / "run", {"w": jnp.zeros(1)}, force=True)
    assert checkpoint.restore(tmp_path / "run").params["w"] == 0
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write run into"):
        checkpoint.save(tmp_path / "nowhere" / "run", {"w": jnp.zeros(1)})
    assert os.listdir(tmp_path) == ["run"]
    (tmp_path / "run").rename(tmp_path / ".run.old")  # as a crash leaves it between the two moves
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*run; .*\.run\.old is .* move it back"):
        checkpoint.restore(tmp_path / "run")
    checkpoint.save(tmp_path / "run", {"w": jnp.ones(1)})
    assert checkpoint.restore(tmp_path / "run").params["w"] == 1


SHARDED = """
import sys, jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import funcsgd
from torch_bridge import checkpoint
mesh = jax.make_mesh((8,), ("d",))
params = {"w": jax.device_put(jnp.arange(16.0), NamedSharding(mesh, PartitionSpec("d")))}
tx = funcsgd.sgd(0.1, momentum=0.9)
state = tx.init(params)
checkpoint.save(sys.argv[1], params, state)
restored = checkpoint.restore(sys.argv[1], tx, params)
for one, other in zip(jax.tree.leaves(restored[:2]), jax.tree.leaves((params, state)), strict=True):
    assert one.sharding.is_equivalent_to(other.sharding, one.ndim), (one.sharding, other.sharding)
    assert np.array_equal(one, other)
"""


@pytest.mark.thorough
def test_sharded_states_keep_their_sharding_and_one_device_reads_them(tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    run = [sys.executable, "-c", SHARDED, str(tmp_path / "run")]
    subprocess.run(run, check=True, env=environment, cwd=os.getcwd(), timeout=120)
    tx = funcsgd.sgd(0.1, momentum=0.9)
    for params in (None, {"w": jnp.zeros(16)}):
        restored = checkpoint.restore(tmp_path / "run", tx, params)
        np.testing.assert_array_equal(restored.params["w"], np.arange(16.0))
        assert len(jax.tree.leaves(restored.opt_state)[0].devices()) == 1

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.utils.data as torch_data

from tests.support.sampling import one_in
from tests.support.side_by_side import Side, assert_same, random_settings
from torch_bridge import data, random
from torch_bridge.data import ArrayDataset, DataLoader, RandomSampler
from torch_bridge.random import Generator

FORK = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def default_stream():
    """Leave the default stream as it was."""
    with random.fork_rng():
        yield


@pytest.mark.parametrize("hundred", range(4))
def test_random_settings(hundred):
    for seed in range(100 * hundred, 100 * hundred + 100):
        assert_same(random_settings(seed))


@pytest.mark.parametrize("thousand", one_in(0, range(5), thorough=5))
def test_thousands_of_settings(thousand):
    for seed in range(1000 * thousand, 1000 * thousand + 1000):
        assert_same(random_settings(seed + 1000))


@FORK
@pytest.mark.parametrize("seed", one_in(2, range(8)))
def test_workers_draw_ahead(seed):
    assert_same(random_settings(seed, workers=(1, 2)))


@FORK
@pytest.mark.parametrize("seed", one_in(0, range(8, 108), thorough=4))
def test_more_workers(seed):
    assert_same(random_settings(seed, workers=(1, 2)))


def test_the_base_seed_is_torchs():
    torch.manual_seed(3)
    random.manual_seed(3)
    assert iter(DataLoader(range(3))).base_seed == iter(torch_data.DataLoader(range(3)))._base_seed


def our_loader(seed, workers=0):
    """A loader of ours with random settings; with workers, drawing ahead."""
    settings = random_settings(seed, workers=(workers,)) | {"persistent_workers": False}
    return Side(settings, ours=True)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seed", range(12))
def test_every_batch_can_be_resumed_from(seed, workers):
    side = our_loader(seed, workers)
    for _ in range(2):
        epoch, states, batches, draws = iter(side.loader), [], [], []
        for batch in epoch:
            batches.append(batch)
            states.append(json.loads(json.dumps(epoch.state())))
            draws.append(side.draw())
        for k, state in enumerate(states):
            fresh = our_loader(seed, workers)
            resumed = fresh.loader.resume(state)
            assert resumed.delivered == k + 1
            assert resumed.base_seed == epoch.base_seed
            assert fresh.draw() == draws[k]
            for expected, draw in zip(batches[k + 1 :], draws[k + 1 :], strict=True):
                np.testing.assert_array_equal(next(resumed), expected)
                assert fresh.draw() == draw
            assert next(resumed, None) is None
            random.default_generator.state = side.default.state  # as the epoch itself left it
        side.default = random.default_generator


def test_a_state_before_the_first_batch():
    random.manual_seed(0)
    loader = DataLoader(np.arange(10), 3, shuffle=True)
    state = iter(loader).state()
    expected = [batch.tolist() for batch in loader.resume(state)]
    assert [batch.tolist() for batch in loader.resume(state)] == expected
    random.manual_seed(0)
    assert [batch.tolist() for batch in loader] == expected


@pytest.mark.thorough
def test_another_process_goes_on():
    random.manual_seed(11)
    loader = DataLoader(np.arange(50), 4, shuffle=True, generator=Generator(2))
    list(loader)
    epoch = iter(loader)
    for _ in range(5):
        next(epoch)
    code = (
        "import json, sys, numpy as np\n"
        "from torch_bridge.data import DataLoader\n"
        "from torch_bridge.random import Generator, default_generator\n"
        "loader = DataLoader(np.arange(50), 4, shuffle=True, generator=Generator())\n"
        "rest = [batch.tolist() for batch in loader.resume(json.load(sys.stdin))]\n"
        "following = [batch.tolist() for batch in loader]\n"
        "print(json.dumps([rest, following, default_generator.rand(2).tolist()]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(epoch.state()),
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    )
    rest = [batch.tolist() for batch in epoch]
    following = [batch.tolist() for batch in loader]
    assert json.loads(run.stdout) == [rest, following, random.default_generator.rand(2).tolist()]


def test_a_state_of_another_loader_is_refused():
    state = iter(DataLoader(range(10), 3)).state()
    with pytest.raises(ValueError, match="the state is that of a loader"):
        DataLoader(range(10), 4).resume(state)


def test_persistent_workers_keep_their_seed_when_resumed():
    loader = DataLoader(np.arange(9), 2, True, num_workers=1, persistent_workers=True)
    epoch = iter(loader)
    next(epoch)
    state = epoch.state()
    expected = [b.tolist() for b in epoch] + [b.tolist() for b in loader]
    again = DataLoader(np.arange(9), 2, True, num_workers=1, persistent_workers=True)
    assert [b.tolist() for b in again.resume(state)] + [b.tolist() for b in again] == expected


@pytest.mark.parametrize("library", [np, jnp])
def test_arrays_come_out_as_they_are(library):
    x, y = library.arange(12.0).reshape(6, 2), library.arange(6)
    torch_dataset = torch_data.TensorDataset(*(torch.from_numpy(np.array(array)) for array in (x, y)))
    torch.manual_seed(0)
    random.manual_seed(0)
    torch_loader = torch_data.DataLoader(torch_dataset, 4, shuffle=True)
    for expected, actual in zip(torch_loader, DataLoader(ArrayDataset(x, y), 4, shuffle=True), strict=True):
        assert type(expected) is type(actual) is list
        for theirs, ours in zip(expected, actual, strict=True):
            assert isinstance(ours, np.ndarray if library is np else jax.Array)
            np.testing.assert_array_equal(np.asarray(ours), theirs.numpy(), strict=True)


def test_structures_are_collated_like_torch():
    samples = [(i, i / 2, f"{i}", {"k": i, "v": [i, -i]}, i % 2 == 0) for i in range(5)]
    theirs = list(torch_data.DataLoader(samples, 2))
    ours = list(DataLoader(samples, 2))
    assert repr(jax.tree.map(lambda x: x.tolist() if hasattr(x, "tolist") else x, ours)) == repr(
        jax.tree.map(lambda x: x.tolist() if hasattr(x, "tolist") else x, theirs)
    )
    assert ours[0][1].dtype == np.float64
    assert ours[0][0].dtype == np.int64


def test_a_collate_function_and_single_samples():
    assert list(DataLoader(range(5), 2, collate_fn=sum)) == [1, 5, 4]
    assert list(DataLoader([(1, 2), (3, 4)], batch_size=None)) == [[1, 2], [3, 4]]
    assert list(DataLoader(range(3), batch_size=None, collate_fn=lambda i: -i)) == [0, -1, -2]


def test_what_may_be_changed_later():
    loader = DataLoader(np.arange(4), 2)
    loader.collate_fn = sum
    assert list(loader) == [1, 5]
    loader.generator = Generator(0)
    before = random.default_generator.state
    list(loader)
    assert random.default_generator.state is before
    assert loader.generator.state.position == 2


def test_files_are_read_on_demand_and_by_threads(tmp_path):
    paths = [tmp_path / f"{i}.npy" for i in range(10)]
    for i, path in enumerate(paths):
        np.save(path, np.full((2, 2), i))
    read = []

    def load(path):
        read.append(path)
        return np.load(path)

    epoch = iter(DataLoader(data.FileDataset(paths, load), 4))
    assert read == []
    np.testing.assert_array_equal(next(epoch)[:, 0, 0], [0, 1, 2, 3])
    assert len(read) == 4
    batches = list(DataLoader(data.FileDataset(paths), 4, num_workers=2))
    np.testing.assert_array_equal(np.concatenate(batches)[:, 0, 0], np.arange(10))


def test_a_failing_sample_fails_its_batch_and_no_other():
    class Broken:
        def __len__(self):
            return 6

        def __getitem__(self, i):
            if i == 2:
                raise KeyError(f"no sample {i}")
            return i

    for workers in (0, 2):
        epoch = iter(DataLoader(Broken(), 2, num_workers=workers))
        assert next(epoch).tolist() == [0, 1]
        with pytest.raises(KeyError, match="no sample 2"):
            next(epoch)
        assert next(epoch).tolist() == [4, 5]


def test_a_batch_that_does_not_come():
    import threading

    release = threading.Event()

    class Slow:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            release.wait(30)
            return i

    epoch = iter(DataLoader(Slow(), num_workers=1, timeout=0.05))
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.05 seconds"):
        next(epoch)
    release.set()


def test_index_batches_are_an_epoch():
    for seed in range(30):
        side, other = our_loader(seed), our_loader(seed)
        random.manual_seed(1)
        rows = side.loader.index_batches(pad=-1)
        after = side.streams()
        random.manual_seed(1)
        other.default = random.default_generator
        batches = [np.atleast_1d(batch) for batch in other.loader]
        assert other.streams() == after
        assert len(rows) == len(batches)
        for row, batch in zip(rows, batches, strict=True):
            row = np.atleast_1d(row)
            assert row[: len(batch)].tolist() == batch.tolist()
            assert (row[len(batch) :] == -1).all()


def test_index_batches_do_not_pad_by_default():
    with pytest.raises(ValueError, match="the last batch is short"):
        DataLoader(range(5), 2).index_batches()
    assert DataLoader(range(5), 2, drop_last=True).index_batches().shape == (2, 2)
    assert DataLoader([], 2).index_batches().shape == (0, 2)


@pytest.mark.parametrize(
    "keywords",
    [
        {"num_workers": -1},
        {"timeout": -1},
        {"prefetch_factor": 2},
        {"num_workers": 1, "prefetch_factor": -1},
        {"persistent_workers": True},
        {"sampler": [1], "shuffle": True},
        {"batch_sampler": [[1]], "batch_size": 2},
        {"batch_sampler": [[1]], "drop_last": True},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
        {"batch_size": True},
        {"batch_size": 2.0},
        {"drop_last": 1},
    ],
)
def test_refused_as_torch_refuses(keywords):
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 (the message is compared)
        torch_data.DataLoader(range(5), **keywords)
    with pytest.raises(ValueError) as ours:  # noqa: PT011
        DataLoader(range(5), **keywords)
    assert str(ours.value) == str(theirs.value)


def test_other_refusals():
    loader = DataLoader(range(5))
    with pytest.raises(ValueError, match="batch_size attribute should not be set after DataLoader is initialized"):
        loader.batch_size = 3
    with pytest.raises(TypeError, match="has no len"):
        len(DataLoader(range(5), sampler=iter([1])))
    with pytest.raises(ValueError, match="worker_init_fn"):
        DataLoader(range(5), worker_init_fn=print)
    with pytest.raises(TypeError, match="__getitem__"):
        DataLoader(iter(range(5)))
    with pytest.raises(AssertionError, match="timeout == 0"):
        iter(DataLoader(range(5), timeout=3))
    with pytest.raises(ValueError, match="num_samples=0"):
        DataLoader([], shuffle=True)
    assert list(DataLoader([])) == []


def test_a_planted_fault_is_found(monkeypatch):
    """The comparison can fail: a sampler that spares the last, unused permutation of a given generator is caught."""
    settings = random_settings(0) | {"kind": "random", "sampler_generator": "own", "num_samples": None}
    settings |= {"breaks": [None], "num_workers": 0}
    assert_same(settings)
    piece = RandomSampler.piece
    monkeypatch.setattr(RandomSampler, "piece", lambda self, k, source: piece(self, k, source) if k == 0 else None)
    with pytest.raises(AssertionError):
        assert_same(settings)

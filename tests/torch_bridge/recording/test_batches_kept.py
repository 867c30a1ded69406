"""Batches whose examples have no indices are kept themselves, and replayed."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import torch_bridge
from torch_bridge.trace.batch import leaves_of, recorded_batch
from torch_bridge.trace.keep import Keep


class Stream(IterableDataset):
    """Ten examples, so that the last batch of four is short; the script changes its batches in place."""

    def __init__(self, as_dict=False):
        self.as_dict = as_dict

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for i in range(10):
            x, mask = torch.randn(3, generator=generator), torch.arange(3, dtype=torch.uint8) + i
            yield {"x": x, "more": (mask, f"text {i}")} if self.as_dict else (x, x.sum(0, keepdim=True))


class Keyed(Dataset):
    """Examples by words."""

    def __getitem__(self, key):
        return torch.full((3,), float(len(key))), torch.ones(1)


class Words(torch.utils.data.Sampler):
    def __iter__(self):
        return iter(["a", "bcd", "ef", "ghij"])

    def __len__(self):
        return 4


def recorded(loader, **options):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    with torch_bridge.record(model, optimizer, loader=loader, **options) as recorder:
        for x, y in loader:
            seen.append((x.numpy().copy(), y.numpy().copy()))
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
            x.zero_()
    return recorder.trace(), seen


def loss_fn(params, batch):
    x, y = batch
    return jnp.mean((x @ params["weight"].T + params["bias"] - y) ** 2)


def test_a_stream_is_replayed_from_its_trace(tmp_path):
    trace, seen = recorded(DataLoader(Stream(), batch_size=4))
    trace.save(tmp_path / "run.trace")
    trace = torch_bridge.Trace.load(tmp_path / "run.trace")
    assert "data" not in trace.steps
    assert "not_recorded" not in trace.static
    for t, pair in enumerate(seen):
        for mine, theirs in zip(recorded_batch(trace, t), pair, strict=True):
            assert mine.tobytes() == theirs.tobytes()
            assert mine.shape == theirs.shape
    assert [len(pair[0]) for pair in seen] == [4, 4, 2]
    report = torch_bridge.check(trace, optax.sgd(0.1), loss_fn=loss_fn)
    assert report.ok, report
    assert torch_bridge.compare(trace, trace).identical
    other, _ = recorded(DataLoader(Stream(), batch_size=4, drop_last=True, collate_fn=shifted))
    first = torch_bridge.compare(trace, other).first
    assert (first.step, first.phase, first.name) == (0, "batch", "0")


def shifted(examples):
    x, y = torch.utils.data.default_collate(examples)
    return x + 1, y


def test_a_digest_of_them_is_compared_and_not_replayed():
    trace, _ = recorded(DataLoader(Stream(), batch_size=5), keep=Keep("digest"))
    assert torch_bridge.compare(trace, recorded(DataLoader(Stream(), batch_size=5))[0]).identical
    with pytest.raises(ValueError, match="only a digest of batch/0 at step 0: give data="):
        torch_bridge.check(trace, optax.sgd(0.1), loss_fn=loss_fn)


def test_examples_by_keys_that_are_no_integers():
    trace, seen = recorded(DataLoader(Keyed(), batch_size=2, sampler=Words()))
    assert [recorded_batch(trace, t)[0].tolist() for t in range(2)] == [x.tolist() for x, _ in seen]


def test_micro_batches_are_put_together():
    loader = DataLoader(Stream(), batch_size=5)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer, loader=loader, twins=False) as recorder:
        whole = []
        for x, y in loader:
            whole.append(x.clone())
            (nn.functional.mse_loss(model(x), y) / 2).backward()
        optimizer.step()
    trace = recorder.trace()
    assert trace.static["micro_batches"] == {"0": [5, 5]}
    assert recorded_batch(trace, 0)[0].tolist() == torch.cat(whole).tolist()


def test_a_structure_is_kept_and_what_is_no_array_left_out():
    loader = DataLoader(Stream(as_dict=True), batch_size=4)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer, loader=loader, twins=False) as recorder:
        for batch in loader:
            model(batch["x"]).sum().backward()
            optimizer.step()
    trace = recorder.trace()
    assert {key for key in trace.steps if key.startswith("batch/")} == {"batch/x", "batch/more/0"}
    last = recorded_batch(trace, 2)
    assert last["more"][1] is None  # texts
    assert last["more"][0].tolist() == [[8, 9, 10], [9, 10, 11]]


def test_a_jax_loop_records_its_batches_under_the_same_names():
    trace, seen = recorded(DataLoader(Stream(), batch_size=4))
    params = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}
    recorder = torch_bridge.JaxRecorder(params, like=trace)
    for t, batch in enumerate(seen):
        recorder.step(params={name: trace.value(f"parameter/{name}", t) for name in params}, batch=batch)
    assert torch_bridge.compare(trace, recorder.trace()).identical


def test_batches_that_nobody_hears_of_are_said_to_be_unknown():
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer, twins=False) as recorder:
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
    trace = recorder.trace()
    known = "no DataLoader was seen to give the batches; the model was called with float32 (4, 3), and targets"
    assert trace.static["no_batches"].startswith(known)
    with pytest.raises(ValueError, match=r"need data=: .* called with float32 \(4, 3\)"):
        torch_bridge.check(trace, optax.sgd(0.1), loss_fn=loss_fn)


def test_leaves_by_name():
    leaves, structure = leaves_of({"a": [1.0, (2, None)]}, lambda x: None if x is None else np.asarray(x))
    assert (list(leaves), structure) == (["a/0", "a/1/0"], {"a": ["a/0", ["a/1/0", None]]})
    leaves, structure = leaves_of(np.ones(2), np.asarray)
    assert (list(leaves), structure) == (["0"], "0")

"""The recorded loss, examples and gradients are those that the step used, whatever the script looks like."""

import copy
import gc
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import torch_bridge
from torch_bridge import Twins
from torch_bridge.translate.recipe_data import recorded_recipe


def left_behind(*models):
    return [p.detach().numpy().tobytes() for model in models for p in model.parameters()] + torch.rand(3).tolist()


def linear(**options):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), **{"lr": 0.1} | options)


def mixup(pred, y, criterion):
    return 0.3 * criterion(pred, y) + 0.7 * criterion(pred, y.flip(0))


def functional(pred, y, criterion):
    return F.cross_entropy(pred, y) + 0.01 * pred.square().mean()


def scaled_down(pred, y, criterion):
    return criterion(pred, y) / 4


@pytest.mark.parametrize("loss_of", [mixup, functional, scaled_down])
@pytest.mark.parametrize("name_criterion", [True, False])
def test_the_loss_is_what_was_differentiated(loss_of, name_criterion):
    torch.manual_seed(0)
    model, criterion = nn.Linear(8, 4), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    with torch_bridge.record(model, optimizer, criterion=criterion if name_criterion else None) as recorder:
        for _ in range(3):
            loss = loss_of(model(torch.randn(6, 8)), torch.arange(6) % 4, criterion)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach().numpy())
    trace = recorder.trace()
    assert trace.steps["loss"].tobytes() == np.array(losses).tobytes()
    np.testing.assert_allclose([twin["loss"] for twin in trace.twins.values()], losses, rtol=1e-5)


def adversaries(watch):
    """dcgan: two optimizers, the discriminator's loss of two backward passes, its gradients left over by the other."""
    torch.manual_seed(0)
    judge, forger = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)), nn.Linear(2, 4)
    rules = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (judge, forger)]
    criterion, losses = nn.BCEWithLogitsLoss(), []
    pairs = zip((judge, forger), rules, strict=True) if watch else ()
    recorders = [torch_bridge.record(*pair, criterion=criterion) for pair in pairs]
    for _ in range(3):
        judge.zero_grad()
        real = criterion(judge(torch.randn(5, 4)), torch.ones(5, 1))
        real.backward()
        forged = forger(torch.randn(5, 2))
        false = criterion(judge(forged.detach()), torch.zeros(5, 1))
        false.backward()
        rules[0].step()
        forger.zero_grad()
        praise = criterion(judge(forged), torch.ones(5, 1))
        praise.backward()
        rules[1].step()
        losses.append([(real + false).item(), praise.item()])
    for recorder in recorders:
        recorder.close()
    return recorders, losses, left_behind(judge, forger)


def test_two_optimizers_each_have_their_own_losses_and_twins():
    recorders, losses, left = adversaries(True)
    for index, recorder in enumerate(recorders):
        trace = recorder.trace()
        assert trace.steps["loss"].tolist() == [pair[index] for pair in losses]
        assert list(trace.twins) == [0, 1, 2]
        for step, twin in trace.twins.items():
            for key in (key for key in twin if key.startswith("gradient")):
                np.testing.assert_allclose(trace.value(key, step), twin[key], rtol=1e-4, atol=1e-7)
        assert "not_recorded" not in trace.static
    assert left == adversaries(False)[2]


class Prefetching(DataLoader):
    """Draws indices two batches ahead, as a loader with worker processes does."""

    def __iter__(self):
        iterator = super().__iter__()
        if self.num_workers == 0:
            iterator._sampler_iter = look_ahead(iterator._sampler_iter)
        return iterator


def look_ahead(batches):
    batches = iter(batches)
    current = next(batches)
    for following in batches:
        yield current
        current = following
    yield current


def accumulate(watch=True, every=1, ahead=False, workers=0, given=lambda x: x, clear=True, **options):
    torch.manual_seed(0)
    model, optimizer = linear()
    x = torch.randn(24, 3)
    context = "spawn" if workers else None  # JAX's threads do not bear a fork
    data = TensorDataset(x, torch.arange(24))
    loader = Prefetching(data, 4, shuffle=True, num_workers=workers, multiprocessing_context=context)
    recorder = torch_bridge.record(model, optimizer, loader=loader, **options) if watch else None
    used, indices, losses = [], [], []
    for count, (batch, index) in enumerate(list_of(loader, ahead, epochs=2), 1):
        loss = model(given(batch)).square().mean() / every
        loss.backward()
        indices, losses = [*indices, *index.tolist()], [*losses, loss.detach().numpy()]
        if count % every == 0:
            optimizer.step()
            optimizer.zero_grad(set_to_none=clear)
            used.append((indices, sum(losses[1:], losses[0])))
            indices, losses = [], []
    if recorder is not None:
        recorder.close()
        assert type(loader) is Prefetching
    return recorder and recorder.trace(), used, left_behind(model)


def list_of(loader, ahead, epochs):
    for _ in range(epochs):
        yield from look_ahead(loader) if ahead else loader


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"every": 3},
        {"every": 4},  # over the end of an epoch
        {"every": 3, "clear": False},
        {"ahead": True},
        {"every": 2, "ahead": True},
        {"given": lambda x: x.view(-1, 3)},
        {"given": lambda x: x * 1.0},  # no tensor of the loader's: as many batches as passes
        {"every": 2, "given": lambda x: x.clone()},
        pytest.param({"workers": 2}, marks=pytest.mark.thorough),
        pytest.param({"every": 2, "ahead": True, "workers": 1}, marks=pytest.mark.thorough),
    ],
    ids=lambda script: str({key: value if key != "given" else "a lambda" for key, value in script.items()}),
)
def test_a_step_has_the_examples_it_used_and_the_loss_of_all(script):
    trace, used, left = accumulate(**script)
    assert trace.n_steps == len(used)
    for step, (indices, loss) in enumerate(used):
        recorded = trace.step(step)["data"]
        assert recorded[recorded >= 0].tolist() == indices
        assert trace.steps["loss"][step] == loss
        if step in trace.twins:
            np.testing.assert_allclose(trace.twins[step]["loss"], loss, rtol=1e-5)
    every = script.get("every", 1)
    parts = {} if every == 1 else {str(step): [4] * every for step in range(len(used))}
    assert trace.static.get("micro_batches", {}) == parts
    assert "not_recorded" not in trace.static
    assert left == accumulate(watch=False, **script)[2]


def test_examples_that_cannot_be_matched_are_left_out_with_a_sentence():
    with pytest.warns(UserWarning, match="2 batches were drawn from the loader for a step of 1 forward passes"):
        trace, _, left = accumulate(ahead=True, given=lambda x: x + 0)
    assert "data" not in trace.steps
    assert len(trace.static["not_recorded"]) == 1
    assert left == accumulate(watch=False, ahead=True)[2]


def test_a_step_that_is_left_out_by_the_script_leaves_no_trace():
    model, optimizer = linear()
    loader = DataLoader(TensorDataset(torch.randn(12, 3)), 3)
    losses = []
    with torch_bridge.record(model, optimizer, loader=loader) as recorder:
        for count, (batch,) in enumerate(loader):
            loss = model(batch).square().mean()
            loss.backward()
            if count != 1:
                optimizer.step()
                losses.append(loss.item())
            optimizer.zero_grad(set_to_none=False)
    trace = recorder.trace()
    assert trace.steps["loss"].tolist() == losses
    assert trace.steps["data"].tolist() == [[0, 1, 2], [6, 7, 8], [9, 10, 11]]
    for step, twin in trace.twins.items():
        np.testing.assert_allclose(trace.value("gradient/weight", step), twin["gradient/weight"], rtol=1e-5)


@pytest.mark.parametrize("batch_size", [None, 5])
def test_loaders_of_other_kinds(batch_size):
    model, optimizer = linear()
    data = TensorDataset(torch.randn(10, 3))
    loader = DataLoader(data, batch_size, sampler=[[3, 1], [2]] if batch_size is None else None)
    with torch_bridge.record(model, optimizer, loader=loader) as recorder:
        for (batch,) in loader:
            model(batch).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    rows = recorder.trace().steps["data"].tolist()
    assert rows == ([[3, 1], [2, -1]] if batch_size is None else [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])


class Stream(torch.utils.data.IterableDataset):
    """Six examples that are texts beside their numbers."""

    def __iter__(self):
        return iter([f"{i} 1 1" for i in range(6)])


def test_a_stream_of_texts_has_neither_indices_nor_arrays():
    model, optimizer = linear()
    loader = DataLoader(Stream(), 3)
    with torch_bridge.record(model, optimizer, loader=loader) as recorder:
        batches = iter(loader)
        with pytest.warns(UserWarning, match="does not draw integers, and its batches are list"):
            first = next(batches)
        for batch in (first, *batches):
            model(torch.tensor([[float(word) for word in text.split()] for text in batch])).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    trace = recorder.trace()
    assert trace.n_steps == 2
    assert not any(key.startswith(("data", "batch")) for key in trace.steps)


def mixed_precision(watch, fused, clip):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    clipped = {"max_norm": 0.1} if clip else False
    recorder = torch_bridge.record(model, optimizer, clip=clipped) if watch else None
    losses, gradients = [], []
    for step in range(5):
        x = torch.ones(2, 8) * (float("inf") if step == 2 else 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.mse_loss(model(x), torch.zeros(2, 4))
        optimizer.zero_grad()
        scale = scaler.get_scale()
        scaler.scale(loss).backward()
        if step != 2:
            losses.append(loss.item())
            gradients.append(model[0].weight.grad.numpy() / scale)
        if clip:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()
    if recorder is not None:
        recorder.close()
    return recorder and recorder.trace(), losses, gradients, optimizer, left_behind(model)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("clip", [True, False])
def test_under_a_grad_scaler_everything_is_unscaled(fused, clip):
    trace, losses, gradients, optimizer, left = mixed_precision(True, fused, clip)
    assert trace.n_steps == 4
    assert trace.static["skipped"] == [2]
    assert trace.steps["loss"].tolist() == losses
    np.testing.assert_allclose(trace.steps["gradient/0.weight"], gradients, rtol=1e-6)
    for step, twin in trace.twins.items():
        np.testing.assert_allclose(twin["loss"], losses[step], rtol=1e-2)
        np.testing.assert_allclose(twin["gradient/0.weight"], gradients[step], rtol=2e-2, atol=1e-3)
    assert "not_recorded" not in trace.static
    named = list(zip(("0.weight", "0.bias"), optimizer.param_groups[0]["params"], strict=True))
    fresh = torch.optim.SGD([parameter for _, parameter in named], lr=0.01, momentum=0.9)
    tx = torch_bridge.from_torch(fresh, named_parameters=named, clip={"max_norm": 0.1} if clip else None).tx
    replayed = torch_bridge.replay(trace, tx, drive="update", shadows=2)
    np.testing.assert_allclose(replayed.steps["parameter/0.weight"], trace.steps["parameter/0.weight"], rtol=1e-6)
    assert left == mixed_precision(False, fused, clip)[4]


def test_a_group_that_is_added_in_mid_run():
    def train(watch):
        torch.manual_seed(0)
        body, head = nn.Linear(3, 3), nn.Linear(3, 1)
        model = nn.Sequential(body, head)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
        recorder = torch_bridge.record(model, optimizer, clip=True) if watch else None
        for epoch in range(4):
            if epoch == 2:
                optimizer.add_param_group({"params": body.parameters(), "lr": 0.01})
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            scheduler.step()
        return recorder and (recorder.close(), recorder.trace())[1], left_behind(model)

    with pytest.warns(UserWarning, match=r"0\.weight, 0\.bias were added to the optimizer before step 2"):
        trace, left = train(True)
    assert left == train(False)[1]
    assert trace.static["added"] == {"2": ["0.weight", "0.bias"]}
    assert [group["names"] for group in trace.static["recipe"]["groups"]] == [
        ["1.weight", "1.bias"],
        ["0.weight", "0.bias"],
    ]
    assert set(trace.static["shapes"]) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert trace.present["gradient/0.weight"].tolist() == [False, False, True, True]
    rows = trace.steps["parameter/0.weight"]
    assert rows[0].tobytes() == rows[1].tobytes() == trace.initial["parameter/0.weight"].tobytes()
    assert rows[2].tobytes() != rows[1].tobytes()
    assert "gradient/0.weight" in trace.twins[2]
    assert "gradient/0.weight" not in trace.twins[1]


def test_frozen_and_thawed_and_rates_set_by_hand():
    def train(watch):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        model[0].requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
        recorder = torch_bridge.record(model, optimizer, clip=True) if watch else None
        for step in range(3):
            if step == 1:
                model[0].requires_grad_(True)
                optimizer.param_groups[0]["lr"] = torch.tensor(0.05)
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()
        return recorder and (recorder.close(), recorder.trace())[1], left_behind(model)

    trace, left = train(True)
    assert left == train(False)[1]
    assert trace.present["gradient/0.weight"].tolist() == [False, True, True]
    np.testing.assert_allclose(trace.steps["learning_rate/0"], [0.1, 0.05, 0.05], rtol=1e-7)
    assert ["gradient/0.weight" in twin for twin in trace.twins.values()] == [False, True, True]
    assert "not_recorded" not in trace.static


class MyLR(torch.optim.lr_scheduler.LRScheduler):
    def get_lr(self):
        return [0.1 / (1 + self.last_epoch) for _ in self.optimizer.param_groups]


def test_a_scheduler_of_ones_own_is_recorded_and_named_as_untranslated():
    model, optimizer = linear()
    scheduler = MyLR(optimizer)
    with torch_bridge.record(model, optimizer, scheduler=scheduler, clip={"max_norm": 1.0}) as recorder:
        for _ in range(3):
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
    trace = recorder.trace()
    assert trace.steps["learning_rate/0"].tolist() == [0.1, 0.05, 0.1 / 3]
    (untranslated,) = recorded_recipe(trace.static).untranslated
    assert untranslated.name == "MyLR"
    assert trace.static["recipe"]["clip"]["arguments"] == {"max_norm": 1.0}


def test_sparse_gradients_are_recorded_as_dense_ones():
    torch.manual_seed(0)
    model = nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer) as recorder:
        model(torch.tensor([1, 1, 3])).sum().backward()
        with pytest.warns(UserWarning, match="weight is sparse"):
            optimizer.step()
    assert recorder.trace().steps["gradient/weight"][0].tolist() == [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0]]


def test_gradients_made_by_hand_have_the_loss_that_was_differentiated():
    model, optimizer = linear()
    with torch_bridge.record(model, optimizer, twins=False) as recorder:
        loss = model(torch.ones(4, 3)).square().mean()
        for parameter, gradient in zip(
            model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
        ):
            parameter.grad = gradient
        optimizer.step()
    assert recorder.trace().steps["loss"].tolist() == [loss.item()]


@pytest.mark.parametrize("broken", ["state", "quantities"])
def test_what_fails_in_a_hook_never_reaches_the_training(broken, monkeypatch):
    model, optimizer = linear(momentum=0.9)
    recorder = torch_bridge.record(model, optimizer)
    for step in range(3):
        if step == 1:
            monkeypatch.setattr(recorder._view, broken, lambda *given: 1 / 0)
        if step == 2:
            monkeypatch.undo()
        model(torch.ones(4, 3)).sum().backward()
        if step == 1:
            with pytest.warns(UserWarning, match="could not be recorded at step 1: division by zero"):
                optimizer.step()
        else:
            optimizer.step()
        optimizer.zero_grad()
    recorder.close()
    trace = recorder.trace()
    assert trace.n_steps == 2
    assert trace.static["not_recorded"][0].startswith("before_step could not be recorded at step 1")


@pytest.mark.filterwarnings("error")
def test_warnings_as_errors_do_not_end_the_training_either():
    model = nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer) as recorder:
        model(torch.tensor([1, 1, 3])).sum().backward()
        optimizer.step()
    assert len(recorder.trace().static["not_recorded"]) == 1


def test_what_is_recorded_can_be_copied_and_pickled():
    model, optimizer = linear()
    criterion, data = nn.MSELoss(), TensorDataset(torch.ones(4, 3))
    loader, average = DataLoader(data, 2), torch.optim.swa_utils.AveragedModel(model)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with torch_bridge.record(
        model, optimizer, criterion=criterion, loader=loader, average=average, scheduler=plateau
    ) as recorder:
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        copy.deepcopy(criterion)(torch.ones(2), torch.zeros(2))
        torch.save(average, io.BytesIO())
        assert type(copy.deepcopy(average)) is torch.optim.swa_utils.AveragedModel
        assert type(pickle.loads(pickle.dumps(average))) is torch.optim.swa_utils.AveragedModel
        for other in copies:
            other(torch.ones(2, 3)).sum().backward()
        assert torch.optim.swa_utils.AveragedModel(model)(torch.ones(2, 3)).shape == (2, 1)
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
    trace = recorder.trace()
    assert trace.steps["loss"].shape == (1,)
    assert trace.has("loss", 0)
    assert list(trace.twins) == [0]


def test_closing_gives_torch_its_functions_back():
    before = (torch.autograd.backward, torch.autograd.grad, torch.amp.GradScaler.step, torch.amp.GradScaler.scale)
    first, second = (torch_bridge.record(*linear(), twins=Twins()) for _ in range(2))
    assert torch.autograd.backward is not before[0]
    first.close()
    assert torch.autograd.backward is not before[0]
    second.close()
    assert before == (
        torch.autograd.backward,
        torch.autograd.grad,
        torch.amp.GradScaler.step,
        torch.amp.GradScaler.scale,
    )


def test_a_recorder_that_is_dropped_gives_torch_its_functions_back():
    before = torch.autograd.backward
    model, optimizer = linear()
    torch_bridge.record(model, optimizer)
    del model, optimizer
    gc.collect()
    assert torch.autograd.backward is before

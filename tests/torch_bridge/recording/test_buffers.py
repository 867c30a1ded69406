"""Running statistics and other buffers as the steps of a run find and leave them."""

import numpy as np
import pytest
import torch
from torch import nn

import torch_bridge
from torch_bridge.trace.keep import Keep

COUNTER, MEAN, VARIANCE = (f"buffer/1.{name}" for name in ("num_batches_tracked", "running_mean", "running_var"))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))


def recorded(train, model=None, twins=True, **options):
    """A run of ``train(model, optimizer)``, and the model."""
    model = model or network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch_bridge.record(model, optimizer, twins=twins, **options) as recorder:
        train(model, optimizer)
    return recorder.trace(), model


def step(model, optimizer, batches=1):
    optimizer.zero_grad()
    for _ in range(batches):
        (model(torch.randn(5, 3)) ** 2).mean().backward()
    optimizer.step()


def counts(trace):
    """The counter before and after each step."""
    return [(int(trace.before(t)[COUNTER]), int(trace.value(COUNTER, t))) for t in range(trace.n_steps)]


def assert_twins_agree(trace, steps):
    """The float64 evaluation gives the recorded buffers up to float32's rounding, and counts as they do."""
    for t in range(trace.n_steps):
        twin = {key: value for key, value in trace.twins.get(t, {}).items() if key.startswith("buffer/")}
        assert bool(twin) is (t in steps), t
        for key, value in twin.items():
            assert value.dtype == (np.int64 if key == COUNTER else np.float64)
            np.testing.assert_allclose(trace.value(key, t), value, rtol=2e-6, atol=1e-7)


def test_each_step_has_its_statistics_and_the_run_its_first_ones(tmp_path):
    trace, model = recorded(lambda m, o: [step(m, o) for _ in range(3)])
    trace.save(tmp_path / "run.trace")
    trace = torch_bridge.Trace.load(tmp_path / "run.trace")
    assert counts(trace) == [(0, 1), (1, 2), (2, 3)]
    assert trace.initial[VARIANCE].tolist() == [1.0] * 4
    assert trace.value(MEAN, 2).tobytes() == model[1].running_mean.numpy().tobytes()
    assert trace.phases.index("buffer") > trace.phases.index("parameter")
    assert not any(key.startswith("buffer_before/") for key in trace.steps)
    assert_twins_agree(trace, {0, 1, 2})


def test_what_is_done_between_two_steps_is_no_part_of_either():
    def train(model, optimizer):
        step(model, optimizer)
        model.eval()
        model(torch.randn(2, 3))  # changes nothing
        model.train()
        step(model, optimizer)
        with torch.no_grad():
            model(torch.randn(2, 3))
        step(model, optimizer)
        model(torch.randn(2, 3))  # with gradients that nobody asks for
        step(model, optimizer)
        with torch.no_grad():
            model(torch.randn(2, 3))  # after the last step

    trace, _ = recorded(train)
    assert counts(trace) == [(0, 1), (1, 2), (3, 4), (5, 6)]
    assert_twins_agree(trace, {0, 1, 2})  # at step 3 the evaluation in float64 also made the other pass
    assert "not_recorded" not in trace.static


def test_a_pass_between_the_forward_and_the_backward_pass_is_left_out():
    def train(model, optimizer):
        loss = (model(torch.randn(5, 3)) ** 2).mean()
        with torch.no_grad():
            model(torch.randn(2, 3))
        loss.backward()
        optimizer.step()
        step(model, optimizer)

    trace, _ = recorded(train, twins=False)
    assert counts(trace) == [(0, 1), (2, 3)]


def test_what_cannot_be_told_apart_is_marked():
    def train(model, optimizer):
        first = model(torch.randn(5, 3))
        with torch.no_grad():
            model(torch.randn(2, 3))
        ((first - model(torch.randn(5, 3))) ** 2).mean().backward()
        optimizer.step()

    trace, _ = recorded(train)
    assert trace.static["mixed_buffers"] == [0]
    assert_twins_agree(trace, set())


def test_accumulated_steps_have_all_their_passes():
    trace, _ = recorded(lambda m, o: [step(m, o, batches=3) for _ in range(2)])
    assert counts(trace) == [(0, 3), (3, 6)]
    assert_twins_agree(trace, {0, 1})


def test_two_passes_for_one_loss():
    def train(model, optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            (model(torch.randn(5, 3)) - model(torch.randn(5, 3))).square().mean().backward()
            optimizer.step()

    trace, _ = recorded(train)
    assert counts(trace) == [(0, 2), (2, 4)]
    assert_twins_agree(trace, {0, 1})


def test_a_pass_whose_gradients_are_cleared_does_not_count():
    def train(model, optimizer):  # sharpness-aware: the second gradient is the one that is used
        for _ in range(2):
            for _ in range(2):
                optimizer.zero_grad()
                (model(torch.randn(5, 3)) ** 2).mean().backward()
            optimizer.step()

    trace, _ = recorded(train, twins=False)
    assert counts(trace) == [(1, 2), (3, 4)]


def test_another_networks_step_is_no_part_of_this_ones():
    """The discriminator of a GAN sees batches in the generator's step too."""
    generator = nn.Linear(2, 3)
    other = torch.optim.SGD(generator.parameters(), lr=0.1)

    def train(model, optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            fake = generator(torch.randn(5, 2))
            (model(torch.randn(5, 3)) - model(fake.detach())).mean().backward()
            optimizer.step()
            other.zero_grad()
            model(fake).mean().backward()
            other.step()

    trace, _ = recorded(train, twins=False)
    assert counts(trace) == [(0, 2), (3, 5)]


def test_a_buffer_that_begins_to_change_late_and_one_that_never_does():
    class Queue(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 1)
            self.register_buffer("table", torch.ones(300, 300))
            self.register_buffer("queue", torch.zeros(300, 300), persistent=False)
            self.place = 0

        def forward(self, x):
            self.place += 1
            if self.place > 2:
                self.queue[self.place] = 1.0
            return self.linear(x)

    trace, _ = recorded(lambda m, o: [step(m, o) for _ in range(3)], Queue(), twins=False)
    assert trace.initial["buffer/table"].shape == (300, 300)
    assert "buffer/table" not in trace.steps
    assert [trace.value("buffer/queue", t).sum() for t in range(3)] == [0, 0, 300]
    assert trace.initial["buffer/queue"].sum() == 0


def test_statistics_that_are_set_anew_and_a_plain_average():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3, momentum=None)
            self.linear = nn.Linear(3, 1)
            self.register_buffer("centre", torch.zeros(3))

        def forward(self, x):
            self.centre = 0.9 * self.centre + 0.1 * x.detach().mean(0)  # another tensor each time
            return self.linear(self.norm(x - self.centre))

    trace, model = recorded(lambda m, o: [step(m, o) for _ in range(3)], Centred())
    assert trace.value("buffer/centre", 2).tobytes() == model.centre.numpy().tobytes()
    assert trace.static["momenta"] == {"norm": None}
    for t in range(3):
        for name in ("centre", "norm.running_mean", "norm.running_var"):
            value = trace.twins[t][f"buffer/{name}"]
            assert value.dtype == np.float64
            np.testing.assert_allclose(trace.value(f"buffer/{name}", t), value, rtol=1e-5, atol=1e-7)


def test_a_closure_and_a_skipped_step():
    def train(model, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = (model(torch.randn(5, 3)) ** 2).mean()
            loss.backward()
            return loss

        for _ in range(2):
            optimizer.step(closure)

    trace, _ = recorded(train)
    assert counts(trace) == [(0, 1), (1, 2)]

    def scaled(model, optimizer):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
        for factor in (1.0, float("inf"), 1.0):
            optimizer.zero_grad()
            scaler.scale((model(torch.randn(5, 3)) ** 2).mean() * factor).backward()
            scaler.step(optimizer)
            scaler.update()

    trace, _ = recorded(scaled, twins=False)
    assert trace.static["skipped"] == [1]
    assert counts(trace) == [(0, 1), (2, 3)]


def test_a_loss_function_for_the_twin_and_digests():
    policy = torch_bridge.Twins(loss=lambda model, batch: (model(*batch) ** 2).mean())
    trace, _ = recorded(lambda m, o: [step(m, o) for _ in range(2)], torch.compile(network(), backend="eager"), policy)
    assert counts(trace) == [(0, 1), (1, 2)]
    torch._dynamo.reset()
    assert_twins_agree(trace, {0, 1})
    trace, _ = recorded(lambda m, o: [step(m, o) for _ in range(2)], twins=False, keep=Keep("digest"))
    assert [int(trace.value(COUNTER, t)) for t in range(2)] == [1, 2]  # full: nothing could rebuild them
    assert trace.value("parameter/0.weight", 0) is None


@pytest.mark.thorough
def test_recording_buffers_changes_no_bit():
    def train(model, optimizer):
        for _ in range(3):
            step(model, optimizer)

    def bits(model):
        return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}

    _, with_recorder = recorded(train)
    model = network()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert bits(model) == bits(with_recorder)


def test_a_forward_pass_that_is_made_again_for_the_backward_pass():
    """torch.utils.checkpoint counts each batch twice; the evaluation in float64 follows it once, and is left out."""

    class Checkpointed(nn.Sequential):
        def forward(self, x):
            return torch.utils.checkpoint.checkpoint(super().forward, x, use_reentrant=False)

    torch.manual_seed(0)
    model = Checkpointed(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    trace, _ = recorded(lambda m, o: [step(m, o) for _ in range(2)], model)
    assert counts(trace) == [(0, 2), (2, 4)]
    for t in range(2):
        assert "loss" in trace.twins[t]
        for key, twin in trace.twins[t].items():
            if key.startswith("buffer/"):
                np.testing.assert_allclose(trace.value(key, t), twin, rtol=2e-6, atol=1e-7)

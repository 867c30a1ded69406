"""Loaders with samplers of the user's own: what was saved goes on bit for bit, or is refused."""

import json
import random as python_random

import numpy as np
import pytest

from torch_bridge import data, random


class Listed:
    """Draws an order at once, from one stream or another."""

    def __init__(self, n, source, generator=None, size=None):
        self.n, self.source, self.generator, self.size = n, source, generator, size

    def order(self):
        match self.source:
            case "default":
                return random.randperm(self.n).tolist()
            case "ours" | "numpy":
                draw = getattr(self.generator, "randperm", None) or self.generator.permutation
                return draw(self.n).tolist()
            case "python":
                return python_random.sample(range(self.n), self.n)
            case "numpy global":
                return np.random.permutation(self.n).tolist()  # noqa: NPY002
            case "python's own":
                return self.generator.sample(range(self.n), self.n)
        return list(range(self.n))

    def __iter__(self):
        order = self.order()
        if self.size is None:
            return iter(order)
        return iter([order[i : i + self.size] for i in range(0, self.n, self.size)])

    def __len__(self):
        return self.n if self.size is None else -(-self.n // self.size)


class Lazily(Listed):
    """Draws with the first item, as a function with yield does."""

    def __iter__(self):
        yield from super().__iter__()


class Subclass(data.SequentialSampler):
    """A sampler of ours whose order is the user's."""

    def __iter__(self):
        return iter(random.randperm(len(self)).tolist())


SOURCES = {
    "default": lambda seed: None,
    "ours": random.Generator,
    "numpy": np.random.default_rng,
    "python": lambda seed: None,
    "numpy global": lambda seed: None,
    "python's own": python_random.Random,
    "none": lambda seed: None,
}


def make(seed):
    """A loader with a sampler or batch sampler of the user's own, and whether the script draws between batches."""
    draw = np.random.default_rng(seed)
    n, source = int(draw.integers(1, 40)), str(draw.choice(list(SOURCES)))
    kind, size = [Listed, Lazily][int(draw.integers(2))], int(draw.integers(1, 9))
    generator = SOURCES[source](seed)
    form = int(draw.integers(4))
    workers = int(draw.choice([0, 0, 2]))
    python_random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.manual_seed(seed)
    options = {"num_workers": workers, "generator": random.Generator(5) if draw.random() < 0.3 else None}
    dataset = np.arange(n)
    if form == 0:
        return data.DataLoader(dataset, batch_sampler=kind(n, source, generator, size), **options)
    if form == 1:
        return data.DataLoader(dataset, size, sampler=kind(n, source, generator), **options)
    if form == 2:
        return data.DataLoader(dataset, None, sampler=kind(n, source, generator), **options)
    return data.DataLoader(dataset, size, sampler=Subclass(dataset), **options)


def resume_everywhere(seed):
    """Stop the second epoch at every batch and go on in what may be another process."""
    loader = make(seed)
    list(loader)
    epoch, states, batches = iter(loader), [], []
    states.append(json.loads(json.dumps(epoch.state())))
    for batch in epoch:
        batches.append(batch)
        states.append(json.loads(json.dumps(epoch.state())))
    after = random.rand(1).tolist(), python_random.random()
    for k, state in enumerate(states):
        resumed = make(seed)
        random.manual_seed(99)
        python_random.seed(99)
        np.random.seed(99)  # noqa: NPY002
        rest = list(resumed.resume(state))
        assert len(rest) == len(batches) - k
        for ours, expected in zip(rest, batches[k:], strict=True):
            np.testing.assert_array_equal(ours, expected)
        assert (random.rand(1).tolist(), python_random.random()) == after


@pytest.mark.parametrize("seed", range(40))
def test_every_batch_can_be_resumed_from(seed):
    resume_everywhere(seed)


@pytest.mark.thorough
def test_five_hundred_loaders_resumed_at_every_batch():
    for seed in range(40, 540):
        resume_everywhere(seed)


def test_a_stream_out_of_reach_is_refused():
    hidden = np.random.default_rng(0)

    class Hidden:
        def __iter__(self):
            yield from hidden.permutation(64).tolist()

        def __len__(self):
            return 64

    epoch = iter(data.DataLoader(np.arange(64), 4, sampler=Hidden()))
    next(epoch)
    with pytest.raises(ValueError, match=r"Hidden does not give again the 4 items .* that is an attribute"):
        data.DataLoader(np.arange(64), 4, sampler=Hidden()).resume(epoch.state())


def test_draws_between_the_batches_are_found():
    class OneByOne:
        def __iter__(self):
            for _ in range(64):
                yield int(random.randint(64, size=()))

        def __len__(self):
            return 64

    random.manual_seed(0)
    epoch = iter(data.DataLoader(np.arange(64), 4, sampler=OneByOne()))
    for _ in range(3):
        next(epoch)
        random.rand(1)
    with pytest.raises(ValueError, match="something else drew from its stream in between"):
        data.DataLoader(np.arange(64), 4, sampler=OneByOne()).resume(epoch.state())


class Epochs:
    """Shuffles by seed and epoch, as samplers for several processes do."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        return iter(np.random.default_rng(self.epoch).permutation(20).tolist())

    def __len__(self):
        return 20


class Remembering(Epochs):
    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


def test_a_number_that_decides_the_order_is_required_or_kept():
    for kind in (Epochs, Remembering):
        loader = data.DataLoader(np.arange(20), 4, sampler=kind())
        loader.sampler.epoch = 3
        epoch = iter(loader)
        next(epoch)
        state = json.loads(json.dumps(epoch.state()))
        fresh = data.DataLoader(np.arange(20), 4, sampler=kind())
        if kind is Epochs:
            with pytest.raises(ValueError, match=r"Epochs is not set up .* epoch was 3 and is 0; set it so"):
                fresh.resume(state)
            fresh.sampler.epoch = 3
        np.testing.assert_array_equal(list(fresh.resume(state)), list(epoch))

"""torch's loaders and ours from the same seeds, step by step: the same batches, and every stream in the same place."""

import numpy as np
import torch
import torch.utils.data as torch_data

from torch_bridge import data, random

SAMPLERS = ("sequential", "shuffle", "random", "replacement", "subset", "weighted", "plain", "batches", "distributed")


def random_settings(seed, workers=(0,)):
    """Choose a loader, and how it is used, at random."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 5, 16, 31, 33, 64, 65, 100]))
    settings = {
        "seed": int(rng.integers(-(2**40), 2**40)),
        "n": n,
        "batch_size": int(rng.choice([1, 2, 3, 8, 32, 50])) if rng.random() < 0.9 else None,
        "drop_last": bool(rng.random() < 0.4),
        "kind": str(rng.choice(SAMPLERS)),
        "num_samples": int(rng.integers(1, 3 * n + 40)) if rng.random() < 0.5 else None,
        "loader_generator": bool(rng.random() < 0.5),
        "sampler_generator": str(rng.choice(["none", "own", "loader's"])),
        "num_workers": int(rng.choice(workers)),
        "prefetch_factor": None,
        "persistent_workers": False,
        "breaks": [None if rng.random() < 0.5 else int(rng.integers(0, 6)) for _ in range(3)],
        "draws_between": bool(rng.random() < 0.5),
    }
    if settings["num_workers"]:
        settings["prefetch_factor"] = int(rng.choice([1, 2, 3]))
        settings["persistent_workers"] = bool(rng.random() < 0.5)
        settings["breaks"] = settings["breaks"][:2]
    if settings["kind"] == "batches" or settings["batch_size"] is None:
        settings["drop_last"] = False
    return settings


class Side:
    """One side: torch's loader or ours, over the numbers 0 to n - 1, with the streams that it may move."""

    def __init__(self, settings, ours):
        self.module = data if ours else torch_data
        self.ours = ours
        make = random.Generator if ours else lambda seed: torch.Generator().manual_seed(seed)
        self.default = random.manual_seed(settings["seed"]) if ours else torch.manual_seed(settings["seed"])
        self.generator = make(settings["seed"] + 1) if settings["loader_generator"] else None
        own = {"none": None, "own": make(settings["seed"] + 2), "loader's": self.generator}
        self.sampler_generator = own[settings["sampler_generator"]]
        self.loader = self.build(settings)

    def build(self, settings):
        n, module, generator = settings["n"], self.module, self.sampler_generator
        dataset = list(range(n))
        keywords = {"num_workers": settings["num_workers"], "generator": self.generator}
        keywords |= {key: settings[key] for key in ("prefetch_factor", "persistent_workers")}
        count = settings["num_samples"]
        match settings["kind"]:
            case "shuffle":
                keywords["shuffle"] = True
            case "random":
                keywords["sampler"] = module.RandomSampler(dataset, num_samples=count, generator=generator)
            case "replacement":
                keywords["sampler"] = module.RandomSampler(dataset, True, count, generator)
            case "subset":
                keywords["sampler"] = module.SubsetRandomSampler(list(range(n // 2 + 1)), generator)
            case "weighted":
                weights = [1.0 + i % 7 + i / 100 for i in range(n)]
                replacement = settings["drop_last"]
                keywords["sampler"] = module.WeightedRandomSampler(weights, n, replacement, generator)
            case "plain":
                keywords["sampler"] = [i * 7 % n for i in range(n)]
            case "distributed":
                sampler_class = data.DistributedSampler if self.ours else torch_data.distributed.DistributedSampler
                keywords["sampler"] = sampler_class(dataset, 3, 1, seed=5, drop_last=settings["drop_last"])
            case "batches":
                batches = [list(range(i, min(i + 4, n))) for i in range(0, n, 4)]
                return module.DataLoader(dataset, batch_sampler=batches, **keywords)
        return module.DataLoader(
            dataset, batch_size=settings["batch_size"], drop_last=settings["drop_last"], **keywords
        )

    def streams(self):
        generators = (self.default, self.generator, self.sampler_generator)
        return [np.asarray(generator.get_state()).tobytes() for generator in generators if generator is not None]

    def draw(self):
        """What a training step may draw from the default stream, between batches."""
        return float(self.default.rand(1)[0]) if self.ours else float(torch.rand(1)[0])


def assert_same(settings):
    """Run both sides for some epochs, breaking off where the settings say."""
    with random.fork_rng():
        theirs, ours = Side(settings, ours=False), Side(settings, ours=True)
        assert len(theirs.loader) == len(ours.loader), settings
        for epoch, stop in enumerate(settings["breaks"]):
            torch_pass, our_pass = iter(theirs.loader), iter(ours.loader)
            assert theirs.streams() == ours.streams(), (settings, epoch, "iter")
            for k in range(10**6):
                if k == stop:
                    break
                expected, actual = next(torch_pass, None), next(our_pass, None)
                assert (expected is None) == (actual is None), (settings, epoch, k)
                if expected is not None:
                    np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected), err_msg=str(settings))
                assert theirs.streams() == ours.streams(), (settings, epoch, k)
                if expected is None:
                    break
                if settings["draws_between"]:
                    assert theirs.draw() == ours.draw(), (settings, epoch, k)

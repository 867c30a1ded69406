"""Whole torch recipes, drawn at random, and a run of one."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from tests.support.torch_recipes import AVERAGES, CLIPPINGS, SCHEDULERS, bits, step_schedulers

DECAYS = st.sampled_from([0.0, 0.0137])
SGD = st.fixed_dictionaries(
    {"weight_decay": DECAYS, "maximize": st.booleans()},
    optional={"momentum": st.sampled_from([0.0, 0.9]), "dampening": st.sampled_from([0.0, 0.3])},
) | st.fixed_dictionaries({"momentum": st.just(0.9), "nesterov": st.just(True), "weight_decay": DECAYS})
ADAM = st.fixed_dictionaries(
    {"weight_decay": DECAYS, "amsgrad": st.booleans(), "maximize": st.booleans()},
    optional={"betas": st.sampled_from([(0.8, 0.95), (0.0, 0.999)]), "eps": st.just(1e-3)},
)
RMSPROP = st.fixed_dictionaries(
    {"weight_decay": DECAYS, "centered": st.booleans(), "maximize": st.booleans()},
    optional={"alpha": st.sampled_from([0.9, 0.5]), "momentum": st.sampled_from([0.0, 0.9]), "eps": st.just(1e-3)},
)
OPTIMIZERS = {
    torch.optim.SGD: SGD,
    torch.optim.Adam: ADAM,
    torch.optim.AdamW: ADAM,
    torch.optim.RMSprop: RMSPROP,
}
CYCLED = ("cyclic", "cyclic, exponential range", "one cycle", "one cycle, three phases", "a plateau that cycles")
SHAPES = {"a": (5,), "b": (2, 3)}


@dataclass(frozen=True)
class Drawn:
    """A recipe and where it moves."""

    kind: type
    groups: list
    scheduler: str | None
    clip: str | None
    average: str | None
    frozen: bool
    idle: int  # the step in which one parameter has no gradient
    steps_per_epoch: int
    before: int
    between: int
    after: int


@st.composite
def recipes(draw):
    kind = draw(st.sampled_from(list(OPTIMIZERS)))
    groups = [draw(OPTIMIZERS[kind]) for _ in range(2)]
    scheduler = draw(st.sampled_from([None, *SCHEDULERS]))
    if scheduler in CYCLED:  # which set the momentum: there must be one, and Nesterov's or dampening with it
        for group in groups:
            group.pop("dampening", None)
            if kind in (torch.optim.SGD, torch.optim.RMSprop):
                group["momentum"] = 0.9
    frozen = draw(st.booleans())
    # With one frozen and the other idle there would be no gradient at all, which torch's clipping by value refuses.
    idle = -1 if frozen else draw(st.integers(0, 12))
    counts = [draw(st.integers(0, 5)) for _ in range(3)]
    clip, average = draw(st.sampled_from([None, *CLIPPINGS])), draw(st.sampled_from([None, *AVERAGES]))
    return Drawn(kind, groups, scheduler, clip, average, frozen, idle, draw(st.integers(1, 4)), *counts)


class Side:
    """One torch run of a recipe."""

    def __init__(self, drawn):
        generator = torch.Generator().manual_seed(7)
        self.drawn = drawn
        self.parameters = {
            name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in SHAPES.items()
        }
        self.model = torch.nn.ParameterDict(self.parameters)
        members = [["a"], ["b"]]
        groups = [
            {"params": [self.parameters[name] for name in names], "lr": lr, **options}
            for names, lr, options in zip(members, (0.1, 0.3), drawn.groups, strict=True)
        ]
        self.optimizer = drawn.kind(groups)
        self.scheduler = SCHEDULERS[drawn.scheduler](self.optimizer) if drawn.scheduler else None
        self.average = None
        if drawn.average:
            self.average = torch.optim.swa_utils.AveragedModel(self.model, **AVERAGES[drawn.average])
        self.parameters["b"].requires_grad_(not drawn.frozen)

    def gradients(self, number):
        generator = torch.Generator().manual_seed(number)
        gradients = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
        return {name: g for name, g in gradients.items() if not (number == self.drawn.idle and name == "a")}

    def step(self, number):
        gradients = self.gradients(number)
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name].clone() if name in gradients and parameter.requires_grad else None
        if self.drawn.clip:
            clip = CLIPPINGS[self.drawn.clip]
            function = "clip_grad_value_" if "clip_value" in clip else "clip_grad_norm_"
            getattr(torch.nn.utils, function)(self.model.parameters(), **clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.scheduler is not None and (number + 1) % self.drawn.steps_per_epoch == 0:
            step_schedulers(self.scheduler, number // self.drawn.steps_per_epoch)

    def run(self, numbers):
        for number in numbers:
            self.step(number)
        return self

    def load(self, moved):
        for name, parameter in self.parameters.items():
            parameter.data.copy_(moved.model[name])
        self.optimizer.load_state_dict(moved.optimizer)
        if self.average is not None:
            self.average.load_state_dict(moved.average)
        several = isinstance(self.scheduler, list)
        for scheduler, kept in zip(self.scheduler, moved.scheduler, strict=True) if several else ():
            scheduler.load_state_dict(kept)
        if self.scheduler is not None and not several:
            self.scheduler.load_state_dict(moved.scheduler)

    def ends_as(self):
        averages = {} if self.average is None else bits(dict(self.average.module.named_parameters()))
        state = {
            (index, key): entry.numpy().tobytes() if hasattr(entry, "numpy") else entry
            for index, held in self.optimizer.state_dict()["state"].items()
            for key, entry in held.items()
            if entry is not None
        }
        return bits(self.parameters), averages, state, [group["lr"] for group in self.optimizer.param_groups]

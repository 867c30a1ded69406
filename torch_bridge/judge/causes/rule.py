"""torch's update rules in float64, in pieces that an entry of the catalogue can replace.

Three forms: a buffer of gradients (SGD), averages of gradients and of their squares (Adam, AdamW), and squares alone,
with a buffer behind them (RMSprop, Adagrad). Without a replaced piece they are torch's formulas; tests hold them
against the library's own rules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from torch_bridge.trace.trace import Array

Quantities: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Leaf:
    """One parameter at one step, in float64.

    Attributes:
        p: the parameter before the step.
        g: its gradient, as `Rule.clip` left it.
        state: what torch holds of it, by torch's key; of what does not exist yet, nothing.
        t: how many gradients it has had, this one included.
        step: the number of the step in the run, from 0.
        rates: torch's learning rates of its group, over the run.
        numbers: torch's hyperparameters in force, by torch's names such as ``"betas[0]"``.
        flags: the hyperparameters that choose a form.
        groups: the numbers of every group, its own among them.
    """

    p: Array
    g: Array
    state: Mapping[str, Array]
    t: int
    step: int
    rates: Array
    numbers: Mapping[str, float]
    flags: Mapping[str, Any]
    groups: tuple[Mapping[str, float], ...] = ()

    def held(self, key: str) -> Array:
        """What torch holds under a key; zeros before there is anything."""
        return self.state.get(key, np.zeros_like(self.p))

    @property
    def is_first(self) -> bool:
        """True where the buffer is made by this gradient."""
        return "momentum_buffer" not in self.state

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.numbers["lr"]

    @property
    def decay(self) -> float:
        """The weight decay."""
        return self.numbers.get("weight_decay", 0.0)

    @property
    def momentum(self) -> float:
        """The momentum."""
        return self.numbers.get("momentum", 0.0)

    @property
    def dampening(self) -> float:
        """The dampening."""
        return self.numbers.get("dampening", 0.0)

    @property
    def betas(self) -> tuple[float, float]:
        """The decay of both averages."""
        if "alpha" in self.numbers:
            return self.numbers["alpha"], self.numbers["alpha"]
        return self.numbers["betas[0]"], self.numbers["betas[1]"]

    @property
    def first_average(self) -> Array:
        """The average of gradients."""
        return self.held("grad_avg" if "alpha" in self.numbers else "exp_avg")

    @property
    def second_average(self) -> Array:
        """The average, or the sum, of their squares."""
        return self.held(self.squares)

    @property
    def squares(self) -> str:
        """The key of the average, or the sum, of squares."""
        return "sum" if "lr_decay" in self.numbers else "square_avg" if "alpha" in self.numbers else "exp_avg_sq"

    @property
    def eps(self) -> float:
        """What is added to the root."""
        return self.numbers["eps"]


Gradients: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Tree:
    """All parameters at one step, for what looks at more than one of them.

    Attributes:
        leaves: name -> its `Leaf`, with the gradient as ``backward()`` left it.
        clip: how torch clips, by the arguments of its function; empty where it does not.
        torchs: the gradients as torch clipped them.
    """

    leaves: Mapping[str, Leaf]
    clip: Mapping[str, Any]
    torchs: Gradients

    @property
    def gradients(self) -> dict[str, Array]:
        """The gradients as ``backward()`` left them."""
        return {name: leaf.g for name, leaf in self.leaves.items()}


def _decayed(x: Leaf) -> Array:
    return x.g if x.flags["decoupled"] else x.g + x.decay * x.p


def _kept(x: Leaf) -> Array:
    return x.p * (1 - x.lr * x.decay) if x.flags["decoupled"] else x.p


def _buffer(x: Leaf, d: Array) -> Array:
    return d if x.is_first else x.momentum * x.held("momentum_buffer") + (1 - x.dampening) * d


def _direction(x: Leaf, d: Array, b: Array) -> Array:
    return d + x.momentum * b if x.flags.get("nesterov") else b


def _first(x: Leaf, d: Array) -> Array:
    beta = x.betas[0]
    return beta * x.first_average + (1 - beta) * d


def _second(x: Leaf, d: Array) -> Array:
    kept, taken = (1.0, 1.0) if x.squares == "sum" else (x.betas[1], 1 - x.betas[1])
    return kept * x.second_average + taken * d * d


def _corrections(x: Leaf) -> tuple[float, float]:
    return (1 - x.betas[0] ** x.t, 1 - x.betas[1] ** x.t) if "betas[0]" in x.numbers else (1.0, 1.0)


def _largest(x: Leaf, v: Array, c: float) -> Array:
    del c
    return np.maximum(x.held("max_exp_avg_sq"), v)


def _quotient(x: Leaf, m: Array, v: Array, c: tuple[float, float]) -> Array:
    return m / c[0] / (np.sqrt(v / c[1]) + x.eps)


@dataclass(frozen=True)
class Rule:
    """A rule in pieces, each a function of a `Leaf` (`clip` of the `Tree`); without arguments torch's.

    Attributes:
        clip: the gradients that enter.
        enters: a `Leaf` as the rule sees it, such as one with another learning rate.
        decayed: the gradient with coupled weight decay.
        kept: the parameter with decoupled weight decay.
        buffer: the new buffer from the decayed gradient.
        direction: what the learning rate multiplies.
        first: the new average of gradients.
        second: the new average, or the sum, of their squares.
        corrections: the factors of the bias corrections.
        largest: the largest second average so far, for ``amsgrad``.
        quotient: the step from both averages.
        change: the change of the parameter, at last.
    """

    clip: Callable[[Tree], Gradients] = lambda tree: tree.torchs
    enters: Callable[[Leaf], Leaf] = lambda x: x
    decayed: Callable[[Leaf], Array] = _decayed
    kept: Callable[[Leaf], Array] = _kept
    buffer: Callable[[Leaf, Array], Array] = _buffer
    direction: Callable[[Leaf, Array, Array], Array] = _direction
    first: Callable[[Leaf, Array], Array] = _first
    second: Callable[[Leaf, Array], Array] = _second
    corrections: Callable[[Leaf], tuple[float, float]] = _corrections
    largest: Callable[[Leaf, Array, float], Array] = _largest
    quotient: Callable[[Leaf, Array, Array, tuple[float, float]], Array] = _quotient
    change: Callable[[Leaf, Array], Array] = lambda x, change: change

    def with_number(self, name: str, value: float) -> "Rule":
        """Return the rule with another hyperparameter."""

        def enters(x: Leaf) -> Leaf:
            x = self.enters(x)
            return replace(x, numbers={**x.numbers, name: value})

        return replace(self, enters=enters)

    def with_flag(self, name: str, value: bool) -> "Rule":
        """Return the rule in another form."""

        def enters(x: Leaf) -> Leaf:
            x = self.enters(x)
            return replace(x, flags={**x.flags, name: value})

        return replace(self, enters=enters)

    def step(self, x: Leaf) -> Quantities:
        """Return what one step makes of a leaf: its new state, and under ``"parameter"`` the change."""
        x = self.enters(x)
        d = self.decayed(x)
        if "betas[0]" in x.numbers:
            made, direction = self._by_averages(x, d)
        elif "eps" in x.numbers:
            made, direction = self._by_squares(x, d)
        else:
            made, direction = self._by_buffer(x, d)
        return {**made, "parameter": self.change(x, self.kept(x) - x.p - x.lr * direction)}

    def _by_buffer(self, x: Leaf, d: Array) -> tuple[Quantities, Array]:
        if not x.momentum:
            return {}, d
        b = self.buffer(x, d)
        return {"momentum_buffer": b}, self.direction(x, d, b)

    def _by_averages(self, x: Leaf, d: Array) -> tuple[Quantities, Array]:
        m, v, c = self.first(x, d), self.second(x, d), self.corrections(x)
        made = {"exp_avg": m, "exp_avg_sq": v}
        if x.flags.get("amsgrad"):
            made["max_exp_avg_sq"] = v_max = self.largest(x, v, c[1])
            return made, self.quotient(x, m, v_max, c)
        return made, self.quotient(x, m, v, c)

    def _by_squares(self, x: Leaf, d: Array) -> tuple[Quantities, Array]:
        made = {x.squares: (v := self.second(x, d))}
        if x.flags.get("centered"):
            made["grad_avg"] = m = self.first(x, d)
            v = v - m * m
        along = self.quotient(x, d, v, self.corrections(x)) / (1 + (x.t - 1) * x.numbers.get("lr_decay", 0.0))
        buffer, direction = self._by_buffer(x, along)
        return {**made, **buffer}, direction


TORCHS = Rule()
"""The rule without a fault."""

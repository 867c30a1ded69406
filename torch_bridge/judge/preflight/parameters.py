"""The parameters: their first values and types on both sides, those that never move, and those without a gradient."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
from jax.extend.core import Literal

from torch_bridge.judge.preflight.finding import Finding, listed
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.trace.digest import digest
from torch_bridge.trace.trace import in_phase


def parameter_findings(sides: Sides) -> Iterator[Finding]:
    """Name parameters that begin otherwise, have another type, stand still, or have no gradient on one side."""
    if sides.params is not None:
        yield from _first_values(sides)
    yield from _still(sides)
    if sides.loss_fn is not None and sides.data is not None:
        yield from _without_gradient(sides)


def _first_values(sides: Sides) -> Iterator[Finding]:
    torchs = in_phase(sides.trace.initial, "parameter")
    ports = sides.weights.to_torch(sides.params)
    common = [name for name in torchs if name in ports]
    types = [name for name in common if torchs[name].dtype != ports[name].dtype]
    if types:
        torch, mine = torchs[types[0]].dtype, ports[types[0]].dtype
        yield Finding(
            "parameter type",
            f"{listed(types, len(torchs))} began as {torch} in torch and as {mine} in the port.",
            f"Make the port's parameters in {torch}, param_dtype=jnp.{torch} in most libraries.",
            str(torch),
            str(mine),
        )
    others = [name for name in common if not np.array_equal(torchs[name].astype(ports[name].dtype), ports[name])]
    if others:
        worst = others[0]
        gap = np.abs(np.asarray(torchs[worst], np.float64) - np.asarray(ports[worst], np.float64))
        index = tuple(int(i) for i in np.unravel_index(int(np.argmax(gap)), gap.shape))
        value, other = float(torchs[worst][index]), float(ports[worst][index])
        yield Finding(
            "initial weights",
            f"{listed(others, len(torchs))} began with other values: {worst}{list(index) if index else ''} is "
            f"{value:.9g} in torch and {other:.9g} in the port.",
            "Take torch's, weights.to_jax(trace), or draw them with torch_bridge.init after the same seed.",
            f"{value:.9g}",
            f"{other:.9g}",
        )


def _still(sides: Sides) -> Iterator[Finding]:
    """Parameters that torch trains and that were the same in every bit at each step."""
    trace, frozen = sides.trace, set(sides.recipe.frozen if sides.recipe else ())
    labels = sides.recipe.labels if sides.recipe else {}
    rates = [trace.value(f"learning_rate/{i}", 0) for i in range(len(sides.recipe.groups) if sides.recipe else 0)]
    still = []
    for name in sides.names:
        key, gradient = f"parameter/{name}", f"gradient/{name}"
        if name in frozen or name not in labels or key not in trace.steps:
            continue
        rate = rates[labels[name]]
        if rate is not None and not float(rate):
            continue
        none = gradient not in trace.steps
        last = trace.digest(key, trace.n_steps - 1)
        if none or (last is not None and np.array_equal(last, digest(trace.initial[key]))):
            still.append((name, none))
    for none in (True, False):
        names = [name for name, without in still if without is none]
        if names:
            why = "has no gradient at any step" if none else "is the same in every bit after the last step"
            yield Finding(
                "parameter that stands still",
                f"{listed(names, len(sides.names))} {why} of torch's run, though it is among the parameters that are "
                "trained.",
                "See whether the script means it: it may be left out of the loss, or detached; what is meant to stand "
                "still has requires_grad=False.",
                ", ".join(names[:4]),
            )


def _without_gradient(sides: Sides) -> Iterator[Finding]:
    """Parameters of which one side has a gradient and the other has none."""
    assert sides.loss_fn is not None
    gradient = jax.grad(sides.loss_fn, allow_int=True, has_aux=bool(sides.model_state))
    closed = jax.make_jaxpr(gradient)(sides.start, sides.first_batch, *sides.model_state)
    zero = _zeros(closed.jaxpr)
    named: dict[str, bool] = {}
    for pair in sides.weights.pairs:
        named |= {name: zero[pair.leaf] for name in pair.tensors}
    trace = sides.trace
    mine = [
        name
        for name, is_zero in named.items()
        if is_zero and (value := _gradient(trace, name)) is not None and np.any(value)
    ]
    if mine:
        yield Finding(
            "no gradient",
            f"torch has a gradient of {listed(mine, len(named))}, and the port's loss does not depend on it.",
            "Look for a stop_gradient, a layer that is not called, or a parameter that the loss takes from elsewhere.",
            "a gradient",
            "none",
        )
    frozen = [name for name in (sides.recipe.frozen if sides.recipe else ()) if name in named and not named[name]]
    if frozen and sides.tx is not None and _moves(sides, frozen):
        yield Finding(
            "frozen parameter",
            f"torch does not train {listed(frozen, len(named))}, and the port's rule moves it.",
            "Freeze it in the port too: jax.lax.stop_gradient in the loss, or optax.masked around the rule.",
            "requires_grad=False",
            "trained",
        )


def _moves(sides: Sides, names: list[str]) -> bool:
    """Whether the port's rule moves parameters that have a gradient."""
    assert sides.tx is not None
    leaves = jax.tree.leaves(sides.start)
    structure: Any = jax.tree.structure(sides.start)
    mine = {pair.leaf for pair in sides.weights.pairs if set(pair.tensors) & set(names)}
    small = [np.ones((1,) * np.ndim(leaf), np.float32) for leaf in leaves]
    params = jax.tree.unflatten(structure, small)
    updates, _ = sides.tx.update(params, sides.tx.init(params), params)
    moved = structure.flatten_up_to(optax.apply_updates(params, updates))
    return any(bool(np.any(np.asarray(moved[i]) != small[i])) for i in mine)


def _gradient(trace: Any, name: str) -> Any:
    key = f"gradient/{name}"
    return trace.value(key, 0) if key in trace.keys else None


def _zeros(jaxpr: Any) -> list[bool]:
    """Of each result of a program, whether it is a constant zero, whatever the arguments are."""
    made = {var: equation for equation in jaxpr.eqns for var in equation.outvars}

    def zero(atom: Any) -> bool:
        if isinstance(atom, Literal):
            return not bool(np.any(np.asarray(atom.val)))
        equation = made.get(atom)
        if equation is None:
            return False
        name = equation.primitive.name
        if name in ("broadcast_in_dim", "convert_element_type", "reshape", "transpose", "neg", "copy", "squeeze"):
            return zero(equation.invars[0])
        if name in ("jit", "pjit"):
            inner: bool = _zeros(equation.params["jaxpr"].jaxpr)[equation.outvars.index(atom)]
            return inner
        if name == "mul":
            return any(map(zero, equation.invars))
        return all(map(zero, equation.invars)) if name in ("add", "add_any") else False

    return [zero(atom) for atom in jaxpr.outvars]

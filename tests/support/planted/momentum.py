"""Faults of a buffer of gradients."""

import optax

from tests.support.planted import stages
from tests.support.planted.numbers import Numbers, Planted
from tests.support.planted.stages import buffer


def _has(n: Numbers) -> bool:
    return bool(n.momentum)


def _plain(n: Numbers) -> bool:
    return _has(n) and not n.dampening and not n.nesterov


def _plainly(n: Numbers) -> bool:
    return _has(n) and not n.nesterov


def _undamped(n: Numbers) -> bool:
    return _has(n) and not n.dampening


def _damped(n: Numbers) -> bool:
    return _has(n) and bool(n.dampening)


def _sgd(n: Numbers) -> bool:
    return n.betas is None


def _buffer(n: Numbers, momentum: float | None = None, **options):
    made = buffer(n.momentum if momentum is None else momentum, **{"nesterov": n.nesterov, **options})
    return dict(inner=made)


def _rate(n: Numbers):
    return stages.rates(*n.rates) if n.rates else lambda count: n.lr


def _inside(n: Numbers, sign: float):
    """The rate before the buffer."""
    scaled = optax.scale_by_schedule(lambda count: sign * _rate(n)(count))
    inner = optax.chain(scaled, optax.trace(n.momentum, n.nesterov))
    return dict(inner=inner, rate=optax.scale(-sign))


def _in(make, when, step=0) -> Planted:
    return Planted(make, when, ("momentum_factor", "dampening", "momentum_buffer"), step)


def _behind(make, when, step=0) -> Planted:
    return Planted(make, when, ("parameter",), step)


MOMENTUM = {
    "momentum-missing": Planted(  # there is no buffer to look at, so that it may show in what follows
        lambda n: dict(inner=optax.identity()), _plain, ("momentum_factor", "momentum_buffer", "parameter"), 1
    ),
    "nesterov-extra": _behind(lambda n: _buffer(n, nesterov=True), _plain),
    "nesterov-missing": _behind(lambda n: _buffer(n, nesterov=False), lambda n: n.nesterov),
    "momentum-averaged": _in(lambda n: _buffer(n, first=1 - n.momentum, later=1 - n.momentum), _undamped),
    "momentum-damped-first": _in(lambda n: _buffer(n, first=1 - n.momentum), _undamped),
    "rate-inside-buffer": _in(lambda n: _inside(n, 1.0), _undamped),
    "velocity-form": _in(lambda n: _inside(n, -1.0), _undamped),
    "momentum-negative": _in(lambda n: _buffer(n, sign=-1.0), _plain, 1),
    "momentum-late": _behind(lambda n: _buffer(n, old=True), _plain),
    "momentum-value": _in(
        lambda n: _buffer(n, n.momentum + 0.05, later=1 - n.dampening), lambda n: _has(n) and not n.nesterov, 1
    ),
    "dampening-missing": _in(_buffer, _damped, 1),
    "dampening-on-first": _in(lambda n: _buffer(n, first=1 - n.dampening, later=1 - n.dampening), _damped),
    "dampening-value": _in(lambda n: _buffer(n, later=0.9 - n.dampening), _damped, 1),
    "ascent": Planted(
        lambda n: dict(rate=optax.scale_by_schedule(_rate(n))), lambda n: True, ("learning_rate", "parameter")
    ),
}
"""Entry -> the port with that fault."""

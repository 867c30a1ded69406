"""Faults of the learning rate."""

from collections.abc import Callable, Sequence

from tests.support.planted import stages
from tests.support.planted.numbers import Numbers, Planted

RATE = ("learning_rate", "parameter")


def first_change(torchs: Sequence[float], mine: Sequence[float]) -> int:
    """The first step at which two schedules differ."""
    pairs = enumerate(zip(torchs, mine, strict=False))
    return next(t for t, (a, b) in pairs if abs(a - b) > 1e-9 * abs(a))


def _of(rates: Callable[[Numbers], Sequence[float]], when: Callable[[Numbers], bool]) -> Planted:
    """Other rates; after the last of them it stays."""

    def make(n: Numbers):
        return dict(rate=stages.rate(stages.rates(*rates(n))))

    def step(n: Numbers) -> int:
        mine = list(rates(n))
        return first_change(n.rates, mine + mine[-1:] * len(n.rates))

    return Planted(make, when, RATE, step)


def _scheduled(n: Numbers) -> bool:
    return bool(n.rates)


def _by_epoch(n: Numbers) -> bool:
    return bool(n.epoch)


def _by_step(n: Numbers) -> bool:
    return bool(n.rates) and not n.epoch


def _warms(n: Numbers) -> bool:
    return _scheduled(n) and n.rates[0] < max(n.rates)


def _warmed(n: Numbers) -> bool:
    return _warms(n) and n.rates[-1] == max(n.rates)


def _falls(n: Numbers) -> bool:
    return _scheduled(n) and n.rates[0] == max(n.rates)


def _without_warmup(n: Numbers) -> list[float]:
    top = n.rates.index(max(n.rates))
    return [max(n.rates)] * top + list(n.rates[top:])


def _floor(n: Numbers) -> float:
    return sorted(n.rates)[len(n.rates) // 3] * 1.01


SCHEDULE = {
    "rate-value": Planted(
        lambda n: dict(rate=stages.rate(stages.rates(*(1.1 * r for r in n.rates)) if n.rates else 1.1 * n.lr)),
        lambda n: True, RATE),
    "rate-constant": _of(lambda n: n.rates[:1], _scheduled),
    "schedule-late": _of(lambda n: (*n.rates[:1], *n.rates), _by_step),
    "schedule-early": _of(lambda n: n.rates[1:], _scheduled),
    "schedule-epoch-late": _of(lambda n: n.rates[: n.epoch] + n.rates, _by_epoch),
    "schedule-epoch-early": _of(lambda n: n.rates[n.epoch :], _by_epoch),
    "schedule-per-step": _of(lambda n: n.rates[:: n.epoch], _by_epoch),
    "schedule-inverted": _of(lambda n: [n.rates[0] ** 2 / r for r in n.rates], _falls),
    "schedule-gamma": _of(lambda n: [n.rates[0] * (r / n.rates[0]) ** 0.5 for r in n.rates], _falls),
    "schedule-offset": _of(lambda n: [r + 0.02 * max(n.rates) for r in n.rates], _scheduled),
    "schedule-floor": _of(lambda n: [max(r, _floor(n)) for r in n.rates], _scheduled),
    "warmup-missing": _of(_without_warmup, _warms),
    "warmup-from-zero": _of(lambda n: (0.0, *n.rates), _warmed),
}  # fmt: skip
"""Entry -> the port with that fault."""

"""What is found before a step is run: differences of recipe, data and environment, each with its remedy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One difference between a recorded run and its port.

    Attributes:
        name: what kind of difference, such as ``"weight decay"``.
        sentence: the difference, in one sentence.
        remedy: what to do about it, in one sentence.
        torch: torch's side, in a few words or as a number.
        jax: the port's side, likewise.
    """

    name: str
    sentence: str
    remedy: str
    torch: str = ""
    jax: str = ""


@dataclass(frozen=True)
class Draw:
    """One source of random numbers, as far as it is known on each side.

    Attributes:
        what: what is drawn from it.
        torch: its seed or state in torch's run; empty if unknown.
        jax: likewise on the port's side.
    """

    what: str
    torch: str = ""
    jax: str = ""


@dataclass(frozen=True)
class Preflight:
    """Everything that was found before the first step.

    Attributes:
        findings: the differences; none for a port that has the run's recipe, data and environment.
        draws: the random draws on both sides.
        unread: sentences on what could not be compared, and why, and on what of a large run was left out.
    """

    findings: tuple[Finding, ...] = ()
    draws: tuple[Draw, ...] = ()
    unread: tuple[str, ...] = ()


def number(value: float) -> str:
    """Return a number as it is written in a finding."""
    return f"{value:.5g}"


def listed(names: list[str], everything: int) -> str:
    """Return the names of parameters in words: all of them, or the first few and how many more."""
    if len(names) == everything and everything > 1:
        return "every parameter"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more

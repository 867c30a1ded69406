"""The update rule: in which learning rates, hyperparameters and flags the port's is not torch's."""

from collections.abc import Iterator

import numpy as np

from torch_bridge.judge.preflight.both_rules import Rules, apart
from torch_bridge.judge.preflight.finding import Finding, listed
from torch_bridge.judge.preflight.fitting import fitted


def rule_findings(rules: Rules) -> Iterator[Finding]:
    """Name the learning rates, hyperparameters and flags in which the port's rule is not torch's."""
    off = np.any(apart(rules, rules.torch, rules.jax) > 1, axis=0)
    waiting = [i for i in range(len(rules.probe.leaves)) if off[i]]
    total = len(rules.probe.leaves)
    while waiting:
        leaf = waiting[0]
        group = rules.probe.leaves[leaf].group
        same_group = [i for i in waiting if rules.probe.leaves[i].group == group]
        explanation = fitted(rules, leaf)
        explained = [i for i in same_group if explanation.explains(rules, i)] or [leaf]
        names = [name for i in explained for name in rules.probe.leaves[i].names]
        words = listed(names, total)
        # Of many parameters a few of each kind are looked at.
        others = rules.probe.n_trained > total and len(explained) < total
        yield from explanation.findings(f"{words} and others like them" if others else words)
        waiting = [i for i in waiting if i not in explained]

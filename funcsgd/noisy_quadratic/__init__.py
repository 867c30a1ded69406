"""The noisy quadratic model, exactly, by rules of thumb, and run.

What a rule does to a quadratic loss with noisy gradients can be worked out without training anything::

    from funcsgd import noisy_quadratic as nq

    model = nq.power_law(1000)                                          the spectrum of Zhang et al. 2019
    rule = nq.Rule(0.1, momentum=0.9, ema_decay=0.99)
    nq.steady_state(model, rule, batch_size=32).risk                    where it ends
    nq.risk_at(model, rule, 32, step=500)                               where it is
    nq.approximation_ratios(model, rule, 32)                            how far off a rule of thumb is
    nq.simulate(jax.random.key(0), model, rule, 32, 500, n_seeds=100)   what this library's rule does
    nq.optimal_rule(model, 32, 0.01, ("learning_rate", "momentum"))     how fast it could be

All are pure and traceable: vmap over rules, batch sizes and models.
"""

from funcsgd.noisy_quadratic.approximations import Approximation as Approximation
from funcsgd.noisy_quadratic.approximations import approximate_steady_state as approximate_steady_state
from funcsgd.noisy_quadratic.approximations import approximation_ratios as approximation_ratios
from funcsgd.noisy_quadratic.model import NoisyQuadratic as NoisyQuadratic
from funcsgd.noisy_quadratic.model import from_spectrum as from_spectrum
from funcsgd.noisy_quadratic.model import loss as loss
from funcsgd.noisy_quadratic.model import power_law as power_law
from funcsgd.noisy_quadratic.optimal import Optimum as Optimum
from funcsgd.noisy_quadratic.optimal import StepsToTarget as StepsToTarget
from funcsgd.noisy_quadratic.optimal import optimal_rule as optimal_rule
from funcsgd.noisy_quadratic.optimal import steps_to_target as steps_to_target
from funcsgd.noisy_quadratic.rule import Rule as Rule
from funcsgd.noisy_quadratic.rule import optimizer as optimizer
from funcsgd.noisy_quadratic.simulation import Simulation as Simulation
from funcsgd.noisy_quadratic.simulation import simulate as simulate
from funcsgd.noisy_quadratic.steady_state import SteadyState as SteadyState
from funcsgd.noisy_quadratic.steady_state import convergence_rate as convergence_rate
from funcsgd.noisy_quadratic.steady_state import max_learning_rate as max_learning_rate
from funcsgd.noisy_quadratic.steady_state import steady_state as steady_state
from funcsgd.noisy_quadratic.transient import risk_at as risk_at
from funcsgd.noisy_quadratic.transient import risk_curve as risk_curve

__all__ = [
    "Approximation",
    "NoisyQuadratic",
    "Optimum",
    "Rule",
    "Simulation",
    "SteadyState",
    "StepsToTarget",
    "approximate_steady_state",
    "approximation_ratios",
    "convergence_rate",
    "from_spectrum",
    "loss",
    "max_learning_rate",
    "optimal_rule",
    "optimizer",
    "power_law",
    "risk_at",
    "risk_curve",
    "simulate",
    "steady_state",
    "steps_to_target",
]

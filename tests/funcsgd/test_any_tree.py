"""Whatever the tree, dtypes, hyperparameters, missing gradients and special values: no bit differs from torch.

torch runs with subnormals flushed to zero, as XLA's CPU backend always does. One thing remains out of reach: where a
gradient is None torch does not touch the parameter, and XLA adds -0.0, which would flush a subnormal parameter. So
parameters start without subnormals; gradients do not, and everything else may be anything.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import funcsgd
from tests.support.torch_runs import differing_bits, subnormals_flushed, torch_run

SHAPES = ((), (1,), (7,), (33,), (3, 5), (0,))
RATES = (0.0, 1.0, 0.1, 0.0137, 0.3, 2.0, 1e-4)
MOMENTA = (0.9, 0.37, 0.5, 1.0, 0.99)
DECAYS = (0.0, 0.01, 0.5, 1.0, 3.0)


def numbers(rng, dtype, shape, special):
    """Normal numbers over many decades, about one in four of them special."""
    info = np.finfo(dtype)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny, -info.tiny, 1.0]
    edges += [info.smallest_subnormal, -info.tiny / 2] if special == "with subnormals" else []
    x = (rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 6, shape)).astype(dtype)
    return np.where(rng.random(shape) < (0.25 if special else 0), rng.choice(np.array(edges, dtype), shape), x)


def trees(leaves):
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, min_size=1, max_size=2)
            | st.tuples(inner, inner)
            | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)
        ),
        max_leaves=4,
    )


LEAVES = st.tuples(st.sampled_from([np.float32, np.float64]), st.sampled_from(SHAPES))
CASES = st.fixed_dictionaries(
    {
        "tree": trees(LEAVES.map(lambda leaf: jax.ShapeDtypeStruct(leaf[1], leaf[0]))),
        "values": st.integers(0, 2**32 - 1),
        "special": st.booleans(),
        "steps": st.integers(1, 6),
        "missing": st.sampled_from([0.0, 0.0, 0.3]),  # the share of gradients that are None
        "form": st.sampled_from(["number", "array", "schedule", "traced"]),
        "learning_rate": st.sampled_from(RATES) | st.floats(0, 10, width=32, allow_subnormal=False),
        "momentum": st.sampled_from((0.0, *MOMENTA)) | st.floats(0, 1, width=32, allow_subnormal=False),
        "dampening": st.sampled_from([0.0, 0.5, 0.25, 1.0]),  # exact in float32, so also as an array
        "weight_decay": st.sampled_from(DECAYS),
        "nesterov": st.booleans(),
        "maximize": st.booleans(),
        "x64": st.booleans(),
    }
)


def check(case):
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(case["tree"])}
    with jax.enable_x64(case["x64"] or np.dtype(np.float64) in dtypes), subnormals_flushed():
        ours, theirs = both_runs(case)
    assert differing_bits(ours, theirs) == 0


def both_runs(case):
    rng, steps, form = np.random.default_rng(case["values"]), case["steps"], case["form"]
    described, tree = jax.tree.flatten(case["tree"])
    special = "with subnormals" if case["special"] else ""
    params = [np.asarray(numbers(rng, leaf.dtype, leaf.shape, case["special"])) for leaf in described]
    gradients = [
        [np.asarray(numbers(rng, leaf.dtype, leaf.shape, special)) for leaf in described] for _ in range(steps)
    ]
    pattern = [rng.random() < case["missing"] for _ in described]  # of every odd step: two compilations, not six
    for of_step in gradients[1::2]:
        of_step[:] = [None if missing else g for g, missing in zip(of_step, pattern, strict=True)]

    options = {name: case[name] for name in ("momentum", "dampening", "weight_decay", "nesterov", "maximize")}
    if options["nesterov"]:
        options["dampening"] = 0.0
        options["momentum"] = options["momentum"] or 0.9
    lr, at_step = case["learning_rate"], [{} for _ in range(steps)]
    if form != "number":  # what is an array is float32 in torch too
        lr, options["momentum"], options["weight_decay"] = (
            float(np.float32(x)) for x in (lr, options["momentum"], options["weight_decay"])
        )
    if form == "schedule":
        rates, momenta = np.float32(rng.choice(RATES, steps)), np.float32(rng.choice((0.0, 0.0, *MOMENTA), steps))
        at_step = [{"lr": float(a), "momentum": float(b)} for a, b in zip(rates, momenta, strict=True)]

    traced = jnp.float32([lr, options["momentum"], options["dampening"], options["weight_decay"]])

    def rule(traced):
        ours = dict(options)
        if form in ("array", "traced"):
            ours.update(zip(("momentum", "dampening", "weight_decay"), traced[1:], strict=True))
            return funcsgd.sgd(traced[0], **ours)
        if form == "schedule":
            ours["momentum"] = lambda count: jnp.asarray(momenta)[count]
            return funcsgd.sgd(lambda count: jnp.asarray(rates)[count], **ours)
        return funcsgd.sgd(lr, **ours)

    @jax.jit
    def step(params, state, g, traced_here):
        updates, state = rule(traced_here if form == "traced" else traced).update(g, state, params)
        return optax.apply_updates(params, updates), state

    current, after = tree.unflatten([jnp.asarray(p) for p in params]), []
    state = rule(traced).init(current)
    for of_step in gradients:
        current, state = step(current, state, tree.unflatten(of_step), traced)
        after.append([np.asarray(p) for p in jax.tree.leaves(current)])
    ours = [np.stack(leaf) for leaf in zip(*after, strict=True)]
    start = {"lr": lr, "foreach": bool(case["values"] % 2), **options}
    return ours, torch_run(params, gradients, lambda k: at_step[k], **start)


def search(examples, shard, phases=tuple(Phase)):
    options = settings(
        max_examples=examples,
        phases=phases,
        report_multiple_bugs=False,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seed(shard)(options(given(CASES)(check)))()


def test_any_tree():
    search(25, 0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("shard", range(100, 108))
def test_any_tree_at_length(shard):
    search(250, shard)


@pytest.mark.thorough
def test_the_search_finds_a_planted_fault(plant):
    plant("funcsgd.arithmetic.elementwise.rounded", lambda x: x)
    with pytest.raises(AssertionError):
        search(100, 0, phases=[Phase.generate])

"""What scripts save: found, named, continued in JAX in any layout, and moved back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import funcsgd
import torch_bridge
from funcsgd import schedules
from funcsgd.averages import averaged_params, ema, with_average
from tests.support.sampling import one_in
from torch_bridge import checkpoint

ROOT = torch_bridge.torch_root()
MAKERS = {
    "sgd": lambda p, **o: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, **o),
    "plain sgd": lambda p, **o: torch.optim.SGD(p, lr=0.1, **o),
    "adam": lambda p, **o: torch.optim.Adam(p, lr=0.01, amsgrad=True, **o),
    "adamw": lambda p, **o: torch.optim.AdamW(p, lr=0.01, **o),
    "rmsprop": lambda p, **o: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True, **o),
}


class Script:
    """A training script: a network with buffers, an optimizer, and what it saves."""

    def __init__(self, kind="sgd", groups=False, average=False):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
        given = list(self.model.named_parameters())
        if groups:  # as everyone has it: no decay for biases and norms
            kinds = [[p for _, p in given if p.ndim > 1], [p for _, p in given if p.ndim == 1]]
            given = [{"params": kinds[0]}, {"params": kinds[1], "lr": 0.02}]
        else:
            given = self.model.parameters()
        self.optimizer = MAKERS[kind](given)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.9)) if average else None
        self.done = 0

    def gradients(self):
        generator = torch.Generator().manual_seed(self.done)
        return {name: torch.randn(p.shape, generator=generator) for name, p in self.model.named_parameters()}

    def run(self, steps):
        for _ in range(steps):
            for name, gradient in self.gradients().items():
                self.model.get_parameter(name).grad = gradient
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            self.done += 1
        return self

    def content(self):
        ema = {} if self.average is None else {"model_ema": self.average.state_dict()}
        return {
            "epoch": self.done,
            "net": self.model.state_dict(),
            "optim": self.optimizer.state_dict(),
            "args": {"lr": 0.1, "name": "x"},
            "rng_state": torch.get_rng_state(),
            **ema,
        }

    def load(self, content):
        self.model.load_state_dict(content["net"])
        self.optimizer.load_state_dict(content["optim"])
        if self.average is not None:
            self.average.load_state_dict(content["model_ema"])
        self.done = content["epoch"]
        return self

    def bits(self):
        state = self.optimizer.state_dict()["state"]
        held = {
            f"{i}/{key}": np.asarray(v).tobytes()
            for i, each in state.items()
            for key, v in each.items()
            if v is not None
        }
        averages = self.average.state_dict() if self.average else {}
        named = {**self.model.state_dict(), **{f"average {key}": value for key, value in averages.items()}}
        return held | {name: value.numpy().tobytes() for name, value in named.items()}


def names_of_groups(script):
    names = {id(p): name for name, p in script.model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in script.optimizer.param_groups]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.pt"


def trained_in_jax(tx, params, state, script, steps):
    """The same steps in JAX; the script gives the gradients."""

    @jax.jit
    def step(params, state, gradients):
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        gradients = {name: gradient.numpy() for name, gradient in script.gradients().items()}
        params, state = step(params, state, gradients)
        script.done += 1
    return params, state


SCRIPTS = [("sgd", False, True), ("adam", True, True)]
MORE = [("plain sgd", True, False), ("adamw", False, False), ("rmsprop", False, False)]


@pytest.mark.parametrize(
    ("kind", "groups", "average"), [*SCRIPTS, *(pytest.param(*each, marks=pytest.mark.thorough) for each in MORE)]
)
def test_a_run_goes_on_by_its_file_alone_and_back(path, kind, groups, average):
    torch.save(Script(kind, groups, average).run(3).content(), path)
    found = checkpoint.load(path, names=names_of_groups(Script(kind, groups)) if groups else None)
    assert dict(found.keys) == {
        "model": "net", "optimizer": "optim", "rng": "rng_state", "epoch": "epoch"
    } | ({"average": "model_ema"} if average else {})  # fmt: skip
    assert found.ignored == ["args"]
    tx = with_average(found.rule(), ema(0.9, lerp=True)) if average else found.rule()
    params, state = found.to_jax(tx)
    assert set(params) == {name for name, _ in Script().model.named_parameters()}
    params, state = trained_in_jax(tx, params, state, Script(kind, groups).run(3), 2)
    assert list(found.buffers) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    seen = {"1.num_batches_tracked": np.int64(0), "1.running_var": jnp.ones(3)}
    back = found.from_jax(params, state, buffers=seen, epoch=5)
    checkpoint.save_torch(path, back.content, force=True)
    loaded = Script(kind, groups, average).load(torch.load(path, weights_only=True)).run(2)
    assert loaded.bits() == Script(kind, groups, average).run(7).bits()
    if average:
        averages = averaged_params(state)
        assert all(np.isfinite(averages[name]).all() for name in params)


def test_the_learning_rate_must_be_the_files(path):
    script = Script()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(script.optimizer, 10)
    for _ in range(4):
        script.run(2)
        scheduler.step()
    torch.save({**script.content(), "sched": scheduler.state_dict()}, path)
    found = checkpoint.load(path)
    rule = funcsgd.sgd(
        schedules.per_epoch(schedules.tabulate(schedules.CosineAnnealingLR(0.1, 10), 20), 2),
        momentum=0.9,
        weight_decay=0.01,
    )
    params, state = found.to_jax(rule, steps_per_epoch=2)
    assert float(funcsgd.get_learning_rate(state)) == np.float32(script.optimizer.param_groups[0]["lr"])
    params, state = trained_in_jax(rule, params, state, Script().run(8), 2)
    expected = script.run(2).model.state_dict()
    assert all(np.array_equal(params[name], expected[name]) for name in params)
    for wrong, done in ((rule, 3), (funcsgd.sgd(0.1, momentum=0.9), None)):
        with pytest.raises(ValueError, match=r"the learning rate of the rule is .* of the checkpoint .* schedule"):
            found.to_jax(wrong, steps_per_epoch=2, steps_done=done)
    with pytest.raises(
        ValueError, match=r"has a scheduler, whose state only torch can move on: torch_bridge\.to_torch"
    ):
        found.from_jax(params, funcsgd.sgd(found.part("optimizer")["param_groups"][0]["lr"]).init(params), epoch=0)


def test_a_plateau_goes_on_and_back(path):
    def make():
        script = Script()
        return script, torch.optim.lr_scheduler.ReduceLROnPlateau(script.optimizer, factor=0.3, patience=1)

    metrics = [1.0, 2.0, 3.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    script, plateau = make()
    for metric in metrics[:3]:
        script.run(1)
        plateau.step(metric)
    torch.save({**script.content(), "sched": plateau.state_dict()}, path)
    found = checkpoint.load(path)
    one = schedules.ReduceLROnPlateau(0.1, factor=0.3, patience=1)
    tx = funcsgd.sgd(funcsgd.scale_by_schedulers([one], 1), momentum=0.9, weight_decay=0.01)
    params, state = found.to_jax(tx)
    for metric in metrics[2:5]:  # the metric of the epoch before
        gradients = {name: gradient.numpy() for name, gradient in script.gradients().items()}
        updates, state = jax.jit(tx.update)(gradients, state, params, value=metric)
        params = jax.jit(optax.apply_updates)(params, updates)
        script.done += 1
    back = found.from_jax(params, state, epoch=6)
    checkpoint.save_torch(path, back.content, force=True)
    loaded, after = make()
    content = torch.load(path, weights_only=True)
    loaded.load(content)
    after.load_state_dict(content["sched"])
    stayed, other = make()
    for metric in metrics[:5]:
        stayed.run(1)
        other.step(metric)
    stayed.run(1)
    assert loaded.optimizer.param_groups[0]["lr"] == stayed.optimizer.param_groups[0]["lr"]
    for metric in metrics[5:]:
        for each, scheduler in ((loaded, after), (stayed, other)):
            scheduler.step(metric)
            each.run(1)
    assert [after.best, after.num_bad_epochs, after.last_epoch] == [other.best, other.num_bad_epochs, other.last_epoch]
    assert loaded.optimizer.param_groups[0]["lr"] == stayed.optimizer.param_groups[0]["lr"] < 0.1


def test_parameters_in_another_layout_and_plain_optax(path):
    torch.save(Script("adamw").run(2).content(), path)
    found = checkpoint.load(path)
    like = {
        "first": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)},
        "norm": {"scale": jnp.zeros(3), "bias": jnp.zeros(3)},
        "last": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)},
    }
    weights = torch_bridge.map_weights(Script().model, like)
    params, state = found.to_jax(optax.adamw(0.01), weights)
    held = found.part("optimizer")["state"][0]
    np.testing.assert_array_equal(params["first"]["kernel"], np.asarray(found.model["0.weight"]).T)
    np.testing.assert_array_equal(state[0].mu["first"]["kernel"], np.asarray(held["exp_avg"]).T)
    assert int(state[0].count) == 2
    params, state = found.to_jax(tx := found.rule(), weights)
    back = found.from_jax(params, state, weights, epoch=2)
    for number, each in found.part("optimizer")["state"].items():
        for key, value in each.items():
            np.testing.assert_array_equal(back.part("optimizer")["state"][number][key], value)
    assert tx is not None


RULES_OF_OTHER_STATES = {
    "optax has no place": (
        "adam",
        lambda: optax.adam(0.01),
        r"has max_exp_avg_sq of '0\.bias', which the rule does not",
    ),
    "another form": (
        "adamw",
        lambda: funcsgd.adam(0.01, amsgrad=True),
        r"keeps max_exp_avg_sq of .*, and the checkpoint",
    ),
    "no momentum": (
        "sgd",
        lambda: funcsgd.sgd(0.1, momentum=None),
        r"has momentum_buffer of '0\.bias', which the rule does not keep",
    ),
    "another rule": ("adamw", lambda: funcsgd.rmsprop(0.01), r"has exp_avg, exp_avg_sq of '0\.bias'"),
}


@pytest.mark.parametrize("case", one_in(2, RULES_OF_OTHER_STATES))
def test_a_rule_that_keeps_something_else_is_refused(path, case):
    kind, rule, says = RULES_OF_OTHER_STATES[case]
    torch.save(Script(kind).run(2).content(), path)
    with pytest.raises(ValueError, match=says):
        checkpoint.load(path).to_jax(rule())


@pytest.mark.parametrize("key", ["exp_avg_sq", "step"])
def test_a_state_that_lacks_a_key_is_refused(path, key):
    content = Script("adamw").run(2).content()
    rule = checkpoint.load(saved(content, path)).rule()
    for held in content["optim"]["state"].values():
        del held[key]
    with pytest.raises(ValueError, match=f"the rule keeps {key} of '0.bias', and the checkpoint has exp_avg"):
        checkpoint.load(saved(content, path)).to_jax(rule)


def test_an_average_that_is_left_behind_is_said(path):
    found = checkpoint.load(saved(Script(average=True).run(2).content(), path))
    with pytest.warns(UserWarning, match=r"the average under 'model_ema' is left behind"):
        found.to_jax(found.rule())
    bare = checkpoint.load(path, keys={"average": None})
    bare.to_jax(bare.rule())


def test_prefixes_of_wrappers_are_stripped_and_come_back(path):
    script = Script().run(2)
    content = script.content()
    content["net"] = {f"module._orig_mod.{name}": value for name, value in content["net"].items()}
    torch.save(content, path)
    found = checkpoint.load(path)
    assert list(found.model) == list(script.model.state_dict())
    params, state = found.to_jax(found.rule())
    back = found.from_jax(params, state, epoch=2)
    assert list(back.content["net"]) == list(content["net"])


def test_tied_tensors_are_one(path):
    tied = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3, bias=False), "b": torch.nn.Linear(3, 3, bias=False)})
    tied["b"].weight = tied["a"].weight
    optimizer = torch.optim.SGD(tied.parameters(), 0.1)
    torch.save({"model": tied.state_dict(), "optimizer": optimizer.state_dict()}, path)
    checkpoint.write(path.with_suffix(".safetensors"), checkpoint.read(path))
    for each in (path, path.with_suffix(".safetensors")):
        found = checkpoint.load(each)
        params, state = found.to_jax(found.rule())
        assert list(params) == ["a.weight"]
        back = found.from_jax({"a.weight": params["a.weight"] + 1}, state)
        np.testing.assert_array_equal(back.model["b.weight"], params["a.weight"] + 1)


def saved(content, path):
    torch.save(content, path)
    return path


def content_of(**changes):
    return {**Script().run(1).content(), **changes}


WRONG = {
    "two models": (
        lambda: content_of(net=None, a={"w": torch.ones(1)}, b={"w": torch.ones(1)}), {},
        r"several entries that may be its model, a, b: choose by keys=\{'model': 'a'\}",
    ),
    "no such key": (content_of, {"keys": {"model": "nets"}}, r"no entry 'nets'; there are epoch, net, optim"),
    "no such part": (content_of, {"keys": {"weights": "net"}}, r"names a part 'weights'; the parts are model"),
    "another form": (content_of, {"keys": {"model": "optim"}}, r"'optim' is no model: a dict of tensors"),
    "groups without names": (lambda: Script(groups=True).run(1).content(), {}, r"2 parameter groups .* names=\[\["),
    "names of another model": (content_of, {"names": ["x"] * 6}, r"the model has no 'x'; it has 0.weight"),
    "too few names": (content_of, {"names": ["0.weight"]}, r"names has 1 names, the optimizer 6 parameters"),
    "names in another order": (
        content_of, {"names": ["0.bias", "0.weight", "1.weight", "1.bias", "2.weight", "2.bias"]},
        r"momentum_buffer number 0 has the shape \(3, 4\), and '0.bias' \(3,\): it is of another parameter",
    ),
    "a frozen parameter": (
        lambda: content_of(extra=1, net={**Script().model.state_dict(), "x": torch.ones(1)}), {},
        r"has 6 parameters, and the model 7 tensors",
    ),
    "an optimizer of its own": (
        lambda: content_of(optim={"state": {}, "param_groups": [{"params": [0, 1, 2, 3, 4, 5], "lr": 1, "rho": 2}]}),
        {},
        r"the options lr, rho and the state of none, as no optimizer that is known here has",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_known_is_asked_for(path, case):
    make, options, says = WRONG[case]
    torch.save(make(), path)

    def use():
        found = checkpoint.load(path, **options)
        found.to_jax(found.rule())

    with pytest.raises((ValueError, TypeError), match=says):
        use()


def test_a_state_dict_alone_is_a_model(path):
    torch.save(Script().model.state_dict(), path)
    found = checkpoint.load(path)
    assert str(found) == "found model, the whole file"
    assert list(found.params) == [name for name, _ in Script().model.named_parameters()]
    with pytest.raises(ValueError, match=r"no optimizer that was found: say where it is by keys="):
        found.rule()


def test_a_part_in_a_nested_dict(path):
    torch.save({"state": {"agent": Script().content()}, "epoch": 7}, path)
    found = checkpoint.load(path, keys={"model": "state/agent/net", "optimizer": "state/agent/optim", "epoch": None})
    params, state = found.to_jax(found.rule())
    back = found.from_jax({name: value + 1 for name, value in params.items()}, state)
    np.testing.assert_array_equal(back.content["state"]["agent"]["net"]["0.bias"], params["0.bias"] + 1)


def test_parts_in_a_tuple_and_in_a_list(path):
    script, other = Script("adamw").run(2), Script("sgd").run(2)
    found = checkpoint.load(saved((script.model.state_dict(), script.optimizer.state_dict(), 7), path))
    assert dict(found.keys) == {"model": "0", "optimizer": "1"}
    assert found.ignored == ["2"]
    params, state = found.to_jax(found.rule())
    back = found.from_jax(params, state)
    assert (type(back.content), back.content[2]) == (tuple, 7)
    np.testing.assert_array_equal(back.part("model")["0.weight"], found.model["0.weight"])
    states = [each.optimizer.state_dict() for each in (script, other)]
    two = {"state_dict": script.model.state_dict(), "optimizer_states": states}
    for number, kind in enumerate(("AdamW", "SGD")):
        found = checkpoint.load(saved(two, path), keys={"optimizer": f"optimizer_states/{number}"})
        assert found.adapter.name == kind
        assert found.from_jax(*found.to_jax(found.rule())).content["optimizer_states"][1 - number].keys() == {
            "state", "param_groups"
        }  # fmt: skip
    with pytest.raises(ValueError, match=r"no entry 'optimizer_states/2'; there are 0, 1"):
        checkpoint.load(path, keys={"optimizer": "optimizer_states/2"})


def test_accumulated_gradients(path):
    """The script steps once for two backward passes; a scheduler steps with it."""
    script = Script()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(script.optimizer, 0.9)
    for _ in range(3):
        script.run(1)
        scheduler.step()
    torch.save({**script.content(), "sched": scheduler.state_dict()}, path)
    schedule = schedules.tabulate(schedules.ExponentialLR(0.1, 0.9), 20)
    inner = funcsgd.sgd(schedule, momentum=0.9, weight_decay=0.01)
    tx = optax.MultiSteps(inner, 2).gradient_transformation()
    found = checkpoint.load(path)
    params, state = found.to_jax(tx)
    gradients = {name: gradient.numpy() for name, gradient in script.gradients().items()}
    for _ in range(2):
        updates, state = jax.jit(tx.update)(gradients, state, params)
        params = jax.jit(optax.apply_updates)(params, updates)
    assert int(state.gradient_step) == 4
    _, expected = found.to_jax(inner)
    updates, _ = jax.jit(inner.update)(gradients, expected, found.to_jax(inner).params)
    np.testing.assert_allclose(params["2.bias"], found.params["2.bias"] + updates["2.bias"], rtol=1e-6)
    _, half = jax.jit(tx.update)(gradients, state, params)
    with pytest.raises(ValueError, match="between gradients that are accumulated"):
        found.from_jax(params, half, epoch=4)


def test_a_rate_in_a_tensor_and_an_average_of_ones_own(path):
    script = Script().run(2)
    script.optimizer.param_groups[0]["lr"] = torch.tensor(0.1, dtype=torch.float64)
    own = {f"module.{name}": value + 1 for name, value in script.model.state_dict().items()}
    torch.save({**script.content(), "my_ema": own}, path)
    with pytest.raises(ValueError, match=r"several entries that may be its model|has no average"):
        checkpoint.load(path).part("average")
    found = checkpoint.load(path, keys={"average": "my_ema", "model": "net"})
    tx = with_average(found.rule(), ema(0.5))
    params, state = found.to_jax(tx)
    np.testing.assert_array_equal(averaged_params(state)["0.weight"], own["module.0.weight"])
    params, state = trained_in_jax(tx, params, state, Script().run(2), 1)
    back = found.from_jax(params, state, epoch=3)
    assert list(back.content["my_ema"]) == list(own)
    np.testing.assert_array_equal(back.content["my_ema"]["module.0.weight"], averaged_params(state)["0.weight"])
    assert back.part("optimizer")["param_groups"][0]["lr"].dtype == np.float64


def test_a_parameter_without_dimensions(path):
    torch.manual_seed(0)
    parameters = {"weight": torch.nn.Parameter(torch.randn(2, 3)), "scale": torch.nn.Parameter(torch.tensor(2.0))}
    optimizer = torch.optim.Adam(parameters.values(), lr=0.01)
    (parameters["weight"] * parameters["scale"]).square().sum().backward()
    optimizer.step()
    tensors = {name: parameter.detach() for name, parameter in parameters.items()}
    torch.save({"model": tensors, "o": optimizer.state_dict()}, path)
    found = checkpoint.load(path)
    weights = torch_bridge.map_weights(found.model, {"kernel": jnp.zeros((3, 2)), "scale": jnp.zeros(())})
    params, state = found.to_jax(found.rule(), weights)
    held = found.part("optimizer")["state"]
    averages = next(each for each in state if hasattr(each, "exp_avg")).exp_avg
    np.testing.assert_array_equal(averages["kernel"], held[0]["exp_avg"].T)
    np.testing.assert_array_equal(averages["scale"], held[1]["exp_avg"])
    back = found.from_jax(params, state, weights)
    for number, each in held.items():
        for key, value in each.items():
            np.testing.assert_array_equal(back.part("optimizer")["state"][number][key], value)

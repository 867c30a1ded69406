import contextlib
import io
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import torch_bridge
from tests.support.sampling import one_in
from torch_bridge.cli import app
from torch_bridge.recording.run_script import run_script
from torch_bridge.recording.script import record_script
from torch_bridge.trace.trace import Trace
from torch_bridge.translate.recipe import Untranslated
from torch_bridge.translate.recipe_data import recorded_recipe

SCRIPTS = Path(__file__).parents[2] / "support" / "scripts"


@dataclass(frozen=True)
class Outcome:
    """What the command makes of a script.

    Attributes:
        steps: of each optimizer, in the order of their first steps.
        keys: some that the first trace has.
        clip: the arguments of the clipping.
        schedulers: their classes, "?" for what has no translation.
        steps_per_epoch: between two steps of a scheduler.
        average: its function, likewise.
        without_data: whether the trace has no indices.
        says: what is said besides the traces' names, as regular expressions.
        precision: relative, of the run's own loss.
    """

    steps: tuple[int, ...]
    keys: tuple[str, ...] = ()
    clip: dict[str, float] | None = None
    schedulers: tuple[str, ...] = ()
    steps_per_epoch: int = 1
    average: str | None = None
    without_data: bool = False
    says: tuple[str, ...] = ()
    precision: float = 1e-5


OUTCOMES = {
    "mlp": Outcome((8,), ("momentum_buffer/3.bias",), schedulers=("StepLR",), steps_per_epoch=4),
    "accumulation": Outcome((4,), ("exp_avg/0.weight", "clip/3.bias"), clip={"max_norm": 0.5}),
    "gan": Outcome((6, 6), ("exp_avg_sq/0.weight",)),
    "raw_tensors": Outcome(
        (3,), ("parameter/weight", "parameter/bias"), without_data=True, says=("step 0 is not eval",)
    ),
    "conv_batch_norm": Outcome((6,), ("gradient/norm.weight",)),
    "ema": Outcome((4,), ("average/3.bias",), average="ema", without_data=True),
    "encoder_decoder": Outcome((3,), ("gradient/encoder.bias_hh_l0", "gradient/decoder.bias"), without_data=True),
    "grad_scaler": Outcome((4,), ("clip/weight",), clip={"clip_value": 0.4}, without_data=True, precision=0.02),
    "iterable": Outcome((3,), ("sum/weight", "batch/0", "batch/1"), without_data=True),
    "language_model": Outcome((4,), ("clip/rnn.bias_hh_l1",), clip={"max_norm": 0.25}, without_data=True),
    "lbfgs": Outcome((3,), ("loss", "d/0.weight"), without_data=True),
    "look_ahead": Outcome((3,), ("acc_delta/bias",)),
    "one_cycle": Outcome((8,), ("square_avg/2.bias",), schedulers=("OneCycleLR",)),
    "own_loader": Outcome((6,), ("gradient/bias",)),
    "two_phases": Outcome((2, 3), ("gradient/weight",), without_data=True),
    "own_batch_sampler": Outcome((3,), ("mu_product/bias",)),
    "plateau": Outcome((6,), ("metric",), schedulers=("ReduceLROnPlateau",), steps_per_epoch=2),
    "reinforce": Outcome((3,), ("exp_avg/2.bias",), without_data=True),
    "sharpness_aware": Outcome(
        (3,), ("momentum_buffer/2.bias",), without_data=True, says=("earlier backward pass", "something other than")
    ),
    "sparse_embedding": Outcome(
        (3, 3), ("exp_avg/weight",), without_data=True, says=("gradient of weight is sparse", "step 0 is not eval")
    ),
    "swa": Outcome((8,), ("average/3.bias",), schedulers=("?",), average="?", says=("stepped at different moments",)),
    "thawed": Outcome((4,), ("momentum_buffer/body.bias",), without_data=True, says=("were added to the optimizer",)),
    "transformer": Outcome(
        (3,), ("exp_avg/1.layers.0.self_attn.in_proj_weight",), schedulers=("LambdaLR",), without_data=True
    ),
    "two_loaders": Outcome((2,), ("momentum_buffer/bias",), says=("batches of 2 loaders",)),
    "warned": Outcome((3,), schedulers=("?",), without_data=True, says=("stood at epoch 1 when",)),
    "vae": Outcome((3,), ("exp_avg/log_variance.bias",)),
}

USUAL = ("mlp", "gan", "warned")


@contextlib.contextmanager
def streams():
    """What a script prints, and where it warned of what; a list of three, at the end."""
    seen = []
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
        warnings.catch_warnings(record=True) as warned,
        contextlib.chdir("."),
    ):
        warnings.simplefilter("error")
        yield seen
    seen += [output.getvalue(), errors.getvalue(), [(each.filename, each.lineno, str(each.message)) for each in warned]]


def plain(name, *arguments):
    """A script's exit status, output, errors and warnings without a recorder."""
    with streams() as seen:
        status = run_script(str(SCRIPTS / f"{name}.py"), arguments)
    return [status, *seen]


def recorded(name, folder, *arguments, **options):
    """The same with one, its traces, and what it said."""
    said = []
    with streams() as seen:
        script = SCRIPTS / f"{name}.py"
        status = record_script(script, arguments, output=folder / "run.trace", notify=said.append, **options)
    assert [path.name for path in folder.glob("run*")] == ["run.trace"]
    traces = list(Trace.load_all(folder / "run.trace").values())
    assert all(trace.complete for trace in traces)
    return [status, *seen], traces, said


def test_every_script_has_a_row():
    names = {path.stem for path in SCRIPTS.glob("*.py")} - {"final_bits", "fails", "no_step"}
    assert names == set(OUTCOMES)


@pytest.mark.parametrize("name", [*USUAL, *one_in(0, [x for x in OUTCOMES if x not in USUAL], thorough=2)])
def test_a_script_as_it_is(name, tmp_path):
    outcome = OUTCOMES[name]
    was, traces, said = recorded(name, tmp_path)
    assert was == plain(name)
    assert was[0] == 0
    assert [trace.n_steps for trace in traces] == list(outcome.steps)
    rest = [sentence for sentence in said if not re.match(r"run\.trace: ", sentence)]
    assert len(said) - len(rest) == len(traces)
    assert len(rest) == len(outcome.says), rest
    for pattern, sentence in zip(outcome.says, rest, strict=True):
        assert re.search(pattern, sentence)
    first = traces[0]
    assert set(outcome.keys) <= set(first.keys)
    assert ("data" in first.steps) is not outcome.without_data
    assert first.static["seeds"]
    assert_recipe(recorded_recipe(first.static), outcome)
    assert_complete(first, outcome.precision)


def assert_recipe(recipe, outcome):
    assert (None if recipe.clip is None else recipe.clip.arguments) == outcome.clip
    found = recipe.groups[0].schedulers
    assert tuple("?" if isinstance(each, Untranslated) else type(each).__name__ for each in found) == outcome.schedulers
    assert recipe.steps_per_epoch == outcome.steps_per_epoch
    average = "?" if isinstance(recipe.average, Untranslated) else recipe.average and recipe.average.name
    assert average == outcome.average


def assert_complete(trace, precision):
    """The first step, too, has its loss, its gradients as backward() left them, and what it began from."""
    names = [name for group in trace.static["recipe"]["groups"] for name in group["names"]]
    assert {f"parameter/{name}" for name in names} <= set(trace.initial)
    assert trace.has("loss", 0)
    for step, twin in trace.twins.items():
        np.testing.assert_allclose(trace.value("loss", step), twin["loss"], rtol=precision)
        for name in names:
            if f"gradient/{name}" in twin and trace.has(f"gradient/{name}", step):
                exact = twin[f"gradient/{name}"]
                distance = np.abs(trace.value(f"gradient/{name}", step) - exact).max()
                assert distance <= precision * max(1.0, np.abs(exact).max())


def test_indices_are_those_of_the_batches(tmp_path):
    _, (trace,), _ = recorded("mlp", tmp_path)
    data = trace.steps["data"].reshape(2, 32)
    assert [sorted(epoch) for epoch in data.tolist()] == [list(range(32))] * 2
    torch.manual_seed(1)
    x = torch.randn(40, 6).numpy()  # as the script draws it
    first = x[trace.steps["data"][0]] @ trace.initial["parameter/0.weight"].T + trace.initial["parameter/0.bias"]
    np.testing.assert_allclose(trace.twins[0]["forward/0"], first, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["conv_batch_norm", "own_batch_sampler", "look_ahead", "plateau", "own_loader"])
def test_each_epoch_has_each_example_once(name, tmp_path):
    _, (trace,), _ = recorded(name, tmp_path)
    n_examples = {"conv_batch_norm": 24, "look_ahead": 12, "plateau": 16, "own_loader": 12}.get(name)
    data = trace.steps["data"]
    if n_examples is None:
        assert (data % 2).tolist() == [[0, 0, 0, 1, 1, 1]] * 3
    else:
        assert [sorted(epoch) for epoch in data.reshape(-1, n_examples).tolist()] == [list(range(n_examples))] * (
            data.size // n_examples
        )


def test_so_many_steps_of_each_optimizer(tmp_path):
    was, traces, said = recorded("gan", tmp_path, steps=2, twins=False)
    assert was == plain("gan")
    assert [trace.n_steps for trace in traces] == [2, 2]
    assert said == [
        "run.trace: 2 steps of Adam, which trains discriminator",
        "run.trace: 2 steps of Adam, which trains generator",
    ]


def test_a_scheduler_that_is_not_stepped_within_the_steps(tmp_path):
    _, (trace,), said = recorded("mlp", tmp_path, steps=3, twins=False)
    assert recorded_recipe(trace.static).groups[0].schedulers[0].gamma == 0.5
    assert said[0] == "no scheduler.step() came within the 3 recorded steps: steps_per_epoch is not known"


def test_arguments_are_the_scripts_own(tmp_path):
    _, (trace,), _ = recorded("accumulation", tmp_path, "--micro-batches", "4", twins=False)
    assert trace.n_steps == 2
    assert trace.static["micro_batches"] == {"0": [4] * 4, "1": [4] * 4}


def test_an_error_of_the_script_is_shown_as_python_shows_it(tmp_path):
    (status, output, errors, _), (trace,), _ = recorded("fails", tmp_path)
    assert (status, output, trace.n_steps) == (1, "", 2)
    assert [line for line in errors.splitlines() if "File" in line] == [
        f'  File "{SCRIPTS / "fails.py"}", line 18, in <module>',
        f'  File "{SCRIPTS / "fails.py"}", line 8, in train',
    ]
    assert errors.endswith("FloatingPointError: the loss is not finite\n")


def test_a_warning_names_the_line_of_the_script(tmp_path):
    (*_, warned), _, _ = recorded("warned", tmp_path)
    assert [place[:2] for place in warned] == [(str(SCRIPTS / "warned.py"), 15), (str(SCRIPTS / "warned.py"), 20)]


def test_everything_is_taken_off(tmp_path):
    from torch.optim import optimizer
    from torch.optim.lr_scheduler import LRScheduler

    before = [torch.manual_seed, LRScheduler.step, torch.utils.data.DataLoader.__iter__, torch.optim.Optimizer.__init__]
    argv, path = list(sys.argv), list(sys.path)
    recorded("fails", tmp_path)
    after = [torch.manual_seed, LRScheduler.step, torch.utils.data.DataLoader.__iter__, torch.optim.Optimizer.__init__]
    assert after == before
    assert not optimizer._global_optimizer_pre_hooks
    assert not optimizer._global_optimizer_post_hooks
    assert (sys.argv, sys.path) == (argv, path)


def test_the_command(tmp_path):
    trace = tmp_path / "a.trace"
    result = CliRunner().invoke(app, ["record", "-o", str(trace), str(SCRIPTS / "fails.py"), "--epochs", "-o", "x"])
    assert result.exit_code == 1
    assert Trace.load(trace).n_steps == 2


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["nowhere.py"], 2, "there is no script nowhere.py"),
        ([str(SCRIPTS / "no_step.py")], 2, r"nothing was recorded: no optimizer.step\(\) of PyTorch ran"),
        ([str(SCRIPTS / "no_step.py"), "5"], 5, "nothing was recorded"),
        (["-o", "no/such/folder/a.trace", str(SCRIPTS / "fails.py")], 2, "cannot write the trace"),
        (["--steps", "0", str(SCRIPTS / "fails.py")], 2, "steps must be a positive number or None, but got 0"),
    ],
)
def test_what_cannot_be_recorded(arguments, status, sentence):
    result = CliRunner().invoke(app, ["record", *arguments])
    assert result.exit_code == status
    assert re.search(f"torch-bridge: {sentence}", result.stderr)


@pytest.mark.parametrize("name", one_in(0, ["mlp", "fails", "no_step", "warned"], thorough=2))
def test_the_same_in_a_process_of_its_own(name, tmp_path):
    script = [str(SCRIPTS / f"{name}.py"), *(["--workers", "2"] if name == "mlp" else ["3"])]
    command = [sys.executable, "-c", "from torch_bridge.cli import main; main()", "record", "-o", str(tmp_path / "a")]
    alone = subprocess.run([sys.executable, *script], capture_output=True, text=True, check=False)
    with_recorder = subprocess.run([*command, *script], capture_output=True, text=True, check=False)
    assert with_recorder.returncode == alone.returncode
    assert with_recorder.stdout == alone.stdout
    errors = with_recorder.stderr.splitlines(keepends=True)
    assert "".join(line for line in errors if not line.startswith("torch-bridge: ")) == alone.stderr
    if name == "mlp":  # its workers are forked, which JAX's threads in this process would not survive
        epochs = torch_bridge.Trace.load(tmp_path / "a").steps["data"].reshape(2, 32).tolist()
        assert [sorted(epoch) for epoch in epochs] == [list(range(32))] * 2


def test_what_a_first_step_cannot_show_is_said(tmp_path):
    script = tmp_path / "by_hand.py"
    script.write_text(
        "import torch\ntorch.manual_seed(0)\nmodel = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for p in model.parameters():\n    p.grad = torch.ones_like(p)\noptimizer.step()\n"
    )
    said = []
    assert record_script(script, output=tmp_path / "run.trace", notify=said.append) == 0
    assert said == [
        "SGD was found at its first step: the loss of that step, and its gradients before clipping, could not be seen",
        "run.trace: 1 step of SGD, which trains model",
    ]
    trace = Trace.load(tmp_path / "run.trace")
    assert trace.steps["gradient/bias"].tolist() == [[1.0]]
    assert "loss" not in trace.steps

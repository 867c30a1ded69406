"""Each public rule is in the manifest, with the class of its docstring and a test of its bits."""

import inspect
import re
from pathlib import Path

import optax
import pytest

import funcsgd
from funcsgd import manifest

ROOT = Path(__file__).parents[2]
CLASS = re.compile(r"Exactness:(.*?)(?:\n\s*\n|$)", re.DOTALL)
COMPARISONS = (
    r"differing_bits|differing\(|differences\(|tobytes|assert_array_equal|same_|\.hex\(\)|bits\(|tolist\(\) ==|== norm"
)
HELPERS = {  # modules in tests/support that a test file takes its rules from
    "optimizers/test_rules_of_torch.py": ("rules_of_torch.py",),
    "schedules/test_tables.py": ("torch_schedulers.py",),
    "test_bits.py": ("bits/programs.py", "bits/check.py"),
    "training/test_run.py": ("training_runs.py",),
}
SUBMODULES = ("stages", "optimizers", "schedules", "averages", "curvature", "training")
"""Public modules whose rules are reached through them, unless they are at the top."""


def public():
    """Everything that users can reach, by its name after ``funcsgd.``."""
    names = {name: getattr(funcsgd, name) for name in funcsgd.__all__}
    for module in SUBMODULES:
        for name in getattr(funcsgd, module).__all__:
            if name not in names:
                names[f"{module}.{name}"] = getattr(getattr(funcsgd, module), name)
    return names


def rules():
    """Public functions that promise a class, and those that return something to be updated with."""
    for name, thing in public().items():
        returned = str(inspect.signature(thing).return_annotation) if inspect.isfunction(thing) else ""
        if CLASS.search(inspect.getdoc(thing) or "") or "GradientTransformation" in returned:
            yield name, thing


def class_in_docstring(name):
    things = {key.rpartition(".")[2]: thing for key, thing in public().items()}
    stated = CLASS.search(inspect.getdoc(things[name.rpartition(".")[2]]) or "")
    if stated is None:
        return None
    text = " ".join(stated.group(1).split())
    other = re.match(r"that of (?:the )?`*(\w+)", text)
    if other and other.group(1) == "schedule":
        return "bitwise"
    if other:
        return class_in_docstring({"average": "ema"}.get(other.group(1), other.group(1)))
    return min(("bitwise", "rounding"), key=lambda word: text.find(word) if word in text else len(text))


def problems(promises):
    """What the manifest lacks, in words."""
    promising = dict(rules())
    found = [f"{name}: no entry" for name in promising if name not in promises]
    found += [f"{name}: an entry and no rule" for name in promises if name not in promising]
    for name in promising.keys() & promises.keys():
        promise = promises[name]
        stated = class_in_docstring(name)
        if stated != promise.exactness:
            found.append(f"{name}: {promise.exactness} in the manifest, {stated} in the docstring")
        if promise.exactness == "bitwise" and not has_bit_test(name, promise.test):
            found.append(f"{name}: no test of its bits at {promise.test!r}")
    return found


def has_bit_test(name, test):
    path, _, function = test.partition("::")
    file = ROOT / path
    if not function or not file.is_file():
        return False
    text = file.read_text()
    helpers = HELPERS.get(path.removeprefix("tests/funcsgd/"), ())
    everything = text + "".join((ROOT / "tests" / "support" / helper).read_text() for helper in helpers)
    named = re.search(rf"\b{name.rpartition('.')[2]}\b", everything)
    return bool(re.search(rf"def {function}\(", text) and named and re.search(COMPARISONS, everything))


def test_every_rule_is_in_the_manifest():
    assert problems(manifest.RULES) == []


def test_a_rule_without_entry_test_or_with_another_class_is_found():
    without = {name: promise for name, promise in manifest.RULES.items() if name != "sgd"}
    assert problems(without) == ["sgd: no entry"]
    wrong = {**manifest.RULES, "sgd": manifest.RULES["sgd"]._replace(exactness="rounding")}
    assert problems(wrong) == ["sgd: rounding in the manifest, bitwise in the docstring"]
    no_test = "tests/funcsgd/averages/test_averaging.py::test_no"
    untested = {**manifest.RULES, "averages.swa": manifest.RULES["averages.swa"]._replace(test=no_test)}
    assert problems(untested) == [f"averages.swa: no test of its bits at {no_test!r}"]
    assert problems({**manifest.RULES, "lion": manifest.RULES["sgd"]}) == ["lion: an entry and no rule"]


def test_a_new_rule_needs_an_entry(monkeypatch):
    def lion() -> optax.GradientTransformation:
        """A rule that somebody adds."""
        return optax.identity()

    monkeypatch.setattr(funcsgd, "lion", lion, raising=False)
    monkeypatch.setattr(funcsgd, "__all__", [*funcsgd.__all__, "lion"])
    assert problems(manifest.RULES) == ["lion: no entry"]


@pytest.mark.parametrize("name", [name for name, promise in manifest.RULES.items() if promise.exactness == "bitwise"])
def test_what_is_bitwise_names_its_evidence(name):
    promise = manifest.RULES[name]
    assert set(promise.evidence) == {"cpu, marked", "cpu, exact", "gpu, tpu"}
    assert set(promise.holds_in) <= set(manifest.PROGRAM_KINDS)

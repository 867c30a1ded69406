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
HELPERS = {  # modules that a test file takes its rules from
    "test_schedules_tables.py": ("torch_schedulers.py",),
    "test_bits.py": ("programs.py", "check.py"),
    "test_training_run.py": ("training_runs.py",),
}


def rules(module):
    """Public functions that promise a class, and those that return something to be updated with."""
    for name in module.__all__:
        thing = getattr(module, name)
        returned = str(inspect.signature(thing).return_annotation) if inspect.isfunction(thing) else ""
        if CLASS.search(inspect.getdoc(thing) or "") or "GradientTransformation" in returned:
            yield name, thing


def class_in_docstring(name):
    stated = CLASS.search(inspect.getdoc(getattr(funcsgd, name)) or "")
    if stated is None:
        return None
    text = " ".join(stated.group(1).split())
    other = re.match(r"that of (?:the )?`*(\w+)", text)
    if other and other.group(1) == "schedule":
        return "bitwise"
    if other:
        return class_in_docstring({"average": "ema"}.get(other.group(1), other.group(1)))
    return min(("bitwise", "rounding"), key=lambda word: text.find(word) if word in text else len(text))


def problems(module, promises):
    """What the manifest lacks, in words."""
    public = dict(rules(module))
    found = [f"{name}: no entry" for name in public if name not in promises]
    found += [f"{name}: an entry and no rule" for name in promises if name not in public]
    for name in public.keys() & promises.keys():
        promise = promises[name]
        stated = class_in_docstring(name) if module is funcsgd else promise.exactness
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
    everything = text + "".join(file.with_name(helper).read_text() for helper in HELPERS.get(file.name, ()))
    named = re.search(rf"\b{name}\b", everything)
    return bool(re.search(rf"def {function}\(", text) and named and re.search(COMPARISONS, everything))


def test_every_rule_is_in_the_manifest():
    assert problems(funcsgd, manifest.RULES) == []


def test_a_rule_without_entry_test_or_with_another_class_is_found():
    without = {name: promise for name, promise in manifest.RULES.items() if name != "sgd"}
    assert problems(funcsgd, without) == ["sgd: no entry"]
    wrong = {**manifest.RULES, "sgd": manifest.RULES["sgd"]._replace(exactness="rounding")}
    assert problems(funcsgd, wrong) == ["sgd: rounding in the manifest, bitwise in the docstring"]
    untested = {
        **manifest.RULES,
        "swa": manifest.RULES["swa"]._replace(test="tests/funcsgd/test_averaging.py::test_no"),
    }
    assert problems(funcsgd, untested) == ["swa: no test of its bits at 'tests/funcsgd/test_averaging.py::test_no'"]
    assert problems(funcsgd, {**manifest.RULES, "lion": manifest.RULES["sgd"]}) == ["lion: an entry and no rule"]


def test_a_new_rule_needs_an_entry(monkeypatch):
    def lion() -> optax.GradientTransformation:
        """A rule that somebody adds."""
        return optax.identity()

    monkeypatch.setattr(funcsgd, "lion", lion, raising=False)
    monkeypatch.setattr(funcsgd, "__all__", [*funcsgd.__all__, "lion"])
    assert problems(funcsgd, manifest.RULES) == ["lion: no entry"]


@pytest.mark.parametrize("name", [name for name, promise in manifest.RULES.items() if promise.exactness == "bitwise"])
def test_what_is_bitwise_names_its_evidence(name):
    promise = manifest.RULES[name]
    assert set(promise.evidence) == {"cpu, marked", "cpu, exact", "gpu, tpu"}
    assert set(promise.holds_in) <= set(manifest.PROGRAM_KINDS)

"""Places in a file that a fix could be: by hand, one line of source each; none of them runs a check."""

import ast
import textwrap

import jax.numpy as jnp
import optax
import pytest

import funcsgd
from torch_bridge.fixes import chains, forms, numbers
from torch_bridge.fixes.source import Source
from torch_bridge.judge.causes.edit import FileEdit, edited, edits_between, lines_of

NAMES = {"optax": optax, "funcsgd": funcsgd, "jnp": jnp}


def found(text, seek, *arguments, **options):
    """The texts after each change; all of them are Python."""
    source = Source(text, NAMES)
    texts = [source.changed(change) for change in seek(source, *arguments, **options)]
    for each in texts:
        ast.parse(each)
    return texts


CASES = {
    "a keyword": ("f = optax.trace(decay=0.8)", (numbers.keywords, ("decay",), "0.9"), ["f = optax.trace(decay=0.9)"]),
    "an argument by its place": (
        "f = optax.trace(0.8)", (numbers.keywords, ("decay",), "0.9"), ["f = optax.trace(0.9)"]),
    "a keyword that is left out": (
        "f = optax.sgd(0.1)", (numbers.keywords, ("momentum",), "0.9"), ["f = optax.sgd(0.1, momentum=0.9)"]),
    "one of no arguments": (
        "f = optax.scale_by_adam()", (numbers.keywords, ("eps",), "1e-06"), ["f = optax.scale_by_adam(eps=1e-06)"]),
    "a default that is the port's": (
        "f = optax.scale_by_adam()", (numbers.keywords, ("b1", "b2"), "0.99", 0.999),
        ["f = optax.scale_by_adam(b2=0.99)"]),
    "behind a wrapper": (
        "f = optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.8)", (numbers.keywords, ("momentum",), "0.9"),
        ["f = optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.9)"]),
    "of an unknown function": ("f = g(decay=0.8)", (numbers.keywords, ("decay",), "0.9"), ["f = g(decay=0.9)"]),
    "literals": ("a, b = 0.1, 0.10", (numbers.literals, 0.1, "0.2"),
                 ["a, b = 0.2, 0.10", "a, b = 0.1, 0.2", "a, b = 0.2, 0.2"]),
    "a negative literal": ("a = -0.1 + 0.1", (numbers.literals, -0.1, "0.2"), ["a = 0.2 + 0.1"]),
    "a flag is no number": ("a = True", (numbers.literals, 1.0, "2.0"), []),
    "letters of two bytes": ("é = 'é'; a = 0.1", (numbers.literals, 0.1, "0.2"), ["é = 'é'; a = 0.2"]),
    "another function": ("z = jnp.sum(x) + y.sum(-1)", (forms.other_name, {"sum": "mean"}),
                         ["z = jnp.mean(x) + y.sum(-1)", "z = jnp.sum(x) + y.mean(-1)"]),
    "a call": ("z = jnp.roll(x + 1, 1, 0) * 2", (forms.without_call, ("roll",)), ["z = (x + 1) * 2"]),
    "a method": ("z = (x + 1).astype(jnp.float16)", (forms.without_call, ("astype",)), ["z = x + 1"]),
    "a factor": ("z = x / 255 * (y / 2)", (forms.without_operand, (ast.Div,), (255,)), ["z = x * (y / 2)"]),
    "a summand": ("z = a + c * b", (forms.without_operand, (ast.Add,)), ["z = a", "z = c * b"]),
    "never what is divided": ("z = 2 / x", (forms.without_operand, (ast.Div,), (2,)), []),
    "a sign": ("z = -x.mean()", (forms.without_sign,), ["z = x.mean()"]),
    "the sign of a rule": ("f = optax.scale(lr * 2)", (forms.with_sign,), ["f = optax.scale(-(lr * 2))"]),
    "the sign of a sum": ("z = (a) + (b)", (forms.opposite_sign,), ["z = (a) - (b)"]),
    "a mask": ("m = lambda p: p.ndim < 2", (forms.opposite_comparison,), ["m = lambda p: p.ndim >= 2"]),
    "a slice": ("z = (x + y)[..., ::-1] * 2", (forms.not_reversed,), ["z = (x + y) * 2"]),
    "other slices stay": ("z = x[::2]", (forms.not_reversed,), []),
    "a transpose": ("z = x @ (a + b).T", (forms.not_transposed,), ["z = x @ (a + b)"]),
    "a root": ("z = m / jnp.sqrt(v + eps)", (forms.outside_root,), ["z = m / (jnp.sqrt(v) + eps)"]),
    "a maximum": ("z = m / jnp.maximum(v, eps)", (forms.sum_for_maximum,), ["z = m / (v + eps)"]),
    "a keyword too many": ("f(1, mask=m, b=2); f(mask=m)", (forms.without_keyword, ("mask",)),
                           ["f(1, b=2); f(mask=m)", "f(1, mask=m, b=2); f()"]),
    "keywords exchanged": ("f(eps=0.0, eps_root=1e-8)", (forms.exchanged_keywords, ("eps", "eps_root")),
                           ["f(eps=1e-8, eps_root=0.0)"]),
    "members in another order": (
        "f = optax.chain(optax.trace(0.9), optax.add_decayed_weights(0.1))", (chains.moved, "weight_decay"),
        ["f = optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9))"]),
    "a member less": ("f = optax.chain(a, b)", (chains.dropped,), ["f = optax.chain(b)", "f = optax.chain(a)"]),
    "a member more": ("f = optax.chain(a, b)", (chains.put_first, "funcsgd", "clip_grad_norm(1.0)"),
                      ["f = optax.chain(funcsgd.clip_grad_norm(1.0), a, b)"]),
    "a chain of a rule": ("f = optax.sgd(0.1)", (chains.put_first, "funcsgd", "clip_grad_norm(1.0)"),
                          ["f = optax.chain(funcsgd.clip_grad_norm(1.0), optax.sgd(0.1))"]),
    "another call": ("f = optax.clip(1.0)", (chains.other_call, {optax.clip: ("funcsgd", "clip_grad_value")}),
                     ["f = funcsgd.clip_grad_value(1.0)"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_change_by_hand(name):
    text, (seek, *arguments), expected = CASES[name]
    assert found(text, seek, *arguments) == expected


def test_an_import_is_added_behind_the_others():
    text = textwrap.dedent(
        '''\
        """A port."""

        import optax
        from optax import (
            chain,
        )

        f = optax.clip(1.0)
        '''
    )
    source = Source(text, {"optax": optax})
    (change,) = chains.other_call(source, {optax.clip: ("funcsgd", "clip_grad_value")})
    changed = source.changed(change)
    assert ")\nimport funcsgd\n\nf = funcsgd.clip_grad_value(1.0)\n" in changed
    assert edited(text, edits_between("port.py", text, changed)) == changed


def test_names_that_functions_import_are_known():
    text = "def port():\n    from optax import trace as buffer\n    return buffer(0.8)\n"
    assert found(text, numbers.keywords, ("decay",), "0.9") == [text.replace("0.8", "0.9")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_edits_are_whole_lines_and_make_the_text(end):
    old, new = (f"a{end}b{end}c", f"a{end}x{end}c{end}d{end}")
    edits = edits_between("port.py", old, new)
    assert edits[0] == FileEdit("port.py", 2, f"b{end}c", f"x{end}c{end}d{end}")
    assert edited(old, edits) == new
    assert "".join(lines_of(old)) == old


def test_a_file_that_was_changed_meanwhile_is_left_alone():
    edits = edits_between("port.py", "a\nb\n", "a\nc\n")
    with pytest.raises(ValueError, match=r"port\.py has changed at line 2 since it was checked"):
        edited("a\nbb\n", edits)
    with pytest.raises(ValueError, match="has changed"):
        edited("a\n", [FileEdit("port.py", 5, "", "c\n")])


def test_numbers_are_written_short_and_exact():
    assert numbers.shortest(0.1) == "0.1"
    assert numbers.shortest(1e-5) == "1e-05"
    assert float(numbers.shortest(1 / 3)) == 1 / 3
    assert numbers.shortest(1.0000000003e-05, 1e-6) == "1e-05"

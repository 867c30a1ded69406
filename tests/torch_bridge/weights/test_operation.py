import numpy as np
import pytest

from torch_bridge.weights.operation import Operation, parse


def test_by_hand():
    operation = Operation((2, 3)).transpose(1, 0).flip(0).reshape(3, 1, 2)
    assert operation.apply(np.arange(6).reshape(2, 3)).tolist() == [[[2, 5]], [[1, 4]], [[0, 3]]]
    assert operation.result == (3, 1, 2)


@pytest.mark.parametrize(
    "text",
    [
        "as is",
        "transpose(2, 0, 1)",
        "flip(0, 2)",
        "reshape(12, 2)",
        "transpose(2, 1, 0), flip(1), reshape(4, 6), flip(0)",
    ],
)
def test_what_is_printed_is_read_and_undone(text):
    array = np.random.default_rng(0).standard_normal((2, 3, 4))
    operation = parse(text, array.shape)
    assert str(operation) == text
    moved = operation.apply(array)
    assert moved.shape == operation.result
    assert np.array_equal(operation.undo(moved), array)


def test_nothing_is_printed_that_does_nothing():
    assert str(Operation((2, 3)).transpose(0, 1).reshape(2, 3).flip()) == "as is"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turn", "cannot read the operation 'turn'"),
        ("transpose(1, 0) twice", "cannot read"),
        ("transpose(0, 0)", r"transpose\(0, 0\) does not fit an array of shape \(2, 3\)"),
        ("reshape(5)", "does not fit"),
        ("flip(2)", "does not fit"),
        ("", "cannot read"),
    ],
)
def test_errors(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text, (2, 3))


def test_transpose_alone():
    assert parse("transpose", (2, 3)).result == (3, 2)

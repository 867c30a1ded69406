"""The first example prints the notebook's table, without torch."""

import re

import pytest

from tests.examples.run_without import printed

# The notebook's printed output; the line that follows is cut short in the document itself.
NOTEBOOK = """\
t = 0, loss = 13914.150519626783, W_hat = [ 3.46839621 11.60579438 17.92580962], b_hat = 8.459330490087142
t = 1000, loss = 11.353998351393074, W_hat = [2.91750236 6.49675418 8.25862308], b_hat = 3.9011841457839256
t = 2000, loss = 11.347854771798836, W_hat = [2.91616599 6.49297673 8.25240454], b_hat = 3.8987430621196633
t = 3000, loss = 11.347854769083396, W_hat = [2.9161651  6.49297422 8.25240041], b_hat = 3.8987414392232136
t = 4000, loss = 11.347854769083371, W_hat = [2.9161651  6.49297422 8.25240041], b_hat = 3.898741438144275
t = 5000, loss = 11.347854769083378, W_hat = [2.9161651  6.49297422 8.25240041], b_hat = 3.8987414381436416
t = 6000, loss = 11.347854769083378, W_hat = [2.9161651  6.49297422 8.25240041], b_hat = 3.8987414381436416
t = 7000, loss = 11.347854769083378, W_hat = [2.9161651  6.49297422 8.25240041], b_hat = 3.8987414381436416
t = 8000, loss = 11.347854769083378, W_hat = [2.9161651  6.49297422 8.25240041], b_hat = 3.8987414381436416
"""
CUT_SHORT = "t = 9000, loss = 11.3478547690"
LINE = re.compile(r"t = (\d+), loss = ([\d.]+), W_hat = (\[.*\]), b_hat = ([\d.]+)")


def rounded(number):
    """Twelve significant digits: the sums over the ten examples are taken in another order, which moves the rest."""
    return f"{float(number):.12g}"


@pytest.mark.thorough
def test_the_notebooks_table_without_torch():
    ours = printed("01_linear_regression.py", ["torch"]).splitlines()[:10]
    for our_line, line in zip(ours[:9], NOTEBOOK.splitlines(), strict=True):
        t, loss, weights, bias = LINE.fullmatch(line).groups()
        assert LINE.fullmatch(our_line)[1] == t
        assert rounded(LINE.fullmatch(our_line)[2]) == rounded(loss)
        assert LINE.fullmatch(our_line)[3] == weights
        assert rounded(LINE.fullmatch(our_line)[4]) == rounded(bias)
    assert ours[9].startswith(CUT_SHORT)


def test_an_absent_package_is_noticed():
    with pytest.raises(AssertionError, match="No module named 'optax'"):
        printed("01_linear_regression.py", ["optax"])

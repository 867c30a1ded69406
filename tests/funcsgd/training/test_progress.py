"""The line of progress."""

import jax
import jax.numpy as jnp

import funcsgd
from funcsgd import train
from funcsgd.training import progress_bar


def test_is_drawn_over_itself_and_stays_at_the_end(capsys):
    progress_bar(1, 4, 2.5)
    progress_bar(4, 4, 0.125)
    first, second = capsys.readouterr().err.split("\r")[1:]
    assert first.rstrip(" ") == " 25% |#######                       | 1/4 updates, loss 2.5"
    assert second.endswith("\n")
    assert second.strip() == "100% |##############################| 4/4 updates, loss 0.125"


def test_at_most_a_hundred_times_a_run_and_at_the_end(capsys):
    def loss_fn(w, batch):
        return ((w - batch) ** 2).mean()

    train(loss_fn, funcsgd.sgd(0.1), jnp.array(1.0), jnp.arange(4.0), epochs=1003, progress=True)
    jax.effects_barrier()
    shown = capsys.readouterr().err
    assert 100 <= shown.count("\r") <= 101
    assert "1003/1003 updates" in shown

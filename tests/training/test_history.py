"""The times of a history."""

import numpy as np
import pytest

from hybrid.training.history import active_seconds, closing


def lines(paces, steps=10, first=0.0):
    """A history with a line every `steps` steps, which take `paces` seconds each; `first`: seconds before the first step."""
    seconds = first + np.cumsum(np.multiply(paces, steps))
    return [{"step": steps * (i + 1), "seconds": each} for i, each in enumerate(seconds)]


def test_the_end_is_a_quarter_of_an_epoch():
    """Ten steps an epoch: a line every two steps, as a quarter has two and a half, and one after the last step."""
    history = [{"step": step, "epoch": step / 10, "seconds": 0.0, "loss": float(step)} for step in (2, 4, 6, 8)]
    assert closing(history) == {"loss": 8.0}
    assert closing([*history, {"step": 9, "epoch": 0.9, "seconds": 0.0, "loss": 2.0}]) == {"loss": pytest.approx(18 / 3)}
    assert closing(history[:1]) == {"loss": 2.0}


def test_pauses_do_not_count():
    paces = [1.0] * 10 + [2.0] * 10  # the second half has larger images
    whole = active_seconds(lines(paces))
    assert np.array_equal(whole, np.cumsum(paces) * 10)
    stopped = paces.copy()
    stopped[4], stopped[5], stopped[15] = 300.0, 500.0, 11.0
    assert np.allclose(active_seconds(lines(stopped)), whole)


@pytest.mark.parametrize("slow", [4.9, 3.0])
def test_slow_steps_count(slow):
    assert active_seconds(lines([1.0] * 5 + [slow] + [1.0] * 5))[-1] == pytest.approx(100 + 10 * slow)


def test_the_first_steps_count_with_their_compilation():
    assert active_seconds(lines([1.0] * 10, first=500.0))[-1] == 600
    assert active_seconds(lines([1.0], first=500.0))[-1] == 510


def test_a_line_more_for_the_same_step_and_no_lines():
    same = [{"step": 5, "seconds": 5.0}, {"step": 5, "seconds": 5.1}, {"step": 10, "seconds": 10.0}]
    assert active_seconds(same)[-1] == 10 and len(active_seconds([])) == 0

"""Progress: plain lines without a terminal, and nothing from other processes than rank 0."""

import pytest
import torch

from hybrid.machine import distributed
from hybrid.machine.lines import in_words
from hybrid.training import progress
from hybrid.training.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """The time, which stands still until it is told otherwise."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def run(clock, tmp_path, after=None, seconds=10.0, time_share=float):
    """Forty of eighty steps after the first twenty, of so many seconds each; an epoch is of forty."""
    with Progress(tmp_path / "hybrid/seed0/prior", 20, 80, 40, 128, time_share) as shown:
        for step in range(21, 61):
            clock[0] += seconds
            shown.update(step, {"loss": torch.tensor(6.0)}, 2, after)


def test_a_line_a_minute_with_epoch_loss_and_time_left(clock, tmp_path, capsys):
    run(clock, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6  # in 400 seconds
    assert lines[0] == "hybrid/seed0/prior: epoch 0.65 of 2, loss 3, 9.0 min left"
    assert lines[-1] == "hybrid/seed0/prior: epoch 1.40 of 2, loss 3, 4.0 min left"


def test_what_comes_after_is_told_too(clock, tmp_path, capsys):
    run(clock, tmp_path, after=7200.0)
    assert capsys.readouterr().err.splitlines()[0].endswith("9.0 min left, 2.1 h in all".replace("2.1 h", in_words(7740)))


def test_short_trainings_and_other_processes_are_silent(clock, tmp_path, capsys, monkeypatch):
    run(clock, tmp_path, seconds=1.0)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    run(clock, tmp_path)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(clock, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    run(clock, tmp_path)
    shown = capsys.readouterr().err
    assert "prior:" in shown and "images/s" in shown and "epoch" not in shown


@pytest.mark.parametrize(("terminal", "says"), [(True, "<05:50,"), (False, "epoch 1.40 of 2, loss 3, 7.2 min left")])
def test_steps_that_take_longer_later(terminal, says, clock, tmp_path, capsys, monkeypatch):
    """The time is as the square of the steps: 400 s took half of it, from (1/4)^2 to (3/4)^2, so 7/16 take 350 s more."""
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    run(clock, tmp_path, time_share=lambda done: done**2)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (150, "2.5 min"), (1800, "30 min"), (7200, "2.0 h"), (72 * 3600, "3.0 days")],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words

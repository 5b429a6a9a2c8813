"""Lines about long work: one a minute, with the images that are done and the time left."""

import pytest
import torch

from hybrid.machine import distributed, lines


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: now[0])
    return now


def double(clock, seconds):
    """A function that takes so many seconds for each part."""

    def function(x):
        clock[0] += seconds
        return 2 * x

    return function


PARTS = [(torch.ones(500) * i,) for i in range(4)]


def test_a_line_a_minute(clock, capsys):
    found = distributed.map_sharded(double(clock, 50.0), PARTS)
    assert torch.equal(found, 2 * torch.cat([part for (part,) in PARTS]))
    # After 50, 100 and 150 seconds; a line at 100, and none so soon after it.
    assert capsys.readouterr().err == "1,000 of 2,000 images, 1.7 min left\n"


def test_short_work_and_other_processes_are_silent(clock, capsys, monkeypatch):
    distributed.map_sharded(double(clock, 10.0), PARTS)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    distributed.map_sharded(double(clock, 100.0), PARTS)
    assert capsys.readouterr().err == ""

"""Checkpoints survive a full disk and a damaged file."""

import numpy as np
import pytest
import torch

from hybrid.errors import HybridError
from hybrid.machine import files
from hybrid.training import checkpoint


def state(step, **others):
    """All that a checkpoint has, next to nothing of each."""
    weights = {"w": torch.full((2,), float(step))}
    own = {"about": {}, "provenance": {}, "step": step, "steps": 9, "seconds": 0.0, "history": ""}
    return own | {"model": weights, "optimisers": {}, "weights": weights} | others


def test_the_last_but_one_is_kept(tmp_path):
    path = tmp_path / "deep" / "checkpoint.pt"
    assert checkpoint.load(path) is None
    for step in range(3):
        checkpoint.save(path, state(step))
    assert checkpoint.load(path)["step"] == 2
    assert checkpoint.load(checkpoint.previous(path))["step"] == 1
    assert {p.name for p in path.parent.iterdir()} == {"checkpoint.pt", "checkpoint.pt.previous"}


def test_a_damaged_file_is_kept_aside(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for step in range(2):
        checkpoint.save(path, state(step))
    path.write_bytes(b"half a file")
    assert checkpoint.load(path)["step"] == 0
    assert path.with_name("checkpoint.pt.damaged").read_bytes() == b"half a file"
    checkpoint.previous(path).write_bytes(b"")
    assert checkpoint.load(path) is None


def test_a_flipped_bit_is_found(tmp_path, caplog):
    """torch.load looks at no CRC."""
    path = tmp_path / "checkpoint.pt"
    for step in range(2):
        checkpoint.save(path, state(step))
    content = bytearray(path.read_bytes())
    place = content.index(np.full(2, 1.0, np.float32).tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert checkpoint.load(path)["step"] == 0
    assert "the CRC of" in caplog.text and "set aside as checkpoint.pt.damaged" in caplog.text


@pytest.mark.parametrize(
    "found",
    [
        [],
        {},
        {"about": {}},
        state(1, about=[]),
        state(1, weights={"w": torch.tensor([1.0, float("nan")])}),
        state(1, model={"w": torch.tensor(float("inf"))}),
        state("1"),
    ],
    ids=str,
)
def test_what_is_no_whole_checkpoint_is_set_aside(tmp_path, found):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state(0))
    checkpoint.save(path, found)
    assert checkpoint.load(path)["step"] == 0 and path.with_name("checkpoint.pt.damaged").exists()


def test_pickles_are_never_loaded(tmp_path):
    path, ran = tmp_path / "checkpoint.pt", []

    class Bad:
        def __reduce__(self):
            return ran.append, (1,)

    torch.save(state(0, about={"x": Bad()}), path)
    assert checkpoint.load(path) is None and not ran


def test_weights_are_told_apart():
    one, other = {"w": torch.zeros(2)}, {"w": torch.tensor([0.0, 1e-30])}
    assert checkpoint.digest(one) == checkpoint.digest({"w": torch.zeros(2)}) != checkpoint.digest(other)


SHORT = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError(), RuntimeError(SHORT)])
def test_what_says_nothing_of_the_file_leaves_it(tmp_path, monkeypatch, error):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state(0))

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises(HybridError, match="it was not changed"):
        checkpoint.load(path)
    monkeypatch.undo()
    assert checkpoint.load(path)["step"] == 0


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HybridError, match="check free space and permissions"):
        checkpoint.save(tmp_path / "file" / "checkpoint.pt", {"step": 0})


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, error):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state(0))

    def full(_, target):
        target.write_bytes(b"part")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(HybridError, match="what was there is intact"):
        checkpoint.save(path, state(1))
    monkeypatch.undo()
    assert checkpoint.load(path)["step"] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_is_used_by_one_training_at_a_time(tmp_path):
    with files.sole_use(tmp_path / "run"):
        with (
            pytest.raises(HybridError, match=r"another process is at work in .*run: wait for it"),
            files.sole_use(tmp_path / "run"),
        ):
            pytest.fail("the second got in")
        with files.sole_use(tmp_path / "other"):
            pass
    with files.sole_use(tmp_path / "run"):
        pass


def test_a_failed_write_leaves_no_temporary_file(tmp_path):
    with pytest.raises(ZeroDivisionError):
        files.write_atomically(tmp_path / "x", lambda path: path.write_text(str(1 / 0)))
    assert list(tmp_path.iterdir()) == []

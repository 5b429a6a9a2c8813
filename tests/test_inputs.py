"""Inputs that nobody thought of, by command line, by a notebook's parameters, by a file: all end well or in one line.

HYBRID_EXAMPLES inputs of each kind, 20 here and 1000 by `make test-inputs`, which prints how many were tried.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from PIL import Image

from hybrid import cli, paths, released
from hybrid.data import datasets, pictures
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.machine import files
from hybrid.training import checkpoint
from hybrid.training.history import read_history
from hybrid.workflows import plan

EXAMPLES = int(os.environ.get("HYBRID_EXAMPLES", "20"))
tried = Counter()


@pytest.fixture(scope="module", autouse=True)
def counts(request):
    """Writes how many were tried, after all tests of this file."""
    yield
    if report := os.environ.get("HYBRID_REPORT"):
        assert set(tried) == {"command lines", "parameters of notebooks", "data sets", "damaged files"}, "run all tests"
        files.write_json(paths.REPOSITORY / report, dict(tried))
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\ninputs: tried {tried.total()}, " + ", ".join(f"{count} {kind}" for kind, count in tried.items()))


def many(function):
    """So many examples, each of which may take its time; they share a test's folder and patches."""
    return settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))(function)


ODD = ["", "nan", "-1", "0", "inf", "1e400", str(2**64), "None", "smoke", "digits", ".", "a,b=c", "smoke,seed=3", "x.png"]
word = some.text(max_size=8).filter(lambda text: not set(text) & set("/~\x00") and ".." not in text)  # stays in the folder
value = some.sampled_from(ODD) | some.integers().map(str) | some.floats().map(str) | word
HEAVY = {
    "bench",
    "screen",
    "bounds",
    "release",
    "expect",
    "factors",
    "tradeoff",
}  # take minutes even where everything is wrong but one


@some.composite
def command_line(draw):
    """A command with some of its own options, and values that may or may not suit them."""
    command = draw(some.sampled_from([each for each in cli.COMMANDS if each.__name__ not in HEAVY]))
    names = [f"--{name.replace('_', '-')}" for name in inspect.signature(command).parameters]
    arguments = [command.__name__]
    for name in draw(some.lists(some.sampled_from([*names, "--nothing"]), max_size=5)):
        arguments += [name, *draw(some.lists(value, max_size=2))]
    return arguments


@pytest.fixture
def light(home, monkeypatch):
    """Nothing is trained, judged, loaded or downloaded: whoever gets as far has had a usable command line."""

    def enough(*_, **__):
        raise HybridError("far enough")

    monkeypatch.chdir(home)
    for name in ("model", "outcome", "history", "gallery", "figure"):
        monkeypatch.setattr(Experiment, name, enough)
    monkeypatch.setattr(released, "open_model", enough)
    monkeypatch.setattr(plan, "make", enough)
    monkeypatch.setattr(datasets, "_from_torchvision", enough)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("hybrid.cli.signals", contextlib.nullcontext)


@many
@given(arguments=command_line())
@example(arguments=["reproduce", "--methods"])
@example(arguments=["sample", "--run", "cifar10", "--out", "."])
def test_any_command_line(light, arguments):
    tried["command lines"] += 1
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = cli.main(arguments)
        except SystemExit as stop:  # the parser's own, which says in a box what it expected
            status = stop.code
    assert status in (0, 2), arguments
    assert "Traceback" not in error.getvalue() and (status == 0 or error.getvalue().strip()), arguments


@many
@given(
    parameters=some.dictionaries(
        some.sampled_from(["profile", "dataset", "seed", "sead", "_x"]),
        some.none() | some.booleans() | some.integers() | some.floats() | word | some.lists(some.integers()),
        max_size=3,
    )
)
def test_any_parameters_of_a_notebook(home, parameters):
    tried["parameters of notebooks"] += 1
    with contextlib.suppress(HybridError):
        Experiment.from_notebook({"profile": "smoke", "dataset": "digits", "seed": 0} | parameters)


array = some.sampled_from(
    [
        np.zeros((4, 32, 32, 3), np.uint8),
        np.zeros((4, 8, 6), np.uint8),
        np.zeros((4, 32, 32, 3)),
        np.zeros((0, 32, 32), np.uint8),
        np.zeros((2, 32), np.uint8),
        np.arange(4),
        np.arange(4)[:, None] % 2,
        np.array([0, 1, -1, 2**40]),
        np.array([0.0, 1.0, np.nan, 1.0]),
        np.array(["a", "b"]),
        np.array(3),
        np.zeros(4, bool),
        np.zeros(4, [("x", int)]),
    ]
)


@many
@given(arrays=some.dictionaries(some.sampled_from([*datasets.ARRAYS, "class_names", "x"]), array))
def test_any_arrays_as_a_data_set(tmp_path, arrays):
    tried["data sets"] += 1
    np.savez(tmp_path / "x.npz", **arrays)
    with contextlib.suppress(HybridError):
        found = datasets.load(tmp_path / "x.npz")
        assert found.train_images.dtype == torch.uint8 and found.train_images.shape[1:] == (3, 32, 32)
        assert found.classes >= 1 and int(found.train_labels.max()) < found.classes


def whole_files(folder):
    """A good file of each kind that is read, and its reader."""
    picture = folder / "x.png"
    Image.fromarray(np.arange(3 * 40 * 30, dtype=np.uint8).reshape(40, 30, 3)).save(picture)
    npz = folder / "x.npz"
    labels = np.arange(4) % 2
    images = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(npz, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    state = {
        "about": {},
        "provenance": {},
        "step": 1,
        "steps": 1,
        "seconds": 1.0,
        "history": "",
        "model": {},
        "optimisers": {},
        "weights": {},
    }
    saved = folder / "checkpoint.pt"
    torch.save(state | {"weights": {"a": torch.ones(3)}}, saved)
    kept = folder / "x.json"
    files.write_json(kept, files.sealed({"a": 1.5}))
    history = folder / "history.jsonl"
    history.write_text('{"step": 1}\n{"step": 2}\n')
    arrays = folder / "arrays.npz"
    files.save_arrays(arrays, {"a": np.ones(3)})
    return {
        picture: pictures.read_image,
        npz: datasets.load,
        saved: checkpoint.load,
        kept: files.read_json,
        history: read_history,
        arrays: files.load_arrays,
    }


@many
@given(data=some.data())
def test_any_damage_of_any_file(tmp_path, data):
    """Cut, flipped, with other bytes in the middle, or something else: a reader gives the same, nothing, or one line."""
    tried["damaged files"] += 1
    readers = whole_files(tmp_path)
    path = data.draw(some.sampled_from(sorted(readers)))
    content = bytearray(path.read_bytes())
    place = data.draw(some.integers(0, len(content) - 1))
    kind = data.draw(some.sampled_from(["cut", "flip", "insert", "other"]))
    if kind == "cut":
        content = content[:place]
    elif kind == "flip":
        content[place] ^= 1 << data.draw(some.integers(0, 7))
    elif kind == "insert":
        content[place:place] = data.draw(some.binary(min_size=1, max_size=8))
    else:
        content = data.draw(some.binary(max_size=64))
    path.write_bytes(content)
    with contextlib.suppress(HybridError):
        readers[path](path)
    for left in tmp_path.glob("*.damaged"):
        left.unlink()


@pytest.mark.parametrize("command", [["screen"], ["tradeoff", "--rows", "ends"], ["factors"]])
def test_a_probe_without_classes_is_refused_before_any_training(command, tmp_path, home, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(15):
        Image.new("RGB", (32, 32), (15 * number, 0, 0)).save(flat / f"{number}.png")
    assert cli.main([*command, "--profile", "smoke", "--dataset", str(flat)]) == 2
    assert "has no classes: a probe needs two or more" in capsys.readouterr().err
    assert not list(home.rglob("checkpoint.pt"))

"""The stored notebooks: thin, executed, with facts that nbval checks; and how they are executed."""

import os
import signal
import threading
import time

import nbformat
import pytest

from hybrid import cli, paths
from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS
from hybrid.paths import REPOSITORY
from hybrid.workflows import notebooks

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
PARAMETERS = {  # the other notebooks take an experiment's
    "explorer": {"weights": "cifar10", "images": ""},
    "own_images": {"weights": "cifar10", "folder": ""},
    "bounds": {"truth": 4.0, "m": 256},
    "tradeoff": {"results": "demo-digits"},
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_as_they_should_be(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    defaults = {}
    exec(tagged[0].source, {}, defaults)  # literals only
    assert defaults == PARAMETERS.get(path.stem, {"profile": "demo", "dataset": "digits", "seed": 0})
    assert sum(len(cell.source.splitlines()) for cell in code) < (72 if path.stem == "method" else 60)
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) or "text/html" in output.get("data", {}) for output in outputs)
    assert all(output.output_type != "error" for output in outputs)
    checked = [cell for cell in code if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert checked
    for cell in checked:  # a sentence that a reader understands
        assert cell.outputs and cell.outputs[0].output_type == "stream" and len(cell.outputs[0].text.split()) > 4
    assert notebook.cells[-1].cell_type == "markdown"
    assert notebook.cells[-1].source.startswith("**What to try next.**")


def test_there_are_all():
    figures = {f"figure{number}" for number in (2, 3, 4, 5, 6)}
    others = {"method", "table1", "baselines", "ablations", "explorer", "bounds", "factors", "own_images"}
    assert {path.stem for path in NOTEBOOKS} >= figures | others


@pytest.fixture
def two(home, monkeypatch):
    """Writes two notebooks of an experiment and one of none, with this second cell."""
    folder = home / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(paths, "notebooks", lambda: folder)

    def write(cell):
        own = "profile = 0\ndataset = 0\nseed = 0"
        for name, parameters in (("a", own), ("b", own), ("c", "x = 1")):
            tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
            kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
            made = nbformat.v4.new_notebook(cells=[tagged, nbformat.v4.new_code_cell(cell)], metadata=kernel)
            nbformat.write(made, folder / f"{name}.ipynb")
        return Experiment("smoke")

    return write


@pytest.mark.parametrize("content", [b"", b'{"cells": [', b"[]", b'{"cells": [{}]}', b"\xff"])
def test_a_notebook_that_is_cut_is_told(two, home, content):
    experiment = two("1")
    (home / "notebooks" / "a.ipynb").write_bytes(content)
    with pytest.raises(HybridError, match=r"a\.ipynb is not a readable notebook"):
        notebooks.executed_copies(experiment, tuple(METHODS))


def test_images_without_classes_leave_out_what_needs_them(home, monkeypatch):
    experiment = Experiment("smoke")
    monkeypatch.setattr(ImageSet, "labelled", False)
    left = {path.stem for path in notebooks.executed_copies(experiment, tuple(METHODS))}
    assert "factors" not in left and {"figure2", "table1"} <= left


def test_a_notebook_is_stale_if_any_that_it_shows_is_newer(home):
    experiment = Experiment("smoke")
    copies = notebooks.executed_copies(experiment, tuple(METHODS))
    for target in copies.values():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    later = time.time() + 10

    def stale_after(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (later, later))
        found = {notebook.stem for notebook in notebooks.stale(experiment, tuple(METHODS))}
        path.unlink()
        return found

    assert notebooks.stale(experiment, tuple(METHODS)) == []
    assert stale_after(experiment.results / "seed1" / "hybrid.json") == {"table1", "baselines"}
    assert stale_after(experiment.results / "factors" / "seed0.json") == {"factors"}
    assert stale_after(experiment.folder / "hybrid.json") == {notebook.stem for notebook in copies}


def test_kernels_warn_of_nothing(two, capfd):
    experiment = two("print(profile, seed)")
    executed = notebooks.execute(experiment, tuple(METHODS))
    assert [path.name for path in executed] == ["a.ipynb", "b.ipynb"]
    assert all("smoke 0" in path.read_text() for path in executed)
    assert capfd.readouterr().err == ""
    assert notebooks.stale(experiment, tuple(METHODS)) == []


def test_what_stops_the_execution_ends_the_kernels(two, home):
    experiment = two(f"import os, time\nopen(f'{home}/{{os.getpid()}}.pid', 'w').close()\ntime.sleep(600)")

    def interrupt():
        while len(list(home.glob("*.pid"))) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(cli.Interrupted), cli.signals():
        notebooks.execute(experiment, tuple(METHODS))
    for path in home.glob("*.pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.stem), 0)

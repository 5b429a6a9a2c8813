"""Notebooks, executed on an experiment."""

import json
import os
import shutil
from dataclasses import replace

import nbformat
import numpy as np
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from hybrid import paths
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS
from hybrid.workflows import notebooks


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"profil": "smoke"}, "parameter 'profil' is unknown: this notebook takes dataset, profile, seed"),
        ({"profile": "huge"}, "choose one of smoke, demo"),
    ],
)
def test_notebooks_refuse_what_they_do_not_know(home, tmp_path, parameters, says):
    with pytest.raises(PapermillExecutionError, match=says):
        papermill.execute_notebook(
            paths.notebooks() / "figure2.ipynb", tmp_path / "out.ipynb", parameters, kernel_name="python3", progress_bar=False
        )


WITHOUT_EXPERIMENT = {"explorer", "bounds", "own_images", "tradeoff"}
OF_EXPERIMENTS = [
    path for path in sorted((paths.REPOSITORY / "notebooks").glob("*.ipynb")) if path.stem not in WITHOUT_EXPERIMENT
]


@pytest.mark.parametrize("notebook", OF_EXPERIMENTS, ids=lambda path: path.stem)
def test_every_notebook_runs_with_other_parameters(done, notebook):
    """In this process: a kernel takes seconds to import what is imported here. The next test executes with papermill."""
    namespace = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, notebook.name, "exec"), namespace)
            if "parameters" in cell.metadata.get("tags", []):
                namespace["profile"] = "smoke"
    assert namespace["experiment"].folder == Experiment("smoke").folder


@pytest.mark.slow
def test_notebooks_run_from_any_folder_and_are_not_run_twice(done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "notebooks", lambda: paths.REPOSITORY / "notebooks")
    experiment = Experiment("smoke")
    assert set(notebooks.executed_copies(experiment, tuple(METHODS))) == set(OF_EXPERIMENTS)
    monkeypatch.setattr(paths, "notebooks", lambda: tmp_path)
    for path in OF_EXPERIMENTS[:3]:  # more than run at once
        shutil.copy(path, tmp_path)
    executed = notebooks.execute(experiment, tuple(METHODS))
    assert len(executed) == 3
    for path in executed:
        cells = nbformat.read(path, as_version=4).cells
        assert all(output.output_type != "error" for cell in cells if cell.cell_type == "code" for output in cell.outputs)
    times = [os.stat(path).st_mtime for path in executed]
    again = Experiment("smoke")
    again.model()
    notebooks.execute(again, tuple(METHODS))
    assert times == [os.stat(path).st_mtime for path in executed]


def test_a_notebooks_cells_can_be_run_again(done):
    """What they made then stands among the parameters; a plain value that is none is still refused."""
    cells = {"profile": "smoke", "dataset": "digits", "seed": 0, "json": json, "replace": replace, "data": {"t": np.ones(1)}}
    cells["experiment"] = Experiment.from_notebook(cells)
    assert Experiment.from_notebook(cells).folder == cells["experiment"].folder
    with pytest.raises(HybridError, match="parameter 'epochs' is unknown: this notebook takes dataset, profile, seed"):
        Experiment.from_notebook(cells | {"epochs": 3})

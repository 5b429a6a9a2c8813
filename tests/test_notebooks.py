"""The stored notebooks: thin, executed, with facts that nbval checks."""

import nbformat
import pytest

from hybrid.paths import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
PARAMETERS = {"explorer": {"weights": "cifar10", "images": ""}}  # the other notebooks take an experiment's


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
    assert sum(len(cell.source.splitlines()) for cell in code) < 60
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) or "text/html" in output.get("data", {}) for output in outputs)
    assert all(output.output_type != "error" for output in outputs)
    checked = [cell for cell in code if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert checked
    assert all(cell.outputs for cell in checked)


def test_there_are_all():
    figures = {f"figure{number}" for number in (2, 3, 4, 5, 6)}
    assert {path.stem for path in NOTEBOOKS} >= figures | {"method", "table1", "baselines", "ablations", "explorer"}

"""The notebooks of an experiment, executed with papermill, each in a kernel of its own."""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from hybrid import paths
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import TABLE

AT_ONCE = 2  # most of a notebook's time is its imports, on one core
# A notebook's methods; other ones' is the hybrid.
NEEDS = {"baselines": set(TABLE), "ablations": {"hybrid", "contrast_on_z"}, "figure6": {"hybridplus"}}


def of(experiment: Experiment, methods: tuple[str, ...]) -> dict[Path, Path]:
    """These methods' notebooks and their executed copies. Those that do not take an experiment's parameters are left out."""
    folder = experiment.runs / "notebooks" / f"seed{experiment.seed}"
    found = [path for path in sorted(paths.notebooks().glob("*.ipynb")) if set(methods) >= NEEDS.get(path.stem, {"hybrid"})]
    return {notebook: folder / notebook.name for notebook in found if "profile" in _parameters(notebook)}


def stale(experiment: Experiment, methods: tuple[str, ...]) -> list[Path]:
    """Those of them that are newer than their executed copies, or whose outcomes are."""
    outcomes = [path.stat().st_mtime for path in experiment.outcomes.glob("*.json*")]
    return [
        notebook
        for notebook, target in of(experiment, methods).items()
        if not target.exists() or target.stat().st_mtime <= max([notebook.stat().st_mtime, *outcomes])
    ]


def execute(experiment: Experiment, methods: tuple[str, ...]) -> list[Path]:
    """Execute the stale ones, and return the executed copies of all. What ends this early ends the kernels too."""
    parameters = {"profile": experiment.profile.name, "dataset": experiment.dataset, "seed": experiment.seed}
    targets, todo = of(experiment, methods), stale(experiment, methods)
    if not todo:
        return list(targets.values())
    kernel, kernels = _kernel_manager()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [pool.submit(_execute, notebook, targets[notebook], parameters, kernel) for notebook in todo]
        try:
            for run in runs:
                run.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(run.done() for run in runs):  # one may just be starting its kernel
                for each in kernels:
                    if each.has_kernel:
                        each.provisioner.process.kill()
                time.sleep(0.1)
            raise
    return list(targets.values())


def _execute(notebook: Path, target: Path, parameters: dict, kernel: type) -> None:
    import papermill  # slow to import
    from papermill.exceptions import PapermillExecutionError

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}")
    try:
        papermill.execute_notebook(
            notebook, partial, parameters, kernel_name="python3", progress_bar=False, kernel_manager_class=kernel
        )
    except PapermillExecutionError as error:
        raise HybridError(f"notebook {notebook.name} failed ({error.ename}: {error.evalue}): see {partial}") from error
    partial.replace(target)


def _kernel_manager() -> tuple[type, list]:
    """A kernel manager for papermill, and the list of those that were made.

    Its kernels are spoken to through files, not ports: on TCP each warns that whoever is on the machine can listen.
    """
    from jupyter_client import AsyncKernelManager

    made, folder, number = [], tempfile.TemporaryDirectory(prefix="hybrid"), count()

    class FileKernelManager(AsyncKernelManager):
        def __init__(self, **traits):
            # A socket's path may have a hundred characters: the folder that Jupyter would take can be too long.
            super().__init__(transport="ipc", ip=f"{folder.name}/{next(number)}", **traits)
            made.append(self)

    return FileKernelManager, made


def _parameters(notebook: Path) -> str:
    """The source of a notebook's parameters."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return "".join(line for cell in cells if "parameters" in cell["metadata"].get("tags", []) for line in cell["source"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HybridError(f"{notebook} is no notebook that can be read ({error}): restore it, as with git checkout") from error

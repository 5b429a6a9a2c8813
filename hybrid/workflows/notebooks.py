"""Execute an experiment's notebooks with papermill, each in its own kernel."""

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

AT_ONCE = 2  # notebooks executed in parallel; most of their time is for imports, on one core
# The methods that a notebook needs; the others need the hybrid.
NEEDS = {
    "baselines": set(TABLE),
    "ablations": {"hybrid", "contrast_on_z"},
    "factors": {"hybrid", "mocov2"},
    "figure6": {"hybridplus"},
}
LABELLED = {"factors"}  # those that need classes
# What a notebook shows beside its seed's outcomes, from the results' folder.
SHOWS = {"table1": "seed*/*.json", "baselines": "seed*/*.json", "factors": "factors/*.json"}


def executed_copies(experiment: Experiment, methods: tuple[str, ...]) -> dict[Path, Path]:
    """Return the notebooks for these methods, with the paths of their executed copies.

    Notebooks without the parameters of an experiment are left out.
    """
    folder = experiment.runs / "notebooks" / f"seed{experiment.seed}"
    found = [path for path in sorted(paths.notebooks().glob("*.ipynb")) if set(methods) >= NEEDS.get(path.stem, {"hybrid"})]
    found = [path for path in found if experiment.images.labelled or path.stem not in LABELLED]
    return {notebook: folder / notebook.name for notebook in found if "profile" in _parameters(notebook)}


def stale(experiment: Experiment, methods: tuple[str, ...]) -> list[Path]:
    """Return the notebooks to execute: those without an executed copy that is newer than the notebook and all that it shows."""
    outcomes = list(experiment.folder.glob("*.json*"))

    def is_stale(notebook: Path, target: Path) -> bool:
        shown = [*outcomes, *experiment.results.glob(SHOWS[notebook.stem])] if notebook.stem in SHOWS else outcomes
        return not target.exists() or target.stat().st_mtime <= max(path.stat().st_mtime for path in (notebook, *shown))

    return [notebook for notebook, target in executed_copies(experiment, methods).items() if is_stale(notebook, target)]


def execute(experiment: Experiment, methods: tuple[str, ...]) -> list[Path]:
    """Execute the stale notebooks and return the paths of all executed copies. An exception also stops the kernels."""
    parameters = {"profile": experiment.profile.name, "dataset": experiment.dataset, "seed": experiment.seed}
    targets, todo = executed_copies(experiment, methods), stale(experiment, methods)
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
            while not all(run.done() for run in runs):  # a kernel may be about to start
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
            notebook,
            partial,
            parameters,
            kernel_name="python3",
            progress_bar=False,
            kernel_manager_class=kernel,
            shutdown_kernel="immediate",  # one that ends by itself may write to a closed socket and log that
        )
    except PapermillExecutionError as error:
        raise HybridError(f"notebook {notebook.name} failed ({error.ename}: {error.evalue}): see {partial}") from error
    partial.replace(target)


def _kernel_manager() -> tuple[type, list]:
    """Return a class of kernel managers for papermill, and the list of its instances.

    Its kernels communicate through files. With TCP ports, each kernel warns that all users of the machine can listen.
    """
    from jupyter_client import AsyncKernelManager

    made, folder, number = [], tempfile.TemporaryDirectory(prefix="hybrid"), count()

    class FileKernelManager(AsyncKernelManager):
        def __init__(self, **traits):
            # The path of a socket can have about a hundred characters, and Jupyter's default folder may be too long.
            super().__init__(transport="ipc", ip=f"{folder.name}/{next(number)}", **traits)
            made.append(self)

        async def _async_interrupt_kernel(self) -> None:
            """Interrupt a cell, but not an idle kernel that is shutting down, which would log that as an error."""
            if not self.shutting_down:
                await super()._async_interrupt_kernel()

    return FileKernelManager, made


def _parameters(notebook: Path) -> str:
    """Return the source of a notebook's parameters cell."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return "".join(line for cell in cells if "parameters" in cell["metadata"].get("tags", []) for line in cell["source"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HybridError(
            f"{notebook} is not a readable notebook ({error}): restore it, for example with git checkout"
        ) from error

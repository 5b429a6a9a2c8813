"""The whole of an experiment: every method trained and judged, the figures, the table, the notebooks, the report."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import papermill
from papermill.exceptions import PapermillExecutionError

from hybrid import compare, curves, distributed, figures, given, nearest, paths, report, table
from hybrid.checkpoint import write_atomically
from hybrid.errors import HybridError
from hybrid.experiment import Experiment, write_json
from hybrid.methods import METHODS, TABLE

NOTEBOOKS_AT_ONCE = 2  # most of a notebook's time is its imports, on one core
NEEDS = {
    "baselines": set(TABLE),
    "ablations": {"hybrid", "contrast_on_z"},
    "figure6": {"hybridplus"},
}  # a notebook's methods; other ones' is the hybrid


def reproduce(experiment: Experiment, methods: tuple[str, ...] = tuple(METHODS), notebooks: bool = True) -> Path:
    """Make what is not made yet of the hybrid and the other `methods`, and return where the report is.

    Raises TimeUp when the experiment's clock runs out.
    """
    methods = tuple(name for name in METHODS if name == "hybrid" or name in methods)
    for name in methods:
        experiment.model(name)
        experiment.metrics(name)
    return distributed.from_first(lambda: _show(experiment, methods, notebooks))


def _show(experiment: Experiment, methods: tuple[str, ...], notebooks: bool) -> Path:
    """Whatever is drawn and written of what was measured."""
    _draw_hybrid(experiment)
    shown = [name for name in methods if name in TABLE and "fid" in TABLE[name].metrics]
    if "hybridplus" in methods:
        figures.save_figure(given.draw(experiment.figure(6)), experiment.outcomes / "figure6")
    galleries = figures.draw_galleries({TABLE[name].title: experiment.gallery(name) for name in shown})
    figures.save_figure(galleries, experiment.outcomes / "baselines")
    for name in shown:
        if nearest.NAMES[0] in (gallery := experiment.gallery(name)):  # older galleries lack them
            figures.save_figure(nearest.draw(gallery), experiment.outcomes / f"{name}-nearest")
    write_table(experiment)
    executed = execute_notebooks(experiment, methods) if notebooks else []
    return report.write(experiment, methods, executed)


def _draw_hybrid(experiment: Experiment) -> None:
    """Figures 2-5, the bounds while training, samples and reconstructions."""
    for number in figures.PARTS:
        figures.save_figure(figures.draw(experiment.figure(number)), experiment.outcomes / f"figure{number}")
    history = experiment.history("hybrid", "representation")
    figures.save_figure(curves.draw(history, experiment.profile), experiment.outcomes / "curves")
    figures.save_figure(figures.draw_gallery(experiment.gallery()), experiment.outcomes / "samples")


def write_table(experiment: Experiment) -> None:
    """Table 1 as CSV, Markdown and picture, the methods by what they can do, and where it comes from."""
    rows, stem = experiment.table(), experiment.results / "table1"
    write_atomically(stem.with_suffix(".csv"), lambda path: rows.to_csv(path, index=False, float_format="%.6g"))
    write_atomically(
        stem.with_suffix(".md"), lambda path: path.write_text(table.markdown(rows, experiment.profile.evaluation.samples))
    )
    figures.save_figure(table.draw(rows), stem)
    figures.save_figure(compare.draw(rows), experiment.results / "claim")
    sources = [str(path.relative_to(experiment.results)) for path in experiment.judged()]
    write_json(stem.with_suffix(".json"), {"computed from": sources})


def execute_notebooks(experiment: Experiment, methods: tuple[str, ...]) -> list[Path]:
    """Execute, with papermill, each of these methods' notebooks that is newer than its executed copy, or whose outcomes are.

    A notebook that does not take an experiment's parameters is not of one, and is left out.
    """
    parameters = {"profile": experiment.profile.name, "dataset": experiment.dataset, "seed": experiment.seed}
    folder = experiment.runs / "notebooks" / f"seed{experiment.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = [path.stat().st_mtime for path in experiment.outcomes.glob("*.json*")]
    targets = {
        notebook: folder / notebook.name
        for notebook in sorted(paths.notebooks().glob("*.ipynb"))
        if set(methods) >= set(NEEDS.get(notebook.stem, {"hybrid"}))
        and papermill.inspect_notebook(notebook).keys() >= parameters.keys()
    }
    stale = [
        notebook
        for notebook, target in targets.items()
        if not target.exists() or target.stat().st_mtime <= max([notebook.stat().st_mtime, *outcomes])
    ]
    with ThreadPoolExecutor(NOTEBOOKS_AT_ONCE) as pool:
        list(pool.map(lambda notebook: _execute(notebook, targets[notebook], parameters), stale))
    return list(targets.values())


def _execute(notebook: Path, target: Path, parameters: dict) -> None:
    partial = target.with_name(f".{target.name}")
    try:
        papermill.execute_notebook(notebook, partial, parameters, kernel_name="python3", progress_bar=False)
    except PapermillExecutionError as error:
        raise HybridError(f"notebook {notebook.name} failed ({error.ename}: {error.evalue}): see {partial}") from error
    partial.replace(target)

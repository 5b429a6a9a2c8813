"""A complete experiment: train and judge all methods, then make the figures, the table, the notebooks and the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hybrid.errors import HybridError
from hybrid.experiments import table
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS, TABLE
from hybrid.experiments.store import Store
from hybrid.judging import interpolations, nearest
from hybrid.machine import distributed, files
from hybrid.machine.files import write_atomically, write_json, write_text
from hybrid.machine.provenance import summary
from hybrid.showing import claim, curves, figure6, figures, neighbours, tables
from hybrid.workflows import notebooks, report, workers
from hybrid.workflows.plan import DRAWING, NOTEBOOKS, Work

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reproduce(experiment: Experiment, work: Work, jobs: int | None = None) -> Path:
    """Make everything that is missing, and return the path of the report. Raises TimeUp if the experiment's time is up.

    `jobs`: the number of methods that are trained at the same time; None: what suits the machine.
    """
    if (count := workers.jobs(jobs, experiment, work)) > 1:
        workers.make(experiment, work, count)
    for name in work.methods if count == 1 else ():
        experiment.make(name, lambda kind, name=name: work.begin(name, kind, experiment.clock))
    return distributed.on_rank_zero(lambda: _show(experiment, work))


def _show(experiment: Experiment, work: Work) -> Path:
    """Draw and write all figures, tables and reports of the measurements."""
    work.begin(*DRAWING, experiment.clock)
    _draw_hybrid(experiment)
    methods = tuple(name for name in METHODS if name in work.methods or experiment.is_made(name))  # also those of earlier runs
    shown = [name for name in methods if METHODS[name].has_gallery]
    if "hybridplus" in work.methods:
        _save(figure6.draw(data := experiment.figure(6)), experiment.folder / "figure6", data)
    galleries = figures.draw_galleries({TABLE[name].title: experiment.gallery(name) for name in shown})
    _save(galleries, experiment.folder / "baselines", experiment.gallery(), "hybrid-gallery.npz and the others'")
    for name in shown:
        if nearest.NAMES[0] in (gallery := experiment.gallery(name)):  # older galleries lack them
            _save(neighbours.draw(gallery), experiment.folder / f"{name}-nearest", gallery, f"{name}-gallery.npz")
    write_table(experiment)
    executed = []
    if work.notebooks:
        work.begin(*NOTEBOOKS, experiment.clock)
        try:
            executed = notebooks.execute(experiment, work.methods)
        except HybridError:
            report.write(experiment, methods, [])  # of all but the notebooks
            raise
    return report.write(experiment, methods, executed)


def _draw_hybrid(experiment: Experiment) -> None:
    """Draw figures 2-5, the training curves, samples and reconstructions."""
    for number in interpolations.PARTS:
        _save(figures.draw(data := experiment.figure(number)), experiment.folder / f"figure{number}", data)
    history, kept = experiment.history("hybrid", "representation"), experiment.outcome("hybrid")
    origin = summary(kept["provenance"], kept["key"], "hybrid-representation.jsonl")
    figures.save_figure(curves.draw(history, experiment.profile), experiment.folder / "curves", origin)
    _save(figures.draw_gallery(gallery := experiment.gallery()), experiment.folder / "samples", gallery, "hybrid-gallery.npz")


def _save(figure: Figure, stem: Path, data: dict, source: str | None = None) -> None:
    """Save a figure with the origin of its arrays. `source`: the name of their file; default: that of the figure, as .npz."""
    figures.save_figure(figure, stem, figures.origin(data, source or f"{stem.name}.npz"))


def write_table(experiment: Experiment) -> None:
    """Write Table 1 as CSV, Markdown and figure, the figure of accuracy against error and distance, and their sources."""
    outcomes, stem = experiment.comparable_outcomes(), experiment.results / "table1"
    rows = table.of_outcomes(experiment.slug, outcomes)
    write_atomically(
        stem.with_suffix(".csv"), lambda path: rows.to_csv(path, index=False, float_format="%.6g", encoding="utf-8")
    )
    write_text(stem.with_suffix(".md"), table.markdown(rows, experiment.profile.evaluation.samples))
    sources = [path.relative_to(experiment.results).as_posix() for path in outcomes]
    origin = {"made from": ", ".join(sources), "more": f"hybrid explain {stem.name}.json"}
    figures.save_figure(tables.draw(rows), stem, origin)
    if table.has(rows, "acc"):  # without labels the figure would be empty
        figures.save_figure(claim.draw(rows), experiment.results / "claim", origin)
    write_json(stem.with_suffix(".json"), {"computed from": sources})
    write_table_of_both(experiment.results.parent, experiment.profile.evaluation.samples)


def write_table_of_both(folder: Path, samples: int) -> None:
    """Write Table 1 of both of the paper's data sets into a profile's folder of results, once both are there.

    They are what `write_table` saved last in `folder`/<data set>. `samples`: how many each distance uses.
    """
    rows, sources = {}, []
    for name, title in table.DATA_SETS.items():
        kept = files.read_json(folder / name / "table1.json", lambda values: files.demand(values, {"computed from": list}))
        paths = [folder / name / each for each in kept["computed from"]] if kept else []
        outcomes = {path: found for path in paths if (found := Store(path.parent).read(path.stem)) is not None}
        if not outcomes:
            return
        rows[title] = table.of_outcomes(name, outcomes)
        sources += [path.relative_to(folder).as_posix() for path in outcomes]
    text = "\n".join(f"## {title}\n\n{table.markdown(each, samples)}" for title, each in rows.items())
    write_text(folder / "table1.md", text)
    origin = {"made from": ", ".join(sources), "more": "hybrid explain table1.json"}
    figures.save_figure(claim.draw(rows), folder / "claim", origin)
    write_json(folder / "table1.json", {"computed from": sources})

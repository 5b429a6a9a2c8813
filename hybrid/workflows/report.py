"""The report of an experiment: one HTML file that needs no other file."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from hybrid.experiments import table
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS
from hybrid.machine.files import write_text
from hybrid.machine.lines import in_words
from hybrid.machine.provenance import trained_on
from hybrid.workflows import expected, work

FIGURES = {  # title, caption, alternative text
    "claim": (
        "Which methods classify and reconstruct, and which classify and generate",
        "Up and right is better. A vertical line is a method with only an accuracy.",
        "Two scatter plots with a point for each method: linear accuracy against the reconstruction error, and against the "
        "distance between samples and the train set. The table below has the numbers.",
    ),
    "curves": (
        "The two bounds",
        "Equations (2) and (3) during the training of the first stage. I_CPC stays below log m; I_BA has no such limit.",
        "Two curves over the training: the contrastive bound rises and stays below a dashed line at log m; the autoencoder's "
        "bound rises to thousands of nats.",
    ),
    "figure2": (
        "Figure 2",
        "The whole code moves from one test image to another. The outermost images are the original ones.",
        "Rows of decoded images that change step by step from one test image, on the left, to another, on the right.",
    ),
    "figure3": (
        "Figure 3",
        "Only y moves. The decoder hardly uses y: the images stay close to the start.",
        "Rows of decoded images that hardly change from left to right, although y moves to that of another image.",
    ),
    "figure4": (
        "Figure 4",
        "Only w moves. w has most of what the decoder needs: the start image changes into the end image.",
        "Rows of decoded images that change from the left image to the right one, although y stays the same.",
    ),
    "figure5": (
        "Figure 5",
        "The same three experiments for other pairs.",
        "Three panels with rows of decoded images: the whole code moves, only y moves, only w moves.",
    ),
    "figure6": (
        "Same y, other w; same w, other y",
        "Left: new images with a test image's y and w sampled given that y. What they have in common is the content of y. "
        "Right: the same w with the y of other images.",
        "Left: each row has new images with the y of one test image. Right: each row has images with the w of one test image; "
        "they look much alike.",
    ),
    "samples": (
        "Samples and reconstructions",
        "Left: new images from the latent DDIM. Right: test images above their reconstructions.",
        "A grid of 64 samples, and rows of test images above their reconstructions.",
    ),
    "hybrid-nearest": (
        "The train images nearest to samples",
        "Each row: a sample, the nearest train images by features of EfficientNet-lite0, and the nearest ones by pixels. "
        "If the model copied train images, these would be the same as the sample.",
        "Eight samples, each beside its four nearest train images by features and by pixels.",
    ),
    "baselines": (
        "All methods, side by side",
        "Samples of each method, and the same test images above its reconstructions.",
        "For each method a grid of samples and, if it can reconstruct, test images above their reconstructions.",
    ),
}
ROUGH = (
    " This profile runs in minutes. It shows that every part works, not how good samples can be: they are rough at this "
    "budget, and better with profile laptop."
)
OF_SAMPLES = ("samples", "baselines", "figure6", "hybrid-nearest")


def write(experiment: Experiment, methods: tuple[str, ...], notebooks: list[Path]) -> Path:
    """Write report.html about these methods and work.md beside the seed's outcomes. Return the report's path."""
    outcomes = {name: experiment.outcome(name) for name in methods}
    worked = work.table(experiment, outcomes)
    write_text(experiment.folder / "work.md", work.markdown(worked))
    environment = Environment(loader=PackageLoader("hybrid.workflows", ""), autoescape=select_autoescape())
    compared, rows = expected.compare(experiment, methods), experiment.table()
    ablation = ("hybrid", "contrast_on_z")
    times = {name: sum(result["provenance"].get("training_seconds", {}).values()) for name, result in outcomes.items()}
    each = [f"{METHODS[name].title} {in_words(seconds)}" for name, seconds in times.items()]
    devices = trained_on(*(result["provenance"] for result in outcomes.values()))
    total = f" in {in_words(sum(times.values()))}" if ", " not in devices else ""  # times of different machines do not add up
    page = environment.get_template("report.html").render(
        title=f"Hybrid mutual information bounds: {experiment.profile.name} on {experiment.slug}",
        lead=f"Seed {experiment.seed}, trained on {devices.replace(', ', ' and ')}{total}: {', '.join(each)}.",
        claim=claim(rows),
        numbers=main_numbers(rows, compared),
        numbers_caption=numbers_caption(rows, compared),
        all_numbers=all_numbers(rows, compared),
        legend=table.legend(rows, experiment.profile.evaluation.samples).replace("`", ""),
        comparison=expected.verdict(compared) if compared else None,
        unconverged=" ".join(f"{METHODS[n].title}: {words}" for n, o in outcomes.items() if (words := table.unconverged(o))),
        work=_cells(work.formatted(worked)),
        work_legend=work.legend(worked),
        finer=table.finer(outcomes["ddim"]["metrics"]) if "ddim" in outcomes else "",
        parts=_cells(table.parts(outcomes["hybrid"]["metrics"]).rename_axis("part").reset_index()),
        labelled=table.has(rows, "acc"),
        figures=_figures(experiment, rows, methods),
        verdict=table.verdict(*(outcomes[name]["metrics"] for name in ablation)) if outcomes.keys() >= set(ablation) else None,
        calibration=_cells(table.calibration(outcomes).reset_index()),
        files_title="Notebooks and raw data" if notebooks else "Raw data",
        links=_links(experiment, notebooks),
        provenance=[
            {
                "title": METHODS[name].title,
                "time": f"trained in {in_words(times[name])} on {trained_on(result['provenance'])}",
                "json": json.dumps(result["provenance"], indent=1),
            }
            for name, result in outcomes.items()
        ],
    )
    path = experiment.results / "report.html"
    write_text(path, page)
    return path


def claim(rows: pd.DataFrame) -> str:
    """State the paper's claim, as far as there are labels, and the hybrid's numbers for it, from the rows of `table.tidy`."""
    known, plus = (
        rows[rows["method"] == name].dropna(subset=["value"]).set_index("metric")["value"] for name in ("hybrid", "hybridplus")
    )
    distance = table.distance(rows)
    parts = [
        f"a linear layer on y classifies {table.number(known['acc'])} % of the test images correctly" if "acc" in known else "",
        f"the reconstruction error is {table.number(known['mse'])}e-3" if "mse" in known else "",
        f"the distance of samples from the train set ({table.heading(distance)}) is {table.number(known[distance])}"
        if distance is not None and distance in known
        else "",
        f"and with Hybrid+, which samples y first, {table.number(plus[distance])}" if distance in plus else "",
    ]
    measured = ", ".join(part for part in parts if part)
    if measured and "acc" not in known:
        return (
            f"One code z = [y, w] reconstructs and generates. Here: {measured}. Without labels, no classification is measured."
        )
    return f"One code z = [y, w] classifies, reconstructs and generates. Here: {measured or 'nothing is measured yet'}."


def numbers_caption(rows: pd.DataFrame, compared: list[expected.Comparison]) -> str:
    """Return the caption of the table of numbers: what it compares, and whether a best value is bold."""
    paper = table.measured(rows)["paper"].notna().any()
    ours = "All seeds here, mean ± standard deviation" if rows["std"].notna().any() else "This run"
    compares = [ours, *["the committed run"] * bool(compared), *["the paper"] * bool(paper)]
    said = f"{', '.join(compares[:-1])} and {compares[-1]}" if len(compares) > 1 else compares[0]
    return said + ("; the best of our values is bold" if table.compares(rows) else "")


def main_numbers(rows: pd.DataFrame, compared: list[expected.Comparison]) -> dict:
    """Return a table of error, distance and accuracy, a row per method: ours over all seeds, the committed and the paper's.

    The distance is that of `table.distance`. The best of our values is marked.
    """
    shown = table.measured(rows)
    return _table(shown[shown["metric"].isin(["mse", table.distance(rows), "acc"])], compared)


def all_numbers(rows: pd.DataFrame, compared: list[expected.Comparison]) -> dict:
    """Return the same table with every measured number, and the expected ranges."""
    shown = table.measured(rows)
    return _table(shown[shown["metric"].isin(shown.dropna(subset=["value"])["metric"])], compared, ranges=True)


def _table(rows: pd.DataFrame, compared: list[expected.Comparison], ranges: bool = False) -> dict:
    known = {(one.method, one.metric): one for one in compared}
    methods = list(dict.fromkeys(rows["method"]))
    columns, best = {"method": [METHODS[name].title for name in methods]}, {}
    for metric in dict.fromkeys(rows["metric"]):
        cells = rows[rows["metric"] == metric].set_index("method")
        title = table.heading(metric)
        found = {
            title: {
                name: table.number(row["value"], row["std"]) for name, row in cells.iterrows() if cells["value"].notna().any()
            },
            f"{title}, committed": {
                name: table.number(known[name, metric].committed) for name in methods if (name, metric) in known
            },
            f"{title}, expected": {name: _range(known[name, metric]) for name in methods if ranges and (name, metric) in known},
            f"{title}, paper": {name: f"{value:g}" for name, value in cells["paper"].dropna().items()},
        }
        columns |= {key: [texts.get(name, table.DASH) for name in methods] for key, texts in found.items() if texts}
        best[title] = [methods.index(name) for name in table.best(rows, metric)]
    return _cells(pd.DataFrame(columns), best)


def _range(one: expected.Comparison) -> str:
    return one.range + (", outside" if one.outside else "")


def _cells(frame: pd.DataFrame, best: dict[str, list[int]] | None = None) -> dict:
    """Convert a frame to texts. `best`: the rows to mark, by column."""
    shown, best = frame.astype(object).where(frame.notna(), ""), best or {}
    return {
        "columns": list(frame.columns),
        "rows": [
            [{"text": str(cell), "best": place in best.get(name, ())} for name, cell in zip(frame, row, strict=True)]
            for place, row in enumerate(shown.itertuples(index=False, name=None))
        ],
    }


def _figures(experiment: Experiment, rows: pd.DataFrame, methods: tuple[str, ...]) -> list[dict]:
    """Return the figures that exist, without a `claim` that has no labels to be about, `baselines` that show one method, and a
    `figure6` of a Hybrid+ that is not among the `methods`."""
    drawing = table.measured(rows[rows["metric"] != "acc"])["method"].nunique()
    empty = ["claim"] * (not table.has(rows, "acc")) + ["baselines"] * (drawing < 2)
    empty += ["figure6"] * ("hybridplus" not in methods)
    found, rough = [], experiment.profile.name.partition(",")[0] in ("smoke", "demo")
    for stem, (title, caption, alt) in FIGURES.items():
        if stem in empty:
            continue
        for path in (experiment.folder / f"{stem}.png", experiment.results / f"{stem}.png"):
            if path.exists():
                with Image.open(path) as image:
                    shrunk = 100 / image.info.get("dpi", (100,))[0]  # 200 dots an inch: sharp on fine screens too
                    size = {"width": round(image.width * shrunk), "height": round(image.height * shrunk)}
                png = base64.b64encode(path.read_bytes()).decode()
                more = ROUGH if rough and stem in OF_SAMPLES else ""
                found.append({"stem": stem, "title": title, "caption": caption + more, "alt": alt, "png": png, **size})
    return found


def _links(experiment: Experiment, notebooks: list[Path]) -> list[dict]:
    """Return links to notebooks and data files, relative to the report."""

    def link(path: Path, about: str) -> dict:
        near = Path(os.path.relpath(path, experiment.results)).as_posix()
        return {"href": quote(near), "text": path.name, "about": f": {about}"}

    beside = [
        (experiment.results / "table1.csv", "Table 1, a row per method and number"),
        *((path, "the numbers of a method, and their origin") for path in sorted(experiment.folder.glob("*.json"))),
        *((path, "the data of a figure") for path in sorted(experiment.folder.glob("*.npz"))),
    ]
    return [link(path, "executed notebook") for path in notebooks] + [
        link(path, about) for path, about in beside if path.exists()
    ]

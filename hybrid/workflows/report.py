"""One HTML file, whole in itself, with all that an experiment found."""

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
from hybrid.training.progress import in_words
from hybrid.workflows import expected, work

FIGURES = {  # title, caption, and what one sees, for those who do not see it
    "claim": (
        "Who classifies and reconstructs, who classifies and generates",
        "Up and right is better. A method of which accuracy alone is known is a line across.",
        "Two scatter plots, a point for each method: linear accuracy against reconstruction error, and against the distance of "
        "samples from the train set. The table below has the numbers.",
    ),
    "curves": (
        "The two bounds",
        "Equations (2) and (3) while the first stage trains. I_CPC stays under log m; I_BA does not know that cap.",
        "Two curves over the training: the contrast's bound rises and stays under a dashed line at log m; the autoencoder's "
        "rises to thousands of nats.",
    ),
    "figure2": (
        "Figure 2",
        "The whole code moves from one test image's to another's. The outermost images are the true ones.",
        "Rows of decoded images that turn step by step from one test image, at the left, into another, at the right.",
    ),
    "figure3": (
        "Figure 3",
        "Only y moves. The decoder hardly uses y: the images stay close to the start.",
        "Rows of decoded images that hardly change from the left to the right, though y goes to another image's.",
    ),
    "figure4": (
        "Figure 4",
        "Only w moves. w carries most of what the decoder needs: the images go over to the end.",
        "Rows of decoded images that turn from the left image into the right one, though y stays.",
    ),
    "figure5": (
        "Figure 5",
        "The same three ways for further pairs.",
        "Three panels of rows of decoded images: the whole code moves, y alone, w alone.",
    ),
    "figure6": (
        "Same y, other w; same w, other y",
        "Left: new pictures of a test image's y, w drawn given it: what they share is what y holds. Right: the same w with "
        "other images' y.",
        "Left, each row new pictures with one test image's y; right, each row pictures with one test image's w, much alike.",
    ),
    "samples": (
        "Samples and reconstructions",
        "Left: new images from the latent DDIM. Right: test images above their reconstructions.",
        "A sheet of 64 drawn images, and rows of test images above their reconstructions.",
    ),
    "hybrid-nearest": (
        "The train images nearest to samples",
        "Each row: a sample, then the train images nearest to it on the features of EfficientNet-lite0, then in pixels. "
        "A model that copied would show its samples again.",
        "Eight samples, each beside its four nearest train images by features and by pixels.",
    ),
    "baselines": (
        "All methods",
        "Samples of each, and the same test images above its reconstructions.",
        "For each method a sheet of samples, and test images above their reconstructions where it has any.",
    ),
}
ROUGH = (
    " This profile is over in minutes and shows that every part runs, not how good samples get: they are rough at this budget, "
    "and better with profile laptop."
)
OF_SAMPLES = ("samples", "baselines", "figure6", "hybrid-nearest")


def write(experiment: Experiment, methods: tuple[str, ...], notebooks: list[Path]) -> Path:
    """Write report.html, of the hybrid and others, and work.md beside the seed's outcomes; return the first's path."""
    judged = {name: experiment.metrics(name) for name in methods}
    worked = work.table(experiment, judged)
    write_text(experiment.outcomes / "work.md", work.markdown(worked))
    environment = Environment(loader=PackageLoader("hybrid.workflows", ""), autoescape=select_autoescape())
    compared, rows = expected.compare(experiment, methods), experiment.table()
    ablation = ("hybrid", "contrast_on_z")
    times = {name: sum(result["provenance"].get("training_seconds", {}).values()) for name, result in judged.items()}
    each = [f"{METHODS[name].title} {in_words(seconds)}" for name, seconds in times.items()]
    page = environment.get_template("report.html").render(
        title=f"Hybrid mutual information bounds: {experiment.profile.name} on {experiment.slug}",
        lead=f"Seed {experiment.seed}, on {judged['hybrid']['provenance']['device']}. "
        f"Trained in {in_words(sum(times.values()))}: {', '.join(each)}.",
        claim=in_a_sentence(rows),
        numbers=numbers(rows, compared),
        others=others(rows, compared),
        legend=table.legend(rows, experiment.profile.evaluation.samples).replace("`", ""),
        inside=expected.verdict(compared) if compared else None,
        unconverged=" ".join(f"{METHODS[n].title}: {words}" for n, j in judged.items() if (words := table.unconverged(j))),
        work=_cells(work.formatted(worked)),
        work_legend=work.LEGEND,
        finer=table.finer(judged["ddim"]["metrics"]) if "ddim" in judged else "",
        parts=_cells(table.parts(judged["hybrid"]["metrics"]).rename_axis("part").reset_index()),
        figures=_figures(experiment),
        verdict=table.verdict(*(judged[name]["metrics"] for name in ablation)) if judged.keys() >= set(ablation) else None,
        calibration=_cells(table.calibration(judged).reset_index()),
        links=_links(experiment, notebooks),
        provenance=[
            {
                "title": METHODS[name].title,
                "time": f"trained in {in_words(times[name])} on {result['provenance']['device']}",
                "json": json.dumps(result["provenance"], indent=1),
            }
            for name, result in judged.items()
        ],
    )
    path = experiment.results / "report.html"
    write_text(path, page)
    return path


def in_a_sentence(rows: pd.DataFrame) -> str:
    """The paper's claim, and the hybrid's own numbers for it, from `table.tidy`'s rows."""
    known = rows[rows["method"] == "hybrid"].dropna(subset=["value"]).set_index("metric")["value"]
    distance = next((metric for metric in ("fid", *sorted(known.index)) if metric in known and metric.startswith("f")), None)
    have = [
        f"{table.number(known['acc'])} % of test images are classified right by a linear layer on y" if "acc" in known else "",
        f"they are reconstructed with an error of {table.number(known['mse'])}e-3" if "mse" in known else "",
        f"samples are {table.number(known[distance])} away from the train set ({distance})" if distance else "",
    ]
    said = ", ".join(part for part in have if part)
    return f"One code z = [y, w] classifies, reconstructs and generates. Here: {said or 'nothing is measured yet'}."


def numbers(rows: pd.DataFrame, compared: list[expected.Comparison]) -> dict:
    """A row a method; error, distance and accuracy, each ours over all seeds, the committed one, the paper's, where there are.

    The distance is FID where any method has one, else the first stand-in. The best of ours is marked.
    """
    measured = set(rows.dropna(subset=["value"])["metric"])
    distance = "fid" if "fid" in measured else min((m for m in measured if m.startswith("fd_")), default="fid")
    return _table(rows[rows["metric"].isin(["mse", distance, "acc"])], compared)


def others(rows: pd.DataFrame, compared: list[expected.Comparison]) -> dict:
    """As `numbers`, of all that was measured."""
    return _table(rows[rows["metric"].isin(rows.dropna(subset=["value"])["metric"])], compared, ranges=True)


def _table(rows: pd.DataFrame, compared: list[expected.Comparison], ranges: bool = False) -> dict:
    known = {(one.method, one.metric): one for one in compared}
    methods = list(dict.fromkeys(rows["method"]))
    columns, best = {"method": [METHODS[name].title for name in methods]}, {}
    for metric in dict.fromkeys(rows["metric"]):
        cells = rows[rows["metric"] == metric].set_index("method")
        title = table.label(metric)
        found = {
            title: {name: table.number(row["value"], row["std"]) for name, row in cells.iterrows()},
            f"{title}, committed": {
                name: table.number(known[name, metric].committed) for name in methods if (name, metric) in known
            },
            f"{title}, expected": {name: _range(known[name, metric]) for name in methods if ranges and (name, metric) in known},
            f"{title}, paper": {name: f"{value:g}" for name, value in cells["paper"].dropna().items()},
        }
        columns |= {key: [texts.get(name, table.DASH) for name in methods] for key, texts in found.items() if texts}
        if len(values := cells["value"].dropna()):
            large = metric == "acc" or metric.startswith(("precision", "recall"))
            winner = values.max() if large else values.min()
            best[title] = [methods.index(name) for name, value in values.items() if value == winner]
    return _cells(pd.DataFrame(columns), best)


def _range(one: expected.Comparison) -> str:
    return one.range + (", outside" if one.outside else "")


def _cells(frame: pd.DataFrame, best: dict[str, list[int]] | None = None) -> dict:
    """A frame as texts; `best`: rows that are marked, by column."""
    shown, best = frame.astype(object).where(frame.notna(), ""), best or {}
    return {
        "columns": list(frame.columns),
        "rows": [
            [{"text": str(cell), "best": place in best.get(name, ())} for name, cell in zip(frame, row, strict=True)]
            for place, row in enumerate(shown.itertuples(index=False, name=None))
        ],
    }


def _figures(experiment: Experiment) -> list[dict]:
    found, rough = [], experiment.profile.name.partition(",")[0] in ("smoke", "demo")
    for stem, (title, caption, alt) in FIGURES.items():
        for path in (experiment.outcomes / f"{stem}.png", experiment.results / f"{stem}.png"):
            if path.exists():
                with Image.open(path) as image:
                    size = dict(zip(("width", "height"), image.size, strict=True))
                png = base64.b64encode(path.read_bytes()).decode()
                more = ROUGH if rough and stem in OF_SAMPLES else ""
                found.append({"stem": stem, "title": title, "caption": caption + more, "alt": alt, "png": png, **size})
    return found


def _links(experiment: Experiment, notebooks: list[Path]) -> list[dict]:
    """To files beside the report and notebooks, as seen from the report."""

    def link(path: Path, about: str) -> dict:
        near = Path(os.path.relpath(path, experiment.results)).as_posix()
        return {"href": quote(near), "text": path.name, "about": f": {about}"}

    beside = [
        (experiment.results / "table1.csv", "Table 1, a row a method and number"),
        *((path, "how it was judged, and where it comes from") for path in sorted(experiment.outcomes.glob("*.json"))),
        *((path, "the data of a figure") for path in sorted(experiment.outcomes.glob("*.npz"))),
    ]
    return [link(path, "executed notebook") for path in notebooks] + [
        link(path, about) for path, about in beside if path.exists()
    ]

"""One HTML file, whole in itself, with all that an experiment found."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from hybrid import expected, table
from hybrid.checkpoint import write_atomically
from hybrid.experiment import Experiment
from hybrid.methods import METHODS
from hybrid.paths import home

FIGURES = {
    "claim": (
        "Who classifies and reconstructs, who classifies and generates",
        "Up and right is better. A method of which accuracy alone is known is a line across.",
    ),
    "curves": (
        "The two bounds",
        "Equations (2) and (3) while the first stage trains. I_CPC stays under log m; I_BA does not know that cap.",
    ),
    "figure2": ("Figure 2", "The whole code moves from one test image's to another's. The outermost images are the true ones."),
    "figure3": ("Figure 3", "Only y moves. The decoder hardly uses y: the images stay close to the start."),
    "figure4": ("Figure 4", "Only w moves. w carries most of what the decoder needs: the images go over to the end."),
    "figure5": ("Figure 5", "The same three ways for further pairs."),
    "figure6": (
        "Same y, other w; same w, other y",
        "Left: new pictures of a test image's y, w drawn given it: what they share is what y holds. Right: the same w with "
        "other images' y.",
    ),
    "samples": (
        "Samples and reconstructions",
        "Left: new images from the latent DDIM. Right: test images above their reconstructions.",
    ),
    "hybrid-nearest": (
        "The train images nearest to samples",
        "Each row: a sample, then the train images nearest to it on the features of EfficientNet-lite0, then in pixels. "
        "A model that copied would show its samples again.",
    ),
    "baselines": ("All methods", "Samples of each, and the same test images above its reconstructions."),
}


def write(experiment: Experiment, methods: tuple[str, ...], notebooks: list[Path]) -> Path:
    """Write results/<profile>/<dataset>/report.html, of the hybrid and others, and return its path."""
    judged = {name: experiment.metrics(name) for name in methods}
    environment = Environment(loader=PackageLoader("hybrid", ""), autoescape=select_autoescape())
    compared = expected.compare(experiment, methods)
    seconds = {n: sum(j["provenance"]["training_seconds"].values()) for n, j in judged.items()}
    page = environment.get_template("report.html").render(
        title=f"Hybrid mutual information bounds: {experiment.profile.name} on {experiment.slug}",
        lead=f"Seed {experiment.seed}, on {judged['hybrid']['provenance']['device']}. Training took "
        + ", ".join(f"{s / 60:.1f} minutes ({METHODS[n].title})" for n, s in seconds.items())
        + ".",
        table=_html(table.for_people(experiment.table())),
        legend=table.legend(experiment.table(), experiment.profile.evaluation.samples).replace("`", ""),
        compared=_html(expected.for_people(compared)) if compared else None,
        inside=expected.verdict(compared),
        parts=_html(parts(judged["hybrid"]["metrics"])),
        figures=[
            {"title": title, "caption": caption, "png": base64.b64encode(path.read_bytes()).decode()}
            for stem, (title, caption) in FIGURES.items()
            for path in (experiment.outcomes / f"{stem}.png", experiment.results / f"{stem}.png")
            if path.exists()
        ],
        verdict=verdict(judged["hybrid"]["metrics"], judged["contrast_on_z"]["metrics"]) if "contrast_on_z" in judged else None,
        calibration=_html(calibration(judged)),
        notebooks=[path.relative_to(home()) if path.is_relative_to(home()) else path for path in notebooks],
        provenance=json.dumps({name: j["provenance"] for name, j in judged.items()}, indent=1),
    )
    path = experiment.results / "report.html"
    write_atomically(path, lambda temporary: temporary.write_text(page))
    return path


def parts(metrics: dict[str, float]) -> pd.DataFrame:
    """What the hybrid's metrics say of y, w and z: a row each."""
    return pd.DataFrame(
        {
            "linear acc., %": {part: metrics[f"acc_{part}"] for part in "ywz"},
            "image moves by, 1e-3": {part: metrics[f"moved_{part}"] for part in "ywz"},
        }
    ).round(2)


def calibration(judged: dict[str, dict]) -> pd.DataFrame:
    """Distances of images of known quality, and of each method's samples and reconstructions."""
    own = ("samples", "reconstructions of the test set")
    rows = [row for row in judged["hybrid"]["calibration"] if row["images"] not in own]
    for name, result in judged.items():
        rows += [
            row | {"images": f"{METHODS[name].title}: {row['images']}"} for row in result["calibration"] if row["images"] in own
        ]
    return pd.DataFrame(rows).set_index("images").round(2)


def verdict(on_y: dict[str, float], on_z: dict[str, float]) -> str:
    """What the ablation says of the paper's claim that a contrast on the whole of z makes reconstruction worse."""
    ratio = on_z["mse"] / on_y["mse"]
    agrees = "as the paper says" if ratio > 1.05 else "against what the paper says" if ratio < 0.95 else "no clear difference"
    return (
        f"With the contrast on the whole of z the test error is {on_z['mse']:.2f}, with the contrast on y {on_y['mse']:.2f}: "
        f"{ratio:.2f} times as large, {agrees}. The probe on z gives {on_z['acc_z']:.1f} % and {on_y['acc_z']:.1f} %."
    )


def _html(frame: pd.DataFrame) -> str:
    return frame.to_html(border=0, index_names=False)

"""One HTML file, whole in itself, with all that an experiment found."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from hybrid.experiments import table
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS
from hybrid.machine.files import write_atomically
from hybrid.paths import home
from hybrid.workflows import expected

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
    environment = Environment(loader=PackageLoader("hybrid.workflows", ""), autoescape=select_autoescape())
    compared = expected.compare(experiment, methods)
    ablation = ("hybrid", "contrast_on_z")
    seconds = {n: sum(j["provenance"]["training_seconds"].values()) for n, j in judged.items()}
    page = environment.get_template("report.html").render(
        title=f"Hybrid mutual information bounds: {experiment.profile.name} on {experiment.slug}",
        lead=f"Seed {experiment.seed}, on {judged['hybrid']['provenance']['device']}. Training took "
        + ", ".join(f"{s / 60:.1f} minutes ({METHODS[n].title})" for n, s in seconds.items())
        + ".",
        table=_html(table.formatted(experiment.table())),
        legend=table.legend(experiment.table(), experiment.profile.evaluation.samples).replace("`", ""),
        compared=_html(expected.formatted(compared)) if compared else None,
        inside=expected.verdict(compared),
        parts=_html(table.parts(judged["hybrid"]["metrics"])),
        figures=[
            {"title": title, "caption": caption, "png": base64.b64encode(path.read_bytes()).decode()}
            for stem, (title, caption) in FIGURES.items()
            for path in (experiment.outcomes / f"{stem}.png", experiment.results / f"{stem}.png")
            if path.exists()
        ],
        verdict=table.verdict(*(judged[name]["metrics"] for name in ablation)) if judged.keys() >= set(ablation) else None,
        calibration=_html(table.calibration(judged)),
        notebooks=[path.relative_to(home()) if path.is_relative_to(home()) else path for path in notebooks],
        provenance=json.dumps({name: j["provenance"] for name, j in judged.items()}, indent=1),
    )
    path = experiment.results / "report.html"
    write_atomically(path, lambda temporary: temporary.write_text(page))
    return path


def _html(frame: pd.DataFrame) -> str:
    return frame.to_html(border=0, index_names=False)

"""Companion to Sinha, Song & Ermon, *Hybrid Mutual Information Lower-bound Estimators for Representation Learning*.

`model = hybrid.load("runs/demo/digits/hybrid/seed0")` gives a trained hybrid with `encode`, `decode`, `sample` and
`interpolate` on image tensors, and so does `hybrid.pretrained("cifar10")`, whose weights come with the package.
`hybrid.Experiment("demo")` makes or reads whatever an experiment consists of.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from hybrid.errors import HybridError

if TYPE_CHECKING:
    from hybrid.experiments.experiment import Experiment
    from hybrid.released import load, pretrained

__all__ = ["Experiment", "HybridError", "load", "pretrained"]

HOMES = {"Experiment": "hybrid.experiments.experiment", "load": "hybrid.released", "pretrained": "hybrid.released"}


def __getattr__(name: str):
    """A public name, imported when it is first asked for: `hybrid --help` needs none of them."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)

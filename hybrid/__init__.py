"""Companion to Sinha, Song & Ermon, *Hybrid Mutual Information Lower-bound Estimators for Representation Learning*.

`model = hybrid.load("runs/demo/digits/hybrid/seed0")` gives a trained hybrid with `encode`, `decode`, `sample` and
`interpolate` on image tensors, and so does `hybrid.pretrained("cifar10")`, whose weights come with the package.
`hybrid.Experiment("demo")` makes or reads whatever an experiment consists of.
"""

from hybrid.errors import HybridError
from hybrid.experiment import Experiment
from hybrid.methods import load
from hybrid.released import pretrained

__all__ = ["Experiment", "HybridError", "load", "pretrained"]

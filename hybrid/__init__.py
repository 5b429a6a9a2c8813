"""Companion to Sinha, Song & Ermon, *Hybrid Mutual Information Lower-bound Estimators for Representation Learning*.

`model = hybrid.pretrained("cifar10")` returns a trained hybrid, whose weights come with the package, and
`hybrid.load("runs/demo/digits/hybrid/seed0")` returns one that you trained. It has `encode`, `decode`, `sample`, `interpolate`
and `split`, and takes tensors, numpy arrays and Pillow images. `hybrid.load_dataset("my/folder")` reads images,
`hybrid.Experiment("demo")` makes or reads all parts of an experiment.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from hybrid.errors import HybridError

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hybrid.bridges.hub import from_pretrained, push_to_hub, save_pretrained
    from hybrid.data.datasets import ImageSet
    from hybrid.data.datasets import load as load_dataset
    from hybrid.data.pictures import read_image
    from hybrid.experiments.experiment import Experiment
    from hybrid.model import HybridModel
    from hybrid.released import examples, load, pretrained

HOMES = {  # module, and the name there
    "Experiment": ("hybrid.experiments.experiment", "Experiment"),
    "HybridModel": ("hybrid.model", "HybridModel"),
    "ImageSet": ("hybrid.data.datasets", "ImageSet"),
    "examples": ("hybrid.released", "examples"),
    "from_pretrained": ("hybrid.bridges.hub", "from_pretrained"),
    "load": ("hybrid.released", "load"),
    "load_dataset": ("hybrid.data.datasets", "load"),
    "pretrained": ("hybrid.released", "pretrained"),
    "push_to_hub": ("hybrid.bridges.hub", "push_to_hub"),
    "read_image": ("hybrid.data.pictures", "read_image"),
    "save_pretrained": ("hybrid.bridges.hub", "save_pretrained"),
}

__all__ = [
    "Experiment",
    "HybridError",
    "HybridModel",
    "ImageSet",
    "examples",
    "from_pretrained",
    "load",
    "load_dataset",
    "pretrained",
    "push_to_hub",
    "read_image",
    "save_pretrained",
]


def __getattr__(name: str):
    """Import a public name when it is first used. `hybrid --help` needs none of them."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = HOMES[name]
    return getattr(import_module(module), there)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

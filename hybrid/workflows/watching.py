"""Watch a training: losses, nearest-neighbour accuracy on test images, reconstructions and samples after each epoch.

This is to see whether a training works. Choose settings with `hybrid screen`, which holds out train images.

Images go to the stage's folder, as watched/<step>-<name>.png. With TensorBoard (pip install 'hybrid-mi[tensorboard]') images
and scalars also go to its log: tensorboard --logdir runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from hybrid import released
from hybrid.data import pixels
from hybrid.data.datasets import ImageSet, spread
from hybrid.errors import HybridError
from hybrid.judging import knn
from hybrid.machine import distributed
from hybrid.models.base import Trainable, in_batches
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.profiles import schema
from hybrid.showing.figures import save_png

KINDS = ("pictures", "tensorboard")
SHOWN = 8  # number of test images with reconstructions; twice as many samples are drawn
VOTERS, JUDGED = 2000, 500  # number of train images that vote, and of test images that they classify
STEPS = 20  # sampler steps


class Watch:
    """The training loop calls it with each line of a stage's history."""

    def __init__(self, kind: str):
        if kind not in KINDS:
            raise HybridError(f"log = {kind!r}: give one of {', '.join(KINDS)}")
        if kind == "tensorboard":
            _summary_writer()  # raises if it is not installed, before the training starts
        self.kind, self._writers = kind, {}
        self._epochs: dict[Path, int] = {}  # shown last, of each stage

    def __call__(self, folder: Path, model: Trainable, line: dict, images: ImageSet) -> None:
        """Record a line (step, epoch, seconds and scalars), and with the first line after an epoch also images of the model.

        `model`: the model that the training would return if it ended here. Random numbers come from separate generators, and
        the model does not change, so the training stays the same.
        """
        step, epoch = line["step"], int(line["epoch"])
        scalars = {key: value for key, value in line.items() if key not in ("step", "epoch", "seconds")}
        sheets: dict[str, tuple[Tensor, int]] = {}
        if epoch > self._epochs.get(folder, 0) and distributed.world() == 1:
            self._epochs[folder] = epoch
            was = [(module, module.training) for module in model.modules()]
            model.eval()
            try:
                with torch.no_grad():
                    scalars |= vote(model, images)
                    sheets = dict(pictures(model, folder, images))
            finally:
                for module, training in was:
                    module.training = training
        for name, (sheet, columns) in sheets.items():
            save_png(folder / "watched" / f"{step:08}-{name}.png", sheet, columns)
        if self.kind == "tensorboard" and not distributed.rank():
            writer = self._writer(folder)
            for name, value in scalars.items():
                writer.add_scalar(name, value, step)
            for name, (sheet, columns) in sheets.items():
                writer.add_image(name, pixels.tile(sheet, columns), step, dataformats="HWC")
            writer.flush()

    def _writer(self, folder: Path):
        if folder not in self._writers:
            self._writers[folder] = _summary_writer()(str(folder / "tensorboard"))
        return self._writers[folder]


def _summary_writer() -> type:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise HybridError("tensorboard is not installed: pip install 'hybrid-mi[tensorboard]'") from None
    return SummaryWriter


def vote(model: nn.Module, images: ImageSet) -> dict[str, float]:
    """Return `knn`: the nearest-neighbour accuracy on y, in percent of JUDGED test images. Empty without a y or labels."""
    if not isinstance(model, Representation) or not images.labelled:
        return {}
    train, test = images.spread(VOTERS), images.spread(JUDGED)

    def y(pictures: Tensor) -> Tensor:
        return in_batches(lambda x: model.encoder.y(pixels.as_float(x)), pictures.device, pictures).flatten(1)

    predicted = knn.vote(y(train.train_images), train.train_labels, y(test.test_images), images.classes)
    return {"knn": 100 * (predicted.cpu() == test.test_labels.cpu()).float().mean().item()}


def pictures(model: nn.Module, folder: Path, images: ImageSet) -> Iterator[tuple[str, tuple[Tensor, int]]]:
    """Yield name, images (uint8 (N, 3, 32, 32)) and number of columns for the sheets that the model can make.

    `reconstructions` shows test images above their reconstructions; `samples` shows samples.
    """
    shown = spread(images.test_images, SHOWN)
    if isinstance(model, Representation):
        if model.decoder is not None:
            z = in_batches(lambda x: model.encoder(pixels.as_float(x)), shown.device, shown)
            again = in_batches(model.decoder, shown.device, z)
            yield "reconstructions", (torch.cat([shown, pixels.to_uint8(again)]), SHOWN)
    elif isinstance(model, LatentDDIM):
        first = released.load_stage(folder.parent / "representation", schema.Representation, Representation, shown.device)[0]
        if first is not None and first.decoder is not None:
            noise = torch.randn(2 * SHOWN, 6, 16, 16, generator=torch.Generator().manual_seed(0))
            z = in_batches(lambda x: model.sample(x, STEPS, 0.0, 0), shown.device, noise)
            yield "samples", (pixels.to_uint8(in_batches(first.decoder, shown.device, z)), SHOWN)
    elif hasattr(model, "sample") and hasattr(model, "features"):
        if hasattr(model, "reconstruct"):
            yield "reconstructions", (torch.cat([shown, pixels.to_uint8(model.reconstruct(shown))]), SHOWN)
        yield "samples", (pixels.to_uint8(model.sample(2 * SHOWN, STEPS, 0.0, 0)), SHOWN)

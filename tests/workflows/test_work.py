"""The training work beside the table: counted by hand, and that of the loop."""

import pytest
import torch
from torch import nn

from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS
from hybrid.models.base import Trainable
from hybrid.models.convolution import ENOUGH, Conv3x3
from hybrid.workflows import work


class Layers(Trainable):
    """A convolution of 3 to 4 channels, and a product that does not depend on the images."""

    def __init__(self):
        super().__init__()
        self.conv, self.square = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Parameter(torch.ones(5, 5))

    def loss(self, player, batch, labels):
        loss = self.conv(batch.float()).sum() + (self.square @ self.square).sum()
        return loss, {"loss": loss}


def test_operations_are_those_counted_by_hand():
    forward = 2 * 3 * 4 * 9 * 32 * 32  # of an image; backward there are its weights' gradients alone
    assert work.operations(Layers(), 7) == 7 * 2 * forward + 3 * 2 * 5**3


def test_operations_follow_from_the_profile_not_from_the_machine():
    """A CPU in float32 needs fewer for wide 3 x 3 convolutions of small maps: these do not count."""

    class Wide(Layers):
        def __init__(self):
            super().__init__()
            self.conv = Conv3x3(3, 50_000)
            self.narrow = nn.AdaptiveAvgPool2d(4)

        def loss(self, player, batch, labels):
            return super().loss(player, self.narrow(batch.float()), labels)

    assert ENOUGH <= 7 * 3 * 50_000
    assert work.operations(Wide(), 7) == 7 * 2 * 2 * 3 * 50_000 * 9 * 4 * 4 + 3 * 2 * 5**3


class Growing(Layers):
    """A quarter of the steps see a quarter of each image."""

    phases = ((0.0, 0.25), (0.25, 1.0))

    def loss(self, player, batch, labels):
        return super().loss(player, batch if self.phase else batch[..., :16, :16], labels)


def test_phases_count_by_their_shares():
    forward = 2 * 3 * 4 * 9 * 32 * 32
    assert work.operations(Growing(), 7) == pytest.approx(7 * 2 * forward * (0.75 + 0.25 / 4) + 3 * 2 * 5**3)


def test_every_method_has_its_work(home):
    """Steps are the loop's: one epoch of two batches of 512 for each stage of smoke."""
    experiment = Experiment("smoke")
    judged = {
        name: {"provenance": {"device": "a machine", "training_seconds": dict.fromkeys(METHODS[name].stages, 30.0)}}
        for name in METHODS
    }
    table = work.table(experiment, judged)
    rows = table.set_index("method")
    stages = {"Hybrid": 2, "Hybrid+": 3, "MoCo-v2": 1, "NVAE-lite": 1, "DDIM": 1, "BigGAN": 1, "Contrast on z": 1}
    assert rows["images"].to_dict() == pytest.approx({name: count * 1024 / 1e6 for name, count in stages.items()})
    assert rows["minutes"].to_dict() == {name: count * 0.5 for name, count in stages.items()}
    assert (rows["operations"] > 0).all()
    operations = rows["operations"]
    assert operations.min() > 0 and operations["MoCo-v2"] < operations["Contrast on z"]  # it decodes nothing
    text = work.markdown(table)
    assert "| Hybrid+ " in text and "a machine" in text and "The work of Hybrid+ includes" in text
    assert "Hybrid+" not in work.markdown(table[table["method"] == "Hybrid"])
    assert not (home / "runs").exists()


def test_minutes_that_are_not_known_are_not_made_up(home):
    judged = {"hybridplus": {"provenance": {"device": "a machine", "training_seconds": {"semantic": 1.0, "texture": 1.0}}}}
    rows = work.table(Experiment("smoke"), judged)
    assert rows["minutes"].isna().all() and work.formatted(rows)["minutes"].tolist() == ["–"]


def test_discriminator_steps_divide_the_images(home):
    """As many operations for the discriminator, a ninth for the generator."""
    once, often = (work.of(Experiment(f"smoke,biggan.discriminator_steps={steps}"), "biggan")["model"][1] for steps in (1, 9))
    assert once / 2 < often < once

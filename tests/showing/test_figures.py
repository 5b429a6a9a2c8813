"""Figures: the paper's interpolations, and the same bytes from the same data."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from PIL import Image

from hybrid.data import pixels
from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.judging import interpolations
from hybrid.machine import files
from hybrid.profiles.overrides import profile
from hybrid.showing import curves, figures, pipeline


@pytest.fixture
def image_set():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(40) % 4
    return ImageSet("random", 255 - images, labels, images, labels, ("a", "b", "c", "d"))


def test_pairs_are_of_unlike_images_and_come_again(image_set):
    pairs = interpolations.pairs(image_set, 6, seed=1)
    assert torch.equal(pairs, interpolations.pairs(image_set, 6, seed=1))
    assert not torch.equal(pairs, interpolations.pairs(image_set, 6, seed=2))
    assert (image_set.test_labels[pairs[:, 0]] != image_set.test_labels[pairs[:, 1]]).all()
    assert len(pairs.unique()) == 12
    assert len(interpolations.pairs(image_set, 1000, seed=0)) <= 20  # no more than there are


def test_two_unequal_classes_are_enough_to_measure_what_moves(model, image_set):
    labels = (torch.arange(40) < 8).long()
    two = replace(image_set, test_labels=labels, class_names=("a", "b"))
    found = interpolations.pairs(two, 40, seed=0)
    assert 1 <= len(found) <= 8 and len(found.unique()) == 2 * len(found)
    assert (labels[found[:, 0]] != labels[found[:, 1]]).all()
    assert interpolations.moved(model, two, seed=0).keys() == {"moved_z", "moved_y", "moved_w"}
    with pytest.raises(HybridError, match="the 40 test images give no pair"):
        interpolations.moved(model, replace(two, test_labels=0 * labels), seed=0)


@pytest.mark.parametrize("seed", range(12))
def test_two_images_of_each_of_two_classes_give_a_pair_for_every_seed(image_set, seed):
    labels = torch.tensor([0, 0, 1, 1])
    few = replace(image_set, test_images=image_set.test_images[:4], test_labels=labels)
    found = interpolations.pairs(few, 4, seed)
    assert len(found) and (labels[found[:, 0]] != labels[found[:, 1]]).all()


def test_a_name_with_a_dot_is_kept(tmp_path):
    figures.save_figure(plt.figure(), tmp_path / "my.cat")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.cat.pdf", "my.cat.png"]


def test_a_sheet_shows_every_image():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 2, 2)
    sheet = pixels.tile(images, 3)
    assert sheet.shape == (4, 6, 3)
    assert sheet[::2, ::2, 0].tolist() == sheet[1::2, 1::2, 2].tolist() == [[0, 1, 2], [3, 4, 255]]
    assert pixels.tile(images[:2].numpy(), 3).shape == (2, 4, 3) and pixels.tile(images[:1], 3).shape == (2, 2, 3)


def test_a_written_sheet_is_enlarged_and_otherwise_the_same(images, tmp_path):
    figures.save_png(tmp_path / "new" / "sheet.png", images, 3)
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png"))
    assert sheet.shape == (3 * 128, 3 * 128, 3)
    assert all(np.array_equal(sheet[row::4, column::4], pixels.tile(images, 3)) for row in range(4) for column in range(4))


def test_figure_data_round_trips_and_draws_to_the_same_bytes(model, image_set, tmp_path):
    indices = interpolations.pairs(image_set, 3, seed=0)
    data = interpolations.interpolations(model, image_set, indices, 5, ("z", "y", "w"))
    assert data["z"].shape == (3, 5, 32, 32, 3)
    assert data["z"].dtype == np.uint8
    assert np.array_equal(data["start"][1], image_set.test_images[indices[1, 0]].permute(1, 2, 0).numpy())
    files.save_arrays(tmp_path / "data.npz", data)
    read = files.load_arrays(tmp_path / "data.npz")
    assert all(np.array_equal(read[key], value) for key, value in data.items())
    for stem in ("a", "b"):
        figures.save_figure(figures.draw(read), tmp_path / stem)
    for suffix in (".png", ".pdf"):
        a, b = ((tmp_path / stem).with_suffix(suffix).read_bytes() for stem in "ab")
        assert a == b
    pixels = matplotlib.image.imread(tmp_path / "a.png")
    assert pixels.std() > 0.1
    assert len(pixels) == pytest.approx(200 * (0.62 * 3 + 0.75) * 3, abs=2)  # 200 dots an inch
    drawn = figures.draw(read)
    assert [axis.get_ylabel() for axis in drawn.axes] == 3 * ["each row: one pair"]
    plt.close(drawn)


def test_colours_are_for_all_eyes():
    assert list(figures.COLOURS) == sns.color_palette("colorblind").as_hex()[: len(figures.COLOURS)]


def test_what_a_method_cannot_do_has_no_panel():
    images = np.zeros((36, 3, 32, 32), np.uint8)
    whole = {"samples": images, "originals": images, "reconstructions": images}
    only = {"originals": images, "reconstructions": images}
    drawn = figures.draw_galleries({"A": whole, "B": {"samples": images}, "C": only})
    titles = [axis.get_title() for axis in drawn.axes]
    below = "test images above reconstructions"
    assert titles == ["A: samples", below, "B: samples (it reconstructs nothing)", "C (it samples nothing)", below]
    assert [bool(axis.images) for axis in drawn.axes] == [True, True, True, False, True]
    plt.close(drawn)


def test_the_sheet_shows_the_images_themselves(model, image_set):
    data = interpolations.interpolations(model, image_set, interpolations.pairs(image_set, 2, seed=0), 4, ("y",))
    sheet = figures.grid(data, "y")
    assert np.array_equal(sheet[:32, :32], data["start"][0])
    assert np.array_equal(sheet[-32:, -32:], data["end"][1])
    assert np.array_equal(sheet[:32, 34 + 10 : 34 + 10 + 32], data["y"][0, 0])


def test_moved_is_the_mean_squared_change(model, image_set):
    moved = interpolations.moved(model, image_set, seed=0)
    indices = interpolations.pairs(image_set, interpolations.MOVED_PAIRS, seed=0)
    (y0, w0), (y1, w1) = (model.split(model.encode(image_set.test_images[places])) for places in indices.T)
    start = model.decode(torch.cat([y0, w0], dim=1))
    for part, end in {"z": (y1, w1), "y": (y1, w0), "w": (y0, w1)}.items():
        by_hand = 1e3 * (start - model.decode(torch.cat(end, dim=1))).square().mean().item()
        assert moved[f"moved_{part}"] == pytest.approx(by_hand, rel=0.02)


def test_to_uint8_rounds_and_clips():
    assert pixels.to_uint8(torch.tensor([-1.0, 0.0, 0.5 / 255 + 1e-4, 1.0, 2.0])).tolist() == [0, 0, 1, 255, 255]


def test_pipeline_draws():
    texts = {text.get_text() for text in pipeline.draw().axes[0].texts}
    assert {"encoder f", "queue of keys", "decoder q(x|z)"} <= texts


def test_curves_show_the_cap():
    history = pd.DataFrame({"epoch": [1.0, 2.0], "i_cpc": [1.0, 2.0], "i_ba": [10.0, 20.0], "mse": [3.0, 2.0]})
    left = curves.draw(history, profile("smoke")).axes[0]
    assert any(math.isclose(line.get_ydata()[0], math.log(512)) for line in left.lines[1:])


def test_trainings_are_laid_over_each_other():
    one = pd.DataFrame({"epoch": [1.0, 2.0], "i_cpc": [1.0, 2.0], "mse": [3.0, 2.0]})
    figure = curves.overlay({"on y": one, "on z": one + 1}, profile("smoke"))
    left, right = figure.axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["on y", "on z"]
    assert [line.get_xydata().tolist() for line in left.lines[:2]] == [[[1, 1], [2, 2]], [[2, 2], [3, 3]]]
    assert [line.get_xydata().tolist() for line in right.lines] == [[[1, 3], [2, 2]], [[2, 4], [3, 3]]]
    assert {line.get_linestyle() for line in right.lines} == {"-", "--"}  # told apart without colour too
    plt.close(figure)

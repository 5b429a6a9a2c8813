"""The explorer: the tests set its widgets as a user would, and read what it shows."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from PIL import Image

from hybrid.data import pixels
from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles.overrides import profile
from hybrid.showing import figures
from hybrid.showing.explorer import Explorer

SMOKE = profile("smoke").hybrid


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = SMOKE.representation.autoencoder
    return HybridModel(Encoder(config), Decoder(config), LatentDDIM(SMOKE.prior, config))


@pytest.fixture
def explorer(model, images):
    return Explorer(model, images)


@pytest.fixture
def calls(model, explorer, monkeypatch):
    """The pairs and parts that are decoded from now on."""
    made, interpolate = [], model.interpolate

    def counted(x0, x1, t, part):
        made.append((x0, x1, part))
        return interpolate(x0, x1, t, part)

    monkeypatch.setattr(model, "interpolate", counted)
    return made


def shown(explorer: Explorer) -> dict[str, np.ndarray]:
    """The pictures, one pixel of each square that stands for one."""
    pictures = {name: np.asarray(Image.open(io.BytesIO(image.png))) for name, image in explorer.shown.items()}
    return {name: picture[:: len(picture) // 32, :: len(picture) // 32] for name, picture in pictures.items()}


def upload(explorer: Explorer, **files: bytes) -> None:
    about = {"type": "image/png", "last_modified": datetime.now(UTC)}
    explorer.upload.value = [
        {"name": name, "size": len(content), "content": memoryview(content), **about} for name, content in files.items()
    ]


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def test_shows_the_paths_of_the_chosen_pair(explorer, model, images):
    explorer.start.value, explorer.end.value, explorer.t.value = 3, 5, 4
    pictures = shown(explorer)
    assert np.array_equal(pictures["start"], images[3].permute(1, 2, 0))
    assert np.array_equal(pictures["end"], images[5].permute(1, 2, 0))
    assert explorer.t.label == "0.80"
    for part in figures.TITLES:
        by_hand = pixels.to_uint8(model.interpolate(images[[3]], images[[5]], torch.tensor([0.8]), part))[0, 0]
        assert np.abs(pictures[part].astype(int) - by_hand.permute(1, 2, 0).numpy()).max() <= 1


def test_sliding_t_shows_other_frames_and_decodes_nothing(explorer, calls):
    seen = {part: {explorer.shown[part].png} for part in figures.TITLES}
    for place in (10, 20):
        explorer.t.value = place
        for part, pictures in seen.items():
            pictures.add(explorer.shown[part].png)
    assert all(len(pictures) == 3 for pictures in seen.values())
    assert calls == []


def test_all_parts_start_at_the_start(explorer):
    pictures = shown(explorer)
    assert explorer.t.label == "1.00"
    assert np.array_equal(pictures["y"], pictures["z"])
    assert np.array_equal(pictures["w"], pictures["z"])
    explorer.t.value = 20
    assert not np.array_equal(shown(explorer)["y"], shown(explorer)["z"])


def test_another_pair_is_decoded_once(explorer, calls, images):
    explorer.end.value = 6
    assert [part for _, _, part in calls] == ["z", "y", "w"]
    assert all(torch.equal(x0[0], images[0]) and torch.equal(x1[0], images[6]) for x0, x1, _ in calls)
    explorer.add(images[:2])
    assert len(calls) == 6
    assert (explorer.start.value, explorer.end.value) == (8, 6)
    explorer.start.value = 9
    assert len(calls) == 9
    assert torch.equal(calls[-1][0][0], images[1])


def test_own_images_are_added_and_others_told_of(explorer):
    photo = np.zeros((40, 80, 3), np.uint8)
    photo[:, 20:60] = (10, 200, 30)  # the middle square
    upload(explorer, good=png(photo), **{"<bad>.png": b"no image"})
    assert len(explorer.images) == 9
    assert explorer.images[8, :, :, [1, 30]].flatten(1).unique(dim=1).flatten().tolist() == [10, 200, 30]
    assert explorer.start.value == 8
    assert "&lt;bad&gt;.png cannot be read as an image" in explorer.message.value
    assert "1 of 2 files added" in explorer.message.value
    assert explorer.upload.value == ()
    upload(explorer, bad=b"no image")
    assert len(explorer.images) == 9
    assert "added" not in explorer.message.value


def test_samples_are_added_others_each_time(explorer):
    explorer.sample.click()
    assert len(explorer.images) == len(explorer.start.options) == len(explorer.end.options) == 16
    explorer.sample.click()
    assert explorer.start.value == 16
    assert not torch.equal(explorer.images[8:16], explorer.images[16:])
    assert not explorer.sample.disabled


def test_nothing_is_sampled_without_a_prior(model, images):
    explorer = Explorer(HybridModel(model.encoder, model.decoder), images)
    assert explorer.sample.disabled
    assert "second stage, the latent DDIM, was not trained" in explorer.message.value


def test_other_pictures_of_the_starts_y(images, explorer):
    assert explorer.other_w.disabled  # a DDIM of z cannot draw w given y
    torch.manual_seed(0)
    config, plus = SMOKE.representation.autoencoder, profile("smoke").plus
    prior = PlusPrior(SemanticPrior(plus.y, config), TexturePrior(plus.w, config))
    hybrid = HybridModel(Encoder(config), Decoder(config), prior)
    explorer = Explorer(hybrid, images)
    explorer.start.value = 3
    asked, sample_given = [], hybrid.sample_given
    hybrid.sample_given = lambda y, *rest: asked.append(y) or sample_given(y, *rest)
    explorer.other_w.click()
    (y,) = asked
    torch.testing.assert_close(y, hybrid.split(hybrid.encode(images[[3]]))[0].expand(8, -1, -1, -1), atol=1e-4, rtol=1e-3)
    assert len(explorer.images) == 16 and explorer.start.value == 8
    assert not torch.equal(explorer.images[8], explorer.images[9])
    assert not explorer.other_w.disabled


def test_one_image_is_enough_and_none_is_refused(model, images):
    assert Explorer(model, images[:1]).end.value == 0
    with pytest.raises(HybridError, match="give one or more"):
        Explorer(model, images[:0])


def test_strip_has_a_panel_for_each_part(explorer):
    axes = explorer.strip().axes
    assert [axis.get_title() for axis in axes] == list(figures.TITLES.values())
    assert {axis.get_ylabel() for axis in axes} == {""}  # it would be longer than the panel
    for axis, part in zip(axes, figures.TITLES, strict=True):
        sheet = axis.images[0].get_array()
        assert np.array_equal(sheet[:, 44:76], explorer.frames[part][0, 0])
        assert np.array_equal(sheet[:, 44 + 10 * 34 : 76 + 10 * 34], explorer.frames[part][0, 20])


def test_labels_and_words_follow_what_is_chosen(explorer):
    explorer.start.value, explorer.end.value, explorer.t.value = 3, 5, 4
    assert explorer.labels["start"].value == "start: image 3 (t = 1)"
    assert explorer.labels["end"].value == "end: image 5 (t = 0)"
    for part, title in figures.TITLES.items():
        assert explorer.labels[part].value == f"{title}; t = 0.80"
        assert f'alt="decoded, from image 3 to image 5, {title}; t = 0.80"' in explorer.shown[part].value
    for picture in explorer.shown.values():
        assert picture.value.startswith('<img alt="') and len(picture.value.split('"')[1]) > 10
    assert explorer.start.tooltips[3] == "image 3 as the start" and explorer.end.tooltips[7] == "image 7 as the end"


def test_what_y_is_for(model, images):
    """The nearest by y are counted by hand; classes are read off by a probe where a data set is known."""
    pool = torch.cat([images, images[:1]])  # the last is the first once more
    explorer = Explorer(model, pool)
    assert explorer.labels["near"].value.startswith("nearest to image 0 by y: images 8, ")
    assert "probe" not in explorer.labels["near"].value
    picture = shown(explorer)
    assert np.array_equal(picture["swapped"], explorer.frames["w"][0, -1])
    labels = torch.arange(40) % 2
    coloured = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    coloured[torch.arange(40), labels] = 200 + torch.arange(40, dtype=torch.uint8)[:, None, None]
    known = ImageSet("colours", coloured, labels, coloured, labels, ("red", "green"))
    explorer = Explorer(model, coloured[:4], known)
    for start, name in ((0, "red"), (1, "green")):
        explorer.start.value = start
        assert explorer.labels["near"].value.endswith(f"the probe on y reads: {name}")
        assert "the probe on its y reads: " in explorer.labels["swapped"].value


def test_buttons_show_their_whole_text_and_all_controls_have_names(explorer):
    """A browser names the buttons of Play and the slider when the style is there: ipywidgets leaves them without a name."""
    for button in (explorer.upload, explorer.sample, explorer.other_w):
        assert button.layout.width == "auto"
    assert explorer.upload.tooltip
    script = explorer._css.value.split('"')[1]
    assert explorer._css.value.startswith(f'<style onload="{script}">')
    assert all(name in script for name in ("aria-label", "'play'", "'stop'", "'repeat'", "'t, from 1 to 0'"))

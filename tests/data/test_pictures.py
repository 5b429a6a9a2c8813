"""Picture files: which are found, and what becomes of them, against Pillow step by step."""

import os

import numpy as np
import pytest
from PIL import Image, features

from hybrid.data import pictures
from hybrid.errors import HybridError


def gradient(height=40, width=60):
    """A smooth picture with four different corners."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=2).astype(np.uint8)


def save(path, array, orientation=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(array).save(path, exif=exif, **options)
    return path


def square(array):
    """The middle square of an upright picture, resized by Pillow."""
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = Image.fromarray(np.ascontiguousarray(array[top : top + side, left : left + side]))
    return np.asarray(middle.resize((32, 32), Image.Resampling.BILINEAR))


# numpy's own turns, by the EXIF standard: how a stored picture becomes the one that was taken.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_upright_first(tmp_path, orientation):
    file = save(tmp_path / "a.png", gradient(), orientation)
    np.testing.assert_array_equal(pictures.read_image(file), square(TURNS[orientation](gradient())))


def test_upright_first_then_what_is_transparent_on_white(tmp_path):
    array = np.dstack([gradient(), np.full((40, 60), 255, np.uint8)])
    array[:10, :, 3] = 0  # the upper quarter is transparent; it becomes the right one
    file = save(tmp_path / "a.png", array, orientation=6)
    on_white = array[..., :3].copy()
    on_white[:10] = 255
    np.testing.assert_array_equal(pictures.read_image(file), square(np.rot90(on_white, -1)))


def test_what_a_palette_has_as_transparent_is_white():
    image = Image.new("P", (32, 32), 1)
    image.putpalette([200, 0, 0] * 2)
    image.info["transparency"] = 1
    assert (pictures.from_pil(image) == 255).all()


def test_one_file_has_one_code_on_every_way_in(tmp_path):
    from hybrid.data import datasets, pixels, sources

    array = np.dstack([gradient(), np.full((40, 60), 255, np.uint8)])
    array[:10, :, 3] = 0
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            file = save(tmp_path / "set" / split / name / "a.png", array, orientation=6)
    read = pictures.read_image(file)
    images = datasets.load(str(tmp_path / "set"))
    np.testing.assert_array_equal(images.train_images[0].permute(1, 2, 0), read)
    np.testing.assert_array_equal(sources.source([str(file)]).read(0, 1)[0][0].permute(1, 2, 0), read)
    with Image.open(file) as image:
        np.testing.assert_array_equal(pixels.as_images(image)[0].permute(1, 2, 0), read)


@pytest.mark.parametrize("suffix", ["gif", "jfif", "jpe", "jp2", "webp", "tiff", "bmp", "ppm", "avif", "ico"])
def test_whatever_pillow_reads_is_read(tmp_path, suffix):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(gradient(48, 48)).save(file)
    assert pictures.find(tmp_path).files == (file,)
    assert np.abs(pictures.read_image(file).astype(int) - square(gradient(48, 48))).mean() < 6


def test_what_is_found_and_what_is_left_out(tmp_path):
    for name in ("b.PNG", "a.jpg", "deep/down/c.png", ".hidden.png", ".ipynb_checkpoints/a.jpg", "__MACOSX/._a.jpg"):
        save(tmp_path / name, gradient(), format="PNG")
    save(tmp_path / "without_suffix", gradient(), format="PNG")
    (tmp_path / "labels.csv").write_text("a,b")
    (tmp_path / "README").write_text("read me")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "deep/up").symlink_to(tmp_path)
    found = pictures.find(tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in found.files] == [
        "a.jpg",
        "b.PNG",
        "without_suffix",
        "deep/down/c.png",
    ]
    assert str(found) == (
        f"left out of {tmp_path}: files that are no images (no suffix, .csv): 2; links that go in a circle: 1; "
        "links that lead nowhere: 1; names that begin with a dot: 3"
    )
    assert str(pictures.find(tmp_path / "deep" / "down")) == ""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read everything")
def test_a_folder_without_rights_is_told(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(HybridError, match="shut cannot be read"):
        pictures.find(tmp_path)


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(HybridError, match=r"absent cannot be read \(No such file"):
        pictures.find(tmp_path / "absent")


def test_an_image_that_is_not_there_is_told(tmp_path):
    for path, says in ((tmp_path / "absent.png", "absent.png does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(HybridError, match=f"{says}: expected an image file$"):
            pictures.read_image(path)


@pytest.mark.parametrize("mode", ["I;16", "F", "I"])
def test_more_than_8_bits_are_refused(tmp_path, mode):
    Image.new(mode, (9, 9)).save(tmp_path / "a.tiff")
    with pytest.raises(HybridError, match=r"a\.tiff has more than 8 bits a channel"):
        pictures.read_image(tmp_path / "a.tiff")
    with pytest.raises(HybridError, match="the image has more than 8 bits a channel"):
        pictures.from_pil(Image.new(mode, (9, 9)))


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: b"no image", lambda c: c[: len(c) // 2]])
def test_a_damaged_file_is_told_in_a_line(tmp_path, damage):
    file = save(tmp_path / "a.png", gradient())
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(HybridError, match=r"a\.png cannot be read as an image \(.+\): repair or remove it") as caught:
        pictures.read_image(file)
    assert "\n" not in str(caught.value)

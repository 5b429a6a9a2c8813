import dataclasses
import hashlib
import io
import pickle
import shutil
import socket
import tarfile
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from hybrid.data import datasets
from hybrid.errors import HybridError


def arrays(side=(32, 32), tail=(3,), classes=3, count=12):
    """What an .npz holds: smooth images, so that ways of resizing agree, and labels that go round the classes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0 : side[0], 0 : side[1]] / 12
    phase = rng.uniform(0, 6, (count, 1, 1, *tail))
    images = 127 + 120 * np.sin((y + x).reshape(1, *side, *[1] * len(tail)) + phase.reshape(count, 1, 1, *tail))
    labels = np.arange(count, dtype=np.uint8) % classes
    return {
        "train_images": images.astype(np.uint8),
        "train_labels": labels,
        "test_images": images[::2].astype(np.uint8)[: count // 2],
        "test_labels": labels[: count // 2],
    }


@pytest.fixture
def npz(tmp_path):
    def write(name="mine.npz", **content):
        np.savez(tmp_path / name, **content)
        return str(tmp_path / name)

    return write


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


# .npz


def test_npz_round_trip(npz, tmp_path):
    content = arrays()
    images = datasets.load(npz(**content, class_names=np.array(["ant", "bee", "cat"])), tmp_path)
    np.testing.assert_array_equal(images.train_images, content["train_images"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(images.test_images, content["test_images"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(images.train_labels, content["train_labels"])
    np.testing.assert_array_equal(images.test_labels, content["test_labels"])
    assert images.train_images.dtype == torch.uint8 and images.train_labels.dtype == torch.int64
    assert images.train_images.is_contiguous()
    assert (images.name, images.classes, images.class_names) == ("mine", 3, ("ant", "bee", "cat"))


@pytest.mark.parametrize("tail", [(), (1,)])
def test_grey_becomes_rgb(npz, tmp_path, tail):
    content = arrays(tail=tail)
    images = datasets.load(npz(**content), tmp_path)
    assert images.train_images.shape == (12, 3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(images.train_images[:, channel], content["train_images"].reshape(12, 32, 32))
    assert images.class_names == ("0", "1", "2")


@pytest.mark.parametrize("side", [(28, 28), (64, 64), (100, 70), (7, 50)])
@pytest.mark.parametrize("tail", [(), (3,)])
def test_other_sizes_are_resized_as_pillow_does(npz, tmp_path, side, tail):
    content = arrays(side, tail)
    images = datasets.load(npz(**content), tmp_path).train_images
    for ours, source in zip(images, content["train_images"], strict=True):
        side, (height, width) = min(source.shape[:2]), source.shape[:2]
        top, left = (height - side) // 2, (width - side) // 2
        middle = Image.fromarray(source).crop((left, top, left + side, top + side))
        theirs = np.asarray(middle.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB"))
        assert np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs).max() <= 1


def test_fine_detail_is_averaged_not_picked(npz, tmp_path):
    content = arrays((128, 128))
    content["train_images"][...] = 0
    content["train_images"][:, ::2] = 200  # stripes of one pixel
    inside = datasets.load(npz(**content), tmp_path).train_images[:, :, 2:-2]
    assert (inside - 100).abs().max() <= 1


def test_labels_in_a_column_and_validation_arrays_of_any_kind(npz, tmp_path):
    content = arrays()
    content["train_labels"], content["test_labels"] = content["train_labels"][:, None], content["test_labels"][:, None]
    images = datasets.load(npz(**content, val_images=np.array([{}], dtype=object), val_labels=np.zeros(0)), tmp_path)
    np.testing.assert_array_equal(images.train_labels, content["train_labels"][:, 0])


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"train_images": None}, "lacks train_images: give an .npz of a data set, which has them$"),
        ({"train_labels": None, "test_labels": None}, "lacks train_labels, test_labels"),
        ({"train_images": np.zeros((12, 32, 32, 3), np.float32)}, "float32 .* expected uint8"),
        ({"train_images": np.zeros((12, 3, 32, 32), np.uint8)}, r"\(12, 3, 32, 32\): expected \(N, H, W\)"),
        ({"train_images": np.zeros((12, 28, 28, 28), np.uint8)}, r"\(12, 28, 28, 28\): expected \(N, H, W\)"),
        ({"train_images": np.zeros((12, 32), np.uint8)}, r"\(12, 32\): expected \(N, H, W\)"),
        ({"train_images": np.zeros((0, 32, 32, 3), np.uint8)}, "at least one image"),
        ({"test_images": np.zeros((6, 0, 32, 3), np.uint8)}, "test_images .* at least one pixel"),
        ({"train_labels": np.zeros(11, np.uint8)}, r"train_labels is uint8 \(11,\) for 12 images"),
        ({"train_labels": np.zeros(12)}, "float64 .* whole numbers"),
        ({"train_labels": np.zeros(12, bool)}, "bool .* whole numbers"),
        ({"train_labels": np.array(3)}, "whole numbers"),
        ({"train_labels": np.zeros((12, 14), np.uint8)}, r"\(12, 14\), several labels per image: expected one"),
        ({"test_labels": np.array([0, 1, 0, 1, 0, 1])}, "test_labels and 0 to 2 differ in 2"),
        ({"test_labels": np.array([0, 1, 2, 3, 0, 1])}, "test_labels and 0 to 2 differ in 3"),
        ({"train_labels": np.arange(12) % 3 + 1}, "train_labels and 0 to 2 differ in 0, 3"),
        ({"train_labels": np.arange(12) % 3 - 1}, "train_labels and 0 to 2 differ in -1, 2"),
        ({"train_labels": np.full(12, 7), "test_labels": np.full(6, 7)}, "1 class: expected at least two"),
        ({"class_names": np.array(["a", "b"])}, "0 to 1 differ in 2"),
        ({"class_names": np.array(["a", "b", "c", "d"])}, "0 to 3 differ in 3"),
        ({"class_names": np.array([1, 2, 3])}, "class_names is int64"),
        ({"class_names": np.array(["a", None, "b"], dtype=object)}, "cannot be read .*allow_pickle"),
        ({"train_images": np.array([{}], dtype=object)}, "cannot be read .*allow_pickle"),
    ],
)
def test_an_npz_that_cannot_be_used_is_refused(npz, tmp_path, change, expected):
    content = {key: value for key, value in (arrays() | change).items() if value is not None}
    path = npz(**content)
    with pytest.raises(HybridError, match=expected) as caught:
        datasets.load(path, tmp_path)
    assert path in one_line(caught)


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    """One bit, in the middle of an array."""
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda _: b"", lambda _: b"<html>404</html>", lambda c: c[:3000]])
def test_a_damaged_npz_is_refused(npz, tmp_path, damage):
    path = npz(**arrays())
    content = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(damage(content))
    with pytest.raises(HybridError, match="cannot be read") as caught:
        datasets.load(path, tmp_path)
    assert path in one_line(caught)


def test_a_single_array_called_npz_is_refused(tmp_path):
    with open(tmp_path / "mine.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(HybridError, match="cannot be read"):
        datasets.load(str(tmp_path / "mine.npz"), tmp_path)


# A folder


def write_folder(root, mode="RGB", suffix="png", side=(32, 32)):
    """Three classes of four train images and two test images; returns the images by their paths."""
    written, content = {}, arrays(side)
    for split in ("train", "test"):
        for k, (image, label) in enumerate(zip(content[f"{split}_images"], content[f"{split}_labels"], strict=True)):
            path = root / split / ("ant", "bee", "cat")[label] / f"{k:02}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).convert(mode).save(path)
            written[path] = image
    return written


def test_folder_round_trip(tmp_path):
    written = write_folder(tmp_path / "insects")
    images = datasets.load(str(tmp_path / "insects"), tmp_path)
    assert (images.name, images.class_names) == ("insects", ("ant", "bee", "cat"))
    for split, tensor, labels in (
        ("train", images.train_images, images.train_labels),
        ("test", images.test_images, images.test_labels),
    ):
        paths = sorted(path for path in written if path.parts[-3] == split)
        assert [images.class_names[label] for label in labels] == [path.parts[-2] for path in paths]
        np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1), np.stack([written[path] for path in paths]))


@pytest.mark.parametrize("mode, suffix", [("L", "png"), ("RGBA", "png"), ("P", "png"), ("RGB", "JPEG"), ("L", "bmp")])
def test_folder_of_other_modes_and_sizes(tmp_path, mode, suffix):
    written = write_folder(tmp_path / "insects", mode, suffix, side=(50, 41))
    images = datasets.load(str(tmp_path / "insects"), tmp_path)
    assert images.train_images.shape == (12, 3, 32, 32) and images.train_images.dtype == torch.uint8
    first = min(path for path in written if path.parts[-3] == "train")
    source = Image.fromarray(written[first]).convert("L" if mode == "L" else "RGB")
    source = source.crop((0, 4, 41, 45))  # the middle square
    expected = np.asarray(source.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB")).astype(int)
    assert np.abs(images.train_images[0].permute(1, 2, 0).numpy() - expected).mean() < (12 if mode == "P" else 3)


def remove(path):
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


@pytest.mark.parametrize(
    "harm, expected",
    [
        (lambda root: remove(root / "test"), "test holds no image: expected images"),
        (lambda root: remove(root / "test" / "bee"), "differ in bee"),
        (lambda root: (root / "test" / "bee").rename(root / "test" / "fly"), "differ in bee, fly"),
        (lambda root: [file.unlink() for file in (root / "train" / "bee").iterdir()], "differ in bee"),
        (lambda root: [remove(root / "train" / name) for name in ("ant", "bee", "cat")], "train holds no image"),
        (
            lambda root: (root / "train" / "ant" / "00.png").write_bytes(b"no image"),
            "00.png cannot be read as an image",
        ),
        (lambda root: cut(root / "train" / "ant" / "00.png"), "00.png cannot be read as an image"),
        (lambda root: Image.new("I;16", (9, 9)).save(root / "train" / "ant" / "00.png"), "00.png has more than 8 bits"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, harm, expected):
    write_folder(tmp_path / "insects")
    harm(tmp_path / "insects")
    with pytest.raises(HybridError, match=expected) as caught:
        datasets.load(str(tmp_path / "insects"), tmp_path)
    assert str(tmp_path / "insects") in one_line(caught)


def test_dot_folders_and_what_is_no_image_are_left_out_of_both_splits_and_told(tmp_path, caplog):
    """Jupyter's copies would count as images, and its folder as a class."""
    write_folder(tmp_path / "insects")
    before = datasets.load(str(tmp_path / "insects"))
    for split in ("train", "test"):
        for folder in (tmp_path / "insects" / split, tmp_path / "insects" / split / "ant"):
            shutil.copytree(tmp_path / "insects" / split / "bee", folder / ".ipynb_checkpoints")
    (tmp_path / "insects" / "train" / "ant" / "notes.md").write_text("ants")
    shutil.copytree(tmp_path / "insects" / "test", tmp_path / "insects" / "val")
    caplog.clear()
    after = datasets.load(str(tmp_path / "insects"))
    assert (after.sha256, after.class_names) == (before.sha256, ("ant", "bee", "cat"))
    assert caplog.messages == [
        f"left out of {tmp_path / 'insects'}: files that are no images (.md): 1; "
        "images that are neither in train/ nor in test/: 6; names that begin with a dot: 6"
    ]


def test_folders_of_classes_without_splits_hold_out_a_fifth_of_each(tmp_path, caplog):
    for name, count in (("ant", 10), ("bee", 20), ("cat", 2)):
        for i in range(count):
            path = tmp_path / "insects" / name / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (i, len(name), ord(name[0]))).save(path)
    images = datasets.load(str(tmp_path / "insects"))
    assert images.class_names == ("ant", "bee", "cat") and images.labelled
    assert images.test_labels.bincount().tolist() == [2, 4, 1] and images.train_labels.bincount().tolist() == [8, 16, 1]
    every = torch.cat([images.train_images, images.test_images]).flatten(1).unique(dim=0)
    assert len(every) == 32  # none is lost, none in both
    assert datasets.load(str(tmp_path / "insects")).sha256 == images.sha256
    assert caplog.messages[0].endswith("has no train/ and test/: 7 of its 32 images are the test set, a fixed random choice")
    (tmp_path / "insects" / "cat" / "01.png").unlink()
    with pytest.raises(HybridError, match=r"cat has too few images \(1\): expected two or more"):
        datasets.load(str(tmp_path / "insects"))


@pytest.mark.parametrize("names", [["{}.png"], ["all/{}.png"], ["ant/{}.png", "beside{}.png"]])
def test_a_folder_without_classes_has_no_labels(tmp_path, caplog, names):
    for i in range(20):
        path = tmp_path / "flat" / names[i % len(names)].format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (i, i, i)).save(path)
    images = datasets.load(str(tmp_path / "flat"))
    assert (len(images.train_images), len(images.test_images), images.labelled, images.classes) == (16, 4, False, 1)
    assert not images.train_labels.any() and repr(images).endswith("16 train and 4 test images without classes")
    assert any("has no classes: whatever needs labels" in line for line in caplog.messages)
    assert any("lie outside the class folders" in line for line in caplog.messages) == (len(names) > 1)
    told = datasets.describe(images)
    assert told["classes"] == 0 and not {"class_names", "train_images_per_class", "test_images_per_class"} & told.keys()
    assert (told["train_images"], told["test_images"]) == (16, 4)


def test_counts_of_one_are_in_the_singular(tmp_path, caplog):
    for name in ("a.png", "b/b.png"):
        path = tmp_path / "two" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(path)
    assert repr(datasets.load(tmp_path / "two")) == "ImageSet 'two': 1 train and 1 test image without classes"
    told = "\n".join(caplog.messages)
    assert "1 image lies outside the class folders" in told
    assert "1 of its 2 images is the test set, a fixed random choice" in told


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(HybridError, match=r"empty has too few images \(0\)"):
        datasets.load(str(tmp_path / "empty"))


def cut(path):
    path.write_bytes(truncated(path.read_bytes()))


# Names


@pytest.mark.parametrize("name", ["cifra10", "CIFAR10", "", "nowhere/", "mine.npy"])
def test_an_unknown_name_is_refused_with_the_right_ones(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HybridError, match=f"{', '.join(datasets.NAMED)}, a path") as caught:
        datasets.load(name, tmp_path)
    assert repr(name) in one_line(caught)


def test_an_npz_that_is_not_there_is_named(tmp_path):
    with pytest.raises(HybridError, match=r"absent\.npz is not there"):
        datasets.load(str(tmp_path / "absent.npz"), tmp_path)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("digits", "digits"),
        ("cifar10", "cifar10"),
        ("cifar100", "cifar100"),
        ("/somewhere/bloodmnist.npz", "bloodmnist"),
        ("~/pets", "pets"),
        ("pets/", "pets"),
        ("pets.v1.2", "pets.v1.2"),
        (".", "here"),
    ],
)
def test_slug(tmp_path, monkeypatch, name, expected):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert datasets.slug(name) == expected


def test_digits(tmp_path):
    images = datasets.load("digits", tmp_path)
    assert (images.name, images.classes, images.class_names[7]) == ("digits", 10, "7")
    assert images.train_images.shape[1:] == (3, 32, 32)
    assert not list(tmp_path.iterdir())


# CIFAR


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A CIFAR-10 of four images a batch, fetched from the file `served`, that may be harmed, into `root`."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "made" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    digests, batches = {}, {}
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch", "batches.meta"]:
        batches[name] = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 0, 1]}
        content = pickle.dumps({"label_names": ["cat", "dog"]} if name == "batches.meta" else batches[name])
        (folder / name).write_bytes(content)
        digests[name] = hashlib.md5(content).hexdigest()
    served = tmp_path / "served" / "cifar-10-python.tar.gz"
    served.parent.mkdir()
    with tarfile.open(served, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)

    class Response(io.BytesIO):
        url = torchvision.datasets.CIFAR10.url

        def __init__(self):
            super().__init__(served.read_bytes())
            self.length = len(self.getvalue())

    monkeypatch.setattr("urllib.request.urlopen", lambda request: Response())

    class SmallCIFAR(torchvision.datasets.CIFAR10):
        tgz_md5 = hashlib.md5(served.read_bytes()).hexdigest()
        train_list = [[name, digests[name]] for name in (f"data_batch_{k}" for k in range(1, 6))]  # noqa: RUF012
        test_list = [["test_batch", digests["test_batch"]]]  # noqa: RUF012
        meta = {"filename": "batches.meta", "key": "label_names", "md5": digests["batches.meta"]}  # noqa: RUF012

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", SmallCIFAR)
    root = tmp_path / "root"
    return served, root, batches


def test_cifar_is_downloaded_in_silence(cifar, capfd):
    served, root, batches = cifar
    images = datasets.load("cifar10", root)
    assert capfd.readouterr() == ("", "")
    assert socket.getdefaulttimeout() is None
    expected = np.concatenate([batches[f"data_batch_{k}"]["data"] for k in range(1, 6)]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(images.train_images, expected)
    np.testing.assert_array_equal(images.test_images, batches["test_batch"]["data"].reshape(-1, 3, 32, 32))
    assert images.train_labels.tolist() == [0, 1] * 10 and images.train_labels.dtype == torch.int64
    assert images.class_names == ("cat", "dog")
    served.unlink()
    assert datasets.load("cifar10", root).sha256 == images.sha256  # and not downloaded twice


@pytest.mark.parametrize(
    "interrupted",
    [
        ["cifar-10-python.tar.gz", "cifar-10-batches-py"],  # while it arrived: half an archive, nothing extracted
        ["cifar-10-batches-py/data_batch_3"],  # while it was extracted
        ["cifar-10-batches-py/batches.meta"],
    ],
)
@pytest.mark.parametrize("leave", [truncated, None])
def test_an_interrupted_download_is_mended_by_the_next(cifar, interrupted, leave):
    _, root, _ = cifar
    expected = datasets.load("cifar10", root).sha256
    for name in interrupted:
        path = root / name
        if path.is_dir():
            remove(path)
        elif leave is None:
            path.unlink()
        else:
            cut(path)
    assert datasets.load("cifar10", root).sha256 == expected


def test_a_download_that_is_cut_short_is_told_and_leaves_no_harm(cifar, capfd):
    served, root, _ = cifar
    good = served.read_bytes()
    served.write_bytes(truncated(good))
    with pytest.raises(HybridError, match="could not be downloaded") as caught:
        datasets.load("cifar10", root)
    one_line(caught)
    assert capfd.readouterr() == ("", "")
    served.write_bytes(good)
    assert datasets.load("cifar10", root).classes == 2


@pytest.mark.parametrize("name, archive", [("cifar10", "cifar-10-python.tar.gz"), ("cifar100", "cifar-100-python.tar.gz")])
@pytest.mark.parametrize(
    "error", [urllib.error.URLError("Name or service not known"), TimeoutError(), ConnectionResetError("cut\noff")]
)
def test_no_network_is_told_in_one_line_with_the_ways_out(tmp_path, monkeypatch, capfd, name, archive, error):
    def unreachable(*args, **kwargs):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(HybridError) as caught:
        datasets.load(name, tmp_path / "root")
    message = one_line(caught)
    for part in (f"https://www.cs.toronto.edu/~kriz/{archive}", str(tmp_path / "root"), "by hand", f"{name}.npz"):
        assert part in message
    assert all(key in message for key in datasets.ARRAYS)
    assert caught.value.__suppress_context__  # a traceback shows this line alone
    assert capfd.readouterr() == ("", "")
    assert socket.getdefaulttimeout() is None


def test_an_npz_in_the_root_comes_before_the_download(npz, tmp_path):
    npz("cifar100.npz", **arrays())
    images = datasets.load("cifar100", tmp_path)
    assert (images.name, len(images.train_images)) == ("cifar100", 12)


# What a data set says of itself


@pytest.fixture
def small(npz, tmp_path):
    return datasets.load(npz(**arrays(side=(32, 32))), tmp_path)


def test_sha256_is_that_of_the_content(small):
    assert len(small.sha256) == 64
    strided = small.train_images.permute(2, 0, 1, 3).contiguous().permute(1, 2, 0, 3)
    for same in (small.to("cpu"), dataclasses.replace(small, name="other", train_images=strided)):
        assert same.sha256 == small.sha256


@pytest.mark.parametrize("name", datasets.ARRAYS)
def test_sha256_sees_every_array_its_shape_and_its_type(small, name):
    array = getattr(small, name)
    changed = array.clone()
    changed.view(-1)[0] += 1
    same_bytes = array.view(torch.int8 if array.dtype == torch.uint8 else torch.float64)
    others = [dataclasses.replace(small, **{name: other}) for other in (changed, array[None], same_bytes)]
    assert len({small.sha256, *(other.sha256 for other in others)}) == 4


def test_a_part_of_sorted_images_has_every_class(npz, tmp_path):
    content = arrays(count=24)
    content |= {name: np.sort(content[name]) for name in ("train_labels", "test_labels")}
    images = datasets.load(npz(**content), tmp_path)
    few = images.spread(6)
    assert few.train_labels.tolist() == few.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(few.train_images, images.train_images[::4]) and torch.equal(few.test_images, images.test_images[::2])
    assert few.spread(100).sha256 == few.sha256


def test_to_moves_all_four(small):
    moved = small.to("meta")
    assert {getattr(moved, name).device.type for name in datasets.ARRAYS} == {"meta"}
    assert (moved.name, moved.class_names) == (small.name, small.class_names)


def test_it_cannot_be_changed(small):
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.name = "other"


def test_describe(small):
    told = datasets.describe(small)
    levels = small.train_images.numpy() / 255
    np.testing.assert_allclose(told["mean"], levels.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(told["std"], levels.std((0, 2, 3)), atol=1e-4)
    assert (told["train_images"], told["test_images"], told["classes"]) == (12, 6, 3)
    assert (told["train_images_per_class"], told["test_images_per_class"]) == ([4, 4], [2, 2])
    assert told["sha256"] == small.sha256 and told["class_names"] == ["0", "1", "2"]


def test_data_sets_can_lie_elsewhere(home, npz, tmp_path_factory, monkeypatch):
    npz("cifar100.npz", **arrays())
    monkeypatch.setenv("HYBRID_DATA", str(home))
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path_factory.mktemp("home")))
    assert len(datasets.load("cifar100").train_images) == 12

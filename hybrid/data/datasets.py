"""Data sets: uint8 images (N, 3, 32, 32) and labels, in two splits.

They are the embedded digits, CIFAR-10 and CIFAR-100 (Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*,
2009), any `.npz` with the array names of MedMNIST, and any folder of images, with or without classes. Images of other sizes
become 32 x 32 (see `pictures`), and grey images become RGB.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid import paths
from hybrid.data import pictures
from hybrid.data.digits import RENDERINGS, load_digits_rgb
from hybrid.data.pictures import SIDE, read_image
from hybrid.errors import HybridError, counted, tell

CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # torchvision's names
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
FILES = "a path to an .npz file, or a path to a folder of images"
UNLABELLED = ("image",)  # the class names of a data set without classes
HELD_OUT = 0.2  # share of a folder's images for the test set, if the folder has no test set
STALLED = 30  # seconds without data after which a download fails


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images and labels of two splits, all on the same device; the sources stay on the CPU."""

    name: str  # as in folder names
    train_images: Tensor  # uint8 (N, 3, 32, 32)
    train_labels: Tensor  # int64 (N,), each of 0..classes-1
    test_images: Tensor  # uint8 (M, 3, 32, 32)
    test_labels: Tensor  # int64 (M,), each of 0..classes-1
    class_names: tuple[str, ...]
    # int64 (N,): images with the same value were made from the same source and stay together when the train set is split.
    train_sources: Tensor | None = None

    @property
    def classes(self) -> int:
        """The number of classes. It is 1 if the images have no labels; then all labels are 0."""
        return len(self.class_names)

    @property
    def labelled(self) -> bool:
        """Whether there are classes."""
        return self.classes > 1

    def demand_classes(self) -> None:
        """Raise HybridError if there are no classes, for what needs a probe."""
        if not self.labelled:
            raise HybridError(f"{self.name} has no classes: a probe needs two or more, each a folder of images")

    def __repr__(self) -> str:
        kind = f"of {self.classes} classes" if self.labelled else "without classes"
        test = f"{len(self.test_images):,} test image{'s' * (len(self.test_images) != 1)}"
        return f"ImageSet {self.name!r}: {len(self.train_images):,} train and {test} {kind}"

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal digest of the four arrays with their names, types and shapes; the same on every device."""
        digest = hashlib.sha256()
        for name in ARRAYS:
            array = getattr(self, name).cpu().contiguous().numpy()
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        return replace(self, **{name: getattr(self, name).to(device) for name in ARRAYS})

    def spread(self, count: int) -> ImageSet:
        """Return `count` evenly spaced images of each split, or all if there are fewer: of sorted classes equally many."""
        sources = None if self.train_sources is None else spread(self.train_sources, count)
        return replace(self, **{name: spread(getattr(self, name), count) for name in ARRAYS}, train_sources=sources)


def spread(values: Tensor, count: int) -> Tensor:
    """Return `count` evenly spaced rows of (N, ...), or all if there are fewer."""
    few = min(count, len(values))
    return values[torch.arange(few, device=values.device) * len(values) // max(few, 1)]


def split(count: int, share: float, seed: int, sources: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Split the indices of `count` examples randomly into two parts, the first with this share of them.

    Examples with the same value in `sources` (count,) are in the same part. By default all examples are independent.
    """
    sources = torch.arange(count) if sources is None else sources.unique(return_inverse=True)[1]
    order = torch.randperm(int(sources.max()) + 1, generator=torch.Generator().manual_seed(seed))
    rank = order.argsort()[sources]
    first = int((rank < max(round(share * len(order)), 1)).sum())
    return rank.argsort(stable=True).tensor_split([first])


def load(name: str | Path, root: Path | None = None) -> ImageSet:
    """Load the data set `name` on the CPU: `digits`, `cifar10`, `cifar100`, or a path to an .npz file or a folder.

    CIFAR is read from `root/<name>.npz` if that exists; otherwise torchvision reads it from `root`, and downloads and checks it
    if necessary. `root` is `paths.data()` by default. A folder has train/ and test/, or else a fifth of its images is held out
    as the test set. Two or more folders in them are the classes; otherwise the images have no labels. An .npz has train_images,
    train_labels, test_images, test_labels and optionally class_names: uint8 images (N, H, W), (N, H, W, 1) or (N, H, W, 3), and
    integer labels (N,) or (N, 1) that begin at 0. Raises HybridError for unusable data and for a failed download.
    """
    name, root = str(name), paths.data() if root is None else root
    if name in NAMED:
        return NAMED[name](Path(root))
    path = Path(name).expanduser()
    if name and path.is_dir():
        return _from_folder(slug(name), path)
    if path.suffix == ".npz":
        return _from_npz(slug(name), path)
    raise HybridError(f"data set {name!r} is unknown: expected {', '.join(NAMED)}, {FILES}")


def slug(name: str) -> str:
    """Return the name of a data set for folders of runs and results: the name, or the path's last part without .npz."""
    return name if name in NAMED else Path(name).expanduser().resolve().name.removesuffix(".npz")


def describe(images: ImageSet) -> dict:
    """Return counts, classes, the train set's mean and standard deviation per channel on [0, 1], and the SHA-256.

    Without labels, `classes` is 0, and there are neither counts per class nor names of classes.
    """
    level = torch.arange(256, dtype=torch.float64, device=images.train_images.device) / 255
    counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.train_images.unbind(1)])  # (3, 256)
    share = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    mean = share @ level  # (3,)
    std = (share * (level - mean[:, None]).square()).sum(1).sqrt()
    per_class = {"train": torch.bincount(images.train_labels), "test": torch.bincount(images.test_labels)}
    fewest_and_most = {f"{split}_images_per_class": [int(n.min()), int(n.max())] for split, n in per_class.items()}
    return {
        "name": images.name,
        **{f"{split}_images": int(n.sum()) for split, n in per_class.items()},
        **(fewest_and_most if images.labelled else {}),
        "classes": images.classes if images.labelled else 0,
        **({"class_names": list(images.class_names)} if images.labelled else {}),
        "mean": [round(m, 4) for m in mean.tolist()],
        "std": [round(s, 4) for s in std.tolist()],
        "sha256": images.sha256,
    }


def _digits(root: Path) -> ImageSet:
    images = ImageSet("digits", *load_digits_rgb(), class_names=tuple("0123456789"))
    count = len(images.train_images)
    return replace(images, train_sources=torch.arange(count) % (count // RENDERINGS))


def _cifar(name: str, root: Path) -> ImageSet:
    brought = root / f"{name}.npz"
    return _from_npz(name, brought) if brought.exists() else _from_torchvision(name, root)


# The data sets whose names identify their content: functions that load them, given the folder of data.
NAMED: dict[str, Callable[[Path], ImageSet]] = {"digits": _digits, **{name: partial(_cifar, name) for name in CIFAR}}


def _from_torchvision(name: str, root: Path) -> ImageSet:
    from torchvision import datasets  # slow to import, and rarely needed
    from torchvision.datasets.utils import check_integrity, download_and_extract_archive

    kind = getattr(datasets, CIFAR[name])
    try:
        with quiet_download():
            # If all batches are there, torchvision takes the archive for complete, and never restores metadata that an
            # interrupted extraction left out.
            if not check_integrity(root / kind.base_folder / kind.meta["filename"], kind.meta["md5"]):
                download_and_extract_archive(kind.url, root, filename=kind.filename, md5=kind.tgz_md5)
            train, test = kind(root, train=True, download=True), kind(root, train=False)
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        raise HybridError(
            f"{name} could not be downloaded from {kind.url} into {root} ({_in_one_line(error)}): "
            f"download {kind.filename} by hand and put it there, or put {name}.npz there, with {', '.join(ARRAYS)}"
        ) from None
    arrays = dict(zip(ARRAYS, (train.data, train.targets, test.data, test.targets), strict=True))
    return _image_set(name, str(root), {key: np.asarray(a) for key, a in arrays.items()}, tuple(train.classes))


def _from_npz(name: str, path: Path) -> ImageSet:
    arrays = read_npz(path, (*ARRAYS, "class_names"))
    missing = [key for key in ARRAYS if key not in arrays]
    if missing:
        raise HybridError(f"{path} lacks {', '.join(missing)}: give an .npz of a data set, which has them")
    names = arrays.pop("class_names", None)
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise HybridError(f"{path}: class_names is {names.dtype} {names.shape}: expected one string per class, (C,)")
    return _image_set(name, str(path), arrays, None if names is None else tuple(names.tolist()))


def read_npz(path: Path, wanted: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Return the `wanted` arrays of an .npz, without unpickling. Raises HybridError if it cannot be read."""
    expected = f"expected an .npz with {', '.join(ARRAYS)}"
    if not path.is_file():
        raise HybridError(f"{path} is not there: {expected}")
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in wanted or archive.files if key in archive}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise HybridError(f"{path} cannot be read ({_in_one_line(error)}): {expected}; get it again") from None


def _from_folder(name: str, path: Path) -> ImageSet:
    """Load a folder with train/ and test/, or one without them, from which a part is held out; each with or without classes."""
    found = pictures.find(path)
    parts: dict[str, list[Path]] = {"train": [], "test": []}
    left_out = dict(found.left_out)
    if any((path / split).is_dir() for split in parts):
        for file in found.files:
            split = file.relative_to(path).parts[0]
            if split in parts:
                parts[split].append(file)
            else:
                why = "images that are neither in train/ nor in test/"
                left_out[why] = left_out.get(why, 0) + 1
        for split, files in parts.items():
            if not files:
                raise HybridError(f"{path / split} holds no image: expected images, with or without a folder per class")
        classes = {split: _classes(files, path / split) for split, files in parts.items()}
        if classes["train"] != classes["test"]:
            odd = ", ".join(sorted(set(classes["train"]) ^ set(classes["test"])))
            raise HybridError(f"{path}: train/ and test/ differ in {odd}: expected the same folders of classes in both")
        labels = {split: _labels(files, path / split, classes["train"]) for split, files in parts.items()}
        names = classes["train"]
    else:
        names = _classes(list(found.files), path)
        every = _labels(found.files, path, names)
        held = _held_out(every, names, path)
        for split, wanted in (("train", False), ("test", True)):
            parts[split] = [file for file, out in zip(found.files, held, strict=True) if out == wanted]
        labels = {"train": every[~held], "test": every[held]}
        verb = "is" if held.sum() == 1 else "are"
        tell(
            f"{path} has no train/ and test/: {held.sum()} of its {len(held)} images {verb} the test set, a fixed random choice"
        )
    if line := str(replace(found, left_out=left_out)):
        tell(line)
    if not names:
        tell(f"{path} has no classes: whatever needs labels, such as the linear probe, is left out")
    arrays = {}
    with ThreadPoolExecutor() as pool:
        for split, files in parts.items():
            arrays[f"{split}_images"] = np.stack(list(pool.map(read_image, files)))
            arrays[f"{split}_labels"] = labels[split]
    return _image_set(name, str(path), arrays, names or UNLABELLED)


def _classes(files: list[Path], folder: Path) -> tuple[str, ...]:
    """Return the folders of the files, sorted; none if there is only one, or if there are files next to the folders."""
    first = {file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files}
    if "" in first and len(first) > 1:
        beside = sum(file.parent == folder for file in files)
        lie = counted(beside, "image lies", "images lie")
        tell(f"{folder}: {lie} outside the class folders, so the folders are not used as classes")
    return tuple(sorted(first)) if "" not in first and len(first) > 1 else ()


def _labels(files: Sequence[Path], folder: Path, classes: tuple[str, ...]) -> np.ndarray:
    """Return the class of each file, int64 (N,), or zeros if there are no classes."""
    return np.array([classes.index(file.relative_to(folder).parts[0]) if classes else 0 for file in files], np.int64)


def _held_out(labels: np.ndarray, classes: tuple[str, ...], path: Path) -> np.ndarray:
    """Return which images are the test set: a random share HELD_OUT of each class, the same in every call."""
    held = np.zeros(len(labels), bool)
    for label, name in enumerate(classes or ("",)):
        places = np.flatnonzero(labels == label)
        if len(places) < 2:
            where = path / name if name else path
            raise HybridError(f"{where} has too few images ({len(places)}): expected two or more, one of them for testing")
        held[places[split(len(places), HELD_OUT, 0)[0].numpy()]] = True
    return held


def _image_set(name: str, source: str, arrays: dict[str, np.ndarray], class_names: tuple[str, ...] | None) -> ImageSet:
    """Check four arrays with the layout of an .npz, and convert them to an ImageSet."""
    tensors = {}
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        where = f"{source}: {split}_images is {images.dtype} {images.shape}"
        if images.dtype != np.uint8:
            raise HybridError(f"{where}: expected uint8, 0 to 255")
        if images.ndim != 3 and not (images.ndim == 4 and images.shape[3] in (1, 3)):
            raise HybridError(f"{where}: expected (N, H, W), (N, H, W, 1) or (N, H, W, 3)")
        if images.size == 0:
            raise HybridError(f"{where}: expected at least one image, of at least one pixel")
        where = f"{source}: {split}_labels is {labels.dtype} {labels.shape}"
        if labels.ndim == 2 and labels.shape[1] > 1:
            raise HybridError(f"{where}, several labels per image: expected one label per image, (N,) or (N, 1)")
        if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
            raise HybridError(f"{where}: expected whole numbers, (N,) or (N, 1)")
        if len(labels) != len(images):
            raise HybridError(f"{where} for {counted(len(images), 'image')}: expected one label per image")
        tensors[f"{split}_images"] = squared(images)
        tensors[f"{split}_labels"] = torch.from_numpy(labels.reshape(-1).astype(np.int64))
    if class_names is None:
        class_names = tuple(str(label) for label in range(len(tensors["train_labels"].unique())))
    if len(class_names) < 2 and class_names != UNLABELLED:
        raise HybridError(f"{source} has {len(class_names)} class: expected at least two")
    for split in ("train", "test"):
        odd = sorted(set(tensors[f"{split}_labels"].tolist()) ^ set(range(len(class_names))))
        if odd:
            raise HybridError(
                f"{source}: {split}_labels and 0 to {len(class_names) - 1} differ in {', '.join(map(str, odd[:5]))}: "
                "expected each of these numbers, and no other, in train and in test"
            )
    return ImageSet(name, **tensors, class_names=class_names)


def squared(images: np.ndarray) -> Tensor:
    """Resize the middle squares (see `pictures`): uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3) -> uint8 (N, 3, 32, 32)."""
    height, width = images.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[:, top : top + side, left : left + side]
    x = torch.from_numpy(images if images.ndim == 4 else images[..., None]).permute(0, 3, 1, 2)  # (N, C, side, side)
    if side != SIDE:
        parts = [
            F.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
            for part in x.split(256)  # large images, as floats, would fill the memory
        ]
        x = torch.cat(parts)
    return x.expand(-1, 3, -1, -1).contiguous()


@contextlib.contextmanager
def quiet_download() -> Iterator[None]:
    """Inside this context a download prints no progress and does not wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""Data sets: uint8 images (N, 3, 32, 32) and labels, in two splits, from wherever they come.

Embedded digits, CIFAR-10 and CIFAR-100 (Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009), any
`.npz` with the array names of MedMNIST, any folder of images by class. Other sizes are squeezed to 32x32 with
antialiasing, and grey becomes RGB.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from hybrid.data.digits import RENDERINGS, load_digits_rgb
from hybrid.errors import HybridError

SIDE = 32  # pixels
CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # torchvision's names
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
FILES = "a path to an .npz file, or a path to a folder with train/<class>/ and test/<class>/"
STALLED = 30  # seconds without an answer after which a download has failed


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and labels of two splits, all on one device."""

    name: str  # as in the names of folders
    train_images: Tensor  # uint8 (N, 3, 32, 32)
    train_labels: Tensor  # int64 (N,), each of 0..classes-1
    test_images: Tensor  # uint8 (M, 3, 32, 32)
    test_labels: Tensor  # int64 (M,), each of 0..classes-1
    class_names: tuple[str, ...]
    # int64 (N,), what each train image was made from, where several are made from one: parts of the train set share none.
    train_sources: Tensor | None = None

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the four arrays with their names, types and shapes; the same on every device."""
        digest = hashlib.sha256()
        for name in ARRAYS:
            array = getattr(self, name).cpu().contiguous().numpy()
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        return replace(self, **{name: getattr(self, name).to(device) for name in ARRAYS})

    def first(self, count: int) -> ImageSet:
        """The first `count` images of each split, or all where there are fewer."""
        sources = None if self.train_sources is None else self.train_sources[:count]
        return replace(self, **{name: getattr(self, name)[:count] for name in ARRAYS}, train_sources=sources)


def split(count: int, share: float, seed: int, sources: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Places of `count` examples in two random parts, the first of this share of them.

    No source is in both parts, where several examples are of one: `sources` (count,). Left out, each is of its own.
    """
    sources = torch.arange(count) if sources is None else sources.unique(return_inverse=True)[1]
    order = torch.randperm(int(sources.max()) + 1, generator=torch.Generator().manual_seed(seed))
    rank = order.argsort()[sources]
    first = int((rank < max(round(share * len(order)), 1)).sum())
    return rank.argsort(stable=True).tensor_split([first])


def load(name: str, root: Path) -> ImageSet:
    """The data set called `name`, on the CPU: `digits`, `cifar10`, `cifar100`, or a path to an .npz file or a folder.

    CIFAR is read from `root/<name>.npz` where there is one, else by torchvision from `root`, downloaded and checked if
    need be. An .npz holds train_images, train_labels, test_images, test_labels and perhaps class_names: uint8 images
    (N, H, W), (N, H, W, 1) or (N, H, W, 3), whole-numbered labels (N,) or (N, 1) from 0 on. Raises HybridError for
    whatever cannot be used, and for a download that failed.
    """
    if name in NAMED:
        return NAMED[name](Path(root))
    path = Path(name).expanduser()
    if name and path.is_dir():
        return _from_folder(slug(name), path)
    if path.suffix == ".npz":
        return _from_npz(slug(name), path)
    raise HybridError(f"data set {name!r} is unknown: expected {', '.join(NAMED)}, {FILES}")


def slug(name: str) -> str:
    """What folders of runs and results call the data set `name`: the name, or the path's last part without .npz."""
    return name if name in NAMED else Path(name).expanduser().resolve().name.removesuffix(".npz")


def describe(images: ImageSet) -> dict:
    """Counts, classes, the train set's mean and standard deviation per channel on [0, 1], and the SHA-256."""
    level = torch.arange(256, dtype=torch.float64, device=images.train_images.device) / 255
    counts = torch.stack([torch.bincount(c.flatten(), minlength=256) for c in images.train_images.unbind(1)])  # (3, 256)
    share = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    mean = share @ level  # (3,)
    std = (share * (level - mean[:, None]).square()).sum(1).sqrt()
    per_class = {"train": torch.bincount(images.train_labels), "test": torch.bincount(images.test_labels)}
    return {
        "name": images.name,
        **{f"{split}_images": int(n.sum()) for split, n in per_class.items()},
        **{f"{split}_images_per_class": [int(n.min()), int(n.max())] for split, n in per_class.items()},
        "classes": images.classes,
        "class_names": list(images.class_names),
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


# The data sets whose names say what is in them: how each is loaded, given the folder of data.
NAMED: dict[str, Callable[[Path], ImageSet]] = {"digits": _digits, **{name: partial(_cifar, name) for name in CIFAR}}


def _from_torchvision(name: str, root: Path) -> ImageSet:
    from torchvision import datasets  # slow to import, and seldom needed
    from torchvision.datasets.utils import check_integrity, download_and_extract_archive

    kind = getattr(datasets, CIFAR[name])
    try:
        with quiet_download():
            # torchvision takes whole batches for a whole archive and would never mend metadata that an interrupted
            # extraction left out.
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
    if not path.is_file():
        raise HybridError(f"{path} is not there: expected an .npz file with {', '.join(ARRAYS)}")
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in (*ARRAYS, "class_names") if key in archive}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise HybridError(
            f"{path} cannot be read ({_in_one_line(error)}): expected an .npz with {', '.join(ARRAYS)}; get it anew"
        ) from None
    missing = [key for key in ARRAYS if key not in arrays]
    if missing:
        raise HybridError(f"{path} lacks {', '.join(missing)}: expected {', '.join(ARRAYS)}")
    names = arrays.pop("class_names", None)
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise HybridError(f"{path}: class_names is {names.dtype} {names.shape}: expected one text per class, (C,)")
    return _image_set(name, str(path), arrays, None if names is None else tuple(names.tolist()))


def _from_folder(name: str, path: Path) -> ImageSet:
    from torchvision.datasets import ImageFolder  # slow to import, and seldom needed

    folders = {}
    for split in ("train", "test"):
        try:
            folders[split] = ImageFolder(path / split)
        except OSError as error:
            raise HybridError(
                f"{path / split} cannot be used ({_in_one_line(error)}): expected images in a folder per class"
            ) from None
    train, test = folders["train"].classes, folders["test"].classes
    if train != test:
        odd = ", ".join(sorted(set(train) ^ set(test)))
        raise HybridError(f"{path}: train/ and test/ differ in {odd}: expected the same folders of classes in both")
    arrays = {}
    with ThreadPoolExecutor() as pool:
        for split, folder in folders.items():
            arrays[f"{split}_images"] = np.stack(list(pool.map(read_image, [file for file, _ in folder.samples])))
            arrays[f"{split}_labels"] = np.array(folder.targets)
    return _image_set(name, str(path), arrays, tuple(train))


def read_image(file: str | Path | BinaryIO, crop: bool = False) -> np.ndarray:
    """uint8 (32, 32, 3), on white: squeezed, or with `crop` the middle square, turned upright. The resize is antialiased."""
    try:
        with Image.open(file) as image:
            if image.mode[0] in "IF":
                raise HybridError(f"{file} has more than 8 bits a channel ({image.mode}): expected 8, convert it first")
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            if crop:
                square = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR)
                return np.asarray(square)
            return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    except HybridError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise HybridError(f"{file} cannot be read as an image ({_in_one_line(error)}): mend or remove it") from None


def _image_set(name: str, source: str, arrays: dict[str, np.ndarray], class_names: tuple[str, ...] | None) -> ImageSet:
    """Checks the four arrays, laid out as in an .npz, and turns them into an ImageSet."""
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
            raise HybridError(f"{where}, several labels an image: expected one label an image, (N,) or (N, 1)")
        if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
            raise HybridError(f"{where}: expected whole numbers, (N,) or (N, 1)")
        if len(labels) != len(images):
            raise HybridError(f"{where} for {len(images)} images: expected one label an image")
        tensors[f"{split}_images"] = _squeeze(images)
        tensors[f"{split}_labels"] = torch.from_numpy(labels.reshape(-1).astype(np.int64))
    if class_names is None:
        class_names = tuple(str(label) for label in range(len(tensors["train_labels"].unique())))
    if len(class_names) < 2:
        raise HybridError(f"{source} has {len(class_names)} class: expected at least two, or nothing is to be told apart")
    for split in ("train", "test"):
        odd = sorted(set(tensors[f"{split}_labels"].tolist()) ^ set(range(len(class_names))))
        if odd:
            raise HybridError(
                f"{source}: {split}_labels and 0 to {len(class_names) - 1} differ in {', '.join(map(str, odd[:5]))}: "
                "expected every class from 0 on, and no other, in train and in test"
            )
    return ImageSet(name, **tensors, class_names=class_names)


def _squeeze(images: np.ndarray) -> Tensor:
    """uint8 (N, 3, 32, 32) of uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3)."""
    images = torch.from_numpy(images if images.ndim == 4 else images[..., None]).permute(0, 3, 1, 2)  # (N, C, H, W)
    if images.shape[2:] != (SIDE, SIDE):
        parts = [
            F.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
            for part in images.split(256)  # as floats, large images would fill the memory
        ]
        images = torch.cat(parts)
    return images.expand(-1, 3, -1, -1).contiguous()


@contextlib.contextmanager
def quiet_download() -> Iterator[None]:
    """Keeps a download's progress off the terminal, and the download from waiting for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

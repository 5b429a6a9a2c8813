"""The identity of a data set: its content, not its name.

The SHA-256 identifies a data set. Reading all images to compute it would take seconds, so the digest is cached with the sizes
and times of the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from hybrid.data import datasets
from hybrid.data.datasets import CIFAR, NAMED, ImageSet
from hybrid.errors import HybridError
from hybrid.machine import files

# SHA-256 of the data sets whose names identify their content, as in the committed results.
SHA256 = {
    "digits": "0d007488e3058a5d1dd8f4b863818a2cc20231f75bcf06d23dea07517ec95fac",
    "cifar10": "83558d1a3bb89f4a91dae70e5bbe189973d31256f22ee94afe0a4fb62f3e9455",
    "cifar100": "c14da03e89b471db3691ef58e8c68b1228e140b94387947abd4851520d280329",
}
# `content` of the data sets that exist in several orders: torchvision's is random, others sort by class.
CONTENT = {
    "cifar10": "0a8e86a6cb65a534ea076adc42c741c3751d20821d250b76027bd165366398dc",
    "cifar100": "5d9d18eec1cf80d3409285c9238d6c9cede692af967a9065c5a1979b0c27a94d",
}
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}  # folders that torchvision unpacks
FRESH = 2.0  # seconds after a change of a file in which another change may get the same time


def identify(name: str, root: Path, cache: Path) -> str:
    """Return the SHA-256 of the data set `name` (see `datasets.load`), cached in the folder `cache`.

    If a published data set is not on this machine, return the published SHA-256. Raises HybridError like `datasets.load`.
    """
    sources = list(_sources(name, root))
    if not sources:
        return SHA256[name] if name in SHA256 else of(datasets.load(name, root))
    stats = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in sources]
    key = hashlib.sha256(json.dumps([name, stats]).encode()).hexdigest()
    path = cache / f"{key[:24]}.json"
    kept = files.read_json(path, lambda values: files.demand(values, {"key": str, "sha256": str}))
    if kept is not None and kept["key"] == key:
        return kept["sha256"]
    found = of(datasets.load(name, root))
    newest = max(stat.st_mtime for _, stat in sources)
    if time.time() - newest > FRESH:
        with suppress(HybridError):  # without write permission nothing is cached
            files.write_json(path, files.sealed({"key": key, "sha256": found}))
    return found


def of(images: ImageSet) -> str:
    """Return the SHA-256 of loaded images. A published data set has the published SHA-256 in any order of its images."""
    known = SHA256.get(images.name)
    same = known is not None and images.sha256 != known and content(images) == CONTENT.get(images.name)
    return known if known is not None and same else images.sha256


def slug(name: str, sha256: str) -> str:
    """Return the name of a data set for folders of runs and results. If the name does not identify it, add its digest."""
    same = name in NAMED and SHA256.get(name, sha256) == sha256
    return name if same else f"{datasets.slug(name)}-{sha256[:8]}"


def content(images: ImageSet) -> str:
    """Return a SHA-256 of the images with their labels that does not depend on their order."""
    digest = hashlib.sha256()
    for split in ("train", "test"):
        pixels, labels = (getattr(images, f"{split}_{what}").cpu() for what in ("images", "labels"))
        rows = torch.cat([pixels.flatten(1), labels.to(torch.uint8)[:, None]], dim=1).contiguous().numpy()  # (N, 3073)
        digest.update(b"".join(sorted(hashlib.blake2b(np.ascontiguousarray(row), digest_size=16).digest() for row in rows)))
    return digest.hexdigest()


def _sources(name: str, root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Return the files of a data set, sorted, with their sizes and times; none if it is missing or has a function of its own.

    A folder that is called like a named data set is not that data set, as in `datasets.load`.
    """
    if name in NAMED and name not in CIFAR:
        return
    path = Path(root) / f"{name}.npz" if name in CIFAR else Path(name).expanduser().resolve()
    if name in CIFAR and not path.exists():
        path = Path(root) / FOLDERS[name]
    if path.is_file():
        yield path, path.stat()
    elif name and path.is_dir():
        seen = set()
        for folder, below, names in os.walk(path, followlinks=True):
            if (real := os.path.realpath(folder)) in seen:  # a link that leads back
                below.clear()
                continue
            seen.add(real)
            below.sort()
            for each in sorted(names):
                with suppress(OSError):  # a link that leads nowhere
                    yield Path(folder, each), os.stat(os.path.join(folder, each))

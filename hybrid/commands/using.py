"""Commands that use trained models, data sets and results."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from hybrid import paths
from hybrid.commands.common import check_sampling, origin_of, print_json, print_progress, provenance_of
from hybrid.errors import HybridError


def sample(
    run: Path,
    out: Path,
    count: int = 64,
    steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
    order: int = 1,
    guidance: float | None = None,
) -> None:
    """Sample new images from a trained hybrid. A line on standard error names the sampler: the paper's DDIM on z, or Hybrid+.

    The same command gives the same images. For others, give another --seed.

    For example:
        hybrid sample --run cifar10 --out new.png
        hybrid sample --run runs/demo/digits/hybrid/seed0 --out new.npz --count 1000
        hybrid sample --run runs/demo/digits/hybridplus/seed0 --out other.png --seed 1

    Args:
        run: released weights, such as cifar10, which sample by Hybrid+, a run's folder, or one of save_pretrained:
            runs/demo/digits/hybrid/seed0 samples by the DDIM on z, runs/demo/digits/hybridplus/seed0 by Hybrid+
        out: a .png (a grid with eight columns, each image enlarged to 128 x 128) or an .npz (images, uint8, N x 32 x 32 x 3;
            origin, for `hybrid explain`).
        count: number of images.
        steps: number of steps of the sampler.
        eta: 0 for the deterministic sampler, 1 for the ancestral one.
        seed: seed for the noise; the same seed gives the same images.
        order: of the deterministic sampler: 1 is DDIM; 2 has a smaller error in fewer steps, such as 25.
        guidance: how much w follows y, for Hybrid+: 0 not at all, 1 as trained, more exaggerates it; if omitted: the profile's.
    """
    from json import dumps

    import numpy as np

    from hybrid.data import pixels
    from hybrid.machine.files import check_out, save_arrays
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.showing.figures import save_png

    if count < 1:
        raise HybridError(f"count = {count}: give 1 or more")
    check_out(out, ".png", ".npz")
    check_sampling(seed, eta, order)
    model = open_model(run, best_device())
    if model.sampler:
        print_progress(f"sampling by {model.sampler}, seed {seed}")
    images = pixels.to_uint8(model.sample(count, steps, eta, seed, order, guidance))
    origin = origin_of(run, model, seed=seed)
    if out.suffix == ".npz":
        save_arrays(out, {"images": images.permute(0, 2, 3, 1).cpu().numpy(), "origin": np.array(dumps(origin))})
    else:
        save_png(out, images, 8, origin)
    print(f"samples: {out}")


def interpolate(run: Path, start: Path, end: Path, out: Path, part: Literal["z", "y", "w"] = "z", frames: int = 9) -> None:
    """Draw a path between two images of your own, along which the whole code moves, only y, or only w.

    For example:
        hybrid interpolate --run cifar10 --start a.jpg --end b.jpg --out path.png
        hybrid interpolate --run cifar10 --start a.jpg --end b.jpg --out path.png --part w

    Args:
        run: released weights, such as cifar10, a run's folder, such as runs/demo/digits/hybrid/seed0, or one of save_pretrained
        start: an image file, for t = 1; its middle square is used.
        end: an image file, for t = 0; its middle square is used.
        out: a .png: one row of images, each enlarged to 128 x 128.
        part: the part of the code that moves.
        frames: number of images on the path, with both ends.
    """
    import torch

    from hybrid.data import pictures, pixels
    from hybrid.machine.files import check_out
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.showing.figures import save_png

    check_out(out, ".png")
    if frames < 2:
        raise HybridError(f"frames = {frames}: give 2 or more, because they include both ends")
    x0, x1 = (pictures.read_image(path)[None] for path in (start, end))  # (1, 32, 32, 3)
    model = open_model(run, best_device())
    path = model.interpolate(x0, x1, torch.linspace(1, 0, frames), part)[0]
    save_png(out, pixels.to_uint8(path), frames, origin_of(run, model))
    print(f"path: {out}")


def embed(run: Path, images: tuple[str, ...], out: Path, part: tuple[Literal["y", "w", "z"], ...] = ("y",)) -> None:
    """Write the codes of images, a row per image: its file, its split and class if known, and y, w or z.

    Images can have any size: the middle square is resized to 32 x 32. An interrupted command continues when you repeat it.

    For example:
        hybrid embed --run cifar10 --images my/folder --out codes.csv
        hybrid embed --run cifar10 --images a.jpg b.png --out codes.npz --part y w
        find . -name "*.jpg" | hybrid embed --run cifar10 --images - --out codes.parquet

    Args:
        run: released weights, such as cifar10, a run's folder, such as runs/demo/digits/hybrid/seed0, or one of save_pretrained
        images: a folder (flat, nested, or with train/ and test/), image files, an .npz, the name of a data set, a .txt with
            one file per line, or - to read such lines from standard input.
        out: an .npz, which `hybrid neighbours` can search, a .csv or a .parquet.
        part: y, for classification (768 numbers); w, most of the image (768); z, both (1536).
    """
    from hybrid.data.sources import source
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.workflows import embed

    embed.check(out)
    if not part:
        raise HybridError("part is empty: give one or more of y, w, z")
    model = open_model(run, best_device())
    print(embed.embed(model, source(images), out, tuple(dict.fromkeys(part)), origin=origin_of(run, model)))


def probe(
    run: Path,
    dataset: str,
    out: Path | None = None,
    part: Literal["y", "w", "z"] = "y",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Classify labelled images from a frozen hybrid's y, w and z, with a linear probe and with nearest neighbours.

    Both learn from the train images of the data set; the accuracies are those on its test images. Without train/ and test/, a
    fifth of each class is the test set. The folder --out gets the numbers, probe.json and probe.txt, and two figures: the
    confusion matrix, and some test images with their nearest train images.

    For example:
        hybrid probe --run cifar10 --dataset my/folder
        hybrid probe --run cifar10 --dataset digits --out probed --json

    Args:
        run: released weights, such as cifar10, a run's folder, such as runs/demo/digits/hybrid/seed0, or one of save_pretrained
        dataset: digits, cifar10, cifar100, an .npz, or a folder with a folder per class, directly or in train/ and test/.
        out: a folder; if omitted: probe-<data set>.
        part: the part of the code for the confusion matrix and the figures; the accuracies are always of all three.
        seed: seed for the train images that choose the probe's penalty, and for the test images in the figure.
        json: print the numbers as JSON.
    """
    from hybrid.data import datasets
    from hybrid.machine.precision import best_device
    from hybrid.profiles.checked import whole_seed
    from hybrid.released import open_model
    from hybrid.workflows import probe

    whole_seed(seed)
    if out is not None:
        probe.check(out)
    model, images = open_model(run, best_device()), datasets.load(dataset)
    out = out or Path(f"probe-{images.name}")
    probe.check(out)
    found = probe.probe(model, images, part, seed)
    about = {"dataset": images.name, "sha256": images.sha256, "seed": seed}
    folder = probe.write(found, out, provenance_of(run, model, **about))
    if json:
        print_json(found.as_json())
    else:
        print(f"{images!r}\n{found}\npictures: {folder}")


def neighbours(
    run: Path,
    query: Path,
    images: tuple[str, ...],
    out: Path = Path("neighbours.png"),
    part: Literal["y", "w", "z"] = "y",
    count: int = 8,
    json: bool = False,
) -> None:
    """Find and draw the images whose codes are nearest to that of a query image, nearest first.

    Prints the cosine similarity of the codes (1: equal), the file and its class, if known. Codes of 20 or more images are
    standardised first, by their mean and deviation, so a similarity depends on the images searched. The query itself is left
    out. The figure needs the image files, even if --images is an .npz of codes.

    For example:
        hybrid neighbours --run cifar10 --query cat.jpg --images my/folder
        hybrid embed --run cifar10 --images my/folder --out codes.npz
        hybrid neighbours --run cifar10 --query cat.jpg --images codes.npz --count 20

    Args:
        run: released weights, such as cifar10, a run's folder, such as runs/demo/digits/hybrid/seed0, or one of save_pretrained
        query: an image file of any size; its middle square is used.
        images: the images to search, see `hybrid embed --help`, or an .npz of codes that `hybrid embed` wrote with this
            --run and this --part.
        out: the figure, a .png; a .pdf with the same name is written too.
        part: the part of the code to compare: y, for classification; w, most of the image; z, both.
        count: number of images to find; the figure shows up to 200 of them.
        json: print files and similarities as JSON.
    """
    from hybrid.machine.files import check_out
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.workflows import neighbours

    check_out(out, ".png")
    model = open_model(run, best_device())
    found, searched = neighbours.search(model, query, images, part, count)
    neighbours.draw(found, searched, out, origin_of(run, model))
    if json:
        print_json(found.as_json())
    else:
        print(f"{found}\npicture: {out}")


def diagnose(
    run: Path,
    dataset: str | None = None,
    out: Path = Path("diagnosis.png"),
    count: int = 2000,
    steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
    order: int = 1,
    json: bool = False,
) -> None:
    """Diagnose a hybrid's code and prior: spectra, losses compared with those of Gaussians, power of samples, distances.

    For example:
        hybrid diagnose --run cifar10 --out diagnosis.png
        hybrid diagnose --run runs/demo/digits/hybrid/seed0 --count 500

    Args:
        run: released weights, such as cifar10, a run's folder, such as runs/demo/digits/hybrid/seed0, or one of save_pretrained
        dataset: the run's data set: digits, cifar10, cifar100, an .npz or a folder; if omitted: the one that it was trained on.
        out: the figure, a .png; a .pdf and the tables, a .md, with the same name are written too.
        count: number of test images, and of samples.
        steps: number of steps of the sampler.
        eta: 0 for the deterministic sampler, 1 for the ancestral one.
        seed: seed for the noise.
        order: of the deterministic sampler: 1 is DDIM; 2 has a smaller error in fewer steps, such as 25.
        json: print the tables as JSON.
    """
    from hybrid.data import datasets
    from hybrid.judging.diagnose import diagnose
    from hybrid.machine.files import check_out, write_text
    from hybrid.machine.precision import best_device
    from hybrid.machine.provenance import summary
    from hybrid.released import dataset_of, open_model
    from hybrid.showing import diagnosis, figures

    check_out(out, ".png")
    check_sampling(seed, eta, order)
    if count < 2:
        raise HybridError(f"count = {count}: give 2 or more")
    model = open_model(run, best_device())
    name = dataset or dataset_of(run)
    if dataset is None and name not in datasets.NAMED:
        raise HybridError(f"{run} names no data set that can be loaded: give its folder or .npz with --dataset")
    images = datasets.load(name, paths.data()).to(model.device)
    found = diagnose(model, images, count, steps, eta, seed, order)
    tables = diagnosis.markdown(found)
    write_text(out.with_suffix(".md"), tables + "\n")
    origin = provenance_of(run, model, dataset=images.name, sha256=images.sha256, seed=seed)
    about = summary(origin, {}, out.with_suffix(".md").name) | {"again": origin["command"]}
    figures.save_figure(diagnosis.draw(found), out.with_suffix(""), about)
    if json:
        print_json(diagnosis.as_json(found))
    else:
        print(f"{tables}\npicture: {out}")


def release(
    profile: str = "laptop", dataset: str | None = None, seed: int = 0, out: Path | None = None, force: bool = False
) -> None:
    """Export a trained hybrid as released weights with a model card, for `hybrid.pretrained`; train it first if necessary.

    For example:
        hybrid release --profile laptop --dataset cifar10 --out my-weights

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed of the run.
        out: a folder; `hybrid.pretrained` and --run take the path of the .safetensors in it. If omitted: the package's own,
            where its name is enough.
        force: replace weights of the same data set that are there.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.released import FOLDER
    from hybrid.workflows.release import release

    print(f"weights: {release(Experiment(profile, dataset, seed), out or FOLDER, force)}")


def data(dataset: str = "digits") -> None:
    """Load a data set, download it if necessary, and describe it as JSON: counts, classes, mean and deviation per channel.

    The numbers of images per class are those of the smallest and the largest class. Without labels there are none.

    For example:
        hybrid data --dataset cifar10
        hybrid data --dataset my/folder

    Args:
        dataset: digits, cifar10, cifar100, an .npz or a folder.
    """
    from hybrid.data.datasets import describe, load

    print_json(describe(load(dataset)))


def explain(path: tyro.conf.Positional[Path], cell: tuple[str, str] | None = None) -> None:
    """Explain the origin of a file: command, commit, data, weights, precision, device, and how to make it again.

    For example:
        hybrid explain results/laptop/cifar10/seed0/figure3.png
        hybrid explain results/laptop/cifar10/table1.md --cell BigGAN accuracy

    Args:
        path: a figure, table, outcome or history in results/, what sample, embed and other commands wrote (a .csv has no
            origin), a checkpoint, or released weights.
        cell: a method and a metric, to explain one number of a table: their names, such as hybrid acc, or their headings.
    """
    from hybrid.workflows.explain import explain

    print(explain(path, cell))

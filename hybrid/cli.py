"""The command line, `hybrid`: what its commands are called and take.

reproduce, train, evaluate, sample, interpolate, embed, diagnose, release, data, bench, screen.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from PIL import Image

from hybrid import data as datasets
from hybrid import distributed, figures, paths
from hybrid.checkpoint import save_arrays, write_atomically
from hybrid.errors import HybridError
from hybrid.experiment import Experiment
from hybrid.methods import METHODS, method
from hybrid.precision import best_device, in_words
from hybrid.released import names, open_model
from hybrid.released import release as write_release
from hybrid.reproduce import reproduce as run_all
from hybrid.screen import screen as run_screen
from hybrid.train import Clock, TimeUp

STOPPED = 75  # the exit status of a run that its time limit stopped: the same command goes on (sysexits.h, EX_TEMPFAIL)


def reproduce(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] = tuple(METHODS),
    time_limit: float | None = None,
    notebooks: bool = True,
) -> None:
    """Train, judge, draw: everything that a profile makes, then the notebooks and one HTML report.

    Work that is done is not done again; a run that was stopped goes on.

    Args:
        profile: demo, laptop, gpu, paper or smoke; change a field with a comma: laptop,hybrid.representation.training.epochs=6
        dataset: digits, cifar10, cifar100, an .npz or a folder; left out: the profile's own.
        seed: of weights, batches and samples.
        methods: which, beside the hybrid; left out: all.
        time_limit: stop at a checkpoint after so many seconds, with exit status 75.
        notebooks: execute the notebooks too.
    """
    _refuse_unknown(methods)
    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    print(in_words(experiment.device), flush=True)
    print(f"report: {run_all(experiment, methods, notebooks)}")


def train(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] = tuple(METHODS),
    time_limit: float | None = None,
) -> None:
    """Train methods, or go on where training stopped.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of weights and batches.
        methods: which; left out: all.
        time_limit: stop at a checkpoint after so many seconds, with exit status 75.
    """
    _refuse_unknown(methods)
    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    print(in_words(experiment.device), flush=True)
    for name in methods:
        experiment.model(name)
        print(f"trained: {experiment.run(name).folder}")


def evaluate(
    profile: str = "demo", dataset: str | None = None, seed: int = 0, methods: tuple[str, ...] = tuple(METHODS)
) -> None:
    """Judge methods on the test set, training what is not trained, and print the numbers.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of weights, batches and samples.
        methods: which; left out: all.
    """
    _refuse_unknown(methods)
    experiment = Experiment(profile, dataset, seed)
    for name in methods:
        print(f"{method(name).title}, {experiment.profile.name}, {experiment.slug}, seed {seed}")
        for metric, value in experiment.metrics(name)["metrics"].items():
            print(f"  {metric:24} {value:10.3f}")


def sample(run: Path, out: Path, count: int = 64, steps: int = 50, eta: float = 0.0, seed: int = 0) -> None:
    """Draw new images from a trained hybrid.

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        out: a .png (a sheet of eight columns) or an .npz (images, uint8, N x 32 x 32 x 3).
        count: how many.
        steps: of the DDIM sampler.
        eta: 0 for the deterministic sampler, 1 for the ancestral one.
        seed: of the noise.
    """
    if count < 1:
        raise HybridError(f"count = {count}: give 1 or more")
    if out.suffix not in (".png", ".npz"):
        raise HybridError(f"out = {str(out)!r} has no known ending: expected .png or .npz")
    images = figures.to_uint8(open_model(run, best_device()).sample(count, steps, eta, seed))
    if out.suffix == ".npz":
        save_arrays(out, {"images": images.permute(0, 2, 3, 1).cpu().numpy()})
    else:
        _save_png(out, figures.tile(images, 8))
    print(f"samples: {out}")


def interpolate(run: Path, start: Path, end: Path, out: Path, part: Literal["z", "y", "w"] = "z", frames: int = 9) -> None:
    """Draw the path between two images of your own: the whole code moves, or y alone, or w alone.

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        start: an image file, t = 1; its middle square is taken.
        end: an image file, t = 0; likewise.
        out: a .png.
        part: what moves.
        frames: images on the path, both ends included.
    """
    if out.suffix != ".png":
        raise HybridError(f"out = {str(out)!r} has no known ending: expected .png")
    if frames < 2:
        raise HybridError(f"frames = {frames}: give 2 or more, both ends are among them")
    x0, x1 = (
        torch.tensor(datasets.read_image(path, crop=True)).permute(2, 0, 1)[None] for path in (start, end)
    )  # (1, 3, 32, 32)
    path = open_model(run, best_device()).interpolate(x0, x1, torch.linspace(1, 0, frames), part)[0]
    _save_png(out, figures.tile(figures.to_uint8(path), frames))
    print(f"path: {out}")


def embed(run: Path, dataset: str, out: Path) -> None:
    """Write the codes of a data set's images: an .npz with train_y, train_w, train_labels, test_y, test_w, test_labels.

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        dataset: digits, cifar10, cifar100, an .npz or a folder.
        out: an .npz.
    """
    if out.suffix != ".npz":
        raise HybridError(f"out = {str(out)!r} has no known ending: expected .npz")
    images, model = datasets.load(dataset, paths.data()), open_model(run, best_device())
    arrays = {"train_labels": images.train_labels.numpy(), "test_labels": images.test_labels.numpy()}
    for split, pixels in (("train", images.train_images), ("test", images.test_images)):
        y, w = model.split(model.encode(pixels))
        arrays |= {f"{split}_y": y.cpu().numpy(), f"{split}_w": w.cpu().numpy()}
    save_arrays(out, arrays)
    print(f"codes: {out}")


def diagnose(
    run: Path,
    dataset: str = "",
    out: Path = Path("diagnosis.png"),
    count: int = 2000,
    steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
) -> None:
    """Say whether a hybrid's code is good and its prior converges: spectra, losses beside Gaussians', power, distances.

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        dataset: that it was trained on: digits, cifar10, cifar100, an .npz or a folder; left out: the one in run's name.
        out: the picture, a .png; the tables go beside it, as .md
        count: test images and samples that are looked at.
        steps: of the DDIM sampler.
        eta: 0 for the deterministic sampler, 1 for the ancestral one.
        seed: of the noise.
    """
    from hybrid import diagnose as diagnosis

    if out.suffix != ".png":
        raise HybridError(f"out = {str(out)!r} has no known ending: expected .png")
    if count < 2:
        raise HybridError(f"count = {count}: give 2 or more")
    model = open_model(run, best_device())
    name = dataset or (str(run) if str(run) in names() else run.resolve().parents[1].name)
    found = diagnosis.diagnose(model, datasets.load(name, paths.data()).to(model.device), count, steps, eta, seed)
    tables = diagnosis.markdown(found)
    print(tables)
    write_atomically(out.with_suffix(".md"), lambda path: path.write_text(tables + "\n"))
    figures.save_figure(diagnosis.draw(found), out.with_suffix(""))
    print(f"picture: {out}")


def release(profile: str = "laptop", dataset: str | None = None, seed: int = 0) -> None:
    """Write the trained hybrid as released weights with a model card, for `hybrid.pretrained`.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of the run.
    """
    print(f"weights: {write_release(Experiment(profile, dataset, seed))}")


def data(dataset: str = "digits") -> None:
    """Load a data set, downloading it where it must, and say what is in it.

    Args:
        dataset: digits, cifar10, cifar100, an .npz or a folder.
    """
    print(json.dumps(datasets.describe(datasets.load(dataset, paths.data())), indent=1))


def bench(
    out: Path | None = None,
    seconds: float = 30.0,
    pairs: tuple[str, ...] = (),
    profile: str = "laptop",
    fid_images: int = 5000,
    quick: bool = False,
) -> None:
    """Measure this package against what people would use instead, and write a table and a plot.

    Args:
        out: a folder; left out: results/bench.
        seconds: for each pair, about.
        pairs: which; left out: all.
        profile: whose networks and batches.
        fid_images: whose Fréchet distance is measured, the longest turn by far.
        quick: run every line on next to nothing; the numbers mean nothing.
    """
    from hybrid.bench import bench as measure  # imports its peers' parts

    table = measure(out or paths.bench(), seconds, pairs, profile, fid_images, quick)
    print(f"table: {table}")


def screen(
    profile: str = "laptop,hybrid.representation.training.epochs=3",
    dataset: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    time_limit: float | None = None,
) -> None:
    """Train the hybrid's first stage on nine tenths of the train set, judge it on the rest, and log how it fares.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of weights and batches.
        out: the log, a .jsonl; left out: results/bench/screen.jsonl.
        time_limit: stop at a checkpoint after so many seconds, with exit status 75.
    """
    line = run_screen(Experiment(profile, dataset, seed, Clock(time_limit)), out or paths.bench() / "screen.jsonl")
    print(json.dumps({key: value for key, value in line.items() if key != "provenance"}))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a wrong input ends with one line on standard error and status 2.

    Of several processes, which torchrun starts, the first speaks; each tells its own errors.
    """
    logging.basicConfig(format="%(message)s")
    commands = {
        f.__name__: f for f in (reproduce, train, evaluate, sample, interpolate, embed, diagnose, release, data, bench, screen)
    }
    try:
        distributed.start()
        with contextlib.redirect_stdout(None) if distributed.rank() else contextlib.nullcontext():
            tyro.extras.subcommand_cli_from_dict(commands, prog="hybrid", description=__doc__, args=arguments)
    except TimeUp as stop:
        if distributed.rank() == 0:
            print(stop, file=sys.stderr)
        return STOPPED
    except HybridError as error:
        print(f"hybrid: {error}", file=sys.stderr)
        return 2
    finally:
        distributed.stop()
    return 0


def _refuse_unknown(methods: tuple[str, ...]) -> None:
    """A wrong name is told before anything is trained."""
    for name in methods:
        method(name)


def _save_png(path: Path, pixels: np.ndarray) -> None:
    write_atomically(path, lambda temporary: Image.fromarray(pixels).save(temporary, format="png"))


if __name__ == "__main__":
    sys.exit(main())

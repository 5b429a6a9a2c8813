"""The command line, `hybrid`: what its commands are called and take.

reproduce, train, evaluate, sample, interpolate, embed, diagnose, release, data, bench, screen, expect, bounds, factors,
tradeoff; `hybrid --version`.
Commands import what they need once they run, so that help comes at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial, wraps
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from hybrid import paths
from hybrid.errors import HybridError, TimeUp

if TYPE_CHECKING:
    import numpy as np

STOPPED = 75  # the exit status of a run that its time limit stopped: the same command goes on (sysexits.h, EX_TEMPFAIL)


def reproduce(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] = (),
    time_limit: float | None = None,
    notebooks: bool = True,
    dry_run: bool = False,
) -> None:
    """Train, judge, draw: everything that a profile makes, then the notebooks and one HTML report.

    Work that is done is not done again; a run that was stopped goes on.

    Args:
        profile: demo, laptop, gpu, paper or smoke; change a field with a comma: laptop,hybrid.representation.training.epochs=6
        dataset: digits, cifar10, cifar100, an .npz or a folder; left out: the profile's own.
        seed: of weights, batches and samples.
        methods: hybrid, hybridplus, mocov2, nvae, ddim, biggan, contrast_on_z: which, beside the hybrid; left out: all.
        time_limit: stop at a checkpoint after so many seconds, with exit status 75.
        notebooks: execute the notebooks too.
        dry_run: tell what is there, what is to be made and how long that takes, and make nothing.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.machine.precision import in_words
    from hybrid.training.loop import Clock
    from hybrid.workflows import expected, plan
    from hybrid.workflows.reproduce import reproduce

    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    print(in_words(experiment.device), flush=True)
    work = plan.of(experiment, _known(methods), notebooks)
    print(plan.describe(experiment, work), flush=True)
    if not dry_run:
        report = reproduce(experiment, work)
        if compared := expected.compare(experiment, work.methods):
            print(f"{expected.formatted(compared)}\n{expected.verdict(compared)}")
        print(f"report: {report}")


def train(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] = (),
    time_limit: float | None = None,
) -> None:
    """Train methods, or go on where training stopped.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of weights and batches.
        methods: likewise; left out: all.
        time_limit: stop at a checkpoint after so many seconds, with exit status 75.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.machine.precision import in_words
    from hybrid.training.loop import Clock

    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    print(in_words(experiment.device), flush=True)
    for name in _known(methods):
        experiment.model(name)
        print(f"trained: {experiment.run(name).folder}")


def evaluate(profile: str = "demo", dataset: str | None = None, seed: int = 0, methods: tuple[str, ...] = ()) -> None:
    """Judge methods on the test set, training what is not trained, and print the numbers.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of weights, batches and samples.
        methods: likewise; left out: all.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.experiments.methods import method

    experiment = Experiment(profile, dataset, seed)
    for name in _known(methods):
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
    from hybrid.data import pixels
    from hybrid.machine.files import save_arrays
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model

    if count < 1:
        raise HybridError(f"count = {count}: give 1 or more")
    if out.suffix not in (".png", ".npz"):
        raise HybridError(f"out = {str(out)!r} has no known ending: expected .png or .npz")
    images = pixels.to_uint8(open_model(run, best_device()).sample(count, steps, eta, seed))
    if out.suffix == ".npz":
        save_arrays(out, {"images": images.permute(0, 2, 3, 1).cpu().numpy()})
    else:
        _save_png(out, pixels.tile(images, 8))
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
    import torch

    from hybrid.data import datasets, pixels
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model

    if out.suffix != ".png":
        raise HybridError(f"out = {str(out)!r} has no known ending: expected .png")
    if frames < 2:
        raise HybridError(f"frames = {frames}: give 2 or more, both ends are among them")
    x0, x1 = (
        torch.tensor(datasets.read_image(path, crop=True)).permute(2, 0, 1)[None] for path in (start, end)
    )  # (1, 3, 32, 32)
    path = open_model(run, best_device()).interpolate(x0, x1, torch.linspace(1, 0, frames), part)[0]
    _save_png(out, pixels.tile(pixels.to_uint8(path), frames))
    print(f"path: {out}")


def embed(run: Path, dataset: str, out: Path) -> None:
    """Write the codes of a data set's images: an .npz with train_y, train_w, train_labels, test_y, test_w, test_labels.

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        dataset: digits, cifar10, cifar100, an .npz or a folder.
        out: an .npz.
    """
    from hybrid.data import datasets
    from hybrid.machine.files import save_arrays
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model

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
    from hybrid.data import datasets
    from hybrid.judging.diagnose import diagnose
    from hybrid.machine.files import write_atomically
    from hybrid.machine.precision import best_device
    from hybrid.released import names, open_model
    from hybrid.showing import diagnosis, figures

    if out.suffix != ".png":
        raise HybridError(f"out = {str(out)!r} has no known ending: expected .png")
    if count < 2:
        raise HybridError(f"count = {count}: give 2 or more")
    model = open_model(run, best_device())
    name = dataset or (str(run) if str(run) in names() else run.resolve().parents[1].name)
    found = diagnose(model, datasets.load(name, paths.data()).to(model.device), count, steps, eta, seed)
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
    from hybrid.experiments.experiment import Experiment
    from hybrid.workflows.release import release

    print(f"weights: {release(Experiment(profile, dataset, seed))}")


def data(dataset: str = "digits") -> None:
    """Load a data set, downloading it where it must, and say what is in it.

    Args:
        dataset: digits, cifar10, cifar100, an .npz or a folder.
    """
    from hybrid.data.datasets import describe, load

    print(json.dumps(describe(load(dataset, paths.data())), indent=1))


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
    from hybrid.benchmark.run import bench

    table = bench(out or paths.bench(), seconds, pairs, profile, fid_images, quick)
    print(f"table: {table}")


def screen(
    profile: str = "laptop,hybrid.representation.training.epochs=3",
    dataset: str | None = None,
    seed: int = 0,
    stage: Literal["representation", "prior", "plus"] = "representation",
    run: Path | None = None,
    out: Path | None = None,
    time_limit: float | None = None,
) -> None:
    """Train a stage of the hybrid on nine tenths of the train set, judge it without the test set, and log how it fares.

    The first stage is judged on the other tenth. A prior's losses are too; its samples are compared with the nine tenths.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of weights and batches.
        stage: representation, the first; prior, the DDIM on z; plus, Hybrid+'s p(y) and p(w | y).
        run: for a prior: whose codes it is of, released weights, such as cifar10, or a run's folder; left out: those of the
            profile's own first stage, which is trained on the nine tenths once for all its priors.
        out: the log, a .jsonl; left out: results/bench/screen.jsonl.
        time_limit: stop at a checkpoint after so many seconds, with exit status 75.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.training.loop import Clock
    from hybrid.workflows.screen import screen

    log = out or paths.bench() / "screen.jsonl"
    line = screen(Experiment(profile, dataset, seed, Clock(time_limit)), log, stage, run)
    print(json.dumps({key: value for key, value in line.items() if key != "provenance"}))


def expect(profile: str = "demo", dataset: str | None = None, seed: int = 0) -> None:
    """Add a run's numbers to those that others are compared with, in the repository's results/.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of the run.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.workflows import expected

    print(f"expected: {expected.add(Experiment(profile, dataset, seed))}")


def bounds(seed: int = 0) -> None:
    """Hold the paper's bounds against mutual information that is known, and draw estimates against the truth.

    Args:
        seed: of samples, weights and batches.
    """
    from hybrid.judging.known import claims
    from hybrid.showing import bounds as showing
    from hybrid.showing import figures
    from hybrid.workflows import bounds

    path = bounds.bounds(seed)
    rows, consistency = bounds.read()
    print(f"{showing.table(rows)}\n{consistency.round(2)}")
    for words, holds in claims(rows).items():
        print(f"{'yes' if holds else 'NO '}  {words}")
    figures.save_figure(showing.draw(rows), path.with_suffix(""))
    print(f"estimates: {path}")


def factors(profile: str = "demo", dataset: str | None = None, seed: int = 0, run: Path | None = None) -> None:
    """Say what y, w and z keep of an image: linear probes for its class, colours, texture and place.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of the run and of what is held out.
        run: released weights, such as cifar10, or a run's folder, of that profile; left out: the profile's own first stage.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.showing import factors as showing
    from hybrid.showing import figures
    from hybrid.workflows.factors import factors, folder

    experiment = Experiment(profile, dataset, seed)
    rows = factors(experiment, run)
    print(showing.table(rows).round(2))
    picture = folder(experiment) / f"seed{seed}"
    figures.save_figure(showing.draw({f"{profile}, {experiment.slug}": rows}), picture)
    print(f"picture: {picture}.png")


def tradeoff(profile: str = "demo", dataset: str | None = None, seed: int = 0, time_limit: float | None = None) -> None:
    """Train the hybrid's first stage for alpha from 0 to 1 and for y of 1 to 6 channels, and judge each: many trainings.

    Args:
        profile: as for `hybrid reproduce --help`.
        dataset: likewise.
        seed: of weights and batches.
        time_limit: stop at a checkpoint after so many seconds, with exit status 75.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.showing import figures
    from hybrid.showing import tradeoff as showing
    from hybrid.training.loop import Clock
    from hybrid.workflows import tradeoff

    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    path = tradeoff.tradeoff(experiment)
    rows = tradeoff.read(experiment)
    print(rows.round(3).to_string())
    figures.save_figure(showing.draw(rows), path.with_suffix(""))
    print(f"trade-off: {path}")


COMMANDS = (
    reproduce,
    train,
    evaluate,
    sample,
    interpolate,
    embed,
    diagnose,
    release,
    data,
    bench,
    screen,
    expect,
    bounds,
    factors,
    tradeoff,
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; a wrong input ends with one line on standard error and status 2.

    Ctrl-C and SIGTERM end with one line too, and status 130 or 143. Of several processes, which torchrun starts, the first
    speaks; each tells its own errors.
    """
    logging.basicConfig(format="%(message)s")
    if (sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        print(f"hybrid {version('hybrid')}")
        return 0
    commands = {command.__name__: _later(command) for command in COMMANDS}
    command = tyro.extras.subcommand_cli_from_dict(commands, prog="hybrid", description=__doc__, args=arguments)
    speaks, distributed = True, None
    try:
        with signals():
            from hybrid.machine import distributed

            distributed.start()
            speaks = distributed.rank() == 0
            with contextlib.nullcontext() if speaks else contextlib.redirect_stdout(None):
                command()
    except (TimeUp, Interrupted) as stop:
        if speaks:
            print(stop, file=sys.stderr)
        return stop.status if isinstance(stop, Interrupted) else STOPPED
    except HybridError as error:
        print(f"hybrid: {error}", file=sys.stderr)
        return 2
    finally:
        if distributed is not None:
            distributed.stop()
    return 0


class Interrupted(BaseException):
    """A signal that asks the command to end, such as Ctrl-C's."""

    def __init__(self, number: int):
        self.status = 128 + number  # as shells tell it
        super().__init__(
            f"hybrid: stopped by {signal.Signals(number).name}; what was finished is kept in {paths.home()}, of a training the "
            "last checkpoint, a minute old at most; the same command goes on from there"
        )


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Interrupted, once: a second one ends the process on the spot."""

    def interrupt(number: int, _) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as of a shell's background jobs
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _later(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command with its arguments, to be run later."""
    return wraps(command)(lambda *arguments, **named: partial(command, *arguments, **named))


def _known(methods: tuple[str, ...]) -> tuple[str, ...]:
    """The methods, all where none is named. A wrong name is told before anything is trained."""
    from hybrid.experiments.methods import METHODS, method

    return tuple(method(name).name for name in methods) or tuple(METHODS)


def _save_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    from hybrid.machine.files import write_atomically

    write_atomically(path, lambda temporary: Image.fromarray(pixels).save(temporary, format="png"))


if __name__ == "__main__":
    sys.exit(main())
